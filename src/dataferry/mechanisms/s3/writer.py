"""One worker's calls to write: whole objects, parts, and what makes parts an object.

Source: Amazon S3 API Reference, "PutObject", "CreateMultipartUpload", "UploadPart", "ListParts",
"CompleteMultipartUpload", "AbortMultipartUpload", "ListMultipartUploads", "DeleteObject"; Amazon S3 User
Guide, "Checking object integrity", for full-object CRC-64/NVME.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from xml.sax.saxutils import escape

from dataferry.domain.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    CredentialsExpiredError,
    IntegrityError,
    ObjectNotFoundError,
    ProtocolError,
    UnsupportedError,
    UploadGoneError,
)
from dataferry.domain.objects import Attributes, ObjectInfo, PartReceipt, Upload
from dataferry.mechanisms.s3 import replies
from dataferry.mechanisms.s3.attributes import (
    CRC_HEADER,
    creation_headers,
    decode_crc,
    encode_crc,
    strong_etag,
)
from dataferry.mechanisms.s3.body import Habits, S3PartWrite
from dataferry.mechanisms.s3.calls import Client, Reply, true_absence
from dataferry.mechanisms.s3.source import described
from dataferry.mechanisms.sink_faults import faults_of_sink

_ALGORITHM = "x-amz-checksum-algorithm"
_TYPE = "x-amz-checksum-type"
_MAX_UPLOAD_PAGES = 10
_CLOCK_GRAIN = timedelta(seconds=2)  # listings have whole seconds, and so has the Date header


def look_up(client: Client, key: str) -> ObjectInfo | None:
    """HEAD an object; None if there is none."""
    info = ObjectInfo(name=key, key=key, size_bytes=None)
    try:
        reply = client.call("s3.HeadObject", "HEAD", key=key, headers={"x-amz-checksum-mode": "ENABLED"})
    except ObjectNotFoundError:
        return None
    except ProtocolError as exc:
        # Amazon says so that credentials have expired; in a HEAD it has no words for it.
        with contextlib.suppress(ObjectNotFoundError):
            true_absence(client, exc.operation, key)
        raise
    return described(info, reply.headers, size_bytes=replies.content_length(reply.headers))


@faults_of_sink
class S3Writer:
    """One worker's connection to a sink.

    Args:
        client: The connection.
        habits: Of the server; shared by the sink's writers.
    """

    def __init__(self, client: Client, habits: Habits | None = None) -> None:
        self._client = client
        self._habits = habits or Habits()

    def put(
        self, key: str, *, length_bytes: int, attributes: Attributes, only_if_absent: bool = False
    ) -> S3PartWrite:
        """Send a whole object in one PutObject."""
        headers = creation_headers(attributes, self._client.place.storing)
        if only_if_absent:
            headers["If-None-Match"] = "*"
        return S3PartWrite(
            self._client,
            operation="s3.PutObject",
            key=key,
            length_bytes=length_bytes,
            headers=headers,
            habits=self._habits,
        )

    def create_upload(self, key: str, *, size_bytes: int | None, attributes: Attributes) -> Upload:
        """Open an upload, with a full-object CRC-64/NVME where the store knows it."""
        del size_bytes  # S3 learns it at completion
        operation = "s3.CreateMultipartUpload"
        headers = creation_headers(attributes, self._client.place.storing)
        asked = {**headers, _ALGORITHM: "CRC64NVME", _TYPE: "FULL_OBJECT"}
        try:
            reply = self._client.call(operation, "POST", key=key, query=[("uploads", "")], headers=asked)
        except (ProtocolError, UnsupportedError):
            reply = self._client.call(operation, "POST", key=key, query=[("uploads", "")], headers=headers)
        upload_id = reply.xml(operation).findtext("UploadId")
        if not upload_id:
            raise ProtocolError(f"{self._client.where(key)}: no UploadId in the reply", operation=operation)
        replies.bounded(upload_id)
        keeps = (
            reply.headers.get(_ALGORITHM) == "CRC64NVME"
            and reply.headers.get(_TYPE, "FULL_OBJECT") == "FULL_OBJECT"
        )
        return Upload(upload_id=upload_id, key=key, keeps_crc64nvme=keeps)

    def put_part(self, upload: Upload, *, number: int, offset_bytes: int, length_bytes: int) -> S3PartWrite:
        """Send one part."""
        del offset_bytes  # S3 orders parts by number
        return S3PartWrite(
            self._client,
            operation="s3.UploadPart",
            key=upload.key,
            length_bytes=length_bytes,
            query=[("partNumber", str(number)), ("uploadId", upload.upload_id)],
            number=number,
        )

    def list_parts(self, upload: Upload) -> dict[int, PartReceipt] | None:
        """List the parts; None if it is not permitted.

        Raises:
            UploadGoneError: There is no such upload.
        """
        operation = "s3.ListParts"
        found: dict[int, PartReceipt] = {}
        marker: str | None = None
        while True:
            query = [("uploadId", upload.upload_id), ("max-parts", "1000")]
            if marker is not None:
                query.append(("part-number-marker", marker))
            try:
                reply = self._client.call(operation, "GET", key=upload.key, query=query)
            except CredentialsExpiredError:
                raise
            except (AccessDeniedError, UnsupportedError):
                return None
            except ObjectNotFoundError as exc:
                raise UploadGoneError(exc.message, operation=operation) from exc
            page, following = replies.parts(reply.xml(operation))
            found.update((part.number, part) for part in page)
            if following is None:
                return found
            if following == marker or not page:
                raise ProtocolError("the list of parts goes in circles", operation=operation)
            marker = following

    def complete(
        self,
        upload: Upload,
        parts: Sequence[PartReceipt],
        *,
        size_bytes: int,
        crc64nvme: int | None,
        only_if_absent: bool = False,
    ) -> ObjectInfo:
        """Complete an upload, then look at the object.

        Raises:
            UploadGoneError: There is no such upload (any more).
            IntegrityError: Size or checksum of the object differ.
            DestinationExistsError: ``only_if_absent``, and it is there.
        """
        operation = "s3.CompleteMultipartUpload"
        headers = {"Content-Type": "application/xml"}
        if only_if_absent:
            headers["If-None-Match"] = "*"
        if upload.keeps_crc64nvme and crc64nvme is not None:
            headers |= {CRC_HEADER: encode_crc(crc64nvme), _TYPE: "FULL_OBJECT"}
        try:
            reply = self._client.call(
                operation,
                "POST",
                key=upload.key,
                query=[("uploadId", upload.upload_id)],
                headers=headers,
                body=_completion(parts, with_checksums=upload.keeps_crc64nvme),
                writing=True,
            )
        except BucketNotFoundError:
            raise
        except ObjectNotFoundError as exc:
            raise UploadGoneError(exc.message, operation=operation) from exc
        return self._completed(upload, reply, size_bytes=size_bytes, crc64nvme=crc64nvme)

    def abort_upload(self, upload: Upload) -> None:
        """Drop an upload; one that is gone is no error."""
        with contextlib.suppress(UploadGoneError, ObjectNotFoundError):
            self._client.call(
                "s3.AbortMultipartUpload", "DELETE", key=upload.key, query=[("uploadId", upload.upload_id)]
            )

    def list_uploads(self, key: str, *, since: datetime) -> list[Upload] | None:
        """List open uploads of a key begun since then, by the server's clock; None if it is not permitted."""
        operation = "s3.ListMultipartUploads"
        found: list[Upload] = []
        markers: tuple[str, str] | None = None
        for _ in range(_MAX_UPLOAD_PAGES):
            query = [("uploads", ""), ("prefix", key), ("encoding-type", "url"), ("max-uploads", "1000")]
            if markers is not None:
                query += [("key-marker", markers[0]), ("upload-id-marker", markers[1])]
            try:
                reply = self._client.call(operation, "GET", query=query)
            except CredentialsExpiredError:
                raise
            except (AccessDeniedError, UnsupportedError):
                return None
            page, markers = replies.uploads(reply.xml(operation))
            earliest = since + self._client.clock_skew - _CLOCK_GRAIN
            found += [
                Upload(upload_id=it.upload_id, key=key, started_at=it.started_at)
                for it in page
                if it.key == key and it.upload_id and (it.started_at is None or it.started_at >= earliest)
            ]
            if markers is None:
                return found
        return found

    def stat(self, key: str) -> ObjectInfo | None:
        """HEAD an object; None if there is none."""
        return look_up(self._client, key)

    def abort(self) -> None:
        """Shut the connection. Any thread."""
        self._client.abort()

    def close(self) -> None:
        """Close the connection."""
        self._client.drop()

    def _completed(
        self, upload: Upload, reply: Reply, *, size_bytes: int, crc64nvme: int | None
    ) -> ObjectInfo:
        """Compare the object with what was sent; where looking is not permitted, take the reply's word."""
        operation = "s3.CompleteMultipartUpload"
        where = self._client.where(upload.key)
        root = reply.xml(operation)
        if root.tag != "CompleteMultipartUploadResult":
            raise ProtocolError(f"{where}: completion answers {root.tag[:40]!r}", operation=operation)
        stored = decode_crc(root.findtext("ChecksumCRC64NVME"))
        try:
            info = look_up(self._client, upload.key)
        except AccessDeniedError:
            info = ObjectInfo(
                name=upload.key,
                key=upload.key,
                size_bytes=size_bytes,
                validator=strong_etag(root.findtext("ETag")),
                crc64nvme=stored,
            )
        if info is None:
            raise IntegrityError(f"{where}: completed, and not there", operation=operation)
        if info.size_bytes != size_bytes:
            raise IntegrityError(
                f"{where}: has {info.size_bytes} bytes, {size_bytes} were sent", operation=operation
            )
        for checksum in (stored, info.crc64nvme):
            if None not in {checksum, crc64nvme} and checksum != crc64nvme:
                raise IntegrityError(f"{where}: the store's CRC-64/NVME differs", operation=operation)
        return info


def _completion(parts: Sequence[PartReceipt], *, with_checksums: bool) -> bytes:
    """Write the body of a completion, in the order of numbers."""
    lines = []
    for part in sorted(parts, key=lambda it: it.number):
        checksum = ""
        if with_checksums and part.crc64nvme is not None:
            checksum = f"<ChecksumCRC64NVME>{encode_crc(part.crc64nvme)}</ChecksumCRC64NVME>"
        tag = escape(f'"{part.etag}"')
        lines.append(f"<Part><PartNumber>{part.number}</PartNumber><ETag>{tag}</ETag>{checksum}</Part>")
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<CompleteMultipartUpload xmlns="{namespace}">{"".join(lines)}</CompleteMultipartUpload>'.encode()
