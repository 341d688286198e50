"""S3's XML, read safely: bounded, and without document types or entities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from dataferry.domain.errors import ProtocolError
from dataferry.domain.objects import ObjectInfo, PartReceipt
from dataferry.mechanisms.s3.attributes import (
    MAX_TAG_KEY_CHARS,
    MAX_TAG_VALUE_CHARS,
    MAX_TAGS,
    decode_crc,
    iso_date,
    strong_etag,
)
from dataferry.net.heads import Headers

MAX_XML_BYTES = 16 * 1024 * 1024  # a page of 1,000 keys of 1,024 bytes, percent-encoded, is 4 MiB
# The same page has some 15,000 elements. In memory an element is a hundred times its four bytes of "<a/>".
MAX_XML_ELEMENTS = 100_000
MAX_XML_DEPTH = 32
# Of a key or an upload's id; both become rows. S3's keys have at most 1,024 bytes, other stores' some more.
MAX_NAME_CHARS = 4096
_TOO_MUCH = "the reply has more XML elements, or deeper ones, than allowed"


class _Builder(ET.TreeBuilder):
    """Refuses document types, and with them entities."""

    def doctype(self, name: str, *_ids: str | None) -> None:
        """Raise: S3 sends none."""
        raise ProtocolError(f"the reply declares a document type ({len(name)} characters): refused")


def parse(body: bytes, operation: str) -> ET.Element:
    """Read a reply's XML, with the namespaces dropped.

    Raises:
        ProtocolError: It is none, or has a document type, or more elements, or deeper ones, than S3 sends.
    """
    # Each begins with such a byte, whatever the encoding: to be told of each would take most of the time.
    if body.count(b"<") - body.count(b"</") > MAX_XML_ELEMENTS:
        raise ProtocolError(_TOO_MUCH, operation=operation)
    parser = ET.XMLParser(target=_Builder())  # noqa: S314 - see _Builder
    try:
        parser.feed(body.lstrip())
        root: ET.Element = parser.close()
    except (ET.ParseError, ValueError, LookupError) as exc:
        raise ProtocolError("the reply is not XML: is this an S3 endpoint?", operation=operation) from exc
    level, depth = [root], 1
    while level:
        if depth > MAX_XML_DEPTH:
            raise ProtocolError(_TOO_MUCH, operation=operation)
        for element in level:
            element.tag = element.tag.rpartition("}")[2]
        level, depth = [child for element in level for child in element], depth + 1
    return root


def error_in(body: bytes) -> tuple[str, str] | None:
    """Return ``(code, message)`` if the body is an S3 error document."""
    if b"<Error" not in body:
        return None
    try:
        root = parse(body, "")
    except ProtocolError:
        return None
    if root.tag != "Error":
        return None
    return (root.findtext("Code") or "", root.findtext("Message") or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page of a listing; ``next_token`` is None on the last."""

    objects: tuple[ObjectInfo, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpload:
    """An upload as a listing shows it."""

    key: str
    upload_id: str
    started_at: datetime | None


def listing(root: ET.Element) -> Listing:
    """Read ``ListBucketResult``; names are the keys."""
    encoded = (root.findtext("EncodingType") or "") == "url"
    objects = tuple(_listed(item, encoded=encoded) for item in root.findall("Contents"))
    more = (root.findtext("IsTruncated") or "").strip() == "true"
    token = root.findtext("NextContinuationToken")
    if more and not token:
        raise ProtocolError("a truncated listing without a token", operation="s3.ListObjectsV2")
    return Listing(objects=objects, next_token=token if more else None)


def _listed(item: ET.Element, *, encoded: bool) -> ObjectInfo:
    """Read one ``Contents``."""
    key = _key(item, encoded=encoded)
    return ObjectInfo(
        name=key,
        key=key,
        size_bytes=_number(item.findtext("Size")),
        validator=strong_etag(item.findtext("ETag")),
        modified_at=iso_date(item.findtext("LastModified")),
    )


def uploads(root: ET.Element) -> tuple[tuple[OpenUpload, ...], tuple[str, str] | None]:
    """Read ``ListMultipartUploadsResult``: the uploads, and the markers of the next page."""
    encoded = (root.findtext("EncodingType") or "") == "url"
    found = tuple(
        OpenUpload(
            key=_key(item, encoded=encoded),
            upload_id=item.findtext("UploadId") or "",
            started_at=iso_date(item.findtext("Initiated")),
        )
        for item in root.findall("Upload")
    )
    if (root.findtext("IsTruncated") or "").strip() != "true":
        return found, None
    key_marker = root.findtext("NextKeyMarker") or ""
    return found, (
        unquote_plus(key_marker) if encoded else key_marker,
        root.findtext("NextUploadIdMarker") or "",
    )


def parts(root: ET.Element) -> tuple[tuple[PartReceipt, ...], str | None]:
    """Read ``ListPartsResult``: the parts, and the marker of the next page."""
    found = tuple(
        PartReceipt(
            number=_number(item.findtext("PartNumber")) or 0,
            size_bytes=_number(item.findtext("Size")) or 0,
            etag=strong_etag(item.findtext("ETag")) or "",
            crc64nvme=decode_crc(item.findtext("ChecksumCRC64NVME")),
        )
        for item in root.findall("Part")
    )
    more = (root.findtext("IsTruncated") or "").strip() == "true"
    return found, root.findtext("NextPartNumberMarker") if more else None


def tags(root: ET.Element) -> tuple[tuple[str, str], ...]:
    """Read ``Tagging``.

    Raises:
        ProtocolError: It has more tags, or longer ones, than an object can have.
    """
    found = tuple((item.findtext("Key") or "", item.findtext("Value") or "") for item in root.iter("Tag"))
    if len(found) > MAX_TAGS or any(
        not key or len(key) > MAX_TAG_KEY_CHARS or len(value) > MAX_TAG_VALUE_CHARS for key, value in found
    ):
        raise ProtocolError("the reply has more tags, or longer ones, than an object can have")
    return found


def _key(item: ET.Element, *, encoded: bool) -> str:
    """Read a key, decoded where the listing says that it is encoded.

    Raises:
        ProtocolError: It is longer than any store's.
    """
    key = item.findtext("Key") or ""
    return bounded(unquote_plus(key) if encoded else key)


def bounded(name: str) -> str:
    """Return a name that a store made up.

    Raises:
        ProtocolError: It is longer than any store's.
    """
    if len(name) > MAX_NAME_CHARS:
        raise ProtocolError(f"a name in the reply has {len(name)} characters; allowed are {MAX_NAME_CHARS}")
    return name


def _number(text: str | None) -> int | None:
    """Read a number that is not negative; None if it is none."""
    return int(text) if text and text.isascii() and text.isdigit() else None


def content_length(headers: Headers) -> int | None:
    """Read ``Content-Length``."""
    return _number(headers.first.get("content-length"))
