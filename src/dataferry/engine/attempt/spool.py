"""Bytes of objects whose length is not known: held until it is known how many they are.

A request says how long its body is before it sends it. So a part, or the whole object where the sink takes no
parts, is read to its end before it is sent.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from dataferry.domain.errors import ConfigError, IntegrityError, NoSpaceError, TooLargeError
from dataferry.domain.objects import ObjectInfo
from dataferry.engine.transfer import EngineLimits
from dataferry.mechanisms.checksum import crc64nvme

# Below this no file is made.
MEMORY_BYTES = 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How an object of unknown length is cut.

    Attributes:
        part_bytes: Of each part but the last, which is what is left.
        most_bytes: The most that the object may have.
        limit: The setting that says so.
    """

    part_bytes: int
    most_bytes: int
    limit: str

    def refusal(self, name: str) -> TooLargeError:
        """The error of an object that has more."""
        return TooLargeError(
            f"{name}: its source does not say how long it is, and sends more than {self.most_bytes} bytes, "
            f"which is what engine.{self.limit} allows"
            + ("" if self.part_bytes < self.most_bytes else " where the destination takes no parts"),
            operation="read",
        )


def bounds(limits: EngineLimits, *, most_parts: int, least_part_bytes: int) -> Bounds:
    """Cut so that ``most_parts`` uniform parts hold the longest object allowed.

    Uniform, since some stores refuse parts of several sizes.

    Args:
        limits: What the operator allows.
        most_parts: The most that an object may have; 1 where it is sent whole.
        least_part_bytes: The sink's least size of a part that is not the last.
    """
    spool = max(limits.spool_bytes, least_part_bytes)
    if most_parts == 1:
        most, limit = min(
            (limits.max_unknown_length_bytes, "max_unknown_length_bytes"), (spool, "spool_bytes")
        )
        return Bounds(most, most, limit)
    most, limit = min(
        (limits.max_unknown_length_bytes, "max_unknown_length_bytes"), (spool * most_parts, "spool_bytes")
    )
    part = max(min(limits.part_size_bytes, spool), -(-most // most_parts), least_part_bytes)
    return Bounds(part, most, limit)


class Spool:
    """Holds bytes: in memory while they are few, else in a file that has no name.

    The system removes such a file when the process ends, in whatever way.

    Args:
        directory: Where the file lies; None is the system's directory for temporary files.
    """

    def __init__(self, directory: str | None) -> None:
        self.size_bytes = 0
        self.crc64nvme = 0
        self._sum = crc64nvme
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES, dir=directory)  # noqa: SIM115 - closed by ``close``

    def add(self, data: memoryview) -> None:
        """Append bytes.

        Raises:
            NoSpaceError: The disk is full.
            ConfigError: The directory can't be used.
        """
        with _translated():
            self._file.write(data)
        self.size_bytes += len(data)
        self.crc64nvme = self._sum(data, self.crc64nvme)

    def clear(self) -> None:
        """Hold nothing; the room on the disk is free again."""
        with _translated():
            self._file.seek(0)
            self._file.truncate()
        self.size_bytes = self.crc64nvme = 0

    def stream(self, info: ObjectInfo) -> HeldStream:
        """Return what is held, from its beginning, as bytes of the object ``info``."""
        return HeldStream(self, info)

    def readinto(self, offset_bytes: int, buffer: memoryview) -> int:
        """Read what is held from an offset on."""
        with _translated():
            self._file.seek(offset_bytes)
            return self._file.readinto(buffer)

    def close(self) -> None:
        """Free memory and disk."""
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class HeldStream:
    """What a spool holds, as a stream of a source; its last byte comes only if all are as they went in."""

    def __init__(self, spool: Spool, info: ObjectInfo) -> None:
        self._spool = spool
        self._info = info
        self._sum = crc64nvme
        self._read = 0
        self._crc64nvme = 0

    @property
    def info(self) -> ObjectInfo:
        """The object that these bytes are of."""
        return self._info

    @property
    def length_bytes(self) -> int:
        """How many are held."""
        return self._spool.size_bytes

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from its start; return how many bytes, 0 at the end.

        Raises:
            IntegrityError: They are not those that were held.
        """
        count = self._spool.readinto(self._read, buffer)
        self._read += count
        self._crc64nvme = self._sum(buffer[:count], self._crc64nvme)
        if self._read == self._spool.size_bytes and self._crc64nvme != self._spool.crc64nvme:
            raise IntegrityError(
                f"{self._info.name}: the spool gives back other bytes than it was given", operation="read"
            )
        return count

    def close(self) -> None:
        """Nothing: the spool keeps them until it is cleared, so that they can be sent again."""


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the system says into errors of the tree; paths of this machine are nobody else's business."""
    try:
        yield
    except OSError as exc:
        what = "objects whose source does not say their length are held in engine.spool_directory"
        if exc.errno in _FULL:
            raise NoSpaceError(f"{what}, and its disk is full", operation="spool") from exc
        raise ConfigError(f"{what}, which can't be used: {exc.strerror or exc}", operation="spool") from exc
