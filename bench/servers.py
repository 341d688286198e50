"""Pairs of S3 servers to measure between: real gateways, and lean ones that leave the cores to the client."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dataferry.demo.processes import ChildProcess, free_port
from dataferry.demo.servers import JuiceFs

KINDS = ("juicefs", "lean", "lean-tls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An S3 endpoint with its credentials.

    Attributes:
        endpoint_url: What contestants use.
        plain_url: The same objects without TLS, for making and checking data.
    """

    endpoint_url: str
    plain_url: str
    access_key_id: str
    secret_access_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Where bytes come from and go to.

    Attributes:
        kind: One of ``KINDS``.
        ca_file: Of the throw-away authority that both servers' certificates come from.
        md5_etags: Whether ETags of whole objects are MD5s, which rclone compares.
    """

    kind: str
    source: Server
    sink: Server
    ca_file: Path | None
    md5_etags: bool


@contextmanager
def pair(kind: str, directory: Path) -> Iterator[Pair]:
    """Start two servers of a kind, and end them."""
    with ExitStack() as stack:
        if kind == "juicefs":
            gateways = [stack.enter_context(JuiceFs(directory / name)) for name in ("source", "sink")]
            source, sink = (
                Server(
                    endpoint_url=gateway.endpoint_url,
                    plain_url=gateway.endpoint_url,
                    access_key_id=gateway.access_key_id,
                    secret_access_key=gateway.secret_access_key,
                )
                for gateway in gateways
            )
            yield Pair(kind=kind, source=source, sink=sink, ca_file=None, md5_etags=True)
            return
        ca_file = _certificate(directory) if kind == "lean-tls" else None
        source, sink = (_lean(stack, directory / name, ca_file) for name in ("source", "sink"))
        yield Pair(kind=kind, source=source, sink=sink, ca_file=ca_file, md5_etags=False)


def _lean(stack: ExitStack, directory: Path, ca_file: Path | None) -> Server:
    port, tls_port = free_port(), free_port()
    directory.mkdir(parents=True)
    command = [
        sys.executable,
        str(Path(__file__).with_name("lean_s3.py")),
        str(directory / "files"),
        str(port),
    ]
    if ca_file is not None:
        command += [str(tls_port), str(ca_file.with_name("server.pem"))]
    process = ChildProcess("the lean S3 server", command, log=directory / "log", environment={})
    stack.enter_context(process)
    process.wait_until_http(port, "/none")
    plain_url = f"http://127.0.0.1:{port}"
    return Server(
        endpoint_url=f"https://127.0.0.1:{tls_port}" if ca_file else plain_url,
        plain_url=plain_url,
        access_key_id="AKIABENCHBENCHBENCH1",
        secret_access_key="a secret that is not checked",  # noqa: S106 - the server checks none
    )


def _certificate(directory: Path) -> Path:
    """Make an authority, and a certificate in ``server.pem`` beside; return the authority's file."""
    directory.mkdir(parents=True, exist_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench authority")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        _builder(name, ca_name, key.public_key())
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.pem").write_bytes(certificate.public_bytes(pem) + secret)
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    return ca_file


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )
