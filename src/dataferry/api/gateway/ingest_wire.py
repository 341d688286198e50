"""What requests of a push say, and what answers tell them: bodies, headers and checksums, as on the wire."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataferry.api.gateway.conditions import etag_of
from dataferry.domain.errors import InputError
from dataferry.domain.objects import Attributes, PartReceipt

CRC_HEADER = "X-Crc64nvme"
MAX_LENGTH_DIGITS = 19
_CRC_BYTES = 8
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,1000}[\x21-\x7e])?")
D = TypeVar("D", bound=BaseModel)


class UploadBody(BaseModel):
    """What is said of an object that is sent in parts."""

    model_config = ConfigDict(strict=True, populate_by_name=True)

    size_bytes: int | None = Field(default=None, alias="sizeBytes", ge=0)
    content_type: str | None = Field(default=None, alias="contentType", max_length=1024)
    content_encoding: str | None = Field(default=None, alias="contentEncoding", max_length=1024)
    content_language: str | None = Field(default=None, alias="contentLanguage", max_length=1024)


class CompletionBody(BaseModel):
    """What the sender says that it sent."""

    model_config = ConfigDict(strict=True, populate_by_name=True)

    parts: int = Field(ge=1, le=10_000)
    size_bytes: int = Field(alias="sizeBytes", ge=0)
    crc64nvme: str = Field(max_length=12, description="Of the whole object, in base64.")


def document(request: Request, kind: type[D]) -> D:
    """Read the body of a POST.

    Raises:
        InputError: It is none of that kind; its values are not repeated.
    """
    try:
        return kind.model_validate(getattr(request.state, "json", None))
    except ValidationError as exc:
        fields = {".".join(str(part) for part in entry["loc"])[:100] for entry in exc.errors()}
        raise InputError(f"the body is wrong: {', '.join(sorted(fields)) or 'it is no object'}") from None


def told_of(etag: str | None, crc64nvme: int | None) -> dict[str, str]:
    """Say which version it is, and what came."""
    tag = etag_of(etag)
    headers = {"Cache-Control": "private, no-store"}
    if tag is not None:
        headers["ETag"] = tag
    if crc64nvme is not None:
        headers[CRC_HEADER] = crc_text(crc64nvme)
    return headers


def part_of(part: PartReceipt) -> dict[str, Any]:
    """Show a part."""
    crc = None if part.crc64nvme is None else crc_text(part.crc64nvme)
    return {"number": part.number, "sizeBytes": part.size_bytes, "crc64nvme": crc}


def crc_text(crc: int) -> str:
    """Write a checksum in base64, its bytes from the highest."""
    return b64encode(crc.to_bytes(_CRC_BYTES, "big")).decode()


def crc_of(text: str) -> int:
    """Read a checksum.

    Raises:
        InputError: It is none.
    """
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != _CRC_BYTES:
        raise InputError("crc64nvme is 8 bytes in base64")
    return int.from_bytes(raw, "big")


def length_of(request: Request) -> int | None:
    """Return how long a body says that it is; None if its end will tell.

    Raises:
        InputError: It says both, or a length that is none, or that it is a part of something.
    """
    text, coding = request.headers.get("content-length"), request.headers.get("transfer-encoding")
    if "content-range" in request.headers:
        raise InputError("a PUT of a range is not taken")  # Source: RFC 9110, section 14.5
    if text is not None and coding is not None:
        raise InputError("the request has both Content-Length and Transfer-Encoding")
    if text is None:
        return None if coding is not None else 0
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_LENGTH_DIGITS):
        raise InputError("Content-Length is no number")
    return int(text)


def only_if_absent(request: Request) -> bool:
    """Return whether nothing may be replaced.

    Raises:
        InputError: It is a condition that is not looked at here; to ignore it would lose data.
    """
    if "if-match" in request.headers or "if-unmodified-since" in request.headers:
        raise InputError("of conditions only If-None-Match: * is known here")
    condition = request.headers.get("if-none-match")
    if condition is not None and condition.strip() != "*":
        raise InputError("of conditions only If-None-Match: * is known here")
    return condition is not None


def attributes_of(request: Request) -> Attributes:
    """Return what headers say of the body."""
    return Attributes(
        content_type=header_value(request.headers.get("content-type")),
        cache_control=header_value(request.headers.get("cache-control")),
        content_disposition=header_value(request.headers.get("content-disposition")),
        content_encoding=header_value(request.headers.get("content-encoding")),
        content_language=header_value(request.headers.get("content-language")),
    )


def header_value(value: str | None) -> str | None:
    """Return a value if a store may be told it."""
    return value if value and _VALUE.fullmatch(value) else None
