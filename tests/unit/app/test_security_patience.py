"""Connections that never come to a request are let go; those that work are kept."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvicorn

from dataferry.app.patience import PatientProtocol

HEAD_S = 0.3
MIB = 1024 * 1024
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def _application(scope: Any, _receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Hasty(PatientProtocol):
    """Waits for a moment only."""

    head_timeout_s = HEAD_S


@contextlib.contextmanager
def serving(protocol: type[PatientProtocol], application: Any = _application) -> Iterator[int]:
    """Serve with a protocol; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(application, http=protocol, ws="none", lifespan="off", log_config=None)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where a server that does not wait for long listens."""
    with serving(Hasty) as port:
        yield port


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20 * HEAD_S)


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HTTP/1.1\r\nHo", REQUEST + b"GET / HT"], ids=["silent", "half", "second"]
)
def test_a_head_that_does_not_come_ends_the_connection(port: int, begun: bytes) -> None:
    """Silent from the beginning, or in the middle of the first or a later head."""
    with _connect(port) as sock:
        sock.sendall(begun)
        began = time.monotonic()
        while sock.recv(4096):
            pass
        assert time.monotonic() - began >= HEAD_S / 2


def test_a_head_that_drips_ends_the_connection(port: int) -> None:
    """A byte now and then does not start the clock anew."""
    deadline = time.monotonic() + 10 * HEAD_S
    with _connect(port) as sock, contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            sock.sendall(b"G")
            time.sleep(HEAD_S / 10)
    assert time.monotonic() < deadline


def test_a_connection_that_works_is_kept(port: int) -> None:
    """Each answered request begins a new time."""
    until = time.monotonic() + 3 * HEAD_S
    with _connect(port) as sock:
        while time.monotonic() < until:
            sock.sendall(REQUEST)
            assert sock.recv(4096).startswith(b"HTTP/1.1 204")
            time.sleep(HEAD_S / 10)


class Narrow(PatientProtocol):
    """Has room for few."""

    max_connections = 4


def test_one_connection_too_many_closes_the_one_that_idles_longest() -> None:
    """Whoever connects can ask, however many idle; those that idle in order of age make room."""
    with serving(Narrow) as port, ExitStack() as held:
        idle = [held.enter_context(_connect(port)) for _ in range(4)]
        for sock in idle[:2]:
            sock.sendall(REQUEST)
            assert sock.recv(4096).startswith(b"HTTP/1.1 204")
        for _ in range(2):
            late = held.enter_context(_connect(port))
            late.sendall(REQUEST)
            assert late.recv(4096).startswith(b"HTTP/1.1 204")
        assert [sock.recv(4096) for sock in idle[2:]] == [b"", b""]
        idle[0].sendall(REQUEST)
        assert idle[0].recv(4096).startswith(b"HTTP/1.1 204")


class Busy(PatientProtocol):
    """Soon has no patience with who takes nothing."""

    send_timeout_s = HEAD_S


def test_who_takes_nothing_of_an_answer_is_let_go() -> None:
    """A reader that stops reading does not keep what is behind its answer, nor bytes for it."""
    ended = threading.Event()

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
        finally:
            ended.set()

    with serving(Busy, endless) as port, _connect(port) as sock:
        sock.sendall(REQUEST)

        assert ended.wait(100 * HEAD_S)
        received = b"begin"
        while received:  # what the kernel has of it comes, then the end
            received = sock.recv(MIB)
