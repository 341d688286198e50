"""The body of one reply, as mechanisms hand it to the engine: errors of the tree, and nothing endless."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable

from dataferry.domain.errors import ConnectionFailedError, ShortBodyError, StallError, WrongRangeError
from dataferry.domain.objects import ObjectInfo
from dataferry.net.replies import MAX_DRAIN_BYTES, PinnedResponse


class ReplyBody:
    """The bytes of one GET, straight from the socket into the caller's buffer.

    Args:
        response: Its head is read.
        info: The object as this reply describes it.
        length_bytes: How many bytes are to come; None if the reply does not say.
        operation: Of the mechanism, for errors.
        drop: Closes the connection, which is of no use after an error.
    """

    def __init__(
        self,
        response: PinnedResponse,
        info: ObjectInfo,
        length_bytes: int | None,
        *,
        operation: str,
        drop: Callable[[], None],
    ) -> None:
        self._response = response
        self._info = info
        self._length = length_bytes
        self._operation = operation
        self._drop = drop
        self._received = 0

    @property
    def info(self) -> ObjectInfo:
        """The object as this reply describes it."""
        return self._info

    @property
    def length_bytes(self) -> int | None:
        """As the reply says it; None for a body in chunks."""
        return self._length

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer with what comes within a moment.

        Returns:
            How many bytes; 0 at the end.

        Raises:
            ShortBodyError: The body ended too early.
            WrongRangeError: It has more bytes than the reply said.
            StallError: It drips, or stands still.
            ConnectionFailedError: The connection broke.
        """
        try:
            count = self._response.readinto(buffer)
        except http.client.IncompleteRead:
            self._drop()
            raise ShortBodyError("the body ended in a chunk", operation=self._operation) from None
        except TimeoutError as exc:
            self._drop()
            raise StallError("no byte for too long", operation=self._operation) from exc
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self._drop()
            what = f"the connection broke: {type(exc).__name__}"
            raise ConnectionFailedError(what, operation=self._operation) from None
        self._compare(count, at_end=count == 0 and len(buffer) > 0)
        return count

    def _compare(self, count: int, *, at_end: bool) -> None:
        """Compare what has come, ``count`` bytes more, with what was said."""
        self._received += count
        if self._length is None:
            return
        if self._received > self._length:
            self._drop()
            raise WrongRangeError("the body has more bytes than were said", operation=self._operation)
        if at_end and self._received < self._length:
            self._drop()
            raise ShortBodyError(
                f"the body ended after {self._received} of {self._length} bytes", operation=self._operation
            )

    def close(self) -> None:
        """Give the connection back; with more than a little left unread, drop it."""
        if not self._response.isclosed():
            left = None if self._length is None else self._length - self._received
            if left is not None and left <= MAX_DRAIN_BYTES:
                with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                    self._response.read(MAX_DRAIN_BYTES)
            if not self._response.isclosed():
                self._drop()
        self._response.close()
