"""TLS is checked against the host's name, not against the address that is dialled."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dataferry.domain.errors import ConfigError, UntrustedCertificateError
from dataferry.domain.location import Provenance
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard
from dataferry.net.httpx_transport import guarded_client

NAME = "data.example"


def certificate(folder: Path) -> Path:
    """Write a self-signed certificate of ``data.example`` with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "cert.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A TLS server on loopback: its port and certificate."""
    path = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                try:
                    with context.wrap_socket(sock, server_side=True) as tls:
                        if tls.recv(65536):
                            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                except OSError:
                    continue

    thread = threading.Thread(target=run)
    thread.start()
    yield listener.getsockname()[1], path
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def loopback(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def fetch(network: Network, host: str, port: int) -> bytes:
    connection = network.connect(
        scheme="https", host=host, port=port, provenance=Provenance.OPERATOR, timeout_s=5
    )
    try:
        connection.send_head("GET", "/", {"Host": host})
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_trusted_certificate_of_the_name_is_taken(server: tuple[int, Path]) -> None:
    """The pinned address is dialled under the name, for our connections and for httpx alike."""
    port, path = server
    network = Network(EgressGuard(resolve=loopback), ca_file=str(path))
    assert fetch(network, NAME, port) == b"ok"
    with guarded_client(network, Provenance.OPERATOR, timeout_s=5) as client:
        assert client.get(f"https://{NAME}:{port}/").text == "ok"


def test_another_name_or_an_unknown_authority_is_refused(server: tuple[int, Path]) -> None:
    """The error says that the certificate is not trusted."""
    port, path = server
    with pytest.raises(UntrustedCertificateError, match="not trusted"):
        fetch(Network(EgressGuard(resolve=loopback), ca_file=str(path)), "other.example", port)
    with pytest.raises(UntrustedCertificateError, match="not trusted"):
        fetch(Network(EgressGuard(resolve=loopback)), NAME, port)


def test_a_missing_ca_file_is_the_operators(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(ConfigError, match=r"nothing\.pem"):
        Network(ca_file=str(tmp_path / "nothing.pem")).authorities.context()
