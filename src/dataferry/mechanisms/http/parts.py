"""Writing to another plane's gateway: objects in parts, each answered with its CRC-64/NVME as it came.

What is asked stands in docs/reference/http-api.md, "Ingest". It is agreed to by a property of the address.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from dataferry.domain.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    IntegrityError,
    ProtocolError,
    UploadGoneError,
)
from dataferry.domain.objects import Attributes, Capability, ObjectInfo, PartReceipt, Upload
from dataferry.mechanisms.http.address import Place
from dataferry.mechanisms.http.calls import Client
from dataferry.mechanisms.http.headers import to_headers
from dataferry.mechanisms.http.sink import PUT, HttpPartWrite, HttpSink, HttpWriter
from dataferry.mechanisms.sink_faults import fault_of_sink, faults_of_sink
from dataferry.net.connections import Network
from dataferry.net.heads import Headers

# What it can do more than a sink of plain HTTP; what was sent is not read there.
PARTS_CAPABILITIES = frozenset(
    {Capability.INJECTIVE_NAMES, Capability.PARTS, Capability.LIST_PARTS, Capability.LIST_UPLOADS}
)
MAX_PARTS = 9_000
# The other side's parts are its store's, and S3 takes none that are smaller.
MIN_PART_SIZE_BYTES = 5 * 1024 * 1024
CRC_HEADER = "X-Crc64nvme"
_CRC_BYTES = 8
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FIELDS = {
    "Content-Type": "contentType",
    "Content-Encoding": "contentEncoding",
    "Content-Language": "contentLanguage",
}


class PartsSink(HttpSink):
    """Another plane's gateway, which takes what is sent for one flow.

    Args:
        place: Which.
        network: Dials.
    """

    def __init__(self, place: Place, network: Network) -> None:
        super().__init__(place, network)
        self._client = Client(place, network)
        self._writer = PartsWriter(self._client)
        # Whether the flow had brought nothing when that was first asked; what we send meanwhile, we know.
        self._is_fresh: bool | None = None

    @property
    def exclusive(self) -> bool:
        """True: the address is this flow's alone."""
        return True

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Parts, and listings of them."""
        return PARTS_CAPABILITIES

    @property
    def max_parts(self) -> int:
        """9,000."""
        return MAX_PARTS

    @property
    def min_part_size_bytes(self) -> int:
        """5 MiB."""
        return MIN_PART_SIZE_BYTES

    @fault_of_sink
    def find(self, keys: Sequence[str]) -> dict[str, ObjectInfo]:
        """Look up what this flow has brought: nothing is asked key by key where that is nothing yet."""
        if self._is_fresh is None:
            answer = self._client.document("GET", self._place.own_key, query="uploads")
            self._is_fresh = answer.get("objectsDone") == 0
        return {} if self._is_fresh else super().find(keys)

    def writer(self) -> PartsWriter:
        """Open a worker's writer, on a connection of its own."""
        return PartsWriter(Client(self._place, self._network))


@faults_of_sink
class PartsWriter(HttpWriter):
    """One worker's connection to another plane's gateway."""

    def put(
        self, key: str, *, length_bytes: int, attributes: Attributes, only_if_absent: bool = False
    ) -> ProvedWrite:
        """Send a whole object in one request."""
        headers = {"Content-Type": "application/octet-stream", **to_headers(attributes)}
        if only_if_absent:
            headers["If-None-Match"] = "*"
        return ProvedWrite(self._client, method=PUT, key=key, length_bytes=length_bytes, headers=headers)

    def create_upload(self, key: str, *, size_bytes: int | None, attributes: Attributes) -> Upload:
        """Begin an upload."""
        said = to_headers(attributes)
        body: dict[str, Any] = {_FIELDS[name]: value for name, value in said.items()}
        answer = self._client.document("POST", key, query="uploads", body={**body, "sizeBytes": size_bytes})
        return Upload(upload_id=_upload_id(answer), key=key, keeps_crc64nvme=True)

    def put_part(self, upload: Upload, *, number: int, offset_bytes: int, length_bytes: int) -> ProvedWrite:
        """Send one part."""
        query = f"{_named(upload)}&partNumber={number}&offset={offset_bytes}"
        return ProvedWrite(
            self._client,
            method=PUT,
            key=upload.key,
            length_bytes=length_bytes,
            headers={"Content-Type": "application/octet-stream"},
            query=query,
            number=number,
        )

    def list_parts(self, upload: Upload) -> dict[int, PartReceipt] | None:
        """Return the parts that the other side has written down.

        Raises:
            UploadGoneError: There is no such upload.
        """
        answer = self._client.document("GET", upload.key, query=_named(upload))
        found = [_part(entry) for entry in _list(answer, "parts")]
        return {part.number: part for part in found}

    def complete(
        self,
        upload: Upload,
        parts: Sequence[PartReceipt],
        *,
        size_bytes: int,
        crc64nvme: int | None,
        only_if_absent: bool = False,
    ) -> ObjectInfo:
        """Have the parts made an object, if they are those that were sent.

        Raises:
            UploadGoneError: There is no such upload.
            IntegrityError: What the other side has is not what was sent.
            DestinationExistsError: ``only_if_absent``, and it is there.
        """
        body = {"parts": len(parts), "sizeBytes": size_bytes, "crc64nvme": crc_text(crc64nvme or 0)}
        headers = {"If-None-Match": "*"} if only_if_absent else {}
        answer = self._client.document("POST", upload.key, query=_named(upload), body=body, headers=headers)
        etag = answer.get("etag")
        return ObjectInfo(
            name=upload.key,
            key=upload.key,
            size_bytes=answer.get("sizeBytes") if isinstance(answer.get("sizeBytes"), int) else None,
            validator=etag if isinstance(etag, str) else None,
            crc64nvme=crc_of(answer.get("crc64nvme")),
        )

    def abort_upload(self, upload: Upload) -> None:
        """Drop an upload; one that is gone, or whose flow or token is over, is no error.

        The other side cleans up after itself when the flow ends.
        """
        with suppress(UploadGoneError, BucketNotFoundError, AccessDeniedError):
            self._client.document("DELETE", upload.key, query=_named(upload))

    def list_uploads(self, key: str, *, since: datetime) -> list[Upload] | None:
        """Return the open uploads of an object that were begun since then, by the other side's clock."""
        answer = self._client.document("GET", key, query="uploads")
        found = []
        for entry in _list(answer, "uploads"):
            started = _time(entry.get("startedAt"))
            if started is None or started >= since:
                found.append(Upload(upload_id=_upload_id(entry), key=key, started_at=started))
        return found

    def _checksum_of(self, headers: Headers) -> int | None:
        """Return the checksum of what came."""
        return crc_of(headers.get(CRC_HEADER))


@faults_of_sink
class ProvedWrite(HttpPartWrite):
    """A body on its way to another plane, which answers with the CRC-64/NVME of what came."""

    def _receipt(self, headers: Headers) -> PartReceipt:
        """Read the answer, and compare.

        Raises:
            IntegrityError: Other bytes came than were sent.
        """
        receipt = super()._receipt(headers)
        came = crc_of(headers.get(CRC_HEADER))
        if came is None:
            return receipt
        if came != receipt.crc64nvme:
            raise IntegrityError(f"{self._where}: other bytes came than were sent", operation=self._operation)
        etag = crc_text(came) if self._query else receipt.etag
        return replace(receipt, etag=etag, confirmed=True)


def crc_text(crc: int) -> str:
    """Write a checksum in base64, its bytes from the highest."""
    return b64encode(crc.to_bytes(_CRC_BYTES, "big")).decode()


def crc_of(text: Any) -> int | None:
    """Read a checksum; None if it is none."""
    try:
        raw = b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        return None
    return int.from_bytes(raw, "big") if len(raw) == _CRC_BYTES else None


def _named(upload: Upload) -> str:
    return f"uploadId={quote(upload.upload_id, safe='')}"


def _upload_id(answer: Mapping[str, Any]) -> str:
    found = answer.get("uploadId")
    if not isinstance(found, str) or not _UPLOAD_ID.fullmatch(found):
        raise ProtocolError("the answer names no upload", operation="http.POST")
    return found


def _list(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = answer.get(name)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise ProtocolError(f"the answer lists no {name}", operation="http.GET")
    return found


def _part(entry: Mapping[str, Any]) -> PartReceipt:
    number, size, crc = entry.get("number"), entry.get("sizeBytes"), crc_of(entry.get("crc64nvme"))
    if not isinstance(number, int) or not isinstance(size, int) or crc is None:
        raise ProtocolError("the answer lists a part that is none", operation="http.GET")
    return PartReceipt(number=number, size_bytes=size, etag=crc_text(crc), crc64nvme=crc)


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None
