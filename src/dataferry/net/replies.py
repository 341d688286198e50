"""Replies of HTTP/1.1, read from a socket through one buffer a connection.

The standard library builds three objects for each reply and reads its head line by line, which takes as long
as all else about a small object.

Source: RFC 9112, sections 6 and 7; errors are those of ``http.client``.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any

from dataferry.net.heads import MAX_HEADERS, MAX_LINE_BYTES, Headers, closes, parse_head, read_head

# A reply's head must be whole within so many stall time-outs: a byte now and then is no stall.
HEAD_STALLS = 2
# A reply that is no data within so many: ten minutes by default, as some servers send blanks for minutes
# while they work.
REPLY_STALLS = 10
# More of a body that is of no interest is not worth reading, to keep a connection.
MAX_DRAIN_BYTES = 64 * 1024
# A small object comes with its head in one read.
READ_AHEAD_BYTES = 32 * 1024
# Much less than any stall time-out, and time enough to fill a buffer over any link worth the name.
GATHER_S = 0.25
# Fewer bytes of a body than this within a stall time-out are as good as none: a worker would wait for ever.
LEAST_BYTES = 1024
BODYLESS = frozenset({*range(100, 200), 204, 304})  # statuses whose replies have no body
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_NO_FIELD = (b"\r\n", b"\n", b"")


def limit_waits(sock: socket.socket, seconds: float) -> None:
    """Let a call fail that gets or gives no byte for so long.

    It raises ``BlockingIOError`` or ``TimeoutError``.

    The kernel's own time-outs spare a look at the socket before each call, and with it every other moment at
    which another thread takes the interpreter away. TLS does not know them: it would try for ever.
    """
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(seconds)
        return
    sock.settimeout(None)
    micros = max(1, int(seconds * 1_000_000))
    value = struct.pack("@ll", *divmod(micros, 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


class Inbox:
    """What a socket has sent us: in time, and what was read ahead.

    Args:
        sock: What to read from.
        stall_s: No byte for so long ends a read.
    """

    def __init__(self, sock: socket.socket, stall_s: float) -> None:
        self._sock = sock
        self._ahead = b""
        self._at = 0
        self.stall_s = stall_s
        limit_waits(sock, stall_s)
        self.deadline: float | None = None

    @property
    def is_empty(self) -> bool:
        """True if nothing was read ahead."""
        return self._at == len(self._ahead)

    def limit(self, stalls: float) -> None:
        """Let reading end with ``TimeoutError`` after so many stall time-outs from now."""
        self.deadline = time.monotonic() + stalls * self.stall_s

    def head(self) -> tuple[int, int, str, Headers]:
        """Read a reply's head; see ``read_head``."""
        if self._at == len(self._ahead):
            self._fill()
        blank = _BLANK_LINE.search(self._ahead, self._at)
        if blank is not None:
            found = parse_head(self._ahead[self._at : blank.end()])
            if found is not None:
                self._at = blank.end()
                return found
        return read_head(self)

    def readline(self, limit: int) -> bytes:
        """Return a line with its end; shorter at the end of the connection, or when ``limit`` is reached."""
        line = b""
        while True:
            end = self._ahead.find(b"\n", self._at)
            end = len(self._ahead) if end < 0 else end + 1
            end = min(end, self._at + limit - len(line))
            line += self._ahead[self._at : end]
            self._at = end
            if line.endswith(b"\n") or len(line) >= limit or not self._fill():
                return line

    def readinto(self, buffer: memoryview, until: float = 0.0) -> int:
        """Read some bytes: those read ahead first, then straight from the socket; 0 at the end.

        Args:
            buffer: Filled as far as bytes come before ``until``, or at once.
            until: Of the clock of ``time.monotonic``; later than that one call is enough.

        Raises:
            TimeoutError: No byte came for too long, or the deadline is over.
        """
        left = len(self._ahead) - self._at
        if left:
            count = min(left, len(buffer))
            buffer[:count] = memoryview(self._ahead)[self._at : self._at + count]
            self._at += count
            return count
        if not len(buffer):
            return 0
        if self.deadline is not None:
            return int(self._timed(lambda: self._sock.recv_into(buffer)))
        return self._received(buffer, until)

    def _received(self, buffer: memoryview, until: float) -> int:
        """Read from the socket, in a loop that is short: TLS gives 16 KiB at a time, and no more."""
        receive, now = self._sock.recv_into, time.monotonic
        filled, size = 0, len(buffer)
        try:
            while filled < size:
                count = receive(buffer[filled:], size - filled)
                filled += count
                if not count or now() > until:
                    break
        except BlockingIOError as exc:
            raise TimeoutError("no byte came for too long") from exc
        return filled

    def _fill(self) -> bool:
        """Read on; only once what was read ahead is used up. False at the end of the connection."""
        self._ahead, self._at = b"", 0
        self._ahead = self._timed(lambda: self._sock.recv(READ_AHEAD_BYTES))
        return bool(self._ahead)

    def _timed(self, receive: Callable[[], Any]) -> Any:
        """Receive until the deadline: a time-out alone never ends a server that drips.

        Raises:
            TimeoutError: No byte came for too long, or the deadline is over.
        """
        left_s = self.stall_s if self.deadline is None else self.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the reply takes too long")
        try:
            if self.stall_s <= left_s:
                return receive()  # setting time-outs costs system calls
            limit_waits(self._sock, left_s)
            try:
                return receive()
            finally:
                limit_waits(self._sock, self.stall_s)
        except BlockingIOError as exc:
            raise TimeoutError("no byte came for too long") from exc


class PinnedResponse:
    """One reply: its head is read, its body is not yet.

    Args:
        inbox: Of the connection.
        method: Of the request: HEAD's replies have no body.
        ended: Told once the body is read, or given up (False): whether the connection is good for another.

    Raises:
        TimeoutError: The head is not whole in time.
        HTTPException: It is no head, or longer than allowed.
    """

    __slots__ = (
        "_begun",
        "_ended",
        "_inbox",
        "_left",
        "_received",
        "_waited_s",
        "headers",
        "is_chunked",
        "reason",
        "status",
        "version",
        "will_close",
    )

    def __init__(self, inbox: Inbox, method: str, ended: Callable[[bool], None]) -> None:
        self._inbox = inbox
        self._ended: Callable[[bool], None] | None = ended
        self._begun = False
        self._received, self._waited_s = 0, 0.0
        inbox.limit(HEAD_STALLS)
        self.version, self.status, self.reason, self.headers = inbox.head()
        inbox.deadline = None
        headers = self.headers
        self.is_chunked = headers.first.get("transfer-encoding", "").lower() == "chunked"
        # Bytes of the body, or of the chunk, that are still to come; None until the connection ends.
        self._left: int | None = 0 if self.is_chunked else _announced(headers)
        if method == "HEAD" or self.status in BODYLESS:
            self._left, self.is_chunked = 0, False
        self.will_close = self._left is None or closes(self.version, headers)
        if self._left == 0 and not self.is_chunked:
            self._end(whole=True)

    def limit(self, stalls: float) -> None:
        """Let reading end with ``TimeoutError`` after so many stall time-outs from now."""
        if self._ended is not None:
            self._inbox.limit(stalls)

    def isclosed(self) -> bool:
        """True once the body is read to its end, or given up."""
        return self._ended is None

    def close(self) -> None:
        """Give the rest of the body up, and the connection with it."""
        self._end(whole=False)

    def read(self, limit: int | None = None) -> bytes:
        """Read the body to its end, or ``limit`` bytes of it."""
        if self._ended is None:
            return b""
        if limit is None and not self.is_chunked and self._left is not None:
            limit = self._left
        pieces = io.BytesIO()
        while limit is None or pieces.tell() < limit:
            most = READ_AHEAD_BYTES if limit is None else min(READ_AHEAD_BYTES, limit - pieces.tell())
            piece = bytearray(most if self._left is None or self.is_chunked else min(most, self._left))
            count = self.readinto(memoryview(piece))
            if not count:
                break
            pieces.write(piece[:count])
        return pieces.getvalue()

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer with what comes within a moment; return how many bytes, 0 at the end.

        Waiting until a large one is full would make a slow server pass for a silent one.

        Raises:
            IncompleteRead: The connection ended before the body did.
            TimeoutError: No byte came for too long, or next to none, or the limit is over.
        """
        begun = time.monotonic()
        filled = self._gather(buffer, begun + GATHER_S)
        if self._ended is not None and self._inbox.deadline is None:
            self._refuse_drips(filled, time.monotonic() - begun)
        return filled

    def _gather(self, buffer: memoryview, until: float) -> int:
        """Fill the buffer, but go on after ``until`` only while it is empty."""
        filled = 0
        while filled < len(buffer) and self._ended is not None:
            if filled and time.monotonic() > until:
                break
            if self.is_chunked and not self._left and not self._next_chunk():
                break
            room = len(buffer) - filled
            wanted = room if self._left is None else min(room, self._left)
            count = self._inbox.readinto(buffer[filled : filled + wanted], until)
            filled += count
            if not count:
                self._cut_off()
                break
            if self._left is not None:
                self._left -= count
                if self._left == 0 and not self.is_chunked:
                    self._end(whole=True)
        return filled

    def _refuse_drips(self, received: int, waited_s: float) -> None:
        """Count what comes while we wait for it; time that the caller takes does not count."""
        self._received += received
        self._waited_s += waited_s
        if self._received >= LEAST_BYTES:
            self._received, self._waited_s = 0, 0.0
        elif self._inbox.stall_s is not None and self._waited_s > self._inbox.stall_s:
            raise TimeoutError("next to no bytes come")

    def _cut_off(self) -> None:
        """The connection has ended: so has a body without a length; callers count those that have one."""
        self._end(whole=False)
        if self.is_chunked:
            raise http.client.IncompleteRead(b"")

    def _next_chunk(self) -> bool:
        """Read the line that begins a chunk; False after the last one and the fields behind it.

        Raises:
            IncompleteRead: It is none.
        """
        paced = self._inbox.deadline is None
        if paced:
            # No byte of the body comes with these lines, by which its pace could be judged.
            self._inbox.limit(HEAD_STALLS)
        try:
            return self._chunk_begins()
        finally:
            if paced:
                self._inbox.deadline = None

    def _chunk_begins(self) -> bool:
        if self._begun and self._inbox.readline(2) != b"\r\n":
            self._cut_off()
        self._begun = True
        size = _CHUNK_SIZE.match(self._inbox.readline(MAX_LINE_BYTES))
        if size is None:
            self._cut_off()
            return False
        self._left = int(size[1], 16)
        if self._left:
            return True
        for _ in range(MAX_HEADERS):
            if self._inbox.readline(MAX_LINE_BYTES) in _NO_FIELD:
                self._end(whole=True)
                return False
        self._end(whole=False)
        return False

    def _end(self, *, whole: bool) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            self._inbox.deadline = None
            ended(whole and not self.will_close)


def _announced(headers: Headers) -> int | None:
    """Return the body's length; None if it goes on until the connection ends."""
    try:
        length = int(headers.first.get("content-length") or "-1")
    except ValueError:
        return None
    return None if length < 0 else length
