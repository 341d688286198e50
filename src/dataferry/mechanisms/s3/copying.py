"""Copies that the store makes by itself: CopyObject and UploadPartCopy.

Source: Amazon S3 API Reference, "CopyObject", "UploadPartCopy"; both may answer 200 with an error document.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from dataferry.domain.errors import ProtocolError, UnsupportedError
from dataferry.domain.objects import ObjectInfo, PartReceipt, Upload
from dataferry.mechanisms.base import Source
from dataferry.mechanisms.s3.address import Place
from dataferry.mechanisms.s3.attributes import decode_crc, strong_etag
from dataferry.mechanisms.s3.body import Habits
from dataferry.mechanisms.s3.calls import Client, Query
from dataferry.mechanisms.s3.signing import encode_path, encode_query
from dataferry.mechanisms.s3.source import S3Source
from dataferry.mechanisms.s3.writer import S3Writer
from dataferry.net.connections import Network

# Source: Amazon S3 API Reference, "CopyObject": up to 5 GB in a single operation.
MAX_COPY_BYTES = 5 * 1024**3
# Stores that send no blanks are silent until all is copied: so many stall time-outs, five minutes by default.
COPY_STALLS = 5


def refusal(source: Source, place: Place) -> str | None:
    """Return why the store of ``place`` can't be asked to copy from ``source``; None if it can.

    Args:
        source: Of any mechanism.
        place: Where to.
    """
    if not isinstance(source, S3Source):
        return "the two ends are of different mechanisms"
    origin = source.place_of_origin
    if (origin.server.url, origin.server.region) != (place.server.url, place.server.region):
        return "the two ends are of different endpoints or regions"
    if origin.provenance is not place.provenance:
        return "one end is configured here, the other was named in a message"
    if not (origin.server_side_copy and place.server_side_copy):
        return "server_side_copy is false for one of the ends"
    if origin.credentials is not place.credentials and origin.credentials() != place.credentials():
        return "the two ends have different credentials"
    return None


class S3CopyingWriter(S3Writer):
    """A worker's writer that can also have the store copy; those calls have a connection of their own.

    Args:
        place: Where to.
        network: Dials.
        habits: As of ``S3Writer``.
    """

    def __init__(self, place: Place, network: Network, habits: Habits) -> None:
        super().__init__(Client(place, network), habits)
        self._place = place
        self._copying = Client(place, network, timeout_s=COPY_STALLS * network.stall_timeout_s)

    def copy(self, source: Source, info: ObjectInfo, key: str) -> ObjectInfo:
        """Have a whole object copied; without a directive the store keeps its attributes, tags included.

        Raises:
            SourceChangedError: It is another version now.
            UnsupportedError: The pair must not, or the store can't.
            ProtocolError: The reply does not say that it was copied.
        """
        headers = self._place.storing.headers()
        if not (self._place.tags and isinstance(source, S3Source) and source.place_of_origin.tags):
            headers["x-amz-tagging-directive"] = "REPLACE"  # by none
        root = self._call("s3.CopyObject", source, info, key, "CopyObjectResult", headers=headers)
        return ObjectInfo(
            name=key,
            key=key,
            size_bytes=None,
            validator=strong_etag(root.findtext("ETag")),
            crc64nvme=decode_crc(root.findtext("ChecksumCRC64NVME")),
        )

    def copy_part(
        self,
        source: Source,
        upload: Upload,
        info: ObjectInfo,
        *,
        number: int,
        offset_bytes: int,
        length_bytes: int,
    ) -> PartReceipt:
        """Have a range copied as one part.

        Raises:
            UploadGoneError: There is no such upload.
            StorageError: As of ``copy``.
        """
        root = self._call(
            "s3.UploadPartCopy",
            source,
            info,
            upload.key,
            "CopyPartResult",
            query=[("partNumber", str(number)), ("uploadId", upload.upload_id)],
            headers={"x-amz-copy-source-range": f"bytes={offset_bytes}-{offset_bytes + length_bytes - 1}"},
        )
        return PartReceipt(
            number=number, size_bytes=length_bytes, etag=strong_etag(root.findtext("ETag")) or ""
        )

    def abort(self) -> None:
        """Shut both connections. Any thread."""
        self._copying.abort()
        super().abort()

    def close(self) -> None:
        """Close both connections."""
        self._copying.drop()
        super().close()

    def _call(
        self,
        operation: str,
        source: Source,
        info: ObjectInfo,
        key: str,
        result: str,
        *,
        query: Query = (),
        headers: dict[str, str] | None = None,
    ) -> ET.Element:
        """Send a copy and return its result, which must have an ETag."""
        why_not = refusal(source, self._place)
        if why_not is not None or not isinstance(source, S3Source):
            raise UnsupportedError(why_not or "another mechanism's source", operation=operation)
        sent = {**(headers or {}), "x-amz-copy-source": _named(source.place_of_origin, info)}
        if info.validator is not None:
            sent["x-amz-copy-source-if-match"] = f'"{info.validator}"'
        reply = self._copying.call(operation, "PUT", key=key, query=query, headers=sent)
        root = reply.xml(operation)
        if root.tag != result or strong_etag(root.findtext("ETag")) is None:
            where = self._copying.where(key)
            raise ProtocolError(f"{where}: the reply does not say that it was copied", operation=operation)
        return root


def _named(origin: Place, info: ObjectInfo) -> str:
    """Write an object, and its version where that is known, as ``x-amz-copy-source`` has it: URL-encoded."""
    path = encode_path(f"/{origin.bucket}/{info.key}")
    version_id = origin.version_id or info.version_id
    return f"{path}?{encode_query([('versionId', version_id)])}" if version_id else path
