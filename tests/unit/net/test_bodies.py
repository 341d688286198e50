"""Bodies of replies, as mechanisms hand them to the engine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from dataferry.domain.errors import DataFerryError, ShortBodyError, StallError
from dataferry.domain.objects import ObjectInfo
from dataferry.net.bodies import ReplyBody
from dataferry.net.replies import Inbox, PinnedResponse

STALL_S = 0.1
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """The two ends of a connection, and whether ours was dropped."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.dropped = False

    def body(self, text: bytes, length_bytes: int | None = None) -> ReplyBody:
        """Send a reply, read its head, and return its body."""
        self.theirs.sendall(text)
        response = PinnedResponse(Inbox(self.ours, STALL_S), "GET", lambda _: None)
        info = ObjectInfo(name="a", key="a", size_bytes=None)
        return ReplyBody(response, info, length_bytes, operation="get", drop=self.drop)

    def drop(self) -> None:
        """Note it."""
        self.dropped = True


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    with closing(peer.ours), closing(peer.theirs):
        yield peer


def told(body: ReplyBody) -> DataFerryError:
    """Read until it fails, and return what it said."""
    with pytest.raises(DataFerryError) as caught:
        drain(body)
    return caught.value


def drain(body: ReplyBody) -> None:
    """Read to the end."""
    while body.readinto(memoryview(bytearray(10))):
        pass


def test_a_chunk_that_never_begins_is_a_stall(peer: Peer) -> None:
    """A byte now and then of the line before a chunk is no sign of life for ever."""
    body, ended = peer.body(CHUNKED + b"5;"), threading.Event()

    def drip() -> None:
        for _ in range(1000):
            if ended.wait(STALL_S / 100):
                return
            peer.theirs.sendall(b"x")
        peer.theirs.shutdown(socket.SHUT_WR)

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        error = told(body)
    finally:
        ended.set()
        dripping.join()
    assert (type(error), error.operation, peer.dropped) == (StallError, "get", True)


def test_a_body_that_is_short_is_told(peer: Peer) -> None:
    """The length that the mechanism expects counts, whatever the reply is framed by."""
    error = told(peer.body(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", length_bytes=5))
    assert (type(error), peer.dropped) == (ShortBodyError, True)
