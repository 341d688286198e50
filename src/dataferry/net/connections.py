"""Connections that go where the egress guard allows."""


class Network:
    """Opens connections."""
