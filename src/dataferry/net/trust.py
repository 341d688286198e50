"""Whose certificates are trusted: the system's authorities, and those that the operator names beside them."""

from __future__ import annotations

import ssl
import threading

from dataferry.domain.errors import (
    ConfigError,
    ConnectionFailedError,
    DataFerryError,
    UntrustedCertificateError,
)

# X509_V_ERR_: signed by another key of that name; self-signed, alone or in a chain; an unknown issuer.
_UNKNOWN_AUTHORITY = frozenset({7, 18, 19, 20, 21})
_ADVICE = "; if an authority of your own signed it, name its certificate with ca_file"


class Authorities:
    """What checks certificates and names, of TLS 1.2 or newer; made when first needed. Any thread.

    Args:
        ca_file: PEM file of authorities that are trusted everywhere, beside the system's.
    """

    def __init__(self, ca_file: str | None) -> None:
        self._ca_file = ca_file
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Authorities], tuple[str | None]]:
        return Authorities, (self._ca_file,)

    def context(self, ca_file: str | None = None) -> ssl.SSLContext:
        """Return what trusts those of ``ca_file`` too.

        Raises:
            ConfigError: A file can't be read, or holds no certificate.
        """
        with self._lock:
            if ca_file not in self._contexts:
                self._contexts[ca_file] = _context(self._ca_file, ca_file)
                self._contexts[ca_file].set_alpn_protocols(["http/1.1"])
            return self._contexts[ca_file]

    def showing(
        self, certificate: str | None, key: str | None, *, ca_file: str | None = None
    ) -> ssl.SSLContext:
        """Return a context for other protocols than HTTP, which shows a certificate of ours.

        Args:
            certificate: PEM file, with the chain up to an authority; None shows none.
            key: PEM file of its key; None: in ``certificate``.
            ca_file: As of ``context``.

        Raises:
            ConfigError: A file can't be read, or holds not what it should.
        """
        context = _context(self._ca_file, ca_file)
        if certificate is not None:
            try:
                # Never asked for at a terminal: a key under a password is refused.
                context.load_cert_chain(certificate, key, password=lambda: "")
            except (OSError, ValueError) as exc:
                problem = exc.strerror if isinstance(exc, FileNotFoundError | PermissionError) else None
                raise ConfigError(
                    f"the client certificate {certificate} can't be used:"
                    f" {problem or 'it is not in PEM, or the key is another one, or under a password'}"
                ) from exc
        return context


def tls_failure(exc: OSError | ValueError, host: str, port: int) -> DataFerryError:
    """Return what a handshake's error means."""
    if not isinstance(exc, ssl.SSLCertVerificationError):
        return ConnectionFailedError(f"no TLS connection to {host}:{port}: {exc}")
    advice = _ADVICE if exc.verify_code in _UNKNOWN_AUTHORITY else ""
    return UntrustedCertificateError(
        f"the certificate of {host}:{port} is not trusted: {exc.verify_message}{advice}"
    )


def _context(*ca_files: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for ca_file in dict.fromkeys(ca_files):
        if ca_file is None:
            continue
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as exc:
            problem = "it holds no PEM certificate" if isinstance(exc, ssl.SSLError) else exc.strerror
            raise ConfigError(f"the CA file {ca_file} can't be used: {problem}") from exc
    return context
