"""TLS of the service itself: its certificate, loaded and looked at."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from dataferry.app.settings import ServerSettings
from dataferry.domain.errors import ConfigError


def server_context(server: ServerSettings) -> ssl.SSLContext | None:
    """Return what the service listens with; None for plain HTTP.

    Raises:
        ConfigError: The certificate or its key can't be read, or they do not belong together.
    """
    if server.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An empty password: a key that is sealed with one is refused, instead of asked for at the terminal.
        context.load_cert_chain(server.tls_cert, server.tls_key, password="")
    except (OSError, ValueError) as error:
        files = server.tls_cert if server.tls_key is None else f"{server.tls_cert} and {server.tls_key}"
        raise ConfigError(
            f"server.tls_cert: {files} can't be used: {error}; wanted are PEM files, the certificate with its"
            " chain, and its key without a password"
        ) from error
    return context


def days_left(server: ServerSettings, now: datetime) -> float | None:
    """Return how many days the service's certificate is still good for; None without one.

    Raises:
        ConfigError: It can't be read.
    """
    from cryptography import x509

    if server_context(server) is None or server.tls_cert is None:
        return None
    certificate = x509.load_pem_x509_certificates(Path(server.tls_cert).read_bytes())[0]
    return (certificate.not_valid_after_utc - now.astimezone(UTC)).total_seconds() / 86_400
