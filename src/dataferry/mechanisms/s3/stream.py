"""The body of one GET.

Source: Amazon S3 API Reference, "GetObject".
"""

from __future__ import annotations

import contextlib
import http.client

from dataferry.domain.errors import ConnectionFailedError, ShortBodyError, StallError
from dataferry.domain.objects import ObjectInfo
from dataferry.mechanisms.s3.calls import MAX_DRAIN_BYTES, Client
from dataferry.net.replies import PinnedResponse


class S3Stream:
    """The body of one GET; bytes go from the socket straight into the caller's buffer."""

    def __init__(
        self, client: Client, response: PinnedResponse, info: ObjectInfo, length_bytes: int | None
    ) -> None:
        self._client = client
        self._response = response
        self._info = info
        self._length = length_bytes
        self._received = 0

    @property
    def info(self) -> ObjectInfo:
        """The object as this reply describes it."""
        return self._info

    @property
    def length_bytes(self) -> int | None:
        """As the reply's ``Content-Length``."""
        return self._length

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer with what comes within a moment.

        Returns:
            How many bytes; 0 at the end.

        Raises:
            ShortBodyError: The body ended too early.
            StallError: It drips, or stands still.
        """
        try:
            count = self._response.readinto(buffer)
        except http.client.IncompleteRead as exc:
            self._client.drop()
            raise ShortBodyError("the body ended in a chunk", operation="s3.GetObject") from exc
        except TimeoutError as exc:
            self._client.drop()
            raise StallError("no byte for too long", operation="s3.GetObject") from exc
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self._client.drop()
            raise ConnectionFailedError(
                f"the connection broke: {type(exc).__name__}", operation="s3.GetObject"
            ) from exc
        self._received += count
        if count == 0 and len(buffer) and self._length is not None and self._received < self._length:
            self._client.drop()
            raise ShortBodyError(
                f"the body ended after {self._received} of {self._length} bytes", operation="s3.GetObject"
            )
        return count

    def close(self) -> None:
        """Give the connection back; with more than a little left unread, drop it."""
        if not self._response.isclosed():
            left = None if self._length is None else self._length - self._received
            if left is not None and left <= MAX_DRAIN_BYTES:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self._response.read()
            if not self._response.isclosed():
                self._client.drop()
        self._response.close()
