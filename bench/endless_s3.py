"""S3 servers for a great many objects: a source that makes them up, and a sink that counts them.

Run as a program: ``endless_s3.py source|sink PORT OBJECTS BYTES``. The source lists so many keys and answers
each with so many bytes; the sink takes whole objects, keeps none, and tells how many it took at ``/count``.
Neither checks signatures, and neither grows with the number of objects.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Literal

from lean_s3 import Connection, Request, Store, Stored

KEY = "object-{:08}"


class Endless(Store):
    """What both servers know.

    Args:
        role: Which of them this is.
        objects: How many the source has.
        object_bytes: How large each is.
    """

    def __init__(self, role: Literal["source", "sink"], objects: int, object_bytes: int) -> None:
        super().__init__(Path())
        self.role = role
        self.objects = objects
        self.stored = Stored(size=object_bytes, etag='"' + "e" * 32 + '-1"', body=os.urandom(object_bytes))
        self._lock = threading.Lock()
        self.taken = 0

    def take(self) -> None:
        """Count an object."""
        with self._lock:
            self.taken += 1

    def page(self, after: str, limit: int) -> str:
        """Write one page of ListObjectsV2: keys after ``after``."""
        first = int(after.removeprefix(KEY[: KEY.index("{")])) + 1 if after else 0
        end = min(self.objects, first + limit)
        entries = "".join(
            f"<Contents><Key>{KEY.format(number)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{self.stored.etag}</ETag><Size>{self.stored.size}</Size></Contents>"
            for number in range(first, end)
        )
        more = end < self.objects
        token = f"<NextContinuationToken>{KEY.format(end - 1)}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return f"<ListBucketResult>{truncated}{token}{entries}</ListBucketResult>"


class EndlessConnection(Connection):
    """One client's connection."""

    def __init__(self, sock: socket.socket, store: Endless) -> None:
        super().__init__(sock, store)
        self._endless = store

    def _put(self, request: Request) -> None:
        self._body(request)
        self._endless.take()
        self._reply(200, {"ETag": self._endless.stored.etag})

    def _find(self, request: Request) -> Stored | None:
        return self._endless.stored if self._endless.role == "source" and request.key else None

    def _bucket(self, request: Request) -> None:
        if request.bucket == "count":
            self._reply(200, body=str(self._endless.taken).encode())
        elif request.method == "HEAD":
            self._reply(200)
        elif self._endless.role == "sink":
            self._xml("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        else:
            query = request.query
            after = query.get("continuation-token") or query.get("start-after") or ""
            self._xml(self._endless.page(after, int(query.get("max-keys", "1000"))))


def main() -> None:
    """Serve until killed."""
    role: Literal["source", "sink"] = "source" if sys.argv[1] == "source" else "sink"
    store = Endless(role, int(sys.argv[3]), int(sys.argv[4]))
    with socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=128) as listener:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_welcome, args=(sock, store), daemon=True).start()


def _welcome(sock: socket.socket, store: Endless) -> None:
    with contextlib.suppress(OSError):
        EndlessConnection(sock, store).run()


if __name__ == "__main__":
    main()
