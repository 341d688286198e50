"""A tiny S3 client of the demo's own: makes the data, and checks it at the end.

It shares no line with the product's S3 code, so that the product is not its own witness. Plain path-style
requests over HTTP on loopback, signed with the payload unsigned, no retries.

Source: AWS, "Signature Version 4 for API requests".
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import quote

from dataferry.demo.servers import JuiceFs

REGION = "us-east-1"
PIECE_BYTES = 1024 * 1024
UNSIGNED = "UNSIGNED-PAYLOAD"


class WitnessError(Exception):
    """The S3 server answered something else than 2xx."""


class Witness:
    """One keep-alive connection to an S3 server; belongs to one thread.

    Args:
        server: Whom to talk to, and its credentials.
    """

    def __init__(self, server: JuiceFs) -> None:
        self._server = server
        self._host = f"127.0.0.1:{server.port}"
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def make_bucket(self, bucket: str) -> None:
        """Create a bucket."""
        self._send("PUT", f"/{bucket}").read()

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Store one object whole."""
        self._send("PUT", f"/{bucket}/{quote(key)}", body=body).read()

    def begin(self, bucket: str, key: str) -> str:
        """Create a multipart upload; return its id."""
        answer = self._send("POST", f"/{bucket}/{quote(key)}", {"uploads": ""}).read()
        return _texts(answer, "UploadId")[0]

    def put_part(self, bucket: str, key: str, upload_id: str, number: int, body: bytes) -> str:
        """Store one part; return its ETag."""
        query = {"partNumber": str(number), "uploadId": upload_id}
        reply = self._send("PUT", f"/{bucket}/{quote(key)}", query, body)
        reply.read()
        return reply.headers["ETag"]

    def finish(self, bucket: str, key: str, upload_id: str, etags: list[str]) -> None:
        """Complete a multipart upload."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        self._send("POST", f"/{bucket}/{quote(key)}", {"uploadId": upload_id}, body).read()

    def keys(self, bucket: str) -> Iterator[str]:
        """List every key of a bucket."""
        after = ""
        while True:
            page = self._send("GET", f"/{bucket}", {"list-type": "2", "start-after": after}).read()
            found = _texts(page, "Key")
            yield from found
            if "true" not in _texts(page, "IsTruncated"):
                return
            after = found[-1]

    def open_uploads(self, bucket: str, prefix: str = "") -> list[str]:
        """List the ids of multipart uploads that nobody finished."""
        return _texts(self._send("GET", f"/{bucket}", {"prefix": prefix, "uploads": ""}).read(), "UploadId")

    def digest(self, bucket: str, key: str) -> tuple[int, str]:
        """Read an object; return its size in bytes and its SHA-256."""
        reply = self._send("GET", f"/{bucket}/{quote(key)}")
        total, size = hashlib.sha256(), 0
        buffer = memoryview(bytearray(PIECE_BYTES))
        while count := reply.readinto(buffer):
            total.update(buffer[:count])
            size += count
        return size, total.hexdigest()

    def _send(
        self, method: str, path: str, query: dict[str, str] | None = None, body: bytes = b""
    ) -> http.client.HTTPResponse:
        pairs = sorted((query or {}).items())
        text = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
        headers = self._signed(method, path, text)
        self._connection.request(method, f"{path}?{text}" if text else path, body or None, headers)
        reply = self._connection.getresponse()
        if reply.status >= 300:  # noqa: PLR2004 - 2xx is success
            said = reply.read(2000).decode(errors="replace")
            raise WitnessError(f"{method} {path} at {self._host}: {reply.status} {said}")
        return reply

    def _signed(self, method: str, path: str, query: str) -> dict[str, str]:
        """Headers of one request, ``Authorization`` included."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": self._host, "x-amz-content-sha256": UNSIGNED, "x-amz-date": now}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{UNSIGNED}"
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = b"AWS4" + self._server.secret_access_key.encode()
        for step in scope.split("/"):
            key = hmac.digest(key, step.encode(), "sha256")
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._server.access_key_id}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        )
        return headers


def _texts(document: bytes, name: str) -> list[str]:
    """The texts of every element of a name, in order. The document comes from a server that we started."""
    return [e.text or "" for e in ET.fromstring(document).iter() if e.tag.rpartition("}")[2] == name]  # noqa: S314
