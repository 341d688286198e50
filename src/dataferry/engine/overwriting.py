"""What happens where the destination has an object of that name already (rule 9)."""

from __future__ import annotations

from dataferry.domain.objects import ObjectInfo
from dataferry.engine.transfer import Overwrite
from dataferry.engine.verification import is_md5_etag


def skip_reason(policy: Overwrite, source: ObjectInfo, found: ObjectInfo | None) -> str | None:
    """Return why an object need not be moved, None if it must.

    Equal sizes alone never make a skip: the contents must be known to be the same.
    """
    if found is None or policy is Overwrite.ALWAYS:
        return None
    if policy is Overwrite.NEVER:
        return "it is there, and overwrite is never"
    if source.size_bytes is None or source.size_bytes != found.size_bytes:
        return None
    if source.crc64nvme is not None and found.crc64nvme is not None:
        return "same size and CRC-64/NVME" if source.crc64nvme == found.crc64nvme else None
    if is_md5_etag(source.validator) and source.validator == found.validator:
        return "same size and MD5"
    return None
