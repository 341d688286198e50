"""What every sink does whose store copies objects by itself, and that no other one says that it does."""

from __future__ import annotations

import pytest

from dataferry.domain.errors import ObjectNotFoundError, SourceChangedError, UnsupportedError, UploadGoneError
from dataferry.domain.objects import Attributes, Capability
from dataferry.mechanisms.abilities import CopyingSink, CopyingWriter
from dataferry.mechanisms.base import Sink
from dataferry.testing.mechanism_rig import (
    MechanismCases,
    MechanismRig,
    Quirk,
    checksum,
    find_one,
    needs,
    pattern,
    put_part,
    skip_on,
)
from dataferry.testing.reading_cases import ODD_NAMES


class CopyingCases(MechanismCases):
    """Whole copies, copies of parts, and pairs that must not be copied."""

    def copier(self, sink: Sink) -> CopyingWriter:
        """Open a writer that copies."""
        writer = self.writer(sink)
        assert isinstance(writer, CopyingWriter)
        return writer

    def test_copies_are_offered_as_declared(self, rig: MechanismRig) -> None:
        """Who declares copies offers them, in sink and writer; who does not offers none."""
        sink = self.sink(rig, rig.fresh_sink())
        declared = Capability.COPY in rig.mechanism.sink_capabilities
        assert declared is isinstance(sink, CopyingSink)
        assert declared is isinstance(self.writer(sink), CopyingWriter)

    @pytest.mark.parametrize("size_bytes", [0, 1, 100_000])
    def test_an_object_is_copied_whole(self, rig: MechanismRig, size_bytes: int) -> None:
        """It arrives byte for byte and with its attributes; a checksum in the reply is its own."""
        needs(rig, Capability.COPY)
        data = pattern(size_bytes)
        attributes = Attributes(content_type="text/x-odd", user_metadata=(("colour", "blue"),))
        source = self.source(rig, rig.fresh_source({"x": data}, attributes=attributes))
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        assert isinstance(sink, CopyingSink)
        assert sink.refuses_copy(source) is None
        assert sink.max_copy_bytes >= rig.part_size_bytes
        info = find_one(source, "x")
        done = self.copier(sink).copy(source, info, sink.place("y", single=False))
        assert rig.contents(place) == {"y": data}
        assert done.size_bytes in {None, size_bytes}
        assert done.crc64nvme in {None, checksum(data)}
        copied = self.source(rig, place)
        found = self.reader(copied).stat(find_one(copied, "y"))
        assert found.attributes is not None
        assert attributes.content_type == found.attributes.content_type
        assert attributes.user_metadata == found.attributes.user_metadata

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_are_copied(self, rig: MechanismRig, name: str) -> None:
        """An object whose name means something in URLs is found, and no other one."""
        needs(rig, Capability.COPY)
        source = self.source(rig, rig.fresh_source({name: name.encode()}))
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        self.copier(sink).copy(source, find_one(source, name), sink.place(name, single=False))
        assert {name: name.encode()} == rig.contents(place)

    def test_parts_are_copied(self, rig: MechanismRig) -> None:
        """Ranges of an object become parts, in any order and beside a part that was sent."""
        needs(rig, Capability.COPY)
        needs(rig, Capability.PARTS)
        data = pattern(2 * rig.part_size_bytes + 7)
        source = self.source(rig, rig.fresh_source({"x": data}))
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        info = find_one(source, "x")
        writer, upload = self.begin(sink, data)
        copier = self.copier(sink)
        sent = put_part(writer, upload, data, 2, rig.part_size_bytes)
        copied = [
            copier.copy_part(
                source,
                upload,
                info,
                number=number,
                offset_bytes=(number - 1) * rig.part_size_bytes,
                length_bytes=min(rig.part_size_bytes, len(data) - (number - 1) * rig.part_size_bytes),
            )
            for number in (3, 1)
        ]
        assert [(3, 7, None), (1, rig.part_size_bytes, None)] == [
            (part.number, part.size_bytes, part.crc64nvme) for part in copied
        ]
        listed = writer.list_parts(upload)
        if listed is not None:
            assert {part.number: part.etag for part in (sent, *copied)} == {
                number: part.etag for number, part in listed.items()
            }
        parts = sorted((sent, *copied), key=lambda part: part.number)
        writer.complete(upload, parts, size_bytes=len(data), crc64nvme=None)
        assert {"x": data} == rig.contents(place)

    def test_another_version_is_not_copied(self, rig: MechanismRig) -> None:
        """An object that was replaced since it was listed is refused, whole and in parts."""
        needs(rig, Capability.COPY)
        skip_on(rig, Quirk.NO_CONDITIONAL_COPIES)
        data = pattern(rig.part_size_bytes)
        origin = rig.fresh_source({"x": data})
        source = self.source(rig, origin)
        info = find_one(source, "x")
        rig.replace(origin, "x", pattern(rig.part_size_bytes, seed=1))
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        copier = self.copier(sink)
        with pytest.raises(SourceChangedError):
            copier.copy(source, info, sink.place("y", single=False))
        writer, upload = self.begin(sink, data)
        with pytest.raises(SourceChangedError):
            copier.copy_part(source, upload, info, number=1, offset_bytes=0, length_bytes=len(data))
        writer.abort_upload(upload)
        assert rig.contents(place) == {}

    def test_what_is_gone_is_named(self, rig: MechanismRig) -> None:
        """An object that is not there, and an upload that was aborted, are told as what they are."""
        needs(rig, Capability.COPY)
        source = self.source(rig, rig.fresh_source({"x": b"1", "y": b"2"}))
        info = find_one(source, "x")
        sink = self.sink(rig, rig.fresh_sink())
        copier = self.copier(sink)
        missing = type(info)(name="no", key=info.key + "-no", size_bytes=1)
        with pytest.raises(ObjectNotFoundError):
            copier.copy(source, missing, sink.place("y", single=False))
        skip_on(rig, Quirk.LOST_UPLOADS_CRASH)
        writer, upload = self.begin(sink, b"1")
        writer.abort_upload(upload)
        with pytest.raises(UploadGoneError):
            copier.copy_part(source, upload, info, number=1, offset_bytes=0, length_bytes=1)

    def test_pairs_of_different_trust_are_refused(self, rig: MechanismRig) -> None:
        """Another store, other credentials, another provenance: not offered, and refused if asked for."""
        needs(rig, Capability.COPY)
        origin = rig.fresh_source({"x": b"1"})
        info = find_one(self.source(rig, origin), "x")
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        assert isinstance(sink, CopyingSink)
        copier = self.copier(sink)
        strangers = rig.strangers(origin)
        assert strangers, "a rig whose mechanism declares copies names pairs that must be refused"
        for endpoint in strangers:
            source = self.source(rig, endpoint)
            assert sink.refuses_copy(source)
            with pytest.raises(UnsupportedError):
                copier.copy(source, info, sink.place("y", single=False))
        writer, upload = self.begin(sink, b"1")
        with pytest.raises(UnsupportedError):
            copier.copy_part(
                self.source(rig, strangers[0]), upload, info, number=1, offset_bytes=0, length_bytes=1
            )
        writer.abort_upload(upload)
        assert rig.contents(place) == {}
