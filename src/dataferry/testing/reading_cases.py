"""What every source does."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from contextlib import closing

import pytest

from dataferry.domain.errors import (
    BucketNotFoundError,
    ConnectionFailedError,
    ObjectNotFoundError,
    ShortBodyError,
    SourceChangedError,
    UnsupportedError,
    WrongRangeError,
)
from dataferry.domain.objects import Attributes, Capability, ObjectInfo
from dataferry.mechanisms.abilities import TagReader
from dataferry.testing.mechanism_rig import (
    MechanismCases,
    MechanismRig,
    Quirk,
    drain,
    find_one,
    needs,
    pattern,
    read,
    skip_on,
)

ODD_NAMES = (
    "a b",
    "a+b",
    "a%20b",
    "what?",
    "a#b",
    "a&b=c",
    "semi;colon",
    "quote'\"",
    "tilde~",
    "ünïcödé",
    "日本/語",
    "emoji-🚢",
    "back\\slash",
    "..hidden",
    "dots...",
    "plus+/and space/x",
)

# Where "/" sorts among other characters decides the order of a directory and its neighbours.
TREE = ("a", "b-", "b.txt", "b/1", "b/2/x", "b/2/y", "b0", "c/d/e", "é", "z")


class ReadingCases(MechanismCases):
    """Listing, ranges, versions, names and attributes of a source."""

    def test_a_portable_source_is_the_same_place_in_another_process(self, rig: MechanismRig) -> None:
        """It is pickled, however much it was used, and is read from; its credentials travel along."""
        needs(rig, Capability.PORTABLE)
        source = self.source(rig, rig.fresh_source({"a": pattern(100), "b": pattern(200)}))
        assert read(self.reader(source), find_one(source, "a")) == pattern(100)
        with closing(pickle.loads(pickle.dumps(source))) as other:  # noqa: S301 - written a moment ago
            assert (other.identity, other.capabilities) == (source.identity, source.capabilities)
            assert read(self.reader(other), find_one(other, "b")) == pattern(200)

    @pytest.mark.parametrize("size_bytes", [0, 1, 65_535, 65_536, 65_537, 1_000_003])
    def test_an_object_is_read_whole(self, rig: MechanismRig, size_bytes: int) -> None:
        """An object of any size comes out byte for byte, and its length is said before."""
        data = pattern(size_bytes)
        source = self.source(rig, rig.fresh_source({"x.bin": data}))
        stream = self.reader(source).open(find_one(source, "x.bin"))
        assert size_bytes == stream.length_bytes
        assert size_bytes == stream.info.size_bytes
        assert data == drain(stream)

    def test_names_are_listed_in_their_order(self, rig: MechanismRig) -> None:
        """A listing is in the plain string order of the names, whatever directories they lie in."""
        needs(rig, Capability.LIST)
        source = self.source(rig, rig.fresh_source({name: name.encode() for name in TREE}))
        assert sorted(TREE) == [info.name for info in source.list()]

    @pytest.mark.parametrize(
        "start_after", ["", "a", "b", "b-", "b.txt", "b/", "b/1", "b/2", "b/2/x", "c", "zz"]
    )
    def test_a_listing_goes_on_after_a_name(self, rig: MechanismRig, start_after: str) -> None:
        """A listing that starts after a name has exactly the later names, also if that name is not there."""
        needs(rig, Capability.LIST)
        source = self.source(rig, rig.fresh_source(dict.fromkeys(TREE, b"x")))
        expected = [name for name in sorted(TREE) if name > start_after]
        assert expected == [info.name for info in source.list(start_after=start_after)]

    def test_an_empty_place_lists_nothing(self, rig: MechanismRig) -> None:
        """A place without objects is an empty listing, not an error."""
        needs(rig, Capability.LIST)
        source = self.source(rig, rig.fresh_source({}))
        source.probe()
        assert list(source.list()) == []

    def test_more_names_than_a_page_are_all_listed(self, rig: MechanismRig) -> None:
        """A listing goes over page boundaries without loss or repetition."""
        needs(rig, Capability.LIST)
        names = [f"n/{index:04}" for index in range(1_050)]
        source = self.source(rig, rig.fresh_source(dict.fromkeys(names, b"")))
        assert names == [info.name for info in source.list()]

    def test_undeclared_listing_is_one_object(self, rig: MechanismRig) -> None:
        """A source that does not declare listing is always one object, and never lists another."""
        if Capability.LIST in rig.mechanism.source_capabilities:
            return
        place = rig.fresh_source({"x": b"1", "y": b"22"})
        assert self.source(rig, place).is_single
        source = self.source(rig, rig.single(place, "y"))
        assert [(info.name, info.size_bytes) for info in source.list()] == [("y", 2)]
        assert list(source.list(start_after="y")) == []

    def test_a_single_object_is_a_list_of_one(self, rig: MechanismRig) -> None:
        """A place that is one object lists it under its file name, with its attributes."""
        endpoint = rig.single(rig.fresh_source({"d/x.txt": b"hello", "d/x.txt2": b"no"}), "d/x.txt")
        source = self.source(rig, endpoint)
        source.probe()
        assert source.is_single
        [info] = source.list()
        assert (info.name, info.size_bytes) == ("x.txt", 5)
        assert info.attributes is not None
        assert read(self.reader(source), info) == b"hello"

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_are_read(self, rig: MechanismRig, name: str) -> None:
        """A name with characters that mean something in URLs is listed and read as it is."""
        source = self.source(rig, rig.fresh_source({name: name.encode()}))
        info = find_one(source, name)
        assert name.encode() == read(self.reader(source), info)
        assert len(name.encode()) == self.reader(source).stat(info).size_bytes

    @pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, 100), (1, 1), (99, 1), (40, 20), (40, None)])
    def test_a_range_is_read(self, rig: MechanismRig, offset: int, length: int | None) -> None:
        """A half-open range has exactly its bytes."""
        needs(rig, Capability.RANGES)
        data = pattern(100)
        source = self.source(rig, rig.fresh_source({"x": data}))
        stream = self.reader(source).open(find_one(source, "x"), offset_bytes=offset, length_bytes=length)
        expected = data[offset:] if length is None else data[offset : offset + length]
        assert len(expected) == stream.length_bytes
        assert expected == drain(stream)

    def test_a_range_beyond_the_end_is_refused(self, rig: MechanismRig) -> None:
        """A range that the object has not is an error, never other or fewer bytes."""
        needs(rig, Capability.RANGES)
        source = self.source(rig, rig.fresh_source({"x": b"12345"}))
        info = find_one(source, "x")
        with pytest.raises((WrongRangeError, SourceChangedError)):
            read(self.reader(source), info, offset_bytes=10, length_bytes=5)

    def test_undeclared_ranges_are_refused(self, rig: MechanismRig) -> None:
        """A source that does not declare ranges refuses them."""
        if Capability.RANGES in rig.mechanism.source_capabilities:
            return
        source = self.source(rig, rig.fresh_source({"x": b"12345"}))
        with pytest.raises(UnsupportedError):
            self.reader(source).open(find_one(source, "x"), offset_bytes=1, length_bytes=1)

    def test_another_version_is_not_read(self, rig: MechanismRig) -> None:
        """An object replaced since it was listed is refused, also if the new one has the same size."""
        needs(rig, Capability.VALIDATORS)
        endpoint = rig.fresh_source({"x": pattern(1000)})
        source = self.source(rig, endpoint)
        info = find_one(source, "x")
        assert info.validator
        rig.replace(endpoint, "x", pattern(1000, seed=1))
        with pytest.raises(SourceChangedError):
            read(self.reader(source), info)
        with pytest.raises(SourceChangedError):
            read(self.reader(source), info, offset_bytes=10, length_bytes=10)

    def test_etags_of_other_contents_are_others(self, rig: MechanismRig) -> None:
        """Same name, same size, same time, another place: only the contents can tell two objects apart."""
        needs(rig, Capability.CONTENT_ETAGS)
        validators = [
            find_one(self.source(rig, rig.fresh_source({"x": pattern(1000, seed=seed)})), "x").validator
            for seed in range(2)
        ]
        assert None not in validators
        assert validators[0] != validators[1]

    def test_a_version_replaced_in_the_middle_is_never_mixed(self, rig: MechanismRig) -> None:
        """An object replaced while it is read yields the old bytes or an error, never a mixture."""
        needs(rig, Capability.VALIDATORS)
        old = pattern(8 * 1024 * 1024)
        endpoint = rig.fresh_source({"x": old})
        source = self.source(rig, endpoint)
        stream = self.reader(source).open(find_one(source, "x"))
        first = memoryview(bytearray(1000))
        count = stream.readinto(first)
        rig.replace(endpoint, "x", pattern(len(old), seed=1))
        try:
            data = bytes(first[:count]) + drain(stream)
        except (SourceChangedError, ShortBodyError, ConnectionFailedError):
            return
        assert old == data

    def test_a_missing_object_is_named(self, rig: MechanismRig) -> None:
        """An object that is not there is ObjectNotFoundError, in stat and in open."""
        source = self.source(rig, rig.fresh_source({"x": b"1"}))
        info = find_one(source, "x")
        absent = ObjectInfo(name="y", key=info.key[:-1] + "y", size_bytes=None)
        with pytest.raises(ObjectNotFoundError):
            self.reader(source).stat(absent)
        with pytest.raises(ObjectNotFoundError):
            self.reader(source).open(absent)

    def test_a_missing_root_is_named(self, rig: MechanismRig) -> None:
        """A bucket, container or root that is not there is BucketNotFoundError."""
        place = rig.missing_root()
        if place is None:
            pytest.skip(f"{rig.mechanism.name} has no roots")
        source = self.source(rig, place)
        with pytest.raises(BucketNotFoundError):
            source.probe()

    def test_attributes_are_read(self, rig: MechanismRig) -> None:
        """What a source declares to keep beside the bytes is told with them."""
        if Capability.ATTRIBUTES not in rig.mechanism.source_capabilities:
            pytest.skip("the source does not declare attributes")
        skip_on(rig, Quirk.NO_ATTRIBUTES)
        attributes = Attributes(
            content_type="text/x-odd; charset=utf-8",
            cache_control="max-age=5",
            content_disposition='attachment; filename="x"',
            content_language="de",
            user_metadata=(("colour", "blue"), ("size-of", "1")),
        )
        source = self.source(rig, rig.fresh_source({"x": b"1"}, attributes=attributes))
        info = find_one(source, "x")
        stream = self.reader(source).open(info)
        drain(stream)
        for seen in (self.reader(source).stat(info).attributes, stream.info.attributes):
            assert seen is not None
            assert attributes.content_type == seen.content_type
            assert attributes.cache_control == seen.cache_control
            assert attributes.content_disposition == seen.content_disposition
            if Quirk.NO_CONTENT_LANGUAGE not in rig.quirks:
                assert attributes.content_language == seen.content_language
            if Quirk.NO_USER_METADATA not in rig.quirks:
                assert attributes.user_metadata == tuple(sorted(seen.user_metadata))

    def test_tags_are_told_as_declared(self, rig: MechanismRig) -> None:
        """What has tags says how many and tells them when asked; other sources know of none."""
        tags = (("plant", "north / east"), ("stage", ""), ("a+b", "1=2"))
        declared = Capability.TAGS in rig.mechanism.source_capabilities
        place = rig.fresh_source({"x": b"1"}, attributes=Attributes(tags=tags if declared else ()))
        source = self.source(rig, place)
        reader = self.reader(source)
        info = reader.stat(find_one(source, "x"))
        stream = reader.open(info)
        assert len(tags) * declared == info.tag_count == stream.info.tag_count
        assert declared is isinstance(reader, TagReader)
        if isinstance(reader, TagReader):
            assert sorted(tags) == sorted(reader.tags(stream.info))
        assert drain(stream) == b"1"

    def test_a_reader_serves_one_object_after_the_other(self, rig: MechanismRig) -> None:
        """A reader whose last stream was dropped in the middle reads the next object from its start."""
        data = pattern(3_000_000)
        source = self.source(rig, rig.fresh_source({"x": data, "y": b"why"}))
        reader = self.reader(source)
        stream = reader.open(find_one(source, "x"))
        stream.readinto(memoryview(bytearray(10)))
        stream.close()
        assert read(reader, find_one(source, "y")) == b"why"
        assert data == read(reader, find_one(source, "x"))
        reader.close()

    def test_reading_holds_no_object_in_memory(self, rig: MechanismRig) -> None:
        """Reading 32 MiB takes less than 4 MiB of memory beside the buffer."""
        source = self.source(rig, rig.fresh_source({"x": bytes(32 * 1024 * 1024)}))
        info, reader = find_one(source, "x"), self.reader(source)
        buffer = memoryview(bytearray(1024 * 1024))
        tracemalloc.start()
        try:
            stream = reader.open(info)
            while stream.readinto(buffer):
                pass
            stream.close()
            assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
        finally:
            tracemalloc.stop()

    def test_nothing_shows_a_secret(self, rig: MechanismRig) -> None:
        """No repr, str, identity or schema default of a place shows a credential."""
        place = rig.fresh_source({"x": b"1"})
        source = self.source(rig, place)
        info = find_one(source, "x")
        reader = self.reader(source)
        read(reader, info)
        schemas = json.dumps([dict(rig.mechanism.location_schema), dict(rig.mechanism.address_schema)])
        shown = [schemas, place.identity, source.identity]
        for thing in (place, source, reader, info, rig.mechanism):
            shown += [repr(thing), str(thing)]
        for secret in rig.secrets:
            assert not [text for text in shown if secret in text]
