"""Which way a connection goes: proxies named by the operator, by a user's environment, and by nobody."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dataferry.app.environment_proxies import environment_proxies
from dataferry.app.settings import Settings
from dataferry.app.wiring import network_of
from dataferry.domain.errors import AddressError, ConfigError, ConnectionFailedError, EgressDeniedError
from dataferry.domain.location import Provenance
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy, HostPatterns
from dataferry.net.routes import Proxies, Proxy, Route

OPERATOR, EXTERNAL = Provenance.OPERATOR, Provenance.EXTERNAL
PROXY = Proxy(host="proxy.example", port=3128)
OTHER = Proxy(host="other.example", port=8080)


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def test_a_proxy_is_a_host_and_a_port() -> None:
    """The user's name and password come apart from it, and do not show."""
    assert Proxy.of("http://proxy.example") == PROXY
    assert Proxy.of("http://[::1]:1/") == Proxy(host="::1", port=1)
    proxy = Proxy.of("http://proxy.example", username="ann", password="päss")
    assert proxy.authorization == basic("ann:päss")
    assert "ann" not in repr(proxy) + str(proxy)


@pytest.mark.parametrize(
    "url", ["https://proxy.example", "socks5://p", "http://u:hidden@p", "http://p/x", "http://", "http://p:x"]
)
def test_another_kind_of_proxy_is_refused(url: str) -> None:
    """Without repeating what may hold a password."""
    with pytest.raises(ConfigError) as caught:
        Proxy.of(url)
    assert "hidden" not in str(caught.value)


def test_the_environment_of_a_user_is_read_as_curl_does() -> None:
    """Either case, a user in the URL, a proxy for all, and who is reached without."""
    found = environment_proxies(
        {
            "HTTPS_PROXY": "http://ann:p%40ss@proxy.example:8080",
            "all_proxy": "other.example:8080",
            "no_proxy": "corp.example, .lab.example,10.0.0.0/8 host.example:443",
        }
    )
    assert found.https == Proxy(host="proxy.example", port=8080, authorization=basic("ann:p@ss"))
    assert found.of("http", "far.example") == OTHER
    reached = ("corp.example", "a.corp.example", "b.lab.example", "10.1.2.3", "host.example", "127.0.0.1")
    assert [found.of("https", host) for host in (*reached, "localhost", "::1")] == [None] * 8
    assert found.of("https", "notcorp.example") is not None
    assert environment_proxies({}).of("https", "far.example") is None
    everything = environment_proxies({"https_proxy": "http://proxy.example", "NO_PROXY": "*"})
    assert everything.of("https", "far.example") is None


def test_a_proxy_of_the_environment_that_cannot_be_used_is_told_when_it_is_needed() -> None:
    """Local copies do not need it."""
    found = environment_proxies({"https_proxy": "socks5://ann:hidden@proxy.example"})
    assert found.of("https", "localhost") is None
    with pytest.raises(ConfigError, match="environment") as caught:
        found.of("https", "far.example")
    assert "hidden" not in str(caught.value)


def test_a_request_cannot_set_the_proxy_of_a_program_behind_a_web_server() -> None:
    """``HTTP_PROXY`` is a header there."""
    assert environment_proxies({"HTTP_PROXY": "http://evil.example", "REQUEST_METHOD": "GET"}).http is None


def test_the_service_takes_no_proxy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not in its configuration is not used."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    network = network_of(Settings())
    assert network.proxy_of(scheme="https", host="far.example", provenance=OPERATOR) is None


def test_a_location_goes_before_the_network() -> None:
    """Its own proxy, or none; what it says does not bind places from outside."""
    network = Network(proxies=Proxies(https=PROXY, http=PROXY, direct=HostPatterns(("*.near.example",))))

    def way(host: str, route: Route = Route(), whose: Provenance = OPERATOR) -> Proxy | None:  # noqa: B008
        return network.proxy_of(scheme="https", host=host, provenance=whose, route=route)

    assert way("far.example") == PROXY
    assert way("a.near.example") is None
    assert way("a.near.example", Route(proxy=OTHER)) == OTHER
    assert way("127.0.0.1", Route(proxy=OTHER)) == OTHER
    assert way("far.example", Route(is_direct=True)) is None
    assert way("far.example", whose=EXTERNAL) is None
    assert way("far.example", Route(proxy=OTHER), EXTERNAL) is None


@pytest.mark.parametrize(
    ("host", "is_proxied"), [("a.far.example", True), ("far.example", False), ("b.near.example", False)]
)
def test_places_from_outside_are_proxied_where_their_host_is_named(host: str, *, is_proxied: bool) -> None:
    """All others are dialled, and pass the guard."""
    policy = EgressPolicy(proxied=("*.far.example",))
    network = Network(EgressGuard(policy), proxies=Proxies(https=PROXY))
    found = network.proxy_of(scheme="https", host=host, provenance=EXTERNAL)
    assert (found is not None) is is_proxied


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "::1", "127.1", "0x7f.0.0.1", "2130706433", "a.0x7f", "localhost", "bad.example", "x."],
)
def test_a_proxy_is_not_asked_for_what_no_guard_can_look_at(host: str) -> None:
    """Addresses, names that some resolvers read as such, bare names and denied ones: also with ``*``."""
    guard = EgressGuard(EgressPolicy(proxied=("*",), deny=("bad.example",)))
    with pytest.raises(EgressDeniedError):
        guard.is_proxied(host)


def test_only_what_is_allowed_is_proxied_where_all_else_is_denied() -> None:
    """``deny = ["*"]`` leaves what ``allow`` names."""
    guard = EgressGuard(EgressPolicy(proxied=("*.example",), deny=("*",), allow=("good.example",)))
    assert guard.is_proxied("good.example")
    with pytest.raises(EgressDeniedError):
        guard.is_proxied("other.example")


def test_wrong_settings_of_the_network_are_told() -> None:
    """Halves of pairs, networks where hosts are wanted, and users in URLs."""
    wrong = (
        {"network": {"proxy": "http://u:p@proxy.example"}},
        {"network": {"proxy": "https://proxy.example"}},
        {"network": {"proxy_username": "u", "proxy_password": "p"}},
        {"network": {"proxy": "http://proxy.example", "proxy_username": "u"}},
        {"egress": {"proxied": ["*.example"]}},
    )
    for settings in wrong:
        with pytest.raises(ValueError, match="validation error"):
            Settings.model_validate(settings)
    with pytest.raises(ConfigError, match=r"10\.0\.0\.0/8"):
        EgressGuard(EgressPolicy(proxied=("10.0.0.0/8",)))


@contextmanager
def answering(*pieces: bytes) -> Iterator[int]:
    """A proxy that answers whatever it is asked with these bytes, and then holds its breath."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def run() -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        with sock:
            sock.recv(65536)
            try:
                for piece in pieces:
                    sock.sendall(piece)
                if not pieces:
                    done.wait(10)
            except OSError:
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        done.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize(
    ("pieces", "error", "words"),
    [
        ((b"HTTP/1.1 407 No\r\n\r\n",), ConfigError, "proxy_username"),
        ((b"HTTP/1.1 403 No\r\n\r\n",), EgressDeniedError, "refuses"),
        ((b"HTTP/1.1 502 No\r\n\r\n",), ConnectionFailedError, "502"),
        ((b"SSH-2.0\r\n\r\n",), ConnectionFailedError, "as an HTTP proxy"),
        ((b"HTTP/1.1 200 OK\r\n",), ConnectionFailedError, "as an HTTP proxy"),
        ((b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"x" * 8000 + b"\r\n"] * 40), ConnectionFailedError, "proxy"),
        ((), ConnectionFailedError, "does not answer"),
    ],
    ids=["credentials", "refused", "unreachable", "no-http", "cut-off", "endless", "silent"],
)
def test_what_a_proxy_answers_is_told_as_what_it_is(
    pieces: tuple[bytes, ...], error: type[Exception], words: str
) -> None:
    """Refusals are for good, what may pass is temporary; answers have an end."""
    with answering(*pieces) as port:
        network = Network(stall_timeout_s=0.3)
        connection = network.connect(
            scheme="https",
            host="far.example",
            port=None,
            provenance=OPERATOR,
            route=Route(proxy=Proxy(host="127.0.0.1", port=port)),
        )
        with pytest.raises(error, match=words):
            connection.connect()


def test_a_proxy_that_is_not_there_is_named() -> None:
    """The host behind it is not to blame."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    route = Route(proxy=Proxy(host="127.0.0.1", port=port))
    connection = Network().connect(
        scheme="http", host="far.example", port=None, provenance=OPERATOR, route=route
    )
    with pytest.raises(ConnectionFailedError, match=f"proxy 127.0.0.1:{port}"):
        connection.connect()


def test_a_stranger_is_not_told_where_the_proxy_is() -> None:
    """Errors about a place go to whoever named it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    proxy = Proxy(host="127.0.0.1", port=port)
    network = Network(
        EgressGuard(EgressPolicy(proxied=("*.example",))), proxies=Proxies(https=proxy, http=proxy)
    )
    connection = network.connect(scheme="https", host="far.example", port=None, provenance=EXTERNAL)
    with pytest.raises(ConnectionFailedError, match="the proxy can't be reached") as caught:
        connection.connect()
    assert str(port) not in str(caught.value)
    with answering(b"HTTP/1.1 403 No\r\n\r\n") as there:
        route = Proxies(https=Proxy(host="127.0.0.1", port=there))
        network = Network(EgressGuard(EgressPolicy(proxied=("*.example",))), proxies=route)
        connection = network.connect(scheme="https", host="far.example", port=None, provenance=EXTERNAL)
        with pytest.raises(EgressDeniedError, match="the proxy refuses") as refused:
            connection.connect()
        assert str(there) not in str(refused.value)


def test_a_message_says_nothing_about_the_way() -> None:
    """Files of this machine and proxies are the operator's."""
    from dataferry.domain.address import DataAddress
    from dataferry.mechanisms.http import MECHANISM as HTTP
    from dataferry.mechanisms.s3 import MECHANISM as S3

    own = (("accessKeyId", "AKIA"), ("secretAccessKey", "secret"))
    for name in ("ca_file", "proxy", "proxy_username", "proxy_password"):
        with pytest.raises(AddressError, match=name):
            S3.at_address(
                DataAddress(endpoint_type="AmazonS3", endpoint="s3://data/x", properties=(*own, (name, "x")))
            )
        with pytest.raises(AddressError, match=name):
            HTTP.at_address(
                DataAddress(endpoint_type="HttpData", endpoint="https://a/x", properties=((name, "x"),))
            )
