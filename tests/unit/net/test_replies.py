"""Replies: bodies of every kind, whole, short, in chunks and in the smallest pieces."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from dataferry.net.replies import READ_AHEAD_BYTES, Inbox, PinnedResponse

OK = b"HTTP/1.1 200 OK\r\n"


class Peer:
    """The two ends of a connection, and what became of each reply."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.inbox = Inbox(self.ours, 5)
        self.ended: list[bool] = []

    def reply(self, text: bytes, *, method: str = "GET", cut: bool = False) -> PinnedResponse:
        """Send a reply, and the end of the connection behind it if asked, and read its head."""
        self.theirs.sendall(text)
        if cut:
            self.theirs.shutdown(socket.SHUT_WR)
        return PinnedResponse(self.inbox, method, self.ended.append)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.ours.close()
    peer.theirs.close()


def test_replies_follow_each_other_on_one_connection(peer: Peer) -> None:
    """What was read ahead of one belongs to the next; each says once that the connection is good."""
    first = peer.reply(OK + b"Content-Length: 3\r\n\r\nabcHTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nde")
    assert (first.status, first.read(), first.isclosed(), peer.ended) == (200, b"abc", True, [True])
    second = PinnedResponse(peer.inbox, "GET", peer.ended.append)
    assert (second.status, second.reason, second.read(10), peer.ended) == (404, "No", b"de", [True, True])
    assert peer.inbox.is_empty


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", OK + b"Content-Length: 7\r\n\r\n"),
        ("HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("PUT", OK + b"Content-Length: 0\r\n\r\n"),
    ],
)
def test_replies_without_a_body_end_with_their_head(peer: Peer, method: str, head: bytes) -> None:
    """HEAD's, by their status, and those of length zero."""
    reply = peer.reply(head, method=method)
    assert reply.isclosed()
    assert (reply.read(), peer.ended) == (b"", [True])


def test_a_body_in_chunks(peer: Peer) -> None:
    """Sizes with extensions, chunks across reads, and fields behind the last one, which are dropped."""
    body = b"5;a=b\r\nhello\r\nA\r\n, world 12\r\n0\r\nTrailer: x\r\n\r\nHTTP/1.1 200 OK\r\n"
    reply = peer.reply(OK + b"Transfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\n" + body)
    buffer = bytearray(7)
    assert (reply.readinto(memoryview(buffer)), bytes(buffer)) == (7, b"hello, ")
    assert reply.read() == b"world 12"
    assert (reply.isclosed(), peer.ended) == (True, [True])
    assert peer.inbox.readline(100) == OK


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"5 5\r\nhello\r\n",
        b"\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhel",
        b"5\r\nhello",
        b"5\r\nhello\r\n",
        b"5\r\nhello\r\n0",
        b"5\r\nhello\r\n0;exten",
        b"5\r\nhello\r\n0x0\r\n\r\n",
        b"5\r\nhello\r\n0_0\r\n\r\n",
        b"1" * 70_000,
        b"fffffffffffffffff\r\nx",
    ],
)
def test_broken_chunks_are_no_body(peer: Peer, body: bytes) -> None:
    """A body that ends in a chunk, or whose chunks do not add up, is told from a whole one."""
    reply = peer.reply(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body, cut=True)
    with pytest.raises(http.client.IncompleteRead):
        reply.read()
    assert (reply.isclosed(), peer.ended) == (True, [False])


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (OK + b"Content-Length: 1000000\r\n\r\n", b"x" * 100),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"64\r\n" + b"x" * 100 + b"\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nF0000\r\n", b"x" * 100),
    ],
)
def test_bytes_of_a_slow_server_are_seen_as_they_come(peer: Peer, head: bytes, piece: bytes) -> None:
    """A read into a large buffer returns before it is full, or a slow server would pass for a silent one."""
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.02):
            peer.theirs.sendall(piece)

    reply = peer.reply(head)
    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        buffer = memoryview(bytearray(1_000_000))
        assert 0 < reply.readinto(buffer) < len(buffer) // 10
    finally:
        ended.set()
        dripping.join()


def test_a_body_that_ends_early_is_short(peer: Peer) -> None:
    """What came is given; the reader counts it, and the connection is of no use."""
    reply = peer.reply(OK + b"Content-Length: 9\r\n\r\nabc", cut=True)
    assert (reply.read(), reply.isclosed(), peer.ended) == (b"abc", True, [False])


@pytest.mark.parametrize("head", [OK, b"HTTP/1.0 200 OK\r\n", OK + b"Content-Length: x\r\n"])
def test_a_body_without_a_length_goes_on_to_the_end(peer: Peer, head: bytes) -> None:
    """And so does the connection."""
    reply = peer.reply(head + b"\r\n" + b"x" * 40_000, cut=True)
    assert (reply.will_close, reply.read(), peer.ended) == (True, b"x" * 40_000, [False])


def test_a_connection_that_is_to_be_closed_is_not_used_again(peer: Peer) -> None:
    """The server's word counts, also where the body is whole."""
    reply = peer.reply(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok")
    assert (reply.read(), peer.ended) == (b"ok", [False])


def test_a_body_larger_than_what_is_read_ahead(peer: Peer) -> None:
    """It goes straight into the reader's buffer."""
    size = READ_AHEAD_BYTES * 3
    data = bytes(range(256)) * (size // 256)
    reply = peer.reply(OK + f"Content-Length: {size}\r\n\r\n".encode() + data)
    buffer = bytearray(size + 10)
    assert reply.readinto(memoryview(buffer)) == size
    assert bytes(buffer[:size]) == data
    assert peer.ended == [True]


def test_one_that_is_given_up_takes_its_connection_along(peer: Peer) -> None:
    """Bytes of its body would be taken for the next reply."""
    reply = peer.reply(OK + b"Content-Length: 9\r\n\r\nabc")
    reply.close()
    assert (reply.isclosed(), reply.read(), peer.ended) == (True, b"", [False])


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_a_head_in_single_bytes_is_the_same_head(peer: Peer, line_end: bytes) -> None:
    """However it is cut, and whatever ends its lines; an interim reply before it is passed over."""
    text = line_end.join(
        [b"HTTP/1.1 100 Continue", b"", b"HTTP/1.1 200 OK", b"ETag: x", b"Content-Length: 1", b"", b"a"]
    )
    read = iter([text[at : at + 1] for at in range(len(text))])
    whole = peer.reply(text)
    drops = Inbox(_Dripping(read), 5)  # type: ignore[arg-type]  # all that it uses of a socket
    dripped = PinnedResponse(drops, "GET", peer.ended.append)
    for reply in (whole, dripped):
        assert (reply.status, dict(reply.headers)) == (200, {"etag": "x", "content-length": "1"})
    assert (whole.read(), dripped.read(), peer.ended) == (b"a", b"a", [True, True])


class _Dripping:
    """A socket that gives one byte at a time."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def settimeout(self, seconds: float | None) -> None:
        """It never waits."""

    def setsockopt(self, *option: object) -> None:
        """It never waits."""

    def recv(self, _size: int) -> bytes:
        """Give the next."""
        return next(self._pieces, b"")

    def recv_into(self, buffer: memoryview, _nbytes: int = 0) -> int:
        """Give the next."""
        piece = self.recv(1)
        buffer[: len(piece)] = piece
        return len(piece)


def test_two_blank_lines_of_different_kinds(peer: Peer) -> None:
    """A head ends with its first blank line, whatever the body looks like."""
    reply = peer.reply(b"HTTP/1.1 200 OK\nContent-Length: 9\n\nX: y\r\n\r\nz")
    assert (dict(reply.headers), reply.read()) == ({"content-length": "9"}, b"X: y\r\n\r\nz")


def test_a_server_that_drips_is_not_waited_for(peer: Peer) -> None:
    """A limit ends the reading, however often a byte comes."""
    reply = peer.reply(OK + b"Content-Length: 9\r\n\r\nabc")
    reply.limit(0)
    with pytest.raises(TimeoutError):
        reply.read()


def test_a_silent_server_is_not_waited_for(peer: Peer) -> None:
    """No byte for the time-out ends the reading, and so does a limit that is nearer than it."""
    silent = Inbox(peer.ours, 0.05)
    with pytest.raises(TimeoutError):
        silent.readinto(memoryview(bytearray(1)))
    patient = Inbox(peer.ours, 60)
    patient.limit(0.001)
    with pytest.raises(TimeoutError):
        patient.readline(10)
