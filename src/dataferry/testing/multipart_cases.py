"""What every sink with parts does, and that one without refuses them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dataferry.domain.errors import (
    DestinationExistsError,
    StorageError,
    UnsupportedError,
    UploadGoneError,
)
from dataferry.domain.objects import Attributes, Capability, ObjectInfo, PartReceipt, Upload
from dataferry.mechanisms.base import Sink, Writer
from dataferry.testing.mechanism_rig import (
    NO_ATTRIBUTES,
    MechanismCases,
    MechanismRig,
    Quirk,
    checksum,
    find_one,
    needs,
    pattern,
    put,
    put_part,
    skip_on,
)


class MultipartCases(MechanismCases):
    """Uploads in parts: order, repetition, resumption, clean-up."""

    @pytest.fixture
    def sink_with_parts(self, rig: MechanismRig) -> Sink:
        """Open a fresh sink, of a mechanism that declares parts."""
        needs(rig, Capability.PARTS)
        return self.sink(rig, rig.fresh_sink())

    @pytest.mark.parametrize("over", [-1, 0, 1])
    def test_parts_make_the_object(self, rig: MechanismRig, over: int) -> None:
        """An object around a part boundary, its parts sent in reverse, is whole when completed."""
        needs(rig, Capability.PARTS)
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        data = pattern(2 * rig.part_size_bytes + over)
        key, writer = sink.place("d/x.bin", single=False), self.writer(sink)
        upload = writer.create_upload(key, size_bytes=len(data), attributes=NO_ATTRIBUTES)
        numbers = range(-(-len(data) // rig.part_size_bytes), 0, -1)
        parts = [put_part(writer, upload, data, number, rig.part_size_bytes) for number in numbers]
        assert rig.contents(place) == {}
        info = complete(writer, upload, parts, data)
        assert len(data) == info.size_bytes
        assert {"d/x.bin": data} == rig.contents(place)
        stat = writer.stat(key)
        assert stat is not None
        assert info.validator == stat.validator

    def test_an_upload_may_begin_without_a_size(self, rig: MechanismRig) -> None:
        """Of an object whose source does not say its length: it is whole when completed, and not before."""
        needs(rig, Capability.PARTS)
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        data = pattern(rig.part_size_bytes + 1)
        key, writer = sink.place("x", single=False), self.writer(sink)
        upload = writer.create_upload(key, size_bytes=None, attributes=NO_ATTRIBUTES)
        parts = [put_part(writer, upload, data, number, rig.part_size_bytes) for number in (1, 2)]
        assert rig.contents(place) == {}
        complete(writer, upload, parts, data)
        assert {"x": data} == rig.contents(place)

    def test_a_receipt_is_of_the_bytes_sent(self, rig: MechanismRig, sink_with_parts: Sink) -> None:
        """A part's receipt has its number, size and checksum."""
        data = pattern(rig.part_size_bytes + 10)
        writer, upload = self.begin(sink_with_parts, data)
        receipt = put_part(writer, upload, data, 2, rig.part_size_bytes)
        assert (receipt.number, receipt.size_bytes) == (2, 10)
        assert checksum(data[rig.part_size_bytes :]) == receipt.crc64nvme
        writer.abort_upload(upload)

    def test_a_part_sent_again_replaces_the_first(self, rig: MechanismRig) -> None:
        """Sending a number twice keeps the second body."""
        needs(rig, Capability.PARTS)
        place = rig.fresh_sink()
        data, other = pattern(rig.part_size_bytes + 5), pattern(rig.part_size_bytes + 5, seed=1)
        writer, upload = self.begin(self.sink(rig, place), data)
        put_part(writer, upload, other, 1, rig.part_size_bytes)
        parts = [put_part(writer, upload, data, number, rig.part_size_bytes) for number in (1, 2)]
        complete(writer, upload, parts, data)
        assert {"x": data} == rig.contents(place)

    def test_an_upload_survives_its_writer(self, rig: MechanismRig) -> None:
        """After a kill, another writer finds the upload, sends what is missing and completes."""
        needs(rig, Capability.PARTS)
        place = rig.fresh_sink()
        data = pattern(2 * rig.part_size_bytes + 7)
        writer, upload = self.begin(self.sink(rig, place), data)
        parts = [put_part(writer, upload, data, 1, rig.part_size_bytes)]
        broken = writer.put_part(
            upload, number=2, offset_bytes=rig.part_size_bytes, length_bytes=rig.part_size_bytes
        )
        broken.send(memoryview(pattern(100, seed=9)))
        broken.cancel()
        writer.close()

        later = self.writer(self.sink(rig, place))
        listed = later.list_parts(upload)
        if Capability.LIST_PARTS in rig.mechanism.sink_capabilities:
            assert listed is not None
            assert {1: (rig.part_size_bytes, parts[0].etag)} == {
                number: (part.size_bytes, part.etag) for number, part in listed.items()
            }
        parts += [put_part(later, upload, data, number, rig.part_size_bytes) for number in (2, 3)]
        complete(later, upload, parts, data)
        assert {"x": data} == rig.contents(place)

    def test_a_cancelled_part_is_not_there(self, rig: MechanismRig, sink_with_parts: Sink) -> None:
        """A part cancelled in its middle is not listed."""
        data = pattern(rig.part_size_bytes * 2)
        writer, upload = self.begin(sink_with_parts, data)
        body = writer.put_part(upload, number=1, offset_bytes=0, length_bytes=rig.part_size_bytes)
        body.send(memoryview(data[:1000]))
        body.cancel()
        assert not writer.list_parts(upload)
        writer.abort_upload(upload)

    def test_parts_listed_only_as_declared(self, rig: MechanismRig, sink_with_parts: Sink) -> None:
        """A sink that does not declare the listing of parts says None, so that the ledger's word stands."""
        data = pattern(rig.part_size_bytes * 2)
        writer, upload = self.begin(sink_with_parts, data)
        parts = [put_part(writer, upload, data, number, rig.part_size_bytes) for number in (1, 2)]
        listed = writer.list_parts(upload)
        if Capability.LIST_PARTS in rig.mechanism.sink_capabilities:
            assert listed is not None
            assert [part.etag for part in parts] == [listed[1].etag, listed[2].etag]
        else:
            assert listed is None
        writer.abort_upload(upload)

    def test_an_upload_that_is_gone_is_named(self, rig: MechanismRig, sink_with_parts: Sink) -> None:
        """Everything that needs an upload says UploadGoneError once it was aborted."""
        data = pattern(rig.part_size_bytes + 1)
        writer, upload = self.begin(sink_with_parts, data)
        parts = [put_part(writer, upload, data, number, rig.part_size_bytes) for number in (1, 2)]
        writer.abort_upload(upload)
        with pytest.raises(UploadGoneError):
            writer.list_parts(upload)
        skip_on(rig, Quirk.LOST_UPLOADS_CRASH)
        with pytest.raises(UploadGoneError):
            complete(writer, upload, parts, data)
        with pytest.raises(UploadGoneError):
            put_part(writer, upload, data, 1, rig.part_size_bytes)

    def test_completing_twice_makes_one_object(self, rig: MechanismRig) -> None:
        """A second completion says UploadGoneError or the same object, and the object stays."""
        needs(rig, Capability.PARTS)
        place = rig.fresh_sink()
        data = pattern(rig.part_size_bytes + 1)
        writer, upload = self.begin(self.sink(rig, place), data)
        parts = [put_part(writer, upload, data, number, rig.part_size_bytes) for number in (1, 2)]
        first = complete(writer, upload, parts, data)
        try:
            second = complete(writer, upload, parts, data)
        except UploadGoneError:
            pass
        else:
            assert first.validator == second.validator
        assert {"x": data} == rig.contents(place)

    def test_missing_parts_make_no_object(self, rig: MechanismRig) -> None:
        """A completion without a part that the size needs is refused, and nothing is visible."""
        needs(rig, Capability.PARTS)
        place = rig.fresh_sink()
        data = pattern(rig.part_size_bytes + 1)
        writer, upload = self.begin(self.sink(rig, place), data)
        first = put_part(writer, upload, data, 1, rig.part_size_bytes)
        never_sent = PartReceipt(number=2, size_bytes=2, etag="0" * 32, crc64nvme=0)
        with pytest.raises(StorageError):
            complete(writer, upload, [first, never_sent], data)
        assert rig.contents(place) == {}
        writer.abort_upload(upload)

    def test_aborting_is_idempotent(self, rig: MechanismRig) -> None:
        """Aborting twice, or what never was, is no error, and leaves nothing open or visible."""
        needs(rig, Capability.PARTS)
        place = rig.fresh_sink()
        data = pattern(rig.part_size_bytes + 1)
        sink = self.sink(rig, place)
        began = datetime.now(UTC) - timedelta(seconds=5)
        writer, upload = self.begin(sink, data)
        put_part(writer, upload, data, 1, rig.part_size_bytes)
        writer.abort_upload(upload)
        writer.abort_upload(upload)
        assert rig.contents(place) == {}
        assert not writer.list_uploads(upload.key, since=began)

    def test_uploads_are_listed_for_exactly_a_key(self, rig: MechanismRig, sink_with_parts: Sink) -> None:
        """The open uploads of one key are listed, not those of keys that begin alike, nor older ones."""
        skip_on(rig, Quirk.NO_UPLOAD_TIMES)
        needs(rig, Capability.LIST_UPLOADS)
        sink, writer = sink_with_parts, self.writer(sink_with_parts)
        began = datetime.now(UTC) - timedelta(seconds=5)
        uploads = {
            name: writer.create_upload(
                sink.place(name, single=False), size_bytes=10, attributes=NO_ATTRIBUTES
            )
            for name in ("a", "a.b", "a-", "dir/a")
        }
        for upload in uploads.values():
            listed = writer.list_uploads(upload.key, since=began)
            assert listed is not None
            assert [upload.upload_id] == [found.upload_id for found in listed]
            assert [upload.key] == [found.key for found in listed]
        later = datetime.now(UTC) + timedelta(hours=1)
        assert writer.list_uploads(uploads["a"].key, since=later) == []
        assert writer.list_uploads(sink.place("nothing", single=False), since=began) == []
        for upload in uploads.values():
            writer.abort_upload(upload)

    def test_completion_only_if_absent(self, rig: MechanismRig) -> None:
        """A conditional completion leaves an object that appeared meanwhile."""
        skip_on(rig, Quirk.NO_CONDITIONAL_WRITES)
        needs(rig, Capability.PARTS)
        place = rig.fresh_sink()
        data = pattern(rig.part_size_bytes + 1)
        writer, upload = self.begin(self.sink(rig, place), data)
        parts = [put_part(writer, upload, data, number, rig.part_size_bytes) for number in (1, 2)]
        put(writer, upload.key, b"meanwhile")
        with pytest.raises(DestinationExistsError):
            complete(writer, upload, parts, data, only_if_absent=True)
        assert rig.contents(place) == {"x": b"meanwhile"}
        writer.abort_upload(upload)

    def test_attributes_of_uploads_are_kept(self, rig: MechanismRig) -> None:
        """A sink that declares attributes keeps those of an upload too."""
        needs(rig, Capability.PARTS)
        if Capability.ATTRIBUTES not in rig.mechanism.sink_capabilities:
            pytest.skip("the sink does not declare attributes")
        place = rig.fresh_sink()
        data = pattern(rig.part_size_bytes + 1)
        sink = self.sink(rig, place)
        attributes = Attributes(
            content_type="text/x-odd", user_metadata=(("colour", "blue"),), tags=(("plant", "north"),)
        )
        writer = self.writer(sink)
        upload = writer.create_upload(
            sink.place("x", single=False), size_bytes=len(data), attributes=attributes
        )
        parts = [put_part(writer, upload, data, number, rig.part_size_bytes) for number in (1, 2)]
        complete(writer, upload, parts, data)
        source = self.source(rig, place)
        info = self.reader(source).stat(find_one(source, "x"))
        seen = info.attributes
        assert seen is not None
        assert info.tag_count == (Capability.TAGS in sink.capabilities)
        assert attributes.content_type == seen.content_type
        assert attributes.user_metadata == seen.user_metadata

    def test_undeclared_parts_are_refused(self, rig: MechanismRig) -> None:
        """A sink that does not declare parts refuses to open an upload."""
        if Capability.PARTS in rig.mechanism.sink_capabilities:
            return
        sink = self.sink(rig, rig.fresh_sink())
        with pytest.raises(UnsupportedError):
            self.begin(sink, b"12")

    def test_undeclared_listing_of_uploads_says_none(self, rig: MechanismRig, sink_with_parts: Sink) -> None:
        """A sink that does not declare the listing of uploads says None, not that there are none."""
        if Capability.LIST_UPLOADS in rig.mechanism.sink_capabilities:
            return
        assert self.writer(sink_with_parts).list_uploads("x", since=datetime.now(UTC)) is None


def complete(
    writer: Writer, upload: Upload, parts: list[PartReceipt], data: bytes, *, only_if_absent: bool = False
) -> ObjectInfo:
    """Complete an upload, its parts in order, with the checksum of the whole."""
    return writer.complete(
        upload,
        sorted(parts, key=lambda part: part.number),
        size_bytes=len(data),
        crc64nvme=checksum(data),
        only_if_absent=only_if_absent,
    )
