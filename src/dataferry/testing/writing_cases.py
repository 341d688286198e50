"""What every sink does with whole objects and with names."""

from __future__ import annotations

import pickle
import threading
import tracemalloc
from contextlib import closing

import pytest

from dataferry.domain.errors import (
    AddressError,
    BucketNotFoundError,
    DestinationExistsError,
    StorageError,
)
from dataferry.domain.objects import Attributes, Capability
from dataferry.mechanisms.abilities import KeyCheck, NamesToLearn, TagReader
from dataferry.mechanisms.base import PartWrite
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
    read,
    skip_on,
)
from dataferry.testing.reading_cases import ODD_NAMES

ESCAPING_NAMES = ("..", "../x", "a/../../x", "a/..")


class WritingCases(MechanismCases):
    """Whole objects, names, look-ups, refusals."""

    @pytest.mark.parametrize("size_bytes", [0, 1, 65_535, 65_536, 65_537, 1_000_003])
    def test_an_object_is_written_whole(self, rig: MechanismRig, size_bytes: int) -> None:
        """An object of any size arrives byte for byte, and its receipt says what was sent."""
        data = pattern(size_bytes)
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        key = sink.place("x.bin", single=False)
        writer = self.writer(sink)
        receipt = put(writer, key, data)
        assert {"x.bin": data} == rig.contents(place)
        assert (1, size_bytes) == (receipt.number, receipt.size_bytes)
        assert receipt.crc64nvme in (None, checksum(data))
        info = writer.stat(key)
        assert info is not None
        assert size_bytes == info.size_bytes
        if Quirk.NO_VERSION_OF_WRITES not in rig.quirks:
            assert receipt.etag == info.validator

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_are_written(self, rig: MechanismRig, name: str) -> None:
        """A name with characters that mean something in URLs arrives as it is, and is found again."""
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        key = sink.place(name, single=False)
        put(self.writer(sink), key, name.encode())
        assert {name: name.encode()} == rig.contents(place)
        assert [key] == list(sink.find([key]))

    def test_a_name_never_leaves_the_sink(self, rig: MechanismRig) -> None:
        """A name with steps upwards, or one that can't be a name there, is refused at once."""
        sink = self.sink(rig, rig.fresh_sink())
        for name in (*ESCAPING_NAMES, *rig.bad_names):
            with pytest.raises(AddressError):
                sink.place(name, single=False)

    def test_one_object_to_one_name(self, rig: MechanismRig) -> None:
        """A sink that names one object is the key of a single source, whatever that is called."""
        place = rig.fresh_sink()
        sink = self.sink(rig, rig.single(place, "new name.bin"))
        put(self.writer(sink), sink.place("old name.bin", single=True), b"x")
        assert rig.contents(place) == {"new name.bin": b"x"}

    def test_many_objects_below_one_name(self, rig: MechanismRig) -> None:
        """For a source of several objects, a sink that names one is a prefix, or refuses them."""
        place = rig.fresh_sink()
        sink = self.sink(rig, rig.single(place, "into"))
        try:
            key = sink.place("a/b", single=False)
        except AddressError:
            return
        put(self.writer(sink), key, b"x")
        assert rig.contents(place) == {"into/a/b": b"x"}

    def test_nothing_is_visible_before_the_end(self, rig: MechanismRig) -> None:
        """A body that was sent but not finished is not there under its name."""
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        body = self.writer(sink).put(
            sink.place("x", single=False), length_bytes=1_000_000, attributes=NO_ATTRIBUTES
        )
        body.send(memoryview(pattern(900_000)))
        assert rig.contents(place) == {}
        body.cancel()
        assert rig.contents(place) == {}

    def test_a_cancelled_write_leaves_what_was_there(self, rig: MechanismRig) -> None:
        """Cancelling a write over another object leaves that object, and the writer is good for the next."""
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        key, writer = sink.place("x", single=False), self.writer(sink)
        put(writer, key, b"before")
        body = writer.put(key, length_bytes=100_000, attributes=NO_ATTRIBUTES)
        body.send(memoryview(pattern(50_000)))
        body.cancel()
        body.cancel()
        assert rig.contents(place) == {"x": b"before"}
        if Quirk.LOCKS_BROKEN_WRITES in rig.quirks:
            return
        put(writer, key, b"after")
        assert rig.contents(place) == {"x": b"after"}

    def test_a_portable_sink_is_the_same_place_in_another_process(self, rig: MechanismRig) -> None:
        """It is pickled, however much it was used, and is written to."""
        needs(rig, Capability.PORTABLE)
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        with closing(pickle.loads(pickle.dumps(sink))) as other:  # noqa: S301 - written a moment ago
            assert (other.identity, other.capabilities) == (sink.identity, sink.capabilities)
            body = self.writer(other).put(
                other.place("x", single=False), length_bytes=100, attributes=NO_ATTRIBUTES
            )
            send_and_finish(body, pattern(100))
        assert rig.contents(place) == {"x": pattern(100)}

    @pytest.mark.parametrize("sent", [99, 101])
    def test_another_length_than_said_is_no_object(self, rig: MechanismRig, sent: int) -> None:
        """Fewer or more bytes than were said are an error, and nothing is visible."""
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        body = self.writer(sink).put(
            sink.place("x", single=False), length_bytes=100, attributes=NO_ATTRIBUTES
        )
        with pytest.raises(StorageError):
            send_and_finish(body, pattern(sent))
        body.cancel()
        assert rig.contents(place) == {}

    def test_abort_from_another_thread_ends_a_write(self, rig: MechanismRig) -> None:
        """After abort, the write in progress fails at once, and nothing is visible."""
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        writer = self.writer(sink)
        body = writer.put(
            sink.place("x", single=False), length_bytes=64 * 1024 * 1024, attributes=NO_ATTRIBUTES
        )
        piece = memoryview(bytes(64 * 1024))
        body.send(piece)
        other = threading.Thread(target=writer.abort)
        other.start()
        other.join(10)
        with pytest.raises(StorageError):
            send_until_failure(body, piece)
        body.cancel()
        assert rig.contents(place) == {}
        writer.close()

    def test_only_if_absent_keeps_what_is_there(self, rig: MechanismRig) -> None:
        """A conditional write makes a new object, and leaves one that is there."""
        skip_on(rig, Quirk.NO_CONDITIONAL_WRITES)
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        key, writer = sink.place("x", single=False), self.writer(sink)
        put(writer, key, b"first", only_if_absent=True)
        with pytest.raises(DestinationExistsError):
            put(writer, key, b"second", only_if_absent=True)
        assert rig.contents(place) == {"x": b"first"}

    def test_find_leaves_out_what_is_not_there(self, rig: MechanismRig) -> None:
        """A look-up of many keys, some beginning like others, returns exactly those that are there."""
        sink = self.sink(rig, rig.fresh_sink())
        names = ["a", "a-", "a.txt", "b/1", "b/10", "b/2", "c c", "ü"]
        keys = {name: sink.place(name, single=False) for name in names}
        writer = self.writer(sink)
        for name in names[::2]:
            put(writer, keys[name], name.encode())
        found = sink.find([keys[name] for name in names])
        assert {keys[name] for name in names[::2]} == set(found)
        assert {keys[name]: len(name.encode()) for name in names[::2]} == {
            key: info.size_bytes for key, info in found.items()
        }
        assert sink.find([]) == {}

    def test_stat_of_nothing_is_none(self, rig: MechanismRig) -> None:
        """An object that is not there is None, also below a directory that is not there."""
        sink = self.sink(rig, rig.fresh_sink())
        assert self.writer(sink).stat(sink.place("no/such", single=False)) is None

    def test_a_missing_root_is_named(self, rig: MechanismRig) -> None:
        """A bucket, container or root that is not there is BucketNotFoundError, and is not made."""
        missing = rig.missing_root()
        if missing is None:
            pytest.skip(f"{rig.mechanism.name} has no roots")
        sink = self.sink(rig, missing)
        with pytest.raises(BucketNotFoundError):
            sink.probe()
        with pytest.raises(BucketNotFoundError):
            put(self.writer(sink), self.sink(rig, rig.fresh_sink()).place("x", single=False), b"x")

    def test_attributes_are_kept_or_dropped_as_declared(self, rig: MechanismRig) -> None:
        """A sink that declares attributes keeps them; one that does not says that it has none."""
        attributes = Attributes(
            content_type="text/x-odd",
            cache_control="max-age=5",
            user_metadata=(("colour", "blue"),),
        )
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        put(self.writer(sink), sink.place("x", single=False), b"1", attributes=attributes)
        if Capability.ATTRIBUTES not in rig.mechanism.sink_capabilities:
            info = self.writer(sink).stat(sink.place("x", single=False))
            assert info is not None
            assert info.attributes is None
            return
        source = self.source(rig, place)
        seen = self.reader(source).stat(find_one(source, "x")).attributes
        assert seen is not None
        assert attributes.content_type == seen.content_type
        assert attributes.cache_control == seen.cache_control
        assert attributes.user_metadata == seen.user_metadata

    def test_tags_are_kept_or_dropped_as_declared(self, rig: MechanismRig) -> None:
        """A sink that declares tags keeps all that an object can have; another writes the object without."""
        tags = tuple((f"key {number} +-=._:/@", "v" * 200) for number in range(10))
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        put(self.writer(sink), sink.place("x", single=False), b"1", attributes=Attributes(tags=tags))
        skip_on(rig, Quirk.WRITE_ONLY)
        source = self.source(rig, place)
        reader = self.reader(source)
        info = reader.stat(find_one(source, "x"))
        assert info.tag_count == len(tags) * (Capability.TAGS in rig.mechanism.sink_capabilities)
        if isinstance(reader, TagReader):
            assert sorted(tags) == sorted(reader.tags(info))

    def test_colliding_names_are_refused_unless_injective(self, rig: MechanismRig) -> None:
        """A sink either keeps every name apart from every other, or refuses those that it can't."""
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        keys = [sink.place(name, single=False) for name in ("a", "a.txt", "a/b")]
        if Capability.INJECTIVE_NAMES not in rig.mechanism.sink_capabilities:
            assert isinstance(sink, KeyCheck)
            if isinstance(sink, NamesToLearn):
                sink.learn_names()
                assert rig.contents(place) == {}
            sink.check_keys(keys[:2])
            with pytest.raises(AddressError):
                sink.check_keys(keys)
            return
        skip_on(rig, Quirk.NAMES_COLLIDE)
        writer = self.writer(sink)
        for key in keys:
            put(writer, key, key.encode())
        assert {"a", "a.txt", "a/b"} == set(rig.contents(place))

    def test_what_was_written_is_read(self, rig: MechanismRig) -> None:
        """A place that was written to as a sink is a source of the same bytes."""
        skip_on(rig, Quirk.WRITE_ONLY)
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        data = pattern(200_000)
        put(self.writer(sink), sink.place("d/x", single=False), data)
        source = self.source(rig, place)
        assert data == read(self.reader(source), find_one(source, "d/x"))

    def test_writing_holds_no_object_in_memory(self, rig: MechanismRig) -> None:
        """Writing 32 MiB takes less than 4 MiB of memory."""
        sink = self.sink(rig, rig.fresh_sink())
        size = 32 * 1024 * 1024
        body = self.writer(sink).put(
            sink.place("x", single=False), length_bytes=size, attributes=NO_ATTRIBUTES
        )
        piece = memoryview(bytes(1024 * 1024))
        tracemalloc.start()
        try:
            for _ in range(32):
                body.send(piece)
            assert size == body.finish().size_bytes
            assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
        finally:
            tracemalloc.stop()

    def test_no_sink_shows_a_secret(self, rig: MechanismRig) -> None:
        """No repr, str or identity of a sink or writer shows a credential."""
        place = rig.fresh_sink()
        sink = self.sink(rig, place)
        writer = self.writer(sink)
        put(writer, sink.place("x", single=False), b"1")
        shown = [place.identity, sink.identity]
        for thing in (place, sink, writer):
            shown += [repr(thing), str(thing)]
        for secret in rig.secrets:
            assert not [text for text in shown if secret in text]


def send_and_finish(body: PartWrite, data: bytes) -> None:
    """Send all bytes of a body and end it; cancelling is the caller's."""
    body.send(memoryview(data))
    body.finish()


def send_until_failure(body: PartWrite, piece: memoryview) -> None:
    """Send as long as the body takes it, 60 MiB at most."""
    for _ in range(60 * 1024 * 1024 // len(piece)):
        body.send(piece)
