"""What was written is read from the destination and compared, and what differs does not pass for done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.engine.attempts import LIMITS, ONE, PART, Rig, content, times
from tests.unit.engine.memory import SINK_ALL, SOURCE_ALL

from dataferry.domain.errors import AccessDeniedError, ConnectionFailedError, UnsupportedError
from dataferry.domain.objects import Capability, Verification
from dataferry.engine.transfer import Overwrite, Verify

BACK = Verify.READBACK
SMALL, BIG = "small", "big"
OBJECTS = {SMALL: content(1000), BIG: content(5 * PART + 3, 2), "empty": b""}
SIZE = sum(map(len, OBJECTS.values()))


def flipped(data: bytes) -> bytes:
    """Change one bit near the end."""
    return data[:-2] + bytes([data[-2] ^ 1]) + data[-1:] if len(data) > 1 else data


def spoils(name: str, count: int) -> Callable[[str, bytes], bytes]:
    """Flip a bit of what is stored, the first ``count`` times that an object of that name is."""
    left = [count]

    def spoil(key: str, data: bytes) -> bytes:
        if key != f"in/{name}" or left[0] <= 0:
            return data
        left[0] -= 1
        return flipped(data)

    return spoil


@pytest.fixture
def rig() -> Rig:
    """A sink that keeps no checksums: nothing but reading tells what it holds."""
    rig = Rig(OBJECTS)
    rig.sink.keeps_crc = False
    return rig


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "one stream"])
@pytest.mark.parametrize("source_keeps", [True, False])
def test_what_is_read_back_is_proved(rig: Rig, *, source_keeps: bool, ranges: bool) -> None:
    """Every byte is read once; with the source's checksum it is proved from end to end."""
    rig.source.keeps_crc = source_keeps
    rig.source.capabilities = SOURCE_ALL if ranges else SOURCE_ALL - {Capability.RANGES}
    result = rig.go(verify=BACK)
    assert rig.arrived
    assert result.verification is (Verification.END_TO_END if source_keeps else Verification.DESTINATION)
    assert rig.witness.progress[-1].bytes_verified == SIZE
    assert result.bytes_moved == SIZE


def test_without_reading_back_nothing_is_read(rig: Rig) -> None:
    """A byte that changed when it was stored passes, at a level that does not claim it."""
    rig.sink.spoil = spoils(SMALL, 1)
    result = rig.go()
    assert rig.sink.read_back == []
    assert not rig.arrived
    assert (result.objects, result.verification) == (3, Verification.TRANSPORT)


@pytest.mark.parametrize("name", [SMALL, BIG])
def test_what_differs_is_sent_again(rig: Rig, name: str) -> None:
    """One byte changed when it was stored: the object is sent again and proved, and the cost is told."""
    rig.sink.spoil = spoils(name, 1)
    result = rig.go(verify=BACK)
    assert rig.arrived
    assert (result.objects, result.verification) == (3, Verification.DESTINATION)
    assert "object_restarted" in rig.witness.kinds()
    assert result.bytes_retransferred == len(OBJECTS[name])
    assert rig.witness.progress[-1].bytes_transferred == SIZE


@pytest.mark.parametrize("name", [SMALL, BIG])
def test_what_always_differs_fails(rig: Rig, name: str) -> None:
    """It is never said to be there, the error says what lies there, and the others arrive."""
    rig.sink.spoil = spoils(name, 1000)
    result = rig.go(verify=BACK)
    assert (result.objects, result.objects_failed) == (2, 1)
    assert getattr(result.first_error, "kind", "") == "integrity"
    assert "do not use it" in str(result.first_error)
    assert rig.witness.progress[-1].bytes_transferred == SIZE - len(OBJECTS[name])


@pytest.mark.parametrize("name", [SMALL, BIG])
def test_what_may_not_be_overwritten_is_tried_once(rig: Rig, name: str) -> None:
    """A second try would find the first one's object and skip it: the object fails instead."""
    rig.sink.spoil = spoils(name, 1)
    result = rig.go(verify=BACK, overwrite=Overwrite.NEVER)
    assert (result.objects, result.objects_failed, result.objects_skipped) == (2, 1, 0)


@pytest.mark.parametrize("spoiled", [True, False])
@pytest.mark.parametrize("operation", ["completed", "back open", "back read"])
def test_a_crash_does_not_skip_the_reading(rig: Rig, operation: str, *, spoiled: bool) -> None:
    """What was visible when the process died is read by the next attempt before it counts as done."""
    rig.source.objects = {BIG: OBJECTS[BIG]}
    rig.sink.spoil = spoils(BIG, 1 if spoiled else 0)
    rig.crash(operation, verify=BACK)
    rig.sink.read_back.clear()
    result = rig.go(verify=BACK)
    assert rig.arrived
    assert result.verification is Verification.DESTINATION
    assert {offset for _, offset, _ in rig.sink.read_back} == {number * PART for number in range(6)}
    assert result.bytes_moved == (len(OBJECTS[BIG]) if spoiled else 0)


def test_what_can_not_be_compared_is_sent_anew(rig: Rig) -> None:
    """An object that the store had copied by itself before a crash has no checksum of ours."""
    rig.source.objects = {BIG: OBJECTS[BIG]}
    rig.crash("completed")
    row = rig.ledger.rows["t"][1]
    row.parts = {number: replace(part, crc64nvme=None) for number, part in row.parts.items()}
    result = rig.go(verify=BACK)
    assert rig.arrived
    assert (result.verification, result.bytes_moved) == (Verification.DESTINATION, len(OBJECTS[BIG]))


@pytest.mark.parametrize("name", [SMALL, BIG])
def test_a_byte_that_changes_on_the_way_back_costs_a_second_look(rig: Rig, name: str) -> None:
    """It is not the object's fault, and nothing is sent again."""
    taken = dict(rig.source.objects)
    left = [1]

    def fault(operation: str, key: str, number: int) -> None:
        if operation == "back open" and key == f"in/{name}":
            left[0] -= 1
            rig.sink.objects[key] = flipped(taken[name]) if left[0] >= 0 else taken[name]

    rig.sink.fault = fault
    result = rig.go(verify=BACK, limits=ONE)
    assert rig.arrived
    assert (result.objects, result.bytes_retransferred) == (3, 0)


@pytest.mark.parametrize("name", [SMALL, BIG])
def test_connections_that_break_while_reading_are_tried_again(rig: Rig, name: str) -> None:
    """Only the reading is: what was sent stays sent."""
    rig.sink.fault = times(2, lambda: ConnectionFailedError("reset"), "back read", name)
    result = rig.go(verify=BACK)
    assert rig.arrived
    assert (result.objects, result.bytes_retransferred) == (3, 0)


@pytest.mark.parametrize("name", [SMALL, BIG])
def test_what_somebody_else_wrote_stays(rig: Rig, name: str) -> None:
    """An object that was replaced before it could be read fails, and the other's is left alone."""

    def fault(operation: str, key: str, number: int) -> None:
        if operation == "back open" and key == f"in/{name}":
            rig.sink.objects[key] = b"theirs"
            rig.sink.etags[key] = "theirs"

    rig.sink.fault = fault
    result = rig.go(verify=BACK)
    assert (result.objects, result.objects_failed) == (2, 1)
    assert getattr(result.first_error, "kind", "") == "conflict"
    assert rig.sink.objects[f"in/{name}"] == b"theirs"


def test_credentials_that_may_not_read_fail_clearly(rig: Rig) -> None:
    """The error says that it was written, and what to do."""
    rig.source.objects = {SMALL: OBJECTS[SMALL]}
    rig.sink.fault = times(100, lambda: AccessDeniedError("403"), "back open")
    error = rig.go(verify=BACK).first_error
    assert error is not None
    assert (error.kind, error.of_sink) == ("access_denied", True)
    assert "may not be read back" in str(error)


def test_a_sink_that_can_not_be_read_is_refused_at_once(rig: Rig) -> None:
    """Before a byte moves, and before anything is planned."""
    rig.sink.capabilities = SINK_ALL - {Capability.READ_BACK}
    with pytest.raises(UnsupportedError, match="read back"):
        rig.go(verify=BACK)
    assert (rig.sink.bytes_received, rig.source.listed) == (0, 0)


def test_all_workers_read_a_big_object(rig: Rig) -> None:
    """Its parts are read as they were sent, by several workers, each compared with its own sum."""
    rig.source.objects = {BIG: OBJECTS[BIG]}
    rig.go(verify=BACK, limits=LIMITS)
    assert sorted(rig.sink.read_back) == [
        (f"in/{BIG}", number * PART, min(PART, len(OBJECTS[BIG]) - number * PART)) for number in range(6)
    ]


def test_what_is_skipped_keeps_its_level(rig: Rig) -> None:
    """Reading back concerns what an attempt writes; what it skips is as proved as it was."""
    rig.source.objects = {SMALL: OBJECTS[SMALL]}
    rig.go()
    result = rig.go(verify=BACK, transfer_id="second")
    assert result.objects_skipped == 1
    assert rig.sink.read_back == []
