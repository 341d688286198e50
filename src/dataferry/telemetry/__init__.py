"""Telemetry: structured logs without secrets."""
