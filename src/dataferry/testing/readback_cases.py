"""What a sink does that can be read back, and that no other pretends to."""

from __future__ import annotations

from contextlib import closing

import pytest

from dataferry.domain.errors import DataFerryError, SourceChangedError
from dataferry.domain.objects import Capability, ObjectInfo
from dataferry.mechanisms.abilities import ReadBack
from dataferry.mechanisms.base import Reader, Sink
from dataferry.testing.mechanism_rig import (
    MechanismCases,
    MechanismRig,
    Quirk,
    checksum,
    drain,
    needs,
    pattern,
    put,
    put_part,
    skip_on,
)
from dataferry.testing.reading_cases import ODD_NAMES


class ReadBackCases(MechanismCases):
    """Reading what was written, by its final key and version."""

    @pytest.mark.parametrize("size_bytes", [0, 1, 300_001])
    def test_what_was_put_is_read_back(self, rig: MechanismRig, size_bytes: int) -> None:
        """The version that the receipt names gives the bytes that were sent, and it has their checksum."""
        needs(rig, Capability.READ_BACK)
        data = pattern(size_bytes)
        sink = self.sink(rig, rig.fresh_sink())
        key = sink.place("x", single=False)
        receipt = put(self.writer(sink), key, data)
        there = _there(key, data, receipt.etag)
        assert data == drain(self.written(sink).open(there))
        assert checksum(data) == receipt.crc64nvme

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_are_read_back(self, rig: MechanismRig, name: str) -> None:
        """A final key is what the reader takes, whatever it is made of."""
        needs(rig, Capability.READ_BACK)
        sink = self.sink(rig, rig.fresh_sink())
        key = sink.place(name, single=False)
        receipt = put(self.writer(sink), key, name.encode())
        there = _there(key, name.encode(), receipt.etag)
        assert name.encode() == drain(self.written(sink).open(there))

    def test_an_object_made_of_parts_is_read_back_in_ranges(self, rig: MechanismRig) -> None:
        """Each part is where it was sent to, and the version is that of the completion."""
        needs(rig, Capability.READ_BACK)
        needs(rig, Capability.PARTS)
        data, size = pattern(rig.part_size_bytes + 100), rig.part_size_bytes
        sink = self.sink(rig, rig.fresh_sink())
        writer, upload = self.begin(sink, data)
        parts = [put_part(writer, upload, data, number, size) for number in (1, 2)]
        done = writer.complete(upload, parts, size_bytes=len(data), crc64nvme=checksum(data))
        reader, there = self.written(sink), _there(upload.key, data, done.validator or "")
        for part, offset in zip(parts, (0, size), strict=True):
            stream = reader.open(there, offset_bytes=offset, length_bytes=part.size_bytes)
            assert part.crc64nvme == checksum(drain(stream))

    def test_another_version_is_not_read_back(self, rig: MechanismRig) -> None:
        """What somebody else has written since does not pass for ours."""
        needs(rig, Capability.READ_BACK)
        skip_on(rig, Quirk.NO_VERSION_OF_WRITES)
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        key = sink.place("x", single=False)
        receipt = put(self.writer(sink), key, b"ours")
        rig.replace(place, "x", b"else")
        with pytest.raises(SourceChangedError):
            drain(self.written(sink).open(_there(key, b"ours", receipt.etag)))

    def test_who_declares_it_has_a_reader(self, rig: MechanismRig) -> None:
        """The engine asks the capability first, and then for the reader."""
        sink = self.sink(rig, rig.fresh_sink())
        assert isinstance(sink, ReadBack) or Capability.READ_BACK not in sink.capabilities

    def test_what_is_not_there_is_not_read_back(self, rig: MechanismRig) -> None:
        """An object that is gone is an error, never empty."""
        needs(rig, Capability.READ_BACK)
        sink = self.sink(rig, rig.fresh_sink())
        reader = self.written(sink)
        with pytest.raises(DataFerryError):
            drain(reader.open(_there(sink.place("x", single=False), b"x", "")))

    def written(self, sink: Sink) -> Reader:
        """Open a reader of what a sink holds."""
        assert isinstance(sink, ReadBack)
        return self._opened.enter_context(closing(sink.reader()))


def _there(key: str, data: bytes, etag: str) -> ObjectInfo:
    """Describe what was written, as the engine does."""
    return ObjectInfo(name=key, key=key, size_bytes=len(data), validator=etag or None)
