"""The ways to an S3 server: buckets in paths and in host names, private authorities, and proxies."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import S3_DOMAIN
from tests.servers.authority import Authority, TlsFront
from tests.servers.http_proxy import HttpProxy
from tests.servers.s3_client import keys, s3_client

from dataferry.demo.servers import JuiceFs
from dataferry.domain.errors import ConfigError, EgressDeniedError, UntrustedCertificateError
from dataferry.domain.location import Location, Provenance
from dataferry.domain.objects import Attributes
from dataferry.mechanisms.base import GrantMode
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy, HostPatterns
from dataferry.net.httpx_transport import guarded_client
from dataferry.net.routes import Proxies, Proxy

ODD_KEY = "a b/ünï?x=1&y#%41+~"
PASSWORD = "proxy-password-0123456789"
AUTHORIZATION = "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()


def to_loopback(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
    """Resolve every name to this machine."""
    del host
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def to_nowhere(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
    """Resolve nothing but addresses: only a proxy knows names."""
    if host == "127.0.0.1":
        return to_loopback(host, port)
    raise OSError(f"{host} was looked up")


@dataclass
class Store:
    """A bucket on the server, with the witness's client."""

    server: JuiceFs
    bucket: str
    witness: Any

    def location(self, endpoint_url: str, **settings: Any) -> Location:
        """The server at some endpoint."""
        own = {
            "endpoint_url": endpoint_url,
            "access_key_id": self.server.access_key_id,
            "secret_access_key": self.server.secret_access_key,
        }
        return Location(name="it", mechanism="s3", settings={**own, **settings})

    def visit(self, network: Network, endpoint_url: str, *, bucket: str = "", **settings: Any) -> None:
        """Write an object and a part, list and read: each is a request of another form."""
        bucket = bucket or self.bucket
        location = self.location(endpoint_url, **settings)
        place = MECHANISM.at_location(location, f"{bucket}/in/")
        with ExitStack() as stack:
            sink = stack.enter_context(closing(MECHANISM.open_sink(place, network)))
            sink.probe()
            writer = stack.enter_context(closing(sink.writer()))
            key = sink.place(ODD_KEY, single=False)
            body = writer.put(key, length_bytes=2, attributes=Attributes())
            body.send(memoryview(b"hi"))
            body.finish()
            upload = writer.create_upload(key, size_bytes=1, attributes=Attributes())
            part = writer.put_part(upload, number=1, offset_bytes=0, length_bytes=1)
            part.send(memoryview(b"1"))
            part.finish()
            writer.abort_upload(upload)
            source = stack.enter_context(closing(MECHANISM.open_source(place, network)))
            (info,) = source.list()
            reader = stack.enter_context(closing(source.reader()))
            stream = reader.open(info, offset_bytes=1, length_bytes=1)
            buffer = memoryview(bytearray(10))
            assert (stream.readinto(buffer), bytes(buffer[:1])) == (1, b"i")
            stream.close()
        assert keys(self.witness, bucket) == [f"in/{ODD_KEY}"]


@pytest.fixture
def store(juicefs: JuiceFs, bucket: str) -> Iterator[Store]:
    with closing(s3_client(juicefs)) as witness:
        witness.create_bucket(Bucket=bucket)
        yield Store(juicefs, bucket, witness)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def front(store: Store, authority: Authority) -> Iterator[TlsFront]:
    """The server behind TLS, with a certificate of our own authority, as MinIO's documentation advises."""
    with TlsFront(store.server.port, authority.certificate(S3_DOMAIN, f"*.{S3_DOMAIN}")) as front:
        yield front


@pytest.mark.parametrize("style", ["path", "virtual", "auto"])
def test_buckets_are_addressed_in_either_way(store: Store, style: str) -> None:
    """The signature is right for both, with keys of all kinds: this server checks it."""
    network = Network(EgressGuard(resolve=to_loopback))
    store.visit(network, f"http://{S3_DOMAIN}:{store.server.port}", addressing_style=style)


def test_a_bucket_with_dots_is_addressed_in_either_way(store: Store) -> None:
    """Without TLS dots do no harm."""
    dotted = f"{store.bucket}.with.dots"
    store.witness.create_bucket(Bucket=dotted)
    network = Network(EgressGuard(resolve=to_loopback))
    url = f"http://{S3_DOMAIN}:{store.server.port}"
    for style in ("path", "virtual"):
        store.visit(network, url, bucket=dotted, addressing_style=style)


@pytest.mark.parametrize(("style", "prefix"), [("path", ""), ("virtual", "BUCKET.")])
def test_tls_is_of_the_host_that_is_addressed(
    store: Store, front: TlsFront, authority: Authority, style: str, prefix: str
) -> None:
    """The name asked for is the bucket's own where buckets are hosts; the location's authority is trusted."""
    network = Network(EgressGuard(resolve=to_loopback))
    store.visit(
        network,
        f"https://{S3_DOMAIN}:{front.port}",
        addressing_style=style,
        ca_file=str(authority.ca_file),
    )
    assert set(front.names) == {prefix.replace("BUCKET", store.bucket) + S3_DOMAIN}


def test_a_dotted_bucket_has_no_certificate_as_a_host(
    store: Store, front: TlsFront, authority: Authority
) -> None:
    """A wildcard stands for one label: the error says so, and in the path it works."""
    dotted = f"{store.bucket}.dots"
    store.witness.create_bucket(Bucket=dotted)
    network = Network(EgressGuard(resolve=to_loopback), ca_file=str(authority.ca_file))
    url = f"https://{S3_DOMAIN}:{front.port}"
    with pytest.raises(UntrustedCertificateError, match="Hostname mismatch"):
        store.visit(network, url, bucket=dotted, addressing_style="virtual")
    store.visit(network, url, bucket=dotted)


def test_an_unknown_authority_is_told_with_the_way_out(store: Store, front: TlsFront, tmp_path: Path) -> None:
    """Neither the system nor another authority's file vouches for it; a file that is none is named."""
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    network = Network(EgressGuard(resolve=to_loopback))
    url = f"https://{S3_DOMAIN}:{front.port}"
    for settings in ({}, {"ca_file": str(other.ca_file)}):
        with pytest.raises(UntrustedCertificateError, match="ca_file") as caught:
            store.visit(network, url, **settings)
        assert not caught.value.is_temporary
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for path in (empty, tmp_path / "nothing.pem"):
        with pytest.raises(ConfigError, match=path.name):
            store.visit(network, url, ca_file=str(path))


@pytest.mark.parametrize("named_by", ["location", "network"])
def test_a_proxy_carries_what_the_operator_names(
    store: Store, front: TlsFront, authority: Authority, named_by: str
) -> None:
    """Encrypted requests go through a tunnel, plain ones are forwarded; this machine looks up no name."""
    ports = {S3_DOMAIN: front.port, f"{store.bucket}.{S3_DOMAIN}": store.server.port}
    with HttpProxy(ports, authorization=AUTHORIZATION) as proxy:
        settings: dict[str, Any] = {"ca_file": str(authority.ca_file)}
        proxies = Proxies()
        if named_by == "location":
            settings |= {"proxy": proxy.url, "proxy_username": "ann", "proxy_password": PASSWORD}
        else:
            way = Proxy.of(proxy.url, username="ann", password=PASSWORD)
            proxies = Proxies(https=way, http=way)
        network = Network(EgressGuard(resolve=to_nowhere), proxies=proxies)
        store.visit(network, f"https://{S3_DOMAIN}", **settings)
        assert set(proxy.asked) == {f"CONNECT {S3_DOMAIN}:443 HTTP/1.1"}
        proxy.asked.clear()
        store.visit(network, f"http://{S3_DOMAIN}", addressing_style="virtual", **settings)
        assert all(f" http://{store.bucket}.{S3_DOMAIN}/" in line for line in proxy.asked)
        assert PASSWORD not in "".join(proxy.asked)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_credentials_says_so(store: Store, scheme: str) -> None:
    """For good, and no word of what was sent."""
    with HttpProxy({}, authorization=AUTHORIZATION) as proxy:
        wrong = {"proxy": proxy.url, "proxy_username": "ann", "proxy_password": "wrong-password"}
        for settings in ({"proxy": proxy.url}, wrong):
            with pytest.raises(ConfigError, match="proxy_username") as caught:
                store.visit(Network(), f"{scheme}://{S3_DOMAIN}", **settings)
            assert "wrong-password" not in str(caught.value)


def test_a_proxy_that_refuses_is_told(store: Store) -> None:
    """It is a policy's word, not the store's."""
    with HttpProxy({}, refused=(S3_DOMAIN,)) as proxy, pytest.raises(EgressDeniedError, match="refuses"):
        store.visit(Network(), f"https://{S3_DOMAIN}", proxy=proxy.url)


def test_places_of_messages_go_through_no_proxy_unless_their_host_is_named(store: Store) -> None:
    """The guard can't look at what a proxy resolves: so the operator names hosts for it."""
    bucket_host = f"{store.bucket}.{S3_DOMAIN}"
    place = MECHANISM.at_address(
        MECHANISM.grant(
            MECHANISM.at_location(
                store.location(
                    f"http://{S3_DOMAIN}",
                    addressing_style="virtual",
                    share_access_key_id=store.server.access_key_id,
                    share_secret_access_key=store.server.secret_access_key,
                ),
                f"{store.bucket}/",
            ),
            MECHANISM.profiles[0],
            GrantMode.READ,
            Network(),
            ttl_s=60,
            purpose="a flow",
        )
    )
    assert place.provenance is Provenance.EXTERNAL
    with HttpProxy({bucket_host: store.server.port}) as proxy:
        way = Proxy.of(proxy.url)
        proxies = Proxies(https=way, http=way, direct=HostPatterns(["*.near.test"]))
        closed = Network(EgressGuard(resolve=to_loopback), proxies=proxies)
        with closing(MECHANISM.open_source(place, closed)) as source, pytest.raises(EgressDeniedError):
            source.probe()
        assert proxy.asked == []
        policy = EgressPolicy(proxied=(f"*.{S3_DOMAIN}",))
        named = Network(EgressGuard(policy, resolve=to_nowhere), proxies=proxies)
        with closing(MECHANISM.open_source(place, named)) as source:
            source.probe()
        assert len(proxy.asked) == 1


def test_control_planes_are_called_by_the_same_ways(
    store: Store, front: TlsFront, authority: Authority
) -> None:
    """Through the tunnel with our authority, and in absolute form without TLS; 407 is told."""
    del store
    with HttpProxy({S3_DOMAIN: front.port, "plain.test": front.port}) as proxy:
        way = Proxy.of(proxy.url)
        network = Network(
            EgressGuard(resolve=to_nowhere),
            ca_file=str(authority.ca_file),
            proxies=Proxies(https=way, http=way),
        )
        with guarded_client(network, Provenance.OPERATOR, timeout_s=5) as client:
            assert client.get(f"https://{S3_DOMAIN}/").status_code == 403
            client.get("http://unknown.test/a?b=c")
        assert proxy.asked == [
            f"CONNECT {S3_DOMAIN}:443 HTTP/1.1",
            "GET http://unknown.test/a?b=c HTTP/1.1",
        ]
    with HttpProxy({}, authorization=AUTHORIZATION) as proxy:
        way = Proxy.of(proxy.url)
        network = Network(proxies=Proxies(https=way, http=way))
        with guarded_client(network, Provenance.OPERATOR, timeout_s=5) as client:
            for scheme in ("http", "https"):
                with pytest.raises(ConfigError, match="proxy_username"):
                    client.get(f"{scheme}://far.test/")
