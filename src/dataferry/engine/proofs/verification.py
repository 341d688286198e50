"""What is proved about an object, from the checksums that the pair gave (rule 8)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from dataferry.domain.errors import IntegrityError
from dataferry.domain.objects import ObjectInfo, PartReceipt, Verification
from dataferry.mechanisms.checksum import followed_by

_MD5 = re.compile("[0-9a-fA-F]{32}")


def combined_crc64nvme(parts: Iterable[PartReceipt]) -> int | None:
    """Return the CRC-64/NVME of the whole from those of its parts, in order; None if one is not known."""
    combined = 0
    for part in parts:
        if part.crc64nvme is None:
            return None
        combined = followed_by(combined, part.crc64nvme, part.size_bytes)
    return combined


def compare_with_source(source: ObjectInfo, streamed_crc64nvme: int | None) -> None:
    """Compare what was streamed with the source's own checksum, where both are known.

    Raises:
        IntegrityError: They differ.
    """
    if None not in (source.crc64nvme, streamed_crc64nvme) and source.crc64nvme != streamed_crc64nvme:
        raise IntegrityError(
            f"{source.name}: the bytes read do not have the CRC-64/NVME that the source keeps",
            operation="read",
        )


def level(source: ObjectInfo, streamed_crc64nvme: int | None, *, confirmed: bool) -> Verification:
    """Return how far an object is proved.

    Args:
        source: With its checksum, where the store keeps one; it was compared before.
        streamed_crc64nvme: Of the bytes sent; None if not of all of them.
        confirmed: The destination's own checksum of the whole object is the same.
    """
    if streamed_crc64nvme is None:
        return Verification.SIZE
    if not confirmed:
        return Verification.TRANSPORT
    return Verification.END_TO_END if source.crc64nvme is not None else Verification.DESTINATION


def stored_level(source: ObjectInfo, found: ObjectInfo) -> Verification:
    """Return how far an object is proved that nobody here saw: by what both stores keep of it.

    It is the stores' word: a store may hand a checksum on together with the bytes that it copies.

    Raises:
        IntegrityError: Both keep a CRC-64/NVME, and they differ.
    """
    if None not in (source.crc64nvme, found.crc64nvme):
        if source.crc64nvme != found.crc64nvme:
            raise IntegrityError(
                f"{source.name}: source and destination keep different CRC-64/NVMEs", operation="copy"
            )
        return Verification.DESTINATION
    etag = source.validator or ""
    if etag == found.validator and is_md5_etag(etag.partition("-")[0]):
        return Verification.DESTINATION
    return Verification.SIZE


@lru_cache(maxsize=1024)  # small objects are looked at several times each
def is_md5_etag(etag: str | None) -> bool:
    """True if an ETag looks like the MD5 of a whole object."""
    return etag is not None and _MD5.fullmatch(etag) is not None


def composite_etag(parts: Sequence[PartReceipt]) -> str | None:
    """Return the ETag that S3 makes from those of the parts; None if theirs are not MD5s.

    Source: Amazon S3 User Guide, "Checking object integrity": MD5 of the concatenated MD5s, dash, count.
    """
    if not parts or not all(is_md5_etag(part.etag) for part in parts):
        return None
    joined = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"
