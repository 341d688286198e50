"""Connections dial what was checked, and can be shut from any thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dataferry.domain.errors import AddressError, ConnectionFailedError, EgressDeniedError
from dataferry.domain.location import Provenance
from dataferry.net.connections import Network, PinnedConnection
from dataferry.net.egress import EgressGuard, EgressPolicy
from dataferry.net.httpx_transport import guarded_client

EXTERNAL, OPERATOR = Provenance.EXTERNAL, Provenance.OPERATOR


class Server:
    """Answers each request on loopback with the head it got; ``mute`` ones answer nothing."""

    def __init__(self, *, mute: bool = False) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.heads: list[bytes] = []
        self.sockets: list[socket.socket] = []
        self._mute = mute
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(sock)
            head = sock.recv(65536)
            self.heads.append(head)
            if not self._mute and head:
                sock.sendall(
                    b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 2\r\n\r\nok"
                )

    def close(self) -> None:
        """Stop and join."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join()
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def rebinding(*answers: str) -> Any:
    """Return a resolver that answers differently each time."""
    left = list(answers)

    def resolve(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        text = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port))]

    return resolve


def get(connection: PinnedConnection) -> tuple[int, bytes]:
    connection.send_head("GET", "/path", {"Host": f"{connection.host}:{connection.port}"})
    response = connection.getresponse()
    return response.status, response.read()


def test_the_address_checked_is_dialled_under_the_hosts_own_name(server: Server) -> None:
    """The guard's answer is used as it is; the Host header keeps the name, and redirects are not followed."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    network = Network(EgressGuard(EgressPolicy(allow_private_networks=True), resolve=resolve))
    connection = network.connect(
        scheme="http", host="data.example", port=server.port, provenance=EXTERNAL, timeout_s=5
    )
    try:
        assert get(connection) == (302, b"ok")
        assert connection.sock is not None
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        connection.close()
    assert asked == ["data.example"]
    assert f"Host: data.example:{server.port}".encode() in server.heads[0]


def test_a_name_that_turns_private_is_refused_when_it_is_dialled_again(server: Server) -> None:
    """Every dialling is checked, the second one of a connection too."""
    policy = EgressPolicy(allow=("127.0.0.1/32",))
    network = Network(EgressGuard(policy, resolve=rebinding("127.0.0.1", "127.0.0.2")))
    connection = network.connect(
        scheme="http", host="data.example", port=server.port, provenance=EXTERNAL, timeout_s=5
    )
    assert get(connection) == (302, b"ok")
    connection.close()
    with pytest.raises(EgressDeniedError):
        get(connection)
    connection.close()


def test_the_next_address_is_tried_if_one_does_not_answer(server: Server) -> None:
    """All addresses of a host are dialled in turn."""

    def resolve(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port)) for text in ("127.0.0.9", "127.0.0.1")
        ]

    network = Network(EgressGuard(resolve=resolve))
    connection = network.connect(scheme="http", host="x", port=server.port, provenance=OPERATOR, timeout_s=5)
    assert get(connection) == (302, b"ok")
    connection.close()


def test_nobody_listening_is_a_failed_connection() -> None:
    """The error names host and port."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectionFailedError, match=f"127.0.0.1:{port}"):
        Network().dial("127.0.0.1", port, OPERATOR)


def test_only_http_and_https() -> None:
    """Other schemes are no endpoints."""
    with pytest.raises(AddressError):
        Network().connect(scheme="ftp", host="a", port=None, provenance=OPERATOR)


def test_plain_text_where_tls_is_wanted_is_a_failed_connection(server: Server) -> None:
    """A server without TLS is not talked to."""
    connection = Network().connect(
        scheme="https", host="127.0.0.1", port=server.port, provenance=OPERATOR, timeout_s=5
    )
    with pytest.raises(ConnectionFailedError, match="TLS"):
        connection.connect()
    connection.close()


def test_shut_ends_a_blocked_call_and_all_later_ones() -> None:
    """A thread that waits for a silent server is free at once, and nothing is dialled again."""
    server = Server(mute=True)
    connection = Network().connect(
        scheme="http", host="127.0.0.1", port=server.port, provenance=OPERATOR, timeout_s=60
    )
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            get(connection)
        except Exception as exc:  # noqa: BLE001 - whatever ends it
            ended.append(exc)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.heads and time.monotonic() < deadline:
        thread.join(0.01)
    began = time.monotonic()
    connection.shut()
    thread.join(10)
    assert time.monotonic() - began < 5
    assert len(ended) == 1
    connection.close()
    with pytest.raises(ConnectionFailedError):
        get(connection)
    connection.close()
    server.close()


def test_the_httpx_client_passes_the_guard_and_ignores_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same addresses are refused, no proxy is used, and no redirect is followed."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    url = f"http://127.0.0.1:{server.port}/x"
    with guarded_client(Network(), OPERATOR, timeout_s=5) as client:
        assert client.get(url).status_code == 302
    with guarded_client(Network(), EXTERNAL, timeout_s=5) as client, pytest.raises(EgressDeniedError):
        client.get(url)


def test_the_httpx_client_says_in_its_own_words_that_nobody_listens() -> None:
    """Callers handle ``httpx`` errors as always."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with guarded_client(Network(), OPERATOR, timeout_s=5) as client, pytest.raises(httpx.ConnectError):
        client.get(f"http://127.0.0.1:{port}/")
