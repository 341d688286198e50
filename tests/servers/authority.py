"""A certificate authority of our own, and a server that puts TLS before a plain one."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from tests.servers.acceptor import Acceptor, forward, shut

_SIGNS = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """An authority that signs certificates for any names.

    Args:
        directory: Where its files go.

    Attributes:
        ca_file: Its own certificate, for those who trust it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
        builder = _dated(self._name, self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        builder = builder.add_extension(_SIGNS, critical=True).add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
        )
        self.ca_file = directory / "authority.pem"
        certificate = builder.sign(self._key, hashes.SHA256())
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._certificate = certificate

    def java_trust_store(self) -> Path:
        """Write its own certificate as a JVM wants it: PKCS #12, with nothing secret in it."""
        path = self._directory / "authority.p12"
        trusted = [pkcs12.PKCS12Certificate(self._certificate, b"authority")]
        path.write_bytes(pkcs12.serialize_java_truststore(trusted, serialization.NoEncryption()))
        return path

    def certificate(self, *names: str) -> Path:
        """Write a key and a certificate for some names, ``*.example`` among them, into one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server of the tests")])
        builder = _dated(subject, self._name, key.public_key()).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
        # Stricter clients, such as Python 3.13, want to be told whose signature it is.
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        made = builder.sign(self._key, hashes.SHA256())
        path = self._directory / f"{names[0].strip('*.')}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        return path


def _dated(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )


class TlsFront(Acceptor):
    """TLS on a port of loopback, forwarded to a plain server.

    Args:
        target_port: Where that listens.
        certificate: Key and certificate in one file.
        port: Where to listen; 0 is a free one.

    Attributes:
        names: What clients asked for by SNI, in their order.
    """

    def __init__(self, target_port: int, certificate: Path, *, port: int = 0) -> None:
        super().__init__(port)
        self._target_port = target_port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._context.sni_callback = self._asked
        self.names: list[str | None] = []

    def _asked(self, _: ssl.SSLObject | ssl.SSLSocket, name: str | None, __: ssl.SSLContext) -> None:
        self.names.append(name)

    def serve(self, client: socket.socket) -> None:
        """Serve one connection: a handshake, then bytes both ways."""
        try:
            inner = self._context.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self._target_port), timeout=10)
        except OSError:
            shut(client)
            return
        server.settimeout(None)
        self.keep(inner, server)
        self.spawn(forward, server, inner)
        forward(inner, server)
