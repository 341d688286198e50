"""Objects whose source does not say their length: what is held, what is limited, what begins anew."""

# ruff: noqa: ARG005 - faults are told more than each needs
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.attempts import LIMITS, ONE, PART, Rig, content, times
from tests.unit.engine.memory import SINK_ALL, BlockedError, MemorySink

from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import (
    ConfigError,
    ConnectionFailedError,
    IntegrityError,
    ServerError,
    ShortBodyError,
    StoppedError,
    WrongRangeError,
)
from dataferry.domain.ledger import ObjectState
from dataferry.domain.objects import Capability, ObjectInfo, Verification
from dataferry.engine.attempt.spool import MEMORY_BYTES, Spool, bounds
from dataferry.engine.preview import preview
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Overwrite, Result, Transfer, Verify

BOUNDED = replace(ONE, max_unknown_length_bytes=8 * PART, spool_bytes=2 * PART)
MIB = 1024 * 1024


def rig_of(objects: dict[str, bytes]) -> Rig:
    """Return a rig whose source tells no lengths."""
    rig = Rig(objects)
    rig.source.knows_sizes = False
    return rig


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 5])
def test_an_object_of_any_length_arrives(size: int) -> None:
    """Within a part in one request, beyond it in uniform parts; then its length is known everywhere."""
    rig = rig_of({"x": content(size)})
    result = rig.go(limits=BOUNDED)
    assert rig.arrived
    assert (result.objects, result.bytes, result.bytes_moved, result.bytes_retransferred) == (
        1,
        size,
        size,
        0,
    )
    assert result.verification is Verification.DESTINATION
    assert rig.sink.completed == (["in/x"] if size > PART else [])
    assert (rig.sink.bytes_received, rig.sink.uploads) == (size, {})
    assert rig.sink.attributes["in/x"] == rig.source.attributes
    totals = rig.ledger.totals("t")
    assert (totals.bytes_total, totals.bytes_done, totals.objects_unsized) == (size, size, 0)
    last = rig.witness.progress[-1]
    assert (last.bytes_total, last.bytes_transferred, last.percent_complete) == (size, size, 100.0)


def test_many_objects_of_unknown_length_arrive() -> None:
    """Beside each other, with some that have nothing in them."""
    rig = rig_of({f"{number:03}": content(number * 3000, number) for number in range(60)})
    assert rig.go().is_complete
    assert rig.arrived


def test_progress_says_no_total_before_it_is_known() -> None:
    """Bytes are counted, and neither total, percentage nor time left is invented."""
    rig = rig_of({"x": content(5 * PART)})
    stop = Stop()
    rig.sink.fault = lambda operation, key, number: stop.set() if number == 3 else None
    with pytest.raises(StoppedError):
        rig.go(limits=BOUNDED, stop=stop)
    last = rig.witness.progress[-1]
    assert (last.objects_unsized, last.bytes_total, last.percent_complete, last.eta_s) == (1, 0, None, None)
    assert rig.sink.objects == {}


def test_where_no_parts_are_taken_the_whole_is_held() -> None:
    """Up to the spool's bound in one request; beyond it the object fails, and nothing is there."""
    rig = rig_of({"most": content(2 * PART), "over": content(2 * PART + 1)})
    rig.sink = MemorySink(SINK_ALL - {Capability.PARTS})
    result = rig.go(limits=BOUNDED)
    assert rig.sink.objects == {"in/most": rig.source.objects["most"]}
    assert result.first_error is not None
    assert result.first_error.kind == "too_large"
    assert "spool_bytes" in str(result.first_error)
    assert "no parts" in str(result.first_error)


def test_a_stream_without_an_end_is_refused() -> None:
    """At the bound: the upload is dropped, and the setting is named. The bound itself is allowed."""
    rig = rig_of({"most": content(8 * PART), "over": content(8 * PART + 1)})
    result = rig.go(limits=BOUNDED)
    assert rig.sink.objects == {"in/most": rig.source.objects["most"]}
    assert rig.sink.uploads == {}
    assert result.first_error is not None
    assert result.first_error.kind == "too_large"
    assert "max_unknown_length_bytes" in str(result.first_error)
    assert [name for name, _, _ in rig.source.opens].count("over") == 1
    assert rig.ledger.totals("t").objects_unsized == 1


def test_a_fault_of_the_sink_costs_one_part() -> None:
    """What is held is sent again, and the source is not asked again."""
    rig = rig_of({"x": content(4 * PART)})
    rig.sink.fault = times(2, lambda: ServerError("down"), "finish")
    result = rig.go(limits=BOUNDED)
    assert rig.arrived
    assert len(rig.source.opens) == 1
    assert (result.bytes_moved, result.bytes_retransferred) == (4 * PART, 2 * PART)


def test_a_fault_of_the_sink_while_an_upload_is_opened_leaves_the_stream() -> None:
    """The stream waits until the sink answers."""
    rig = rig_of({"x": content(3 * PART)})
    rig.sink.fault = times(2, lambda: ConnectionFailedError("reset"), "create")
    assert rig.go(limits=BOUNDED).bytes_retransferred == 0
    assert rig.arrived
    assert len(rig.source.opens) == 1


def test_a_sink_that_takes_nothing_costs_one_part() -> None:
    """The stall ends the part's request, and leaves the stream that waits."""
    rig = rig_of({"x": content(3 * PART)})
    rig.sink.fault = times(1, BlockedError, "send")
    result = rig.go(limits=replace(BOUNDED, stall_timeout_s=0.3))
    assert rig.arrived
    assert (len(rig.source.opens), result.bytes_moved) == (1, 3 * PART)
    assert any(kind == "retry" and "no byte moved" in message for kind, message in rig.witness.notes)


def test_a_small_object_is_sent_again_from_what_is_held() -> None:
    """Also a body that goes in one request."""
    rig = rig_of({"x": content(1000)})
    rig.sink.fault = times(2, lambda: ServerError("down"), "finish")
    assert rig.go(limits=BOUNDED).bytes_retransferred == 2000
    assert rig.arrived
    assert len(rig.source.opens) == 1


def test_a_fault_of_the_source_begins_anew() -> None:
    """Nothing of the first try is visible or left open, and what is sent again is counted."""
    rig = rig_of({"x": content(4 * PART)})
    seen: list[set[str]] = []
    broken = [2]

    def fault(operation: str, key: str, at: int) -> None:
        if operation == "read" and at >= 3 * PART and broken[0]:
            broken[0] -= 1
            seen.append(set(rig.sink.objects))
            raise ShortBodyError("broke off")

    rig.source.fault = fault
    result = rig.go(limits=BOUNDED)
    assert rig.arrived
    assert seen == [set(), set()]
    assert rig.sink.uploads == {}
    assert result.bytes_moved == 4 * PART
    assert result.bytes_retransferred == 2 * 2 * PART


def test_a_source_that_never_ends_well_leaves_nothing() -> None:
    """An object that broke off each time fails, and its uploads are aborted."""
    rig = rig_of({"x": content(4 * PART)})

    def fault(operation: str, key: str, at: int) -> None:
        if operation == "read" and at >= 3 * PART:
            raise ShortBodyError("broke off")

    rig.source.fault = fault
    assert rig.go(limits=BOUNDED).objects_failed == 1
    assert (rig.sink.objects, rig.sink.uploads) == ({}, {})
    assert rig.witness.progress[-1].bytes_transferred == 0
    rig.calm()
    assert rig.go(limits=BOUNDED).is_complete
    assert rig.arrived


@pytest.mark.parametrize("operation", ["created", "put_part", "add_part committed", "complete", "completed"])
def test_after_a_kill_it_begins_anew(operation: str) -> None:
    """Whatever was sent is dropped at the destination; the object arrives whole and counts once."""
    rig = rig_of({"x": content(4 * PART)})
    rig.crash(operation, limits=BOUNDED)
    result = rig.go(limits=BOUNDED)
    assert rig.arrived
    assert rig.sink.uploads == {}
    assert (result.bytes, result.bytes_resumed, result.bytes_moved) == (4 * PART, 0, 4 * PART)
    assert result.bytes_retransferred <= 4 * PART
    assert rig.witness.progress[-1].bytes_transferred == 4 * PART


def test_a_completion_that_fails_begins_anew() -> None:
    """As often as allowed; what was sent of an object that failed in the end is not shown as there."""
    rig = rig_of({"x": content(4 * PART)})
    rig.sink.fault = times(1, lambda: IntegrityError("other bytes"), "complete")
    assert rig.go(limits=BOUNDED).bytes_retransferred == 4 * PART
    assert rig.arrived
    rig = rig_of({"x": content(4 * PART)})
    rig.sink.fault = times(99, lambda: IntegrityError("other bytes"), "complete")
    assert rig.go(limits=BOUNDED).objects_failed == 1
    assert rig.witness.progress[-1].bytes_transferred == 0
    assert rig.sink.uploads == {}


@pytest.mark.parametrize("size", [1000, 4 * PART + 5])
def test_it_is_read_back_where_that_is_asked_for(size: int) -> None:
    """A store that changes a byte gets it a second time: what is held as it is, else from the source anew."""
    rig = rig_of({"x": content(size)})
    rig.sink.keeps_crc = False
    broken = [1]

    def fault(operation: str, key: str, number: int) -> None:
        if operation in {"finished", "completed"} and key in rig.sink.objects and broken[0]:
            broken[0] -= 1
            rig.sink.objects[key] = bytes([rig.sink.objects[key][0] ^ 1]) + rig.sink.objects[key][1:]

    rig.sink.fault = fault
    result = rig.go(limits=BOUNDED, verify=Verify.READBACK)
    assert rig.arrived
    assert (result.verification, result.bytes_retransferred) == (Verification.DESTINATION, size)
    assert len(rig.source.opens) == (1 if size <= PART else 2)


def test_an_unchanged_version_is_not_read_again() -> None:
    """By the validators of both ends; a new version is, though its length is not known."""
    rig = rig_of({"x": content(3 * PART), "y": content(5)})
    assert rig.go().is_complete
    opened = len(rig.source.opens)
    second = attempt_after(rig, "t", "u")
    assert (second.objects_skipped, second.bytes, len(rig.source.opens)) == (2, 3 * PART + 5, opened)
    rig.source.objects["y"] = content(5, seed=2)
    third = attempt_after(rig, "u", "v")
    assert (third.objects_skipped, third.bytes) == (1, 3 * PART + 5)
    assert rig.arrived


def attempt_after(rig: Rig, earlier: str, transfer_id: str) -> Result:
    """Run another transfer that knows what the earlier one brought."""
    transfer = Transfer(
        id=transfer_id,
        epoch=rig.ledger.begin(transfer_id).epoch,
        source=rig.source,
        sink=rig.sink,
        limits=LIMITS,
        earlier=earlier,
    )
    return run(transfer, rig.ledger, stop=Stop(), observer=rig.witness)


def test_without_a_version_it_is_read_again() -> None:
    """What is there is never taken for equal because nobody knows better."""
    rig = rig_of({"x": content(1000)})
    rig.source.capabilities = frozenset({Capability.LIST})
    rig.go()
    assert attempt_after(rig, "t", "u").objects_skipped == 0


def test_nothing_is_overwritten_where_that_is_forbidden() -> None:
    """Neither what was there at the plan, nor what came while the stream was held."""
    rig = rig_of({"x": content(1000), "y": content(3 * PART)})
    rig.sink.keeps_conditions = False

    def fault(operation: str, key: str, at: int) -> None:
        if operation == "read":
            rig.sink.objects[f"in/{key}"] = b"theirs"

    rig.source.fault = fault
    result = rig.go(limits=BOUNDED, overwrite=Overwrite.NEVER)
    assert (result.objects_skipped, result.objects_failed) == (2, 0)
    assert rig.sink.objects == {"in/x": b"theirs", "in/y": b"theirs"}
    assert rig.sink.uploads == {}
    assert rig.witness.progress[-1].objects_unsized == 0


def test_a_length_that_turns_up_is_used() -> None:
    """A source that was planned without lengths and says them now is read as any other."""
    rig = rig_of({"small": content(10), "big": content(5 * PART)})
    rig.source.capabilities = frozenset({Capability.LIST, Capability.VALIDATORS})
    rig.source.fault = lambda operation, key, at: setattr(rig.source, "knows_sizes", operation != "list")
    rig.go()
    assert rig.arrived


def test_at_another_destination_it_is_read_in_one_stream_too() -> None:
    """Its length is known by then, and still its source gives no parts of it."""
    rig = rig_of({"x": content(4 * PART)})
    rig.go(limits=BOUNDED)

    def fault(operation: str, key: str, at: int) -> None:
        if operation == "open" and at:
            raise WrongRangeError("there are no ranges")

    rig.source.fault = fault
    other = MemorySink()
    other.identity = "memory://other"
    assert rig.go(limits=BOUNDED, sink=other).first_error is None
    assert other.objects == rig.sink.objects


def test_a_plan_says_how_many_lengths_are_missing() -> None:
    """A preview counts them, and adds up the others."""
    rig = rig_of({"x": content(10), "y": content(20)})
    found = preview(
        Transfer(id="t", epoch=rig.ledger.begin("t").epoch, source=rig.source, sink=rig.sink),
        rig.ledger,
        rig.witness,
        SystemClock(),
    )
    assert (found.objects_of_unknown_length, found.objects_to_move, found.bytes) == (2, 2, 0)


@given(
    part=st.integers(1, 1 << 30),
    most=st.integers(1 << 20, 5 << 40),
    spool=st.integers(1 << 24, 1 << 40),
    parts=st.sampled_from([1, 2, 1000, 9000]),
    least=st.sampled_from([1, 5 << 20]),
)
def test_uniform_parts_hold_what_is_allowed(part: int, most: int, spool: int, parts: int, least: int) -> None:
    """No more parts than allowed reach the bound, none is longer than the spool, and none is too short."""
    limits = EngineLimits(part_size_bytes=part, max_unknown_length_bytes=most, spool_bytes=spool)
    found = bounds(limits, most_parts=parts, least_part_bytes=least)
    assert found.part_bytes * parts >= found.most_bytes
    assert least <= found.part_bytes <= max(spool, least) or parts == 1
    assert found.part_bytes <= spool
    assert found.most_bytes <= min(most, spool * parts)
    assert found.most_bytes == {"max_unknown_length_bytes": most, "spool_bytes": spool * parts}[found.limit]


def test_by_default_parts_are_of_the_usual_size() -> None:
    """The default bound needs no longer parts; the greatest one needs less than a gigabyte for each."""
    usual = bounds(EngineLimits(), most_parts=9_000, least_part_bytes=5 * MIB)
    assert (usual.part_bytes, usual.most_bytes) == (16 * MIB, 64 * 1024 * MIB)
    greatest = EngineLimits(max_unknown_length_bytes=5 * 1024**4)
    assert bounds(greatest, most_parts=9_000, least_part_bytes=5 * MIB).part_bytes < 600 * MIB


def held(spool: Spool) -> bytes:
    """Read what a spool gives back."""
    stream = spool.stream(ObjectInfo(name="x", key="x", size_bytes=None))
    buffer = memoryview(bytearray(MIB))
    data = bytearray()
    while count := stream.readinto(buffer):
        data += buffer[:count]
    return bytes(data)


@pytest.mark.parametrize("size", [0, 1, MEMORY_BYTES, MEMORY_BYTES + 1, 3 * MIB + 5])
def test_a_spool_gives_back_what_it_took(size: int, tmp_path: Path) -> None:
    """As often as asked, in memory and on disk; no file has a name, and a cleared one is empty."""
    data = content(size)
    with Spool(str(tmp_path)) as spool:
        for offset in range(0, size, 100_000):
            spool.add(memoryview(data)[offset : offset + 100_000])
        assert (held(spool), held(spool), spool.size_bytes) == (data, data, size)
        assert list(tmp_path.iterdir()) == []
        spool.clear()
        spool.add(memoryview(b"next"))
        assert (held(spool), spool.size_bytes) == (b"next", 4)


def test_a_byte_that_the_disk_changed_is_noticed(tmp_path: Path) -> None:
    """Before the last bytes go on, so that nothing of it becomes visible."""

    class Flipping(Spool):
        def readinto(self, offset_bytes: int, buffer: memoryview) -> int:
            count = super().readinto(offset_bytes, buffer)
            buffer[count // 2] ^= 1
            return count

    with Flipping(str(tmp_path)) as spool:
        spool.add(memoryview(content(2 * MIB)))
        with pytest.raises(IntegrityError, match="spool"):
            held(spool)


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    """As the operator's mistake, with the setting's name and without the path."""
    with (
        Spool(str(tmp_path / "absent")) as spool,
        pytest.raises(ConfigError, match="spool_directory") as caught,
    ):
        spool.add(memoryview(bytes(MEMORY_BYTES + 1)))
    assert str(tmp_path) not in str(caught.value)


def test_an_attempt_ends_where_nothing_can_be_held(tmp_path: Path) -> None:
    """No object can succeed after that: the attempt ends with the reason."""
    rig = rig_of({"x": content(MEMORY_BYTES + 1)})
    limits = EngineLimits(spool_directory=str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="spool_directory"):
        rig.go(limits=limits)
    assert [row.state for row in rig.ledger.objects("t")] == [ObjectState.PENDING]
