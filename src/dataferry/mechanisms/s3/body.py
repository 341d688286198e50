"""The bytes of one object or part on their way to S3.

Source: Amazon S3 API Reference, "PutObject", "UploadPart", "DeleteObject"; Amazon S3 User Guide, "Checking
object integrity".
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from dataferry.domain.errors import (
    DataFerryError,
    IntegrityError,
    ProtocolError,
    ServerError,
    ShortBodyError,
    UnsupportedError,
)
from dataferry.domain.objects import PartReceipt
from dataferry.mechanisms.checksum import crc64nvme
from dataferry.mechanisms.s3.attributes import CRC_HEADER, decode_crc, encode_crc, strong_etag
from dataferry.mechanisms.s3.calls import Client
from dataferry.mechanisms.sink_faults import faults_of_sink


@dataclass(slots=True)
class Habits:
    """What the workers of one sink have learnt about its server.

    Attributes:
        refuses_crc: It does not take a request that brings a CRC-64/NVME.
    """

    refuses_crc: bool = False


@faults_of_sink
class S3PartWrite:
    """The body of one PutObject or UploadPart, streamed; the head is sent with the first bytes.

    With signed payloads the body is held until ``finish``, as its digest stands in the head. An object that
    comes whole with the first bytes is sent with its CRC-64/NVME: then the server compares before it stores,
    and servers that keep only the checksums that they are given keep it.
    """

    def __init__(
        self,
        client: Client,
        *,
        operation: str,
        key: str,
        length_bytes: int,
        headers: dict[str, str] | None = None,
        query: Sequence[tuple[str, str]] = (),
        number: int = 1,
        habits: Habits | None = None,
    ) -> None:
        self._client = client
        self._habits = habits
        self._operation = operation
        self._key = key
        self._length = length_bytes
        self._headers = dict(headers or {})
        self._query = query
        self._number = number
        self._sent = 0
        self._crc = 0
        self._begun = False
        self._held: list[bytes] | None = [] if client.place.payload_signing else None
        self._checksum = crc64nvme

    def send(self, data: memoryview) -> None:
        """Send the next bytes."""
        if self._sent + len(data) > self._length:
            self.cancel()
            raise ProtocolError(
                f"{self._client.where(self._key)}: more bytes than announced", operation=self._operation
            )
        self._crc = self._checksum(data, self._crc)
        self._sent += len(data)
        if self._held is not None:
            self._held.append(bytes(data))
            return
        if not self._begun:
            self._begin()
        try:
            self._client.send(self._operation, data, key=self._key)
        except (ProtocolError, UnsupportedError) as exc:
            self._give_crc_up(exc)
            raise

    def finish(self) -> PartReceipt:
        """Read what the store accepted, and compare its checksum with that of the bytes sent."""
        where = self._client.where(self._key)
        if self._sent != self._length:
            self.cancel()
            raise ShortBodyError(f"{where}: {self._sent} of {self._length} bytes", operation=self._operation)
        if self._held is not None:
            body = b"".join(self._held)
            self._held = None
            self._begin(hashlib.sha256(body).hexdigest())
            self._client.send(self._operation, memoryview(body), key=self._key)
        elif not self._begun:
            self._begin()
        try:
            reply = self._client.answer(self._operation, key=self._key)
        except (ProtocolError, UnsupportedError) as exc:
            self._give_crc_up(exc)
            raise
        stored = decode_crc(reply.headers.first.get(CRC_HEADER))
        if stored is not None and stored != self._crc:
            self._withdraw(reply.headers.first.get("x-amz-version-id"))
            raise IntegrityError(
                f"{where}: the store's CRC-64/NVME of the body differs", operation=self._operation
            )
        etag = strong_etag(reply.headers.first.get("etag")) or ""
        if not etag and self._operation == "s3.UploadPart":
            raise ProtocolError(f"{where}: a part without an ETag", operation=self._operation)
        return PartReceipt(
            number=self._number,
            size_bytes=self._sent,
            etag=etag,
            crc64nvme=self._crc,
            confirmed=stored is not None,
        )

    def _give_crc_up(self, error: ProtocolError | UnsupportedError) -> None:
        """Have a body sent again without its CRC-64/NVME where the server may have refused it for that.

        Raises:
            ServerError: It was sent with one, and was refused: as a request that the server does not know.
        """
        if self._habits is None or CRC_HEADER not in self._headers:
            return
        self._habits.refuses_crc = True
        raise ServerError(
            f"{error.message}; it is sent again without a CRC-64/NVME", operation=self._operation
        ) from error

    def cancel(self) -> None:
        """Drop the connection: a body shorter than announced makes no object."""
        self._held = None
        with contextlib.suppress(OSError, DataFerryError):
            self._client.drop()

    def _withdraw(self, version_id: str | None) -> None:
        """Delete exactly the version that this body made, so that the one before it is visible again.

        Without versions there is none to bring back, and a plain delete could hit somebody else's object.
        """
        if self._operation == "s3.PutObject" and version_id not in {None, "", "null"}:
            with contextlib.suppress(DataFerryError):
                self._client.call(
                    "s3.DeleteObject", "DELETE", key=self._key, query=[("versionId", str(version_id))]
                )

    def _begin(self, payload_sha256: str | None = None) -> None:
        """Send the head."""
        self._begun = True
        if self._habits is not None and not self._habits.refuses_crc and self._sent == self._length:
            self._headers[CRC_HEADER] = encode_crc(self._crc)
        signed = {} if payload_sha256 is None else {"payload_sha256": payload_sha256}
        self._client.begin(
            self._operation,
            key=self._key,
            length_bytes=self._length,
            query=self._query,
            headers=self._headers,
            **signed,
        )
