"""ETags prove what they were seen to be, and nothing by their form."""

from __future__ import annotations

import hashlib

import pytest

from dataferry.domain.objects import ObjectInfo, PartReceipt, Verification
from dataferry.engine.proofs.etags import EACH_BYTES, SAMPLE_BYTES, Etags

BODY = b"some bytes"
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
OTHER = "0" * 32


def source(etag: str | None = None, crc64nvme: int | None = None) -> ObjectInfo:
    return ObjectInfo(name="x", key="x", size_bytes=10, validator=etag, crc64nvme=crc64nvme)


def receipt(etag: str = "", *, confirmed: bool = False) -> PartReceipt:
    return PartReceipt(number=1, size_bytes=10, etag=etag, crc64nvme=1, confirmed=confirmed)


def level(etags: Etags, read: ObjectInfo, taken: PartReceipt, md5: str | None) -> Verification:
    return etags.level(read, taken, md5, confirmed=taken.confirmed)


def test_equal_etags_alone_prove_nothing() -> None:
    """Two stores whose ETags are all the same, or are made of names, agree about no byte."""
    etags = Etags()
    assert level(etags, source(OTHER), receipt(OTHER), None) is Verification.TRANSPORT
    etags.learn(source(OTHER), receipt(OTHER), MD5)
    etags.distrust(source(OTHER), receipt(OTHER), MD5)
    assert (etags.source, etags.sink) == (False, False)
    assert level(etags, source(OTHER), receipt(OTHER), None) is Verification.TRANSPORT


def test_equal_etags_prove_once_both_were_seen_to_be_md5s() -> None:
    """From then on no body is summed up; what differs is doubted."""
    etags = Etags()
    assert etags.wants_md5(source(MD5), SAMPLE_BYTES, reads_back=False)
    etags.learn(source(MD5), receipt(MD5), MD5)
    assert not etags.wants_md5(source(MD5), 10, reads_back=False)
    assert level(etags, source(OTHER), receipt(OTHER), None) is Verification.END_TO_END
    assert etags.doubts(source(MD5), receipt(OTHER), None)
    assert level(etags, source(MD5), receipt(OTHER), None) is Verification.TRANSPORT


@pytest.mark.parametrize(
    ("read", "taken", "md5", "expected"),
    [
        (source(MD5), receipt(MD5), MD5, Verification.END_TO_END),
        (source(MD5.upper()), receipt(MD5), MD5, Verification.END_TO_END),
        (source(crc64nvme=1), receipt(MD5), MD5, Verification.END_TO_END),
        (source(MD5), receipt(confirmed=True), MD5, Verification.END_TO_END),
        (source(OTHER), receipt(MD5), MD5, Verification.DESTINATION),
        (source(), receipt(MD5), MD5, Verification.DESTINATION),
        (source(), receipt(confirmed=True), None, Verification.DESTINATION),
        (source(MD5), receipt(OTHER), MD5, Verification.TRANSPORT),
        (source(crc64nvme=1), receipt(OTHER), MD5, Verification.TRANSPORT),
        (source(f"{MD5}-2"), receipt(f"{MD5}-2"), None, Verification.TRANSPORT),
    ],
)
def test_a_level_needs_its_proof(
    read: ObjectInfo, taken: PartReceipt, md5: str | None, expected: Verification
) -> None:
    """Each end counts only by what agrees with the bytes that were streamed."""
    assert level(Etags(), read, taken, md5) is expected


def test_bodies_are_summed_up_where_that_proves_something() -> None:
    """Small ones for a sink whose ETags are MD5s, none for a sink that keeps a CRC-64/NVME or nothing."""
    etags = Etags()
    assert etags.wants_md5(source(), EACH_BYTES, reads_back=False)
    assert not etags.wants_md5(source(), EACH_BYTES + 1, reads_back=False)
    etags.learn(source(), receipt("opaque"), MD5)
    assert not etags.wants_md5(source(), 1, reads_back=False)
    keeps = Etags()
    keeps.learn(source(), receipt(confirmed=True), None)
    assert not keeps.wants_md5(source(), 1, reads_back=False)
    assert not keeps.wants_md5(source(MD5, crc64nvme=1), 1, reads_back=False)
