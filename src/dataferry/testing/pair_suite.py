"""The behaviour suite of pairs: any source to any sink, through the engine.

A test file makes a rig for either end and hands both over::

    class TestMineToMine(PairSuite):
        @pytest.fixture
        def source_rig(self, tmp_path: Path) -> MechanismRig: ...

        @pytest.fixture
        def sink_rig(self, tmp_path: Path) -> MechanismRig: ...

Whatever goes wrong at either end: an object is at the destination whole, or not at all. A case about a fault
that a rig can't bring about is skipped, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from threading import Lock

import pytest

from dataferry.domain.errors import DataFerryError, ExhaustedError, StoppedError, TimedOutError
from dataferry.domain.objects import Capability, Verification
from dataferry.domain.progress import Progress
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Overwrite, Result, Transfer
from dataferry.mechanisms.base import Endpoint, Sink
from dataferry.store.local import LocalLedger, open_local_ledger
from dataferry.testing.fault_cases import SINK_FAULTS, SOURCE_FAULTS
from dataferry.testing.mechanism_rig import Fault, MechanismRig, needs, pattern
from dataferry.testing.reading_cases import ODD_NAMES
from dataferry.testing.tapped import TappedSource

TRANSFER = "pair"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
BROKEN_SOURCE = (Fault.SHORT_BODY, Fault.IGNORED_RANGE, Fault.SHIFTED_RANGE, Fault.IGNORED_CONDITION)
EXHAUSTED = {ExhaustedError.kind, TimedOutError.kind}
REFUSED = (Fault.THROTTLING, Fault.SERVER_ERROR, Fault.EXPIRED_CREDENTIALS, Fault.WRONG_CREDENTIALS)

data_of = cache(pattern)


class Bystander:
    """Watches without a word."""

    def progressed(self, progress: Progress) -> None:
        """Nothing is shown."""

    def noted(self, kind: str, message: str) -> None:
        """Nothing is kept."""


class Pair:
    """Two places and a ledger; each attempt opens them anew, as a new process would.

    Args:
        source_rig: Of the source.
        sink_rig: Of the sink.
        directory: Where the ledger lies, which is made when it is needed.
    """

    def __init__(self, source_rig: MechanismRig, sink_rig: MechanismRig, directory: Path) -> None:
        self.source_rig = source_rig
        self.sink_rig = sink_rig
        self._directory = directory
        self._ledger: LocalLedger | None = None
        self.part_size_bytes = max(source_rig.part_size_bytes, sink_rig.part_size_bytes)
        self.limits = EngineLimits(
            workers=2,
            part_size_bytes=self.part_size_bytes,
            multipart_threshold_bytes=self.part_size_bytes,
            attempts=1,
            backoff_s=0.01,
            max_unknown_length_bytes=100 * self.part_size_bytes,
        )
        self._transfers = 0

    @property
    def ledger(self) -> LocalLedger:
        """What all attempts share."""
        if self._ledger is None:
            self._ledger = open_local_ledger(self._directory / "pair.db")
        return self._ledger

    def close(self) -> None:
        """Close the ledger."""
        if self._ledger is not None:
            self._ledger.close()

    @property
    def lists(self) -> bool:
        """True if a place may be several objects."""
        return Capability.LIST in self.source_rig.mechanism.source_capabilities

    @property
    def sizes(self) -> tuple[int, ...]:
        """Nothing, a byte, and around the end of a part."""
        part = self.part_size_bytes
        return (0, 1, part - 1, part, part + 1, 2 * part + 3)

    def singles(self, place: Endpoint, names: Mapping[str, bytes]) -> list[Endpoint]:
        """Return the places to copy from: the whole one, or one for each object where nothing lists them."""
        if self.lists:
            return [place]
        return [self.source_rig.single(place, name) for name in names]

    def copy(self, source: Endpoint, sink: Endpoint) -> Result:
        """Copy one place to another, in a transfer of its own."""
        self._transfers += 1
        return self.attempt(source, sink, transfer_id=f"{TRANSFER}-{self._transfers}")

    def attempt(
        self,
        source: Endpoint,
        sink: Endpoint,
        *,
        transfer_id: str = TRANSFER,
        stop: Stop | None = None,
        tap: Callable[[int], None] | None = None,
    ) -> Result:
        """Run an attempt at a transfer; ``tap`` is told how many bytes have been read."""
        opened = self.source_rig.mechanism.open_source(source, self.source_rig.network)
        taken = self.sink_rig.mechanism.open_sink(sink, self.sink_rig.network)
        with closing(opened), closing(taken):
            transfer = Transfer(
                id=transfer_id,
                epoch=self.ledger.begin(transfer_id).epoch,
                source=opened if tap is None else TappedSource(opened, tap),
                sink=taken,
                limits=self.limits,
                overwrite=Overwrite.ALWAYS,
            )
            return run(transfer, self.ledger, stop=stop or Stop(), observer=Bystander())

    def fails(self, source: Endpoint, sink: Endpoint) -> str:
        """Copy what can't be copied; return the kind of the error."""
        try:
            result = self.copy(source, sink)
        except DataFerryError as error:
            return error.kind
        assert result.first_error is not None
        return result.first_error.kind

    def contents(self, sink: Endpoint) -> dict[str, bytes]:
        """Return what is visible in the sink."""
        return self.sink_rig.contents(sink)

    def open_uploads(self, sink: Endpoint, name: str) -> int:
        """Count the uploads of a name that were left open, as far as the sink can tell."""
        with closing(self.sink_rig.mechanism.open_sink(sink, self.sink_rig.network)) as opened:
            return len(uploads_of(opened, name))


class PairSuite:
    """All cases. Subclass it as ``Test…`` and override both fixtures."""

    @pytest.fixture
    def source_rig(self) -> MechanismRig:
        """Return the source's rig."""
        raise NotImplementedError("override the fixture source_rig in the test class")

    @pytest.fixture
    def sink_rig(self) -> MechanismRig:
        """Return the sink's rig."""
        raise NotImplementedError("override the fixture sink_rig in the test class")

    @pytest.fixture
    def pair(self, source_rig: MechanismRig, sink_rig: MechanismRig, tmp_path: Path) -> Iterator[Pair]:
        """Put both and a ledger together."""
        with closing(Pair(source_rig, sink_rig, tmp_path)) as pair:
            yield pair

    def test_objects_of_all_sizes_arrive(self, pair: Pair) -> None:
        """Byte for byte, in one request or in parts, and nothing is left open."""
        objects = {f"of-{size}": data_of(size) for size in pair.sizes}
        place, sink = pair.source_rig.fresh_source(objects), pair.sink_rig.fresh_sink()
        results = [pair.copy(source, sink) for source in pair.singles(place, objects)]
        assert [result.first_error for result in results if result.first_error] == []
        assert pair.contents(sink) == objects
        assert sum(result.bytes for result in results) == sum(pair.sizes)
        assert min(result.verification for result in results) >= Verification.TRANSPORT
        assert [name for name in objects if pair.open_uploads(sink, name)] == []

    def test_objects_of_unknown_length_arrive(self, pair: Pair) -> None:
        """As others do, and then their length is known."""
        objects = {f"of-{size}": data_of(size) for size in pair.sizes}
        place = pair.source_rig.source_without_lengths(objects)
        if place is None:
            pytest.skip(f"sources of {pair.source_rig.mechanism.name} always say a length")
        sink = pair.sink_rig.fresh_sink()
        results = [pair.copy(source, sink) for source in pair.singles(place, objects)]
        assert [result.first_error for result in results if result.first_error] == []
        assert pair.contents(sink) == objects
        assert sum(result.bytes for result in results) == sum(pair.sizes)
        assert min(result.verification for result in results) >= Verification.TRANSPORT

    def test_a_stream_of_unknown_length_that_breaks_off_is_no_object(self, pair: Pair) -> None:
        """Neither a small one nor one in parts becomes visible or leaves something open."""
        for name, size in (("small", 1000), ("big", 4 * pair.part_size_bytes)):
            place = pair.source_rig.source_without_lengths({name: data_of(size)}, breaks_off=True)
            if place is None:
                pytest.skip(f"sources of {pair.source_rig.mechanism.name} always say a length")
            sink = pair.sink_rig.fresh_sink()
            [source] = pair.singles(place, {name: b""})
            assert pair.fails(source, sink) == "exhausted"
            assert pair.contents(sink) == {}
            assert pair.open_uploads(sink, name) == 0

    def test_more_than_is_allowed_is_refused(self, pair: Pair) -> None:
        """An endless stream fills no destination."""
        most = pair.part_size_bytes * 2
        pair.limits = replace(pair.limits, max_unknown_length_bytes=most)
        place = pair.source_rig.source_without_lengths({"x": data_of(most + 1)})
        if place is None:
            pytest.skip(f"sources of {pair.source_rig.mechanism.name} always say a length")
        sink = pair.sink_rig.fresh_sink()
        [source] = pair.singles(place, {"x": b""})
        assert pair.fails(source, sink) == "too_large"
        assert pair.contents(sink) == {}
        assert pair.open_uploads(sink, "x") == 0

    def test_odd_names_arrive(self, pair: Pair) -> None:
        """As they are called at the source, whatever either end makes of such characters elsewhere."""
        # Of one object only the last step of its name travels; a backslash has no place in such a step.
        names = ODD_NAMES if pair.lists else [name for name in ODD_NAMES if not {"/", "\\"} & set(name)]
        objects = {name: name.encode() for name in names}
        place, sink = pair.source_rig.fresh_source(objects), pair.sink_rig.fresh_sink()
        for source in pair.singles(place, objects):
            assert pair.copy(source, sink).first_error is None
        assert pair.contents(sink) == objects

    @pytest.mark.parametrize("fault", BROKEN_SOURCE, ids=str)
    def test_a_broken_read_makes_no_object(self, pair: Pair, fault: Fault) -> None:
        """A short body, another range or another version than asked for: nothing becomes visible."""
        if fault not in pair.source_rig.source_faults:
            pytest.skip(f"the source's rig can't bring about {fault}")
        size = max(500_000, 2 * pair.part_size_bytes + 3)
        in_parts = Capability.PARTS in pair.sink_rig.mechanism.sink_capabilities
        if fault in {Fault.IGNORED_RANGE, Fault.SHIFTED_RANGE} and not in_parts:
            pytest.skip("without parts no range is read")
        place = pair.source_rig.faulty_source(fault, {"x": data_of(size)})
        sink = pair.sink_rig.fresh_sink()
        [source] = pair.singles(place, {"x": b""})
        kinds = {kind.kind for kind in SOURCE_FAULTS[fault]} | EXHAUSTED
        assert pair.fails(source, sink) in kinds
        assert pair.contents(sink) == {}
        assert pair.open_uploads(sink, "x") == 0

    @pytest.mark.parametrize("fault", REFUSED, ids=str)
    def test_a_source_that_refuses_makes_no_object(self, pair: Pair, fault: Fault) -> None:
        """Credentials that expired, a busy or a broken server: the error says which, and nothing is there."""
        if fault not in pair.source_rig.source_faults:
            pytest.skip(f"the source's rig can't bring about {fault}")
        if fault is Fault.WRONG_CREDENTIALS and not pair.lists:
            pytest.skip("the rig names single objects with the right credentials")
        place, sink = pair.source_rig.faulty_source(fault, {"x": b"data"}), pair.sink_rig.fresh_sink()
        [source] = pair.singles(place, {"x": b""})
        assert pair.fails(source, sink) in {kind.kind for kind in SOURCE_FAULTS[fault]} | EXHAUSTED
        assert pair.contents(sink) == {}

    @pytest.mark.parametrize("fault", [*REFUSED, Fault.FULL, Fault.WRONG_CHECKSUM], ids=str)
    def test_a_sink_that_refuses_has_no_object(self, pair: Pair, fault: Fault) -> None:
        """The error says why; a body with a wrong checksum is never counted as there."""
        if fault not in pair.sink_rig.sink_faults:
            pytest.skip(f"the sink's rig can't bring about {fault}")
        place, sink = pair.source_rig.fresh_source({"x": b"data"}), pair.sink_rig.faulty_sink(fault)
        [source] = pair.singles(place, {"x": b""})
        assert pair.fails(source, sink) in {kind.kind for kind in SINK_FAULTS[fault]} | EXHAUSTED
        if fault is not Fault.WRONG_CHECKSUM:
            assert pair.contents(sink) == {}

    def test_a_stop_inside_a_part_leaves_nothing_visible(self, pair: Pair) -> None:
        """And the next attempt brings the object; parts that had arrived are not sent again."""
        part = pair.part_size_bytes
        data = data_of(3 * part)
        place, sink = pair.source_rig.fresh_source({"x": data}), pair.sink_rig.fresh_sink()
        [source] = pair.singles(place, {"x": b""})
        stop = Stop()
        pair.limits = replace(pair.limits, workers=1)
        with pytest.raises(StoppedError):
            pair.attempt(source, sink, stop=stop, tap=lambda count: stop.set() if count > 2 * part else None)
        assert pair.contents(sink) == {}
        result = pair.attempt(source, sink)
        assert pair.contents(sink) == {"x": data}
        resumes = {Capability.RANGES, Capability.VALIDATORS} <= pair.source_rig.mechanism.source_capabilities
        if resumes and Capability.PARTS in pair.sink_rig.mechanism.sink_capabilities:
            assert result.bytes_resumed >= part
        assert result.bytes_resumed + result.bytes_moved == len(data)
        assert pair.open_uploads(sink, "x") == 0

    def test_a_version_replaced_midway_is_never_mixed(self, pair: Pair) -> None:
        """What arrives is one version from beginning to end, or nothing."""
        needs(pair.source_rig, Capability.VALIDATORS)
        part = pair.part_size_bytes
        old, new = data_of(3 * part), data_of(3 * part, seed=1)
        place, sink = pair.source_rig.fresh_source({"x": old}), pair.sink_rig.fresh_sink()
        [source] = pair.singles(place, {"x": b""})
        lock = Lock()
        replaced: list[bool] = []

        def tap(count: int) -> None:
            with lock:
                if count > part and not replaced:
                    replaced.append(True)
                    pair.source_rig.replace(place, "x", new)

        pair.attempt(source, sink, tap=tap)
        assert pair.contents(sink).get("x") in {None, old}
        again = pair.attempt(source, sink)
        assert again.is_complete
        assert pair.contents(sink)["x"] in {old, new}


def uploads_of(sink: Sink, name: str) -> list[str]:
    """Return the ids of a name's open uploads; none where the sink can't tell."""
    if Capability.LIST_UPLOADS not in sink.capabilities:
        return []
    with closing(sink.writer()) as writer:
        found = writer.list_uploads(sink.place(name, single=False), since=LONG_AGO)
    return [upload.upload_id for upload in found or []]
