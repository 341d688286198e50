"""A lean S3 server for measuring clients: it does as little as it can, so that the client is what is timed.

It checks no signature, keeps small bodies in memory and large ones in files, answers GET with ``sendfile``,
and completes an upload by remembering the files of its parts. One thread a connection. Run as a program:
``lean_s3.py DIRECTORY PORT [TLS_PORT CERTIFICATE_AND_KEY_FILE]``; both ports serve the same objects.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import socket
import ssl
import sys
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from time import gmtime, strftime, time
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

BUFFER_BYTES = 1024 * 1024
HEAD_BYTES = 64 * 1024
IN_MEMORY_BYTES = 1024 * 1024
NO_BODY = b""
KEPT_HEADERS = ("content-type", "cache-control", "content-encoding", "content-disposition")


@dataclass(slots=True)
class Stored:
    """An object or a part: its body, or the files that hold it."""

    size: int
    etag: str
    body: bytes = NO_BODY
    files: tuple[tuple[str, int], ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    modified: float = field(default_factory=time)


@dataclass(slots=True)
class Upload:
    """A multipart upload."""

    key: str
    headers: dict[str, str]
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass(slots=True)
class Request:
    """What a client asks for."""

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]


class Store:
    """Buckets, objects and uploads, in memory but for large bodies.

    Args:
        directory: Of the large bodies.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, Upload] = {}

    def number(self) -> int:
        """Return the next number: of a file, an upload or an ETag."""
        return next(self._numbers)

    def etag(self) -> str:
        """Return an ETag that is no MD5: computing one would be most of the work."""
        return f'"{self.number():032x}-1"'

    def path(self) -> str:
        """Return the path of a new file."""
        return str(self._directory / str(self.number()))

    def forget(self, stored: Stored | None) -> None:
        """Remove the files of an object."""
        for path, _ in stored.files if stored else ():
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()


class Wire:
    """A socket, and what was read ahead of it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._ahead = b""
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    def head(self) -> bytes:
        """Read to the blank line; empty when the client has gone."""
        return self._until(b"\r\n\r\n")

    def line(self) -> bytes:
        """Read one line, without its end."""
        return self._until(b"\r\n")

    def copy(self, count: int, write: Callable[[memoryview], object]) -> None:
        """Hand ``count`` bytes of a body to ``write``."""
        ahead, self._ahead = self._ahead[:count], self._ahead[count:]
        if ahead:
            write(memoryview(ahead))
        left = count - len(ahead)
        while left:
            got = self.sock.recv_into(self._buffer[: min(left, BUFFER_BYTES)])
            if not got:
                raise ConnectionError("the client left within a body")
            write(self._buffer[:got])
            left -= got

    def send_file(self, path: str, offset: int, count: int) -> None:
        """Send a range of a file, without touching it where the connection is plain."""
        with Path(path).open("rb", buffering=0) as file:
            if not isinstance(self.sock, ssl.SSLSocket):
                while count:
                    sent = os.sendfile(self.sock.fileno(), file.fileno(), offset, count)
                    offset, count = offset + sent, count - sent
                return
            while count:
                got = os.preadv(file.fileno(), [self._buffer[: min(count, BUFFER_BYTES)]], offset)
                self.sock.sendall(self._buffer[:got])
                offset, count = offset + got, count - got

    def _until(self, mark: bytes) -> bytes:
        while (at := self._ahead.find(mark)) < 0:
            got = self.sock.recv(HEAD_BYTES)
            if not got:
                return b""
            self._ahead += got
        text, self._ahead = self._ahead[:at], self._ahead[at + len(mark) :]
        return text


class Connection:
    """One client's connection."""

    def __init__(self, sock: socket.socket, store: Store) -> None:
        self._wire = Wire(sock)
        self._store = store

    def run(self) -> None:
        """Answer requests until the client leaves."""
        with self._wire.sock, contextlib.suppress(ConnectionError, ssl.SSLError):
            while head := self._wire.head():
                self._answer(_request(head.decode("latin-1")))

    def _answer(self, request: Request) -> None:
        if "expect" in request.headers:
            self._wire.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.method == "PUT" and request.key:
            self._put(request)
        elif request.method == "POST":
            self._post(request)
        elif request.method == "DELETE":
            self._delete(request)
        elif request.key:
            self._get(request)
        else:
            self._bucket(request)

    def _put(self, request: Request) -> None:
        stored = self._body(request)
        if "uploadId" in request.query:
            upload = self._store.uploads.get(request.query["uploadId"])
            if upload is None:
                self._refuse(404, "NoSuchUpload")
                return
            upload.parts[int(request.query["partNumber"])] = stored
        else:
            stored.headers = _kept(request.headers)
            objects = self._store.buckets.get(request.bucket)
            if objects is None:
                self._refuse(404, "NoSuchBucket")
                return
            self._store.forget(objects.get(request.key))
            objects[request.key] = stored
        self._reply(200, {"ETag": stored.etag})

    def _body(self, request: Request) -> Stored:
        """Take a body in: plain, or in the chunks of SDKs that send a checksum behind it."""
        chunked = "aws-chunked" in request.headers.get("content-encoding", "")
        length = int(
            request.headers.get("x-amz-decoded-content-length" if chunked else "content-length", "0")
        )
        if length <= IN_MEMORY_BYTES:
            pieces: list[bytes] = []
            self._receive(length, lambda piece: pieces.append(bytes(piece)), chunked=chunked)
            return Stored(size=length, etag=self._store.etag(), body=b"".join(pieces))
        path = self._store.path()
        with Path(path).open("wb", buffering=0) as file:
            self._receive(length, file.write, chunked=chunked)
        return Stored(size=length, etag=self._store.etag(), files=((path, length),))

    def _receive(self, length: int, write: Callable[[memoryview], object], *, chunked: bool) -> None:
        if not chunked:
            self._wire.copy(length, write)
            return
        while size := int(self._wire.line().split(b";")[0], 16):
            self._wire.copy(size, write)
            self._wire.line()
        while self._wire.line():
            pass

    def _post(self, request: Request) -> None:
        body = self._body(request).body.decode()
        if "delete" in request.query:
            objects = self._store.buckets.get(request.bucket, {})
            for key in re.findall(r"<Key>(.*?)</Key>", body, re.DOTALL):
                self._store.forget(objects.pop(unescape(key), None))
            self._xml("<DeleteResult/>")
        elif "uploads" in request.query:
            upload_id = str(self._store.number())
            self._store.uploads[upload_id] = Upload(request.key, _kept(request.headers))
            self._xml(
                f"<InitiateMultipartUploadResult><Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key>"
                f"<UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
            )
        else:
            self._complete(request, [int(n) for n in re.findall(r"<PartNumber>(\d+)</PartNumber>", body)])

    def _complete(self, request: Request, numbers: list[int]) -> None:
        """Make an object of the files of an upload's parts."""
        upload = self._store.uploads.pop(request.query["uploadId"], None)
        if upload is None:
            self._refuse(404, "NoSuchUpload")
            return
        parts = [self._filed(upload.parts[number]) for number in numbers]
        stored = Stored(
            size=sum(part.size for part in parts),
            etag=self._store.etag(),
            files=tuple(file for part in parts for file in part.files),
            headers=upload.headers,
        )
        self._store.buckets[request.bucket][request.key] = stored
        self._xml(
            f"<CompleteMultipartUploadResult><Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key>"
            f"<ETag>{escape(stored.etag)}</ETag></CompleteMultipartUploadResult>"
        )

    def _filed(self, part: Stored) -> Stored:
        if part.body:
            path = self._store.path()
            Path(path).write_bytes(part.body)
            part.files = ((path, part.size),)
        return part

    def _delete(self, request: Request) -> None:
        if "uploadId" in request.query:
            upload = self._store.uploads.pop(request.query["uploadId"], None)
            for part in upload.parts.values() if upload else ():
                self._store.forget(part)
        else:
            objects = self._store.buckets.get(request.bucket, {})
            self._store.forget(objects.pop(request.key, None))
        self._reply(204)

    def _get(self, request: Request) -> None:
        stored = self._find(request)
        if stored is None:
            self._refuse(404, "NoSuchKey", silent=request.method == "HEAD")
            return
        if request.headers.get("if-match", stored.etag) != stored.etag:
            self._refuse(412, "PreconditionFailed", silent=request.method == "HEAD")
            return
        first, end, status = 0, stored.size, 200
        headers = {
            **stored.headers,
            "ETag": stored.etag,
            "Last-Modified": formatdate(stored.modified, usegmt=True),
        }
        headers["Accept-Ranges"] = "bytes"
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            first, end, status = int(asked[1]), min(stored.size, int(asked[2] or stored.size) + 1), 206
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{stored.size}"
        headers["Content-Length"] = str(end - first)
        body = b"" if request.method == "HEAD" or stored.files else stored.body[first:end]
        self._wire.sock.sendall(_head(status, headers) + body)
        if request.method == "GET":
            for path, offset, count in _pieces(stored, first, end):
                self._wire.send_file(path, offset, count)

    def _find(self, request: Request) -> Stored | None:
        return self._store.buckets.get(request.bucket, {}).get(request.key)

    def _bucket(self, request: Request) -> None:
        objects = self._store.buckets.get(request.bucket)
        if request.method == "PUT":
            self._body(request)
            self._store.buckets.setdefault(request.bucket, {})
            self._reply(200)
        elif objects is None:
            self._refuse(404, "NoSuchBucket", silent=request.method == "HEAD")
        elif request.method == "HEAD":
            self._reply(200)
        elif "uploads" in request.query:
            self._xml(
                "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
            )
        elif "location" in request.query:
            self._xml("<LocationConstraint/>")
        else:
            self._xml(_listing(objects, request.query))

    def _reply(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self._wire.sock.sendall(_head(status, {**(headers or {}), "Content-Length": str(len(body))}) + body)

    def _xml(self, text: str, status: int = 200) -> None:
        self._reply(status, {"Content-Type": "application/xml"}, f'<?xml version="1.0"?>{text}'.encode())

    def _refuse(self, status: int, code: str, *, silent: bool = False) -> None:
        """Answer an error; without a body where HTTP has none."""
        if silent:
            self._reply(status)
        else:
            self._xml(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", status)


def _request(head: str) -> Request:
    """Read a request's head."""
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    url = urlsplit(target)
    bucket, _, key = unquote(url.path)[1:].partition("/")
    query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
    pairs = (line.partition(":") for line in lines)
    return Request(method, bucket, key, query, {name.lower(): value.strip() for name, _, value in pairs})


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} -\r\n{lines}\r\n".encode("latin-1")


def _kept(headers: dict[str, str]) -> dict[str, str]:
    return {n: v for n, v in headers.items() if n.startswith("x-amz-meta-") or n in KEPT_HEADERS}


def _pieces(stored: Stored, first: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Yield path, offset and count of each piece of a half-open range."""
    begin = 0
    for path, size in stored.files:
        low, high = max(first - begin, 0), min(end - begin, size)
        if low < high:
            yield path, low, high - low
        begin += size


def _listing(objects: dict[str, Stored], query: dict[str, str]) -> str:
    """Write one page of ListObjectsV2 (or V1, whose marker means the same)."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    limit = int(query.get("max-keys", "1000"))
    after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
    spelled = quote if query.get("encoding-type") == "url" else escape
    keys = sorted(key for key in objects if key.startswith(prefix))
    entries: list[str] = []
    folders: list[str] = []
    position = bisect_right(keys, after)
    last = after
    while position < len(keys) and len(entries) + len(folders) < limit:
        last = keys[position]
        inner = last[len(prefix) :].partition(delimiter) if delimiter else (last, "", "")
        if inner[1]:
            folders.append(prefix + inner[0] + delimiter)
            last = folders[-1] + "\U0010ffff"
            position = bisect_right(keys, last)
            continue
        found = objects[last]
        stamp = strftime("%Y-%m-%dT%H:%M:%S.000Z", gmtime(found.modified))
        entries.append(
            f"<Contents><Key>{spelled(last)}</Key><LastModified>{stamp}</LastModified>"
            f"<ETag>{escape(found.etag)}</ETag><Size>{found.size}</Size></Contents>"
        )
        position += 1
    more = position < len(keys)
    token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else ""
    common = "".join(f"<CommonPrefixes><Prefix>{spelled(name)}</Prefix></CommonPrefixes>" for name in folders)
    encoding = "<EncodingType>url</EncodingType>" if spelled is quote else ""
    return (
        f"<ListBucketResult>{encoding}<KeyCount>{len(entries)}</KeyCount>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(entries)}{common}</ListBucketResult>"
    )


def serve(listener: socket.socket, store: Store, context: ssl.SSLContext | None = None) -> None:
    """Accept connections for ever, each in a thread of its own."""
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_welcome, args=(sock, store, context), daemon=True).start()


def _welcome(sock: socket.socket, store: Store, context: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError):
        Connection(context.wrap_socket(sock, server_side=True) if context else sock, store).run()


def main() -> None:
    """Serve until killed."""
    directory = Path(sys.argv[1])
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    store = Store(directory)
    if len(sys.argv) > 3:  # noqa: PLR2004 - the TLS arguments
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[4])
        secure = socket.create_server(("127.0.0.1", int(sys.argv[3])), backlog=128)
        threading.Thread(target=serve, args=(secure, store, context), daemon=True).start()
    serve(socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=128), store)


if __name__ == "__main__":
    main()
