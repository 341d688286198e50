"""What happens where the destination has an object of that name already (rule 9)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dataferry.domain.ledger import ObjectRow
from dataferry.domain.objects import ObjectInfo, Verification
from dataferry.engine.proofs.verification import is_md5_etag
from dataferry.engine.transfer import Overwrite


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Why an object need not be moved, how far it is proved that it is there, and its checksum if known."""

    reason: str
    level: Verification = Verification.NONE
    crc64nvme: int | None = None


def skip(
    policy: Overwrite,
    source: ObjectInfo,
    found: ObjectInfo | None,
    arrived: ObjectRow | None = None,
    *,
    content_etags: bool = False,
) -> Skip | None:
    """Return why an object need not be moved, None if it must.

    Equal sizes alone never make a skip: the contents must be known to be the same, by a checksum that both
    stores keep, or since an earlier transfer brought it and neither end has changed.

    Args:
        policy: What the caller wants.
        source: The object as listed.
        found: What the destination has under its key.
        arrived: What an earlier transfer between the same two places wrote under that key.
        content_etags: Whether one of the two stores makes ETags in the form of an MD5 of contents alone.
    """
    if found is None or policy is Overwrite.ALWAYS:
        return None
    equal = _equal(source, found, arrived, content_etags=content_etags)
    if policy is Overwrite.NEVER:
        reason = "it is there, and overwrite is never"
        return Skip(reason=reason) if equal is None else replace(equal, reason=reason)
    return equal


def _equal(
    source: ObjectInfo, found: ObjectInfo, arrived: ObjectRow | None, *, content_etags: bool
) -> Skip | None:
    """Return how it is known that the destination has these contents, None if it is not."""
    is_sized = source.size_bytes is not None
    if is_sized and source.size_bytes != found.size_bytes:
        return None
    unchanged = arrived if arrived is not None and _is_unchanged(source, found, arrived) else None
    crc64nvme = source.crc64nvme if unchanged is None else unchanged.crc64nvme
    if is_sized and None not in {source.crc64nvme, found.crc64nvme}:
        reason = "same size and CRC-64/NVME" if source.crc64nvme == found.crc64nvme else None
        level = Verification.DESTINATION
    elif is_sized and content_etags and is_md5_etag(source.validator) and source.validator == found.validator:
        reason, level = "same size and MD5", Verification.DESTINATION
    elif unchanged is not None:
        reason, level = "unchanged at both ends since it was copied", unchanged.verification
    else:
        reason, level = None, Verification.NONE
    if reason is not None and unchanged is not None:
        level = max(level, unchanged.verification)
    return None if reason is None else Skip(reason=reason, level=level, crc64nvme=crc64nvme)


def _is_unchanged(source: ObjectInfo, found: ObjectInfo, arrived: ObjectRow) -> bool:
    """True if both ends are the versions that the earlier transfer read and wrote.

    The length that it wrote down is what arrived, also of an object whose source does not say it.
    """
    return (
        source.validator is not None
        and found.validator is not None
        and (source.name, source.validator) == (arrived.source.name, arrived.source.validator)
        and source.size_bytes in {None, arrived.source.size_bytes}
        and (found.size_bytes, found.validator) == (arrived.source.size_bytes, arrived.etag)
    )
