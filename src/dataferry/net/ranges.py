"""A range of an object, as it is asked for.

Source: RFC 9110, section 14, "Range Requests".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dataferry.domain.objects import ObjectInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRange:
    """A half-open range ``(offset_bytes, end_bytes)``, to the object's end if that is None.

    Attributes:
        info: The object, in the version that is wanted.
    """

    info: ObjectInfo
    offset_bytes: int
    end_bytes: int | None

    @classmethod
    def of(cls, info: ObjectInfo, offset_bytes: int, length_bytes: int | None) -> Self:
        """Turn offset and length into a range."""
        end = info.size_bytes if length_bytes is None else offset_bytes + length_bytes
        return cls(info=info, offset_bytes=offset_bytes, end_bytes=end)

    @property
    def range_header(self) -> str | None:
        """The ``Range`` header; None for a whole object, which every server understands."""
        if self.offset_bytes == 0 and self.end_bytes == self.info.size_bytes:
            return None
        return f"bytes={self.offset_bytes}-{'' if self.end_bytes is None else self.end_bytes - 1}"
