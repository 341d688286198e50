"""Object attributes, how objects are stored, and checksums, as HTTP headers carry them.

Source: Amazon S3 User Guide, "Working with object metadata": names and values are US-ASCII; others travel
as RFC 2047 encoded words. "Categorizing your objects using tags": a query string, ten at most.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import quote

from dataferry.domain.objects import Attributes

META_PREFIX = "x-amz-meta-"
MAX_ETAG_CHARS = 1024
CRC_HEADER = "x-amz-checksum-crc64nvme"
MAX_TAGS = 10
MAX_TAG_KEY_CHARS = 128
MAX_TAG_VALUE_CHARS = 256
_ENCRYPTION = "x-amz-server-side-encryption"
_FIELDS = {
    "content_type": "Content-Type",
    "cache_control": "Cache-Control",
    "content_disposition": "Content-Disposition",
    "content_encoding": "Content-Encoding",
    "content_language": "Content-Language",
    "expires": "Expires",
}
_FIELD_OF = {header.lower(): field for field, header in _FIELDS.items()}
NO_ATTRIBUTES = Attributes(tags=())
_ENCODED_WORD = re.compile(r"=\?utf-8\?([bq])\?([^?\s]*)\?=", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(?==\?)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DATE_CHARS = len("Sun, 06 Nov 1994 08:49:37 GMT")  # RFC 9110, section 5.6.7
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WORD_BYTES = 45  # base64 of 45 bytes is 60 characters; an encoded word has at most 75


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """How a store is to keep the objects that are created in it; what is None is the bucket's own choice.

    Attributes:
        server_side_encryption: ``AES256``, ``aws:kms`` or ``aws:kms:dsse``.
        bucket_key_enabled: Whether one key of the bucket stands for many calls to the key service.
    """

    storage_class: str | None = None
    server_side_encryption: str | None = None
    sse_kms_key_id: str | None = None
    bucket_key_enabled: bool | None = None

    def headers(self) -> dict[str, str]:
        """Write it as request headers."""
        flag = self.bucket_key_enabled
        headers = {
            "x-amz-storage-class": self.storage_class,
            _ENCRYPTION: self.server_side_encryption,
            f"{_ENCRYPTION}-aws-kms-key-id": self.sse_kms_key_id,
            f"{_ENCRYPTION}-bucket-key-enabled": None if flag is None else str(flag).lower(),
        }
        return {name: value for name, value in headers.items() if value is not None}


def creation_headers(attributes: Attributes, storing: Storing) -> dict[str, str]:
    """Return all fields that an object gets when it is created, by whatever call creates it.

    Those of PutObject, CreateMultipartUpload and CopyObject are the same ones.
    """
    headers = to_headers(attributes) | storing.headers()
    if attributes.tags:
        headers["x-amz-tagging"] = "&".join(
            f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in attributes.tags
        )
    return headers


def tag_count(fields: Mapping[str, str]) -> int:
    """Read how many tags a reply says that the object has; names are in lower case."""
    text = fields.get("x-amz-tagging-count") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0  # noqa: PLR2004 - ten at most


def to_headers(attributes: Attributes) -> dict[str, str]:
    """Write attributes as request headers, without tags."""
    if attributes is NO_ATTRIBUTES:
        return {}
    headers = {
        header: encode_text(value)
        for field, header in _FIELDS.items()
        if (value := getattr(attributes, field)) is not None
    }
    for name, value in attributes.user_metadata:
        if _TOKEN.fullmatch(name):
            headers[META_PREFIX + name.lower()] = encode_text(value)
    return headers


def from_headers(fields: Mapping[str, str]) -> Attributes:
    """Read attributes from a reply's fields, whose names are in lower case.

    ``aws-chunked`` is of the request, not of the object.
    """
    found: dict[str, str] = {}
    metadata: list[tuple[str, str]] = []
    for name, value in fields.items():
        if name in _FIELD_OF:
            found[_FIELD_OF[name]] = _text(value)
        elif name.startswith(META_PREFIX):
            metadata.append((name[len(META_PREFIX) :], _text(value)))
    if not found and not metadata:
        return NO_ATTRIBUTES
    encodings = [part.strip() for part in found.pop("content_encoding", "").split(",")]
    encoding = ", ".join(name for name in encodings if name and name != "aws-chunked")
    metadata.sort()
    return Attributes(**found, content_encoding=encoding or None, user_metadata=tuple(metadata), tags=())


def encode_text(value: str) -> str:
    """Write a value in US-ASCII; others than ASCII as RFC 2047 words, which S3 decodes."""
    clean = _CONTROL.sub(" ", value)
    if clean.isascii():
        return clean
    words: list[bytes] = [b""]
    for char in clean:
        raw = char.encode("utf-8", "replace")
        if len(words[-1]) + len(raw) > _WORD_BYTES:
            words.append(b"")
        words[-1] += raw
    return " ".join(f"=?UTF-8?B?{base64.b64encode(word).decode()}?=" for word in words)


def decode_text(value: str) -> str:
    """Read a value: RFC 2047 words of UTF-8, or raw UTF-8 that http.client took for Latin-1."""
    if not value.isascii():
        try:
            return value.encode("latin-1").decode("utf-8")
        except UnicodeError:
            return value
    if "=?" not in value:
        return value
    return _ENCODED_WORD.sub(_decode_word, _BETWEEN_WORDS.sub(r"\1", value))


def _decode_word(match: re.Match[str]) -> str:
    """Decode one encoded word; one that is none stays as it is."""
    try:
        if match[1].lower() == "b":
            return base64.b64decode(match[2], validate=True).decode()
        return binascii.a2b_qp(match[2].encode(), header=True).decode()
    except ValueError:
        return match[0]


def _text(value: str) -> str:
    """Read a header's value; control characters of folded headers are blanks."""
    return _CONTROL.sub(" ", decode_text(value))


def encode_crc(value: int) -> str:
    """Write a CRC-64/NVME as S3 does: big-endian, base64."""
    return base64.b64encode(value.to_bytes(8, "big")).decode()


def decode_crc(text: str | None) -> int | None:
    """Read a CRC-64/NVME of a whole object or part; None where there is none (``-N`` is a composite)."""
    if not text:
        return None
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return int.from_bytes(raw, "big") if len(raw) == 8 else None  # noqa: PLR2004 - 64 bits


def strong_etag(text: str | None) -> str | None:
    """Return an ETag without its quotes; None for a weak or an endless one, which names no exact bytes."""
    if not text or text.startswith("W/") or len(text) > MAX_ETAG_CHARS:
        return None
    return text.strip().strip('"') or None


@lru_cache(maxsize=1024)  # replies of a second have one date, and what was written together another
def http_date(text: str | None) -> datetime | None:
    """Read an HTTP date; None if it is none.

    The form that servers send is read by its columns, ten times as quickly as any form that there ever was.
    """
    try:
        if text and len(text) == _DATE_CHARS and text.endswith(" GMT"):
            day, month, year, clock = (
                int(text[5:7]),
                _MONTHS.index(text[8:11]) + 1,
                text[12:16],
                text[17:25],
            )
            return datetime.fromisoformat(f"{year}-{month:02}-{day:02}T{clock}+00:00")
        return parsedate_to_datetime(text).astimezone(UTC) if text else None
    except (ValueError, TypeError, OverflowError):
        return None


def iso_date(text: str | None) -> datetime | None:
    """Read an ISO 8601 time in UTC; None if it is none."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError):
        return None
