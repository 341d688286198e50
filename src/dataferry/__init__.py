"""DataFerry: a data plane for dataspaces."""

__version__ = "0.1.0"
