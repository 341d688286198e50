"""Listings of other planes are read as hostile text: whole, in order, bounded, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError, ProtocolError, ShortBodyError
from dataferry.domain.manifest import listing_line, listing_summary
from dataferry.domain.objects import ObjectInfo
from dataferry.mechanisms.http.data_address import place_of
from dataferry.mechanisms.http.listing import MAX_LINE_BYTES, objects

A = ObjectInfo(name="a", key="a", size_bytes=1, validator="e", crc64nvme=2**63 + 1)
B = ObjectInfo(name="b/ü", key="b/ü", size_bytes=0)


def reading(text: bytes, piece_bytes: int = 7) -> Callable[[memoryview], int]:
    """Give a text in small pieces."""
    rest = bytearray(text)

    def readinto(buffer: memoryview) -> int:
        piece = rest[: min(piece_bytes, len(buffer))]
        del rest[: len(piece)]
        buffer[: len(piece)] = piece
        return len(piece)

    return readinto


def entry(**changes: Any) -> bytes:
    """A line as the gateway writes it, with changes."""
    return json.dumps({"name": "a", "size": 1, **changes}).encode() + b"\n"


def test_what_the_gateway_writes_is_read() -> None:
    """Names, sizes, versions and checksums come through, whatever the pieces."""
    text = listing_line(A) + listing_line(B) + listing_summary(2, 1)

    assert list(objects(reading(text))) == [A, B]


@pytest.mark.parametrize("text", [b"", listing_line(A), listing_line(A) + listing_summary(1, 1)[:-2]])
def test_a_listing_that_breaks_off_is_not_whole(text: bytes) -> None:
    """Without its last line it has ended too early."""
    with pytest.raises(ShortBodyError):
        list(objects(reading(text)))


@pytest.mark.parametrize("etag", ["a\r\nX-Other: 1", "\ud800", 'a", "b', {"a": 1}, "", 5])
def test_what_names_no_version_is_none(etag: Any) -> None:
    """Only what can stand in a condition of a request is taken for a version's name."""
    (found,) = objects(reading(entry(etag=etag) + listing_summary(1, 1)))

    assert found.validator is None


@pytest.mark.parametrize(
    "text",
    [
        listing_line(A) + listing_summary(2, 1),
        listing_line(B) + listing_line(A) + listing_summary(2, 1),
        listing_line(A) + listing_line(A) + listing_summary(2, 2),
        b"<html>\n",
        b"[]\n",
        b'{"summary": 1}\n',
        b"[" * 60_000 + b"\n",
        entry(name=""),
        entry(name=5),
        entry(name=None),
        entry(name="a" * 4097),
        entry(name="a\0"),
        entry(name="a\ud800"),
        entry(size=None),
        entry(size=-1),
        entry(size=True),
        entry(size=2**63),
        entry(modified="yesterday"),
        entry(modified=5),
        entry(checksum={"crc64nvme": "short"}),
        entry(checksum={"crc64nvme": 7}),
        entry(checksum=[1]),
        b"x" * (MAX_LINE_BYTES + 10),
    ],
    ids=range(23),
)
def test_what_is_no_listing_is_refused(text: bytes) -> None:
    """Another number of lines, another order, no JSON, no object, a line without end."""
    with pytest.raises((ProtocolError, ShortBodyError)):
        list(objects(reading(text, piece_bytes=4096)))


def test_a_listing_is_told_by_its_address() -> None:
    """An address of ours says that it is a listing; its URL ends with a slash."""

    def address(endpoint: str) -> DataAddress:
        return DataAddress(endpoint_type="HttpData", endpoint=endpoint, properties=(("listing", "jsonl"),))

    assert place_of(address("http://plane.example/data/1/")).is_listing
    with pytest.raises(AddressError, match="ends with /"):
        place_of(address("http://plane.example/data/1"))
