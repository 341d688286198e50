"""Memory does not grow with objects or their number."""

# ruff: noqa: ARG002 - the ports name the arguments
from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

from tests.unit.engine.memory import (
    MemoryLedger,
    MemoryReader,
    MemorySink,
    MemorySource,
    MemoryStream,
    MemoryWriter,
    Witness,
)

from dataferry.domain.objects import Attributes, ObjectInfo, PartReceipt, Upload
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Transfer

MIB = 1024 * 1024


class EndlessStream(MemoryStream):
    """Gives bytes without having them."""

    def __init__(self, reader: MemoryReader, info: ObjectInfo, length: int) -> None:
        super().__init__(reader, info, b"", 0)
        self.length_bytes = length
        self._left = length

    def readinto(self, buffer: memoryview) -> int:
        """Fill nothing, say how much."""
        count = min(len(buffer), self._left)
        self._left -= count
        return count


class EndlessReader(MemoryReader):
    """Reads objects of any size."""

    def open(
        self, info: ObjectInfo, *, offset_bytes: int = 0, length_bytes: int | None = None
    ) -> MemoryStream:
        """Open a range."""
        return EndlessStream(self, info, (info.size_bytes or 0) if length_bytes is None else length_bytes)

    def stat(self, info: ObjectInfo) -> ObjectInfo:
        """As planned."""
        return info


class EndlessSource(MemorySource):
    """Objects of any size that exist nowhere."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__({})
        self.sizes = sizes

    def list(self, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """List them, in order."""
        for number, size in enumerate(self.sizes):
            name = f"{number:08}"
            if start_after is None or name > start_after:
                yield ObjectInfo(name=name, key=name, size_bytes=size, validator=f"v{number}")

    def reader(self) -> MemoryReader:
        """Open a reader."""
        return EndlessReader(self)


class DrainBody:
    """Counts bytes and drops them."""

    def __init__(self, number: int) -> None:
        self._number, self._size = number, 0

    def send(self, data: memoryview) -> None:
        """Count."""
        self._size += len(data)

    def finish(self) -> PartReceipt:
        """Say how many."""
        return PartReceipt(number=self._number, size_bytes=self._size, etag="x", crc64nvme=0, confirmed=True)

    def cancel(self) -> None:
        """Nothing is kept."""


class DrainWriter(MemoryWriter):
    """Writes nowhere."""

    def put(  # type: ignore[override]
        self, key: str, *, length_bytes: int, attributes: Attributes, only_if_absent: bool = False
    ) -> DrainBody:
        """Send a whole object."""
        return DrainBody(1)

    def put_part(  # type: ignore[override]
        self, upload: Upload, *, number: int, offset_bytes: int, length_bytes: int
    ) -> DrainBody:
        """Send a part."""
        return DrainBody(number)

    def complete(self, upload: Upload, parts: object, *, size_bytes: int, **others: object) -> ObjectInfo:
        """Have an object of that size."""
        self.sink.uploads.pop(upload.upload_id)
        return ObjectInfo(name=upload.key, key=upload.key, size_bytes=size_bytes)


class DrainSink(MemorySink):
    """Keeps nothing."""

    def writer(self) -> MemoryWriter:
        """Open a writer."""
        return DrainWriter(self)


def peak_of(sizes: list[int], workers: int, source: EndlessSource | None = None) -> int:
    """Return the most bytes that Python held beyond what it held before a transfer."""
    source = source or EndlessSource(sizes)
    sink, ledger = DrainSink(), MemoryLedger()
    attempt = ledger.begin("t")
    limits = EngineLimits(workers=workers)
    transfer = Transfer(id="t", epoch=attempt.epoch, source=source, sink=sink, limits=limits)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = run(transfer, ledger, stop=Stop(), observer=Witness())
        assert (result.objects, result.bytes) == (len(sizes), sum(sizes))
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_memory_is_workers_times_a_buffer_however_big_the_objects() -> None:
    """64 GiB through four workers hold four buffers and little else."""
    assert peak_of([16 * 1024 * MIB] * 4, workers=4) < 4 * MIB + 3 * MIB


def test_uploads_and_parts_are_bounded() -> None:
    """No object has more than 9,000 parts, also where the configured part size would make more."""
    sink = DrainSink()
    ledger = MemoryLedger()
    attempt = ledger.begin("t")
    size = 9_500 * MIB
    limits = EngineLimits(workers=2, part_size_bytes=MIB)
    transfer = Transfer(id="t", epoch=attempt.epoch, source=EndlessSource([size]), sink=sink, limits=limits)

    result = run(transfer, ledger, stop=Stop(), observer=Witness())

    assert result.bytes == size
    assert 8_900 < ledger.calls.count("add_part") <= 9_000


class UnsizedReader(EndlessReader):
    """Says no lengths."""

    def open(
        self, info: ObjectInfo, *, offset_bytes: int = 0, length_bytes: int | None = None
    ) -> MemoryStream:
        """Open the whole object."""
        stream = super().open(info, length_bytes=48 * MIB)
        stream.length_bytes = None
        return stream


class UnsizedSource(EndlessSource):
    """One object of 48 MiB that does not say so."""

    def list(self, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """List it."""
        if start_after is None:
            yield ObjectInfo(name="x", key="x", size_bytes=None, validator="v")

    def reader(self) -> MemoryReader:
        """Open a reader."""
        return UnsizedReader(self)


def test_an_object_of_unknown_length_is_held_on_disk() -> None:
    """A part of it is, and no more than a megabyte of it in memory."""
    assert peak_of([48 * MIB], workers=1, source=UnsizedSource([])) < (1 + 1 + 3) * MIB
