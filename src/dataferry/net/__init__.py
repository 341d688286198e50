"""What crosses the machine's border: the egress guard, pinned connections, TLS, timeouts."""
