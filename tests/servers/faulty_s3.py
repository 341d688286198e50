"""An S3 server in memory that verifies CRC-64/NVME as Amazon does, and misbehaves on request.

For what no real server does: it keeps full-object checksums and compares them, and each call can be told
to fail in a certain way. It is no model of S3 beyond the calls that DataFerry makes, and checks no
signatures: the real servers do.

    with FaultyS3() as server:
        server.make_bucket("data")
        server.put("data", "key", b"hello")
        server.inject("GetObject", Fault.TRUNCATE, times=2)       # the next two GETs end in the middle
        server.inject("PutObject", Fault.ERROR, status=503, code="SlowDown", retry_after="1")
        server.inject("UploadPart", Fault.RESET, skip=3)          # the fourth one from now
        ...
        assert server.count("GetObject") == 3
        assert server.body("data", "copy") == b"hello"
        assert server.open_uploads("data") == []

Call names are S3's: ListObjectsV2, HeadObject, GetObject, PutObject, CopyObject, CreateMultipartUpload,
UploadPart, UploadPartCopy, ListParts, CompleteMultipartUpload, AbortMultipartUpload, ListMultipartUploads,
HeadBucket, DeleteObject, GetObjectTagging; ``*`` is any.
Checksums that a request brings (``x-amz-checksum-crc64nvme``, ``Content-MD5``) are compared with what arrived
before it is stored, and kept: Amazon S3 User Guide, "Checking object integrity". A server made with
``keeps_checksums=False`` knows no CRC-64/NVME, and with ``rejects_checksums=True`` answers 400 to a request
that has to do with them, as old servers do; ``etags`` says what ETags are; with ``keeps_versions=True`` the
version before the last is kept; with ``refuses_tags=True`` nobody may write tags, with
``refuses_versions=True`` objects have versions that nobody may ask for; with ``copies=False`` it takes a copy
for a write of an empty body, as simple servers do. ``watch`` is told of each call before and after it is
done, and may hang up. Any credentials are good; ``access_key_id`` and ``secret_access_key`` are there for
symmetry with the real ones.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from awscrt.checksums import combine_crc64nvme, crc64nvme

_KEPT = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-amz-tagging",
)
_LISTED_CHECKSUM = "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
_CRC = "x-amz-checksum-crc64nvme"
_HANG_S = 60.0
BLANKS_S = 1.2


class Fault(StrEnum):
    """How a call misbehaves."""

    ERROR = "error"  # an error reply: status, code, retry_after
    ERROR_IN_200 = "error-in-200"  # 200 with an error document: code
    RESET = "reset"  # the connection closes without a reply, nothing is done
    RESET_AFTER = "reset-after"  # the call is done, then the connection closes without a reply
    REFUSE = "refuse"  # as ERROR, but the body is not read and the connection closes
    CLOSE = "close"  # the reply is right; then the idle connection closes without a word
    HANG = "hang"  # no reply until the server stops or ``release`` is called
    TRUNCATE = "truncate"  # half of the body, then the connection closes
    STALL = "stall"  # half of the body, then nothing more, as HANG
    IGNORE_RANGE = "ignore-range"  # the whole object answers a range
    SHIFT_RANGE = "shift-range"  # the right number of bytes, one byte further on
    IGNORE_CONDITION = "ignore-condition"  # a copy is made of whatever version there is
    CHANGE_ETAG = "change-etag"  # another ETag than the object's; conditions are ignored
    WRONG_CHECKSUM = "wrong-checksum"  # the checksum of the reply is not that of the bytes
    BLANKS = "blanks"  # the head at once, blanks for a while, then the reply, as Amazon completes uploads
    CORRUPT = "corrupt"  # the bytes that arrive are not the ones sent: one bit changed on the wire
    FLIP_STORED = "flip-stored"  # one bit changes after checksums and ETag were taken: what is kept is bad
    FLIP_SENT = "flip-sent"  # one bit of a body that is given out changes: a bad read, or the wire to us


_INSTEAD = {Fault.ERROR, Fault.REFUSE, Fault.RESET, Fault.HANG, Fault.ERROR_IN_200}


class Etags(StrEnum):
    """What a server's ETags are."""

    MD5 = "md5"  # of the body; of the parts' MD5s with their number
    OPAQUE = "opaque"  # of no meaning
    RANDOM = "random"  # of no meaning, and of an MD5's form, as with keys of one's own (SSE-KMS)


@dataclass(slots=True, kw_only=True)
class Injection:
    """One fault that waits for its call."""

    call: str
    fault: Fault
    times: int = 1
    skip: int = 0
    key: str | None = None
    status: int = 500
    code: str = "InternalError"
    retry_after: str | None = None


@dataclass(slots=True, kw_only=True)
class Stored:
    """An object, or a part."""

    body: bytes
    etag: str
    headers: dict[str, str] = field(default_factory=dict)
    crc: int | None = None
    modified_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(slots=True, kw_only=True)
class OpenUpload:
    """A multipart upload that is neither completed nor aborted."""

    bucket: str
    key: str
    headers: dict[str, str]
    checksummed: bool
    parts: dict[int, Stored] = field(default_factory=dict)
    initiated_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class FaultyS3:
    """The server, as a context manager; its methods may be called from any thread."""

    access_key_id = "AKIAFAULTYFAULTY"
    secret_access_key = "faulty-secret-access-key"

    def __init__(
        self,
        *,
        keeps_checksums: bool = True,
        rejects_checksums: bool = False,
        keeps_versions: bool = False,
        refuses_tags: bool = False,
        etags: Etags = Etags.MD5,
        copies: bool = True,
        refuses_versions: bool = False,
    ) -> None:
        self.copies = copies
        self.etags = etags
        self.refuses_versions = refuses_versions
        self.refuses_tags = refuses_tags
        self.keeps_checksums = keeps_checksums
        self.keeps_versions = keeps_versions
        self.etag_form = '"{}"'
        self.starts_after = True
        self.clock_skew = timedelta()  # how far its clock is ahead of ours
        self.former: dict[str, Stored | None] = {}
        self.watch: Callable[[str, str], None] = lambda _call, _moment: None
        self.rejects_checksums = rejects_checksums
        self.lock = threading.RLock()
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, OpenUpload] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.released = threading.Event()
        self._injections: list[Injection] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.s3 = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="faulty-s3")

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return int(self._server.server_address[1])

    @property
    def faults_left(self) -> int:
        """How many faults have not come yet."""
        with self.lock:
            return sum(injection.times for injection in self._injections)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def make_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        with self.lock:
            self.buckets.setdefault(name, {})

    def put(self, bucket: str, key: str, body: bytes, **headers: str) -> Stored:
        """Store an object, by the back door; headers such as ``content_type="text/plain"``."""
        stored = Stored(
            body=body,
            etag=self.etag(body),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            crc=crc64nvme(body) if self.keeps_checksums else None,
        )
        with self.lock:
            self.buckets[bucket][key] = stored
        return stored

    def etag(self, body: bytes) -> str:
        """Return the ETag of an object sent whole, or of a part."""
        if self.etags is Etags.MD5:
            return hashlib.md5(body, usedforsecurity=False).hexdigest()
        return uuid.uuid4().hex if self.etags is Etags.RANDOM else f"v{uuid.uuid4()}"

    def body(self, bucket: str, key: str) -> bytes | None:
        """Return an object's bytes, None if there is none."""
        with self.lock:
            stored = self.buckets[bucket].get(key)
        return None if stored is None else stored.body

    def open_uploads(self, bucket: str) -> list[str]:
        """Return the keys of uploads that are neither completed nor aborted."""
        with self.lock:
            return [it.key for it in self.uploads.values() if it.bucket == bucket]

    def inject(self, call: str, fault: Fault, **how: Any) -> None:
        """Make coming calls fail; see ``Injection`` for ``times, skip, key, status, code, retry_after``."""
        with self.lock:
            self._injections.append(Injection(call=call, fault=fault, **how))

    def clear(self) -> None:
        """Forget the faults that have not come yet."""
        with self.lock:
            self._injections.clear()

    def release(self) -> None:
        """Let hanging calls go on."""
        self.released.set()

    def count(self, call: str) -> int:
        """Return how many calls of a name came, failed ones included."""
        with self.lock:
            return sum(name == call for name, _, _ in self.requests)

    def due(self, call: str, key: str, headers: dict[str, str]) -> Injection | None:
        """Note a call, and take the fault that it meets."""
        with self.lock:
            self.requests.append((call, key, headers))
            for injection in self._injections:
                if injection.call not in {call, "*"} or injection.key not in {None, key}:
                    continue
                if injection.skip:
                    injection.skip -= 1
                    continue
                injection.times -= 1
                if injection.times <= 0:
                    self._injections.remove(injection)
                return injection
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    s3: FaultyS3

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are what tests do."""


class _Problem(Exception):  # noqa: N818 - an answer
    def __init__(self, status: int, code: str, retry_after: str | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.retry_after = status, code, retry_after


class HungUpError(Exception):
    """The connection closes without a reply; ``watch`` may raise it."""


_CALLS = {
    ("HEAD", False): "HeadBucket",
    ("GET", False): "ListObjectsV2",
    ("HEAD", True): "HeadObject",
    ("GET", True): "GetObject",
    ("PUT", True): "PutObject",
    ("DELETE", True): "DeleteObject",
    ("PUT", False): "CreateBucket",
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    wbufsize = 0
    call = ""

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - the interface's names

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of the ``Date`` header."""
        del timestamp
        return format_datetime(datetime.now(UTC) + self.s3.clock_skew, usegmt=True)

    @property
    def s3(self) -> FaultyS3:
        return self.server.s3

    def _serve(self) -> None:
        raw, _, text = self.path.partition("?")
        self.bucket, _, self.key = unquote(raw).removeprefix("/").partition("/")
        self.query = dict(parse_qsl(text, keep_blank_values=True))
        self.lower = {name.lower(): value for name, value in self.headers.items()}
        call = self._name()
        self.fault = self.s3.due(call, self.key, self.lower)
        try:
            with self._faults():
                self.data = self.rfile.read(int(self.lower.get("content-length", "0")))
                if len(self.data) < int(self.lower.get("content-length", "0")):
                    raise HungUpError  # noqa: TRY301 - ends this request
                handler = getattr(
                    self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", call).lower().replace("_v2", "")
                )
                self.s3.watch(call, "before")
                self.call = call
                handler()
        except _Problem as problem:
            self._error(problem)
        except (HungUpError, OSError):
            self.close_connection = True

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Do what the fault says before and after the call itself."""
        fault = self.fault
        if fault is not None and fault.fault in _INSTEAD:
            if fault.fault is Fault.HANG:
                self.s3.released.wait(_HANG_S)
            if fault.fault in {Fault.HANG, Fault.RESET}:
                raise HungUpError
            if fault.fault is Fault.REFUSE:
                self.close_connection = True
            else:
                self.rfile.read(int(self.lower.get("content-length", "0")))
            status = 200 if fault.fault is Fault.ERROR_IN_200 else fault.status
            raise _Problem(status, fault.code, fault.retry_after)
        yield

    def _is(self, fault: Fault) -> bool:
        return self.fault is not None and self.fault.fault is fault

    def _name(self) -> str:
        if "tagging" in self.query:
            return "GetObjectTagging"
        if "x-amz-copy-source" in self.lower and self.s3.copies:
            return "UploadPartCopy" if "uploadId" in self.query else "CopyObject"
        if "uploads" in self.query:
            return "CreateMultipartUpload" if self.command == "POST" else "ListMultipartUploads"
        if "uploadId" in self.query:
            names = {"PUT": "UploadPart", "GET": "ListParts", "POST": "CompleteMultipartUpload"}
            return names.get(self.command, "AbortMultipartUpload")
        return _CALLS.get((self.command, bool(self.key)), "Unknown")

    # what calls do

    def _unknown(self) -> None:
        raise _Problem(501, "NotImplemented")

    def _create_bucket(self) -> None:
        self.s3.make_bucket(self.bucket)
        self._reply(200)

    def _head_bucket(self) -> None:
        self._objects()
        self._reply(200)

    def _list_objects(self) -> None:
        objects = self._objects()
        prefix, after = self.query.get("prefix", ""), self.query.get("start-after", "")
        after = self.query.get("continuation-token", after if self.s3.starts_after else "")
        limit = int(self.query.get("max-keys", "1000"))
        with self.s3.lock:
            names = sorted((it for it in objects if it.startswith(prefix) and it > after), key=str.encode)
            lines = "".join(
                f"<Contents><Key>{quote(it)}</Key><Size>{len(objects[it].body)}</Size>"
                f"<ETag>&quot;{objects[it].etag}&quot;</ETag>"
                f"<LastModified>{objects[it].modified_at:%Y-%m-%dT%H:%M:%S}.000Z</LastModified>"
                f"{'' if objects[it].crc is None else _LISTED_CHECKSUM}</Contents>"
                for it in names[:limit]
            )
        more = len(names) > limit
        token = f"<NextContinuationToken>{escape(names[limit - 1])}</NextContinuationToken>" if more else ""
        self._xml(
            "ListBucketResult",
            f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{token}{lines}",
        )

    def _head_object(self) -> None:
        self._get_object()

    def _get_object(self) -> None:
        stored = self._object()
        if self.s3.refuses_versions and "versionId" in self.query:
            raise _Problem(403, "AccessDenied")
        etag = self.s3.etag_form.format(stored.etag)
        if self._is(Fault.CHANGE_ETAG):
            etag = '"' + "0" * 32 + '"'
        elif self.lower.get("if-match", etag).strip('"') != etag.strip('"'):
            raise _Problem(412, "PreconditionFailed")
        body, headers, status = stored.body, {**stored.headers, "ETag": etag}, 200
        tagging = headers.pop("x-amz-tagging", "")
        if tagging:
            headers["x-amz-tagging-count"] = str(tagging.count("&") + 1)
        headers["Last-Modified"] = format_datetime(stored.modified_at, usegmt=True)
        if self.s3.refuses_versions:
            headers["x-amz-version-id"] = f"v-{stored.etag}"
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.lower.get("range", ""))
        if match and not self._is(Fault.IGNORE_RANGE):
            first, last = int(match[1]), min(int(match[2] or len(body)), len(body) - 1)
            if first > last:
                raise _Problem(416, "InvalidRange")
            if self._is(Fault.SHIFT_RANGE):
                first, last = first + 1, last + 1
            headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
            body, status = body[first : last + 1].ljust(last - first + 1, b"\0"), 206
        elif stored.crc is not None and self.lower.get("x-amz-checksum-mode") == "ENABLED":
            headers |= self._checksum(stored.crc)
        self._reply(status, _flipped(body) if self._is(Fault.FLIP_SENT) else body, headers)

    def _get_object_tagging(self) -> None:
        lines = "".join(
            f"<Tag><Key>{escape(key)}</Key><Value>{escape(value)}</Value></Tag>"
            for key, value in parse_qsl(
                self._object().headers.get("x-amz-tagging", ""), keep_blank_values=True
            )
        )
        self._xml("Tagging", f"<TagSet>{lines}</TagSet>")

    def _put_object(self) -> None:
        objects = self._objects()
        stored = self._stored()
        stored.headers = self._kept()
        with self.s3.lock:
            if self.lower.get("if-none-match") == "*" and self.key in objects:
                raise _Problem(412, "PreconditionFailed")
            version = uuid.uuid4().hex
            self.s3.former[version] = objects.get(self.key)
            objects[self.key] = stored
        versions = {"x-amz-version-id": version} if self.s3.keeps_versions else {}
        self._reply(200, headers={"ETag": f'"{stored.etag}"', **versions, **self._checksum(stored.crc)})

    def _copy_object(self) -> None:
        origin = self._origin()
        body = _flipped(origin.body) if self._is(Fault.CORRUPT) else origin.body
        stored = Stored(
            body=body,
            etag=self.s3.etag(body),
            headers={
                name: value
                for name, value in origin.headers.items()
                if not name.startswith(("x-amz-storage", "x-amz-server-side"))
                and (name != "x-amz-tagging" or self.lower.get("x-amz-tagging-directive") != "REPLACE")
            }
            | self._kept(),
            crc=crc64nvme(body) if self.s3.keeps_checksums else None,
        )
        with self.s3.lock:
            self._objects()[self.key] = stored
        self._copied("CopyObjectResult", stored)

    def _upload_part_copy(self) -> None:
        upload, origin = self._upload(), self._origin()
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.lower["x-amz-copy-source-range"])
        first, last = (int(match[1]), int(match[2])) if match else (0, len(origin.body))
        if self._is(Fault.IGNORE_RANGE):
            first, last = 0, len(origin.body) - 1
        if last >= len(origin.body):
            raise _Problem(400, "InvalidRange")
        body = origin.body[first : last + 1]
        if self._is(Fault.CORRUPT):
            body = _flipped(body)
        stored = Stored(body=body, etag=self.s3.etag(body), crc=crc64nvme(body))
        with self.s3.lock:
            upload.parts[int(self.query["partNumber"])] = stored
        self._copied("CopyPartResult", stored)

    def _origin(self) -> Stored:
        """Find the object that a copy names, in the version that it names."""
        bucket, _, key = unquote(self.lower["x-amz-copy-source"]).removeprefix("/").partition("/")
        objects = self.s3.buckets.get(bucket)
        self._objects()
        if objects is None:
            raise _Problem(404, "NoSuchBucket")
        if key not in objects:
            raise _Problem(404, "NoSuchKey")
        wanted = self.lower.get("x-amz-copy-source-if-match", "").strip('"')
        if wanted not in {"", objects[key].etag} and not self._is(Fault.IGNORE_CONDITION):
            raise _Problem(412, "PreconditionFailed")
        return objects[key]

    def _copied(self, root: str, stored: Stored) -> None:
        checksum = ""
        if root == "CopyObjectResult" and stored.crc is not None:
            checksum = f"<ChecksumCRC64NVME>{_base64(stored.crc)}</ChecksumCRC64NVME>"
        self._xml(root, f"<ETag>&quot;{stored.etag}&quot;</ETag>{checksum}")

    def _delete_object(self) -> None:
        objects = self._objects()
        with self.s3.lock:
            former = self.s3.former.pop(self.query["versionId"])
            objects.pop(self.key, None)
            if former is not None:
                objects[self.key] = former
        self._reply(204)

    def _create_multipart_upload(self) -> None:
        self._objects()
        asked = self.lower.get("x-amz-checksum-algorithm")
        if asked and self.s3.rejects_checksums:
            raise _Problem(400, "InvalidArgument")
        checksummed = bool(asked) and self.s3.keeps_checksums
        upload_id = uuid.uuid4().hex
        with self.s3.lock:
            self.s3.uploads[upload_id] = OpenUpload(
                bucket=self.bucket,
                key=self.key,
                headers=self._kept(),
                checksummed=checksummed,
                initiated_at=datetime.now(UTC) + self.s3.clock_skew,
            )
        headers = {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "FULL_OBJECT"}
        self._xml(
            "InitiateMultipartUploadResult",
            f"<Bucket>{self.bucket}</Bucket><Key>{escape(self.key)}</Key><UploadId>{upload_id}</UploadId>",
            headers if checksummed else {},
        )

    def _upload_part(self) -> None:
        upload = self._upload()
        stored = self._stored()
        with self.s3.lock:
            upload.parts[int(self.query["partNumber"])] = stored
        headers = {"ETag": f'"{stored.etag}"'}
        self._reply(200, headers=headers | (self._checksum(stored.crc) if upload.checksummed else {}))

    def _list_parts(self) -> None:
        upload = self._upload()
        after, limit = (
            int(self.query.get("part-number-marker", "0")),
            int(self.query.get("max-parts", "1000")),
        )
        with self.s3.lock:
            numbers = sorted(it for it in upload.parts if it > after)
            lines = "".join(
                f"<Part><PartNumber>{it}</PartNumber><Size>{len(upload.parts[it].body)}</Size>"
                f"<ETag>&quot;{upload.parts[it].etag}&quot;</ETag></Part>"
                for it in numbers[:limit]
            )
        more = len(numbers) > limit
        marker = f"<NextPartNumberMarker>{numbers[limit - 1]}</NextPartNumberMarker>" if more else ""
        self._xml("ListPartsResult", f"<IsTruncated>{str(more).lower()}</IsTruncated>{marker}{lines}")

    def _complete_multipart_upload(self) -> None:
        objects, upload = self._objects(), self._upload()
        stored = self._assembled(upload)
        sent = self.lower.get(_CRC)
        if self.lower.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT":
            raise _Problem(400, "InvalidRequest")
        if sent and upload.checksummed and stored.crc is not None and sent != _base64(stored.crc):
            raise _Problem(400, "BadDigest")
        if self._is(Fault.FLIP_STORED):
            stored.body = _flipped(stored.body)
        with self.s3.lock:
            if self.lower.get("if-none-match") == "*" and self.key in objects:
                raise _Problem(412, "PreconditionFailed")
            objects[self.key] = stored
            del self.s3.uploads[self.query["uploadId"]]
        checksum = ""
        if upload.checksummed:
            value = self._checksum(stored.crc)[_CRC]
            checksum = f"<ChecksumCRC64NVME>{value}</ChecksumCRC64NVME>"
        self._xml("CompleteMultipartUploadResult", f"<ETag>&quot;{stored.etag}&quot;</ETag>{checksum}")

    def _abort_multipart_upload(self) -> None:
        self._upload()
        with self.s3.lock:
            del self.s3.uploads[self.query["uploadId"]]
        self._reply(204)

    def _list_multipart_uploads(self) -> None:
        self._objects()
        prefix = self.query.get("prefix", "")
        with self.s3.lock:
            lines = "".join(
                f"<Upload><Key>{quote(it.key)}</Key><UploadId>{upload_id}</UploadId>"
                f"<Initiated>{it.initiated_at:%Y-%m-%dT%H:%M:%S}.000Z</Initiated></Upload>"
                for upload_id, it in self.s3.uploads.items()
                if it.bucket == self.bucket and it.key.startswith(prefix)
            )
        body = f"<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{lines}"
        self._xml("ListMultipartUploadsResult", body)

    # what they share

    def _objects(self) -> dict[str, Stored]:
        objects = self.s3.buckets.get(self.bucket)
        if objects is None:
            raise _Problem(404, "NoSuchBucket")
        return objects

    def _object(self) -> Stored:
        stored = self._objects().get(self.key)
        if stored is None:
            raise _Problem(404, "NoSuchKey")
        return stored

    def _upload(self) -> OpenUpload:
        upload = self.s3.uploads.get(self.query["uploadId"])
        if upload is None or (upload.bucket, upload.key) != (self.bucket, self.key):
            raise _Problem(404, "NoSuchUpload")
        return upload

    def _stored(self) -> Stored:
        body = _flipped(self.data) if self._is(Fault.CORRUPT) else self.data
        self._verify(body)
        return Stored(
            body=_flipped(body) if self._is(Fault.FLIP_STORED) else body,
            etag=self.s3.etag(body),
            crc=crc64nvme(body) if self.s3.keeps_checksums else None,
        )

    def _verify(self, body: bytes) -> None:
        """Compare what arrived with the checksums that came with it.

        Source: Amazon S3 API Reference, "PutObject" and "Error responses" (BadDigest, InvalidDigest,
        InvalidRequest).
        """
        asked = [name for name in self.lower if re.fullmatch(r"x-amz-checksum-(crc|sha)\w+", name)]
        if asked and self.s3.rejects_checksums:
            raise _Problem(400, "InvalidArgument")
        if len(asked) > 1:
            raise _Problem(400, "InvalidRequest")
        sums = ((_CRC, 8, "InvalidRequest"), ("content-md5", 16, "InvalidDigest"))
        for name, size, malformed in sums:
            if name not in self.lower or (name == _CRC and not self.s3.keeps_checksums):
                continue
            try:
                said = base64.b64decode(self.lower[name], validate=True)
            except ValueError:
                raise _Problem(400, malformed) from None
            if len(said) != size:
                raise _Problem(400, malformed)
            md5 = hashlib.md5(body, usedforsecurity=False).digest()
            if said != (crc64nvme(body).to_bytes(8, "big") if name == _CRC else md5):
                raise _Problem(400, "BadDigest")

    def _assembled(self, upload: OpenUpload) -> Stored:
        """Put the parts named in the request together, as they are named."""
        named = ET.fromstring(self.data)  # noqa: S314 - our own tests' request
        tags = [[(child.text or "").strip('"') for child in part][:2] for part in named]
        parts = [upload.parts.get(int(number)) for number, _ in tags]
        found = [part for part in parts if part is not None]
        sums = [part.findtext("{*}ChecksumCRC64NVME") for part in named]
        wrong = [
            part
            for part, checksum in zip(found, sums, strict=False)
            if upload.checksummed and checksum is not None and checksum != _base64(part.crc or 0)
        ]
        if [part.etag for part in found] != [etag for _, etag in tags] or wrong:
            raise _Problem(400, "InvalidPart")
        body = b"".join(part.body for part in found)
        crc = 0
        for part in found:
            # Of what arrived, as the parts' own sums are: what is kept may have changed since.
            crc = combine_crc64nvme(crc, part.crc or 0, len(part.body))
        etag = self.s3.etag(body)
        if self.s3.etags is Etags.MD5:
            digests = b"".join(bytes.fromhex(part.etag) for part in found)
            etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(found)}"
        return Stored(body=body, etag=etag, headers=upload.headers, crc=crc if upload.checksummed else None)

    def _kept(self) -> dict[str, str]:
        if self.s3.refuses_tags and "x-amz-tagging" in self.lower:
            raise _Problem(403, "AccessDenied")
        return {
            name: value
            for name, value in self.lower.items()
            if name in _KEPT or name.startswith(("x-amz-meta-", "x-amz-storage", "x-amz-server-side"))
        }

    def _checksum(self, crc: int | None) -> dict[str, str]:
        if crc is None:
            return {}
        wrong = self._is(Fault.WRONG_CHECKSUM)
        return {_CRC: _base64(crc ^ 1 if wrong else crc), "x-amz-checksum-type": "FULL_OBJECT"}

    # replies

    def _error(self, problem: _Problem) -> None:
        body = f"<Error><Code>{problem.code}</Code><Message>as told</Message></Error>".encode()
        headers = {} if problem.retry_after is None else {"Retry-After": problem.retry_after}
        self.fault = None
        self._reply(problem.status, body, headers)

    def _xml(self, root: str, inner: str, headers: dict[str, str] | None = None) -> None:
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{inner}</{root}>'
        self._reply(200, body.encode(), headers or {})

    def _reply(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        if self._is(Fault.RESET_AFTER):
            raise HungUpError
        self.s3.watch(self.call, "after")
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if self._is(Fault.BLANKS):
            self._blanks(body)
            return
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self._is(Fault.TRUNCATE) or self._is(Fault.STALL):
            self.wfile.write(body[: len(body) // 2])
            if self._is(Fault.STALL):
                self.s3.released.wait(_HANG_S)
            raise HungUpError
        self.wfile.write(body)
        if self._is(Fault.CLOSE):
            raise HungUpError

    def _blanks(self, body: bytes) -> None:
        """Send blanks now and then before the body, in chunks."""
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(int(BLANKS_S / 0.1)):
            self.wfile.write(b"1\r\n \r\n")
            self.s3.released.wait(0.1)
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))


def _flipped(body: bytes) -> bytes:
    """Change one bit in the middle."""
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] if body else body


def _base64(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(8, "big")).decode()
