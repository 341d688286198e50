"""Secrets: sealed in rows, referenced in configuration, and cut out of every log line."""
