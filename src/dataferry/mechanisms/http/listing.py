"""Reading a listing: what another plane's gateway says that a flow of several objects has, in JSON lines.

A line for each object, in the order of the names, then one that sums up: a listing without it, or with
another number of lines than it says, is not whole. Everything in it is the other side's word.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from dataferry.domain.errors import ProtocolError, ShortBodyError
from dataferry.domain.objects import ObjectInfo

MAX_LINE_BYTES = 64 * 1024
# As long as a path may be; patterns take their time with each.
MAX_NAME_CHARS = 4096
PIECE_BYTES = 64 * 1024
OPERATION = "http.list"
_CRC_BYTES = 8
# No ledger keeps them: UTF-8 can't say the one, and databases not the other.
_NOT_KEPT = re.compile("[\\x00\ud800-\udfff]")
_ETAG = re.compile(r"[\x21\x23-\x7e]{1,512}")


def objects(readinto: Callable[[memoryview], int]) -> Iterator[ObjectInfo]:
    """Return the objects of a listing as they are read; their keys are their names.

    Args:
        readinto: Fills a buffer from its start; 0 at the end.

    Raises:
        ProtocolError: It is no listing, or not in order.
        ShortBodyError: It ended before it summed up.
    """
    count, last = 0, ""
    for line in _lines(readinto):
        entry = _entry(line)
        if "summary" in entry:
            if entry["summary"].get("objects") != count:
                raise ProtocolError("the listing has more or fewer objects than it says", operation=OPERATION)
            return
        info = _object(entry)
        if count and info.name <= last:
            raise ProtocolError("the listing is not in the order of its names", operation=OPERATION)
        count, last = count + 1, info.name
        yield info
    raise ShortBodyError("the listing ended before it summed up", operation=OPERATION)


def _lines(readinto: Callable[[memoryview], int]) -> Iterator[bytes]:
    buffer = memoryview(bytearray(PIECE_BYTES))
    rest = b""
    while count := readinto(buffer):
        *lines, rest = (rest + bytes(buffer[:count])).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise ProtocolError("the listing has a line without end", operation=OPERATION)
        yield from lines


def _entry(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict) or not isinstance(entry.get("summary", {}), dict):
        raise ProtocolError("the listing has a line that is no JSON object", operation=OPERATION)
    return entry


def _object(entry: dict[str, Any]) -> ObjectInfo:
    """Read one line.

    Raises:
        ProtocolError: It lacks a name or a size, or a value is of another kind, or can't be kept.
    """
    name, size = entry.get("name"), entry.get("size")
    etag, modified = entry.get("etag"), entry.get("modified")
    fault = ProtocolError("the listing has a line that describes no object", operation=OPERATION)
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
        raise fault
    if _NOT_KEPT.search(name) or not _is_size(size):
        raise fault
    try:
        return ObjectInfo(
            name=name,
            key=name,
            size_bytes=size,
            validator=etag if isinstance(etag, str) and _ETAG.fullmatch(etag) else None,
            crc64nvme=_crc(entry.get("checksum")),
            modified_at=None if modified is None else datetime.fromisoformat(modified).astimezone(UTC),
        )
    except (TypeError, ValueError, OverflowError) as exc:
        raise fault from exc


def _is_size(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**63


def _crc(checksum: Any) -> int | None:
    if not checksum or "crc64nvme" not in checksum:
        return None
    raw = b64decode(checksum["crc64nvme"], validate=True)
    if len(raw) != _CRC_BYTES:
        raise ValueError(len(raw))
    return int.from_bytes(raw, "big")
