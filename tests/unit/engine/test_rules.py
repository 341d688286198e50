"""The rules of the ledger, each with the fault it is for."""

# ruff: noqa: ARG005 - faults are told more than each needs
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.engine.attempts import LIMITS, ONE, PART, Rig, content, times
from tests.unit.engine.memory import SOURCE_ALL, BlockedError, MemorySink, OpenUpload

from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import (
    ConflictError,
    ConnectionFailedError,
    FencedError,
    StoppedError,
)
from dataferry.domain.ledger import ObjectState
from dataferry.domain.objects import Capability, Verification
from dataferry.engine.cleanup import abort_due
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import Overwrite


def big(parts: int = 5) -> Rig:
    return Rig({"big": content(parts * PART - 7)})


# Rule 1


def test_intent_is_written_before_the_upload_and_the_upload_before_parts() -> None:
    """Intent, creation, row, first part: in that order."""
    rig = big()
    order: list[str] = []
    rig.ledger.fault = rig.sink.fault = lambda operation, key, number: order.append(operation)

    rig.go(limits=ONE)

    wanted = ["intend committed", "create", "open_upload committed", "put_part"]
    assert [step for step in order if step in wanted][:4] == wanted


def test_an_upload_lost_in_a_crash_is_aborted_where_we_are_alone() -> None:
    """An upload created just before a kill is found by its key and time, and aborted."""
    rig = big()
    rig.crash("created")
    assert len(rig.sink.uploads) == 1

    rig.go()

    assert rig.arrived
    assert rig.sink.uploads == {}
    assert "lost_uploads" in rig.witness.kinds()


def test_unknown_uploads_are_only_reported_where_others_upload_too() -> None:
    """Where the location is not exclusive, an unknown upload stays and is reported."""
    rig = big()
    rig.sink.exclusive = False
    rig.crash("created")

    rig.go()

    assert rig.arrived
    assert len(rig.sink.uploads) == 1
    assert "left alone" in dict(rig.witness.notes)["lost_uploads"]


def test_an_upload_that_another_transfer_knows_is_not_lost() -> None:
    """An open upload of the same key stays if any transfer's rows know it."""
    rig = big()
    rig.crash("put_part", 2, transfer_id="other")
    (known,) = rig.sink.uploads
    rig.crash("created")

    rig.go()

    assert list(rig.sink.uploads) == [known]


def test_older_uploads_and_other_keys_are_left_alone() -> None:
    """Only uploads of exactly our key since our intent are candidates."""
    rig = big()
    rig.foreign_upload("in/big2")
    old = rig.foreign_upload("in/big")
    rig.sink.uploads[old.upload_id].begun = datetime(2020, 1, 1, tzinfo=UTC)
    rig.crash("created")

    rig.go()

    assert {upload.key for upload in rig.sink.uploads.values()} == {"in/big2", "in/big"}
    assert old.upload_id in rig.sink.uploads


def test_uploads_that_cannot_be_listed_lead_to_advice() -> None:
    """Where listing is not permitted, a lifecycle rule is recommended."""
    rig = big()
    rig.sink.lists_uploads = False
    rig.crash("created")

    rig.go()

    assert rig.arrived
    assert "lifecycle rule" in dict(rig.witness.notes)["uploads_not_listed"]


def test_a_lost_reply_to_a_creation_leaves_no_upload() -> None:
    """A creation that is retried aborts the upload that its first try may have made."""
    rig = big()
    rig.sink.fault = times(1, lambda: ConnectionFailedError("reply lost"), "created")

    rig.go()

    assert rig.arrived
    assert rig.sink.uploads == {}


# Rules 2 and 3


def test_a_kill_costs_at_most_the_parts_in_flight() -> None:
    """After a kill only the parts whose row was not committed are sent again."""
    rig = big(9)
    rig.crash("add_part", 6)
    received = rig.sink.bytes_received

    result = rig.go()

    assert rig.arrived
    assert received == 6 * PART
    assert rig.sink.bytes_received - received == len(rig.source.objects["big"]) - 5 * PART
    assert (result.bytes_resumed, result.bytes_retransferred) == (5 * PART, PART)


def test_small_objects_that_wait_for_their_rows_are_no_more_than_a_part() -> None:
    """Small objects are written down together, and never more bytes of them wait than a part has."""
    rig = Rig({f"{number:02}": content(PART // 5, number) for number in range(20)})
    waiting = most = 0

    def watch(operation: str, key: str, number: int) -> None:
        nonlocal waiting, most
        waiting += {"put": 1, "finish committed": -1}.get(operation, 0)
        most = max(most, waiting)

    rig.sink.fault = rig.ledger.fault = watch
    rig.go(limits=ONE)

    assert rig.arrived
    assert waiting == 0
    assert 1 < most <= 5


@pytest.mark.parametrize("how", ["lost", "other content", "other size"])
def test_parts_that_the_destination_does_not_have_as_sent_are_sent_again(how: str) -> None:
    """A row that the listing contradicts is dropped."""
    rig = big(6)
    rig.crash("put_part", 5)
    (upload,) = rig.sink.uploads.values()
    if how == "lost":
        del upload.parts[2]
    else:
        upload.parts[2] = content(PART if how == "other content" else 10, 99)

    result = rig.go()

    assert rig.arrived
    assert (result.bytes_resumed, result.bytes_retransferred) == (3 * PART, PART)


# Rules 4 and 5


def test_a_source_replaced_while_suspended_fails_the_object() -> None:
    """Same size, other bytes between two attempts: a clear failure, nothing visible, nothing open."""
    rig = big(6)
    rig.crash("put_part", 4)
    rig.source.objects["big"] = content(len(rig.source.objects["big"]), 2)

    result = rig.go()

    assert (result.objects_failed, result.objects) == (1, 0)
    assert result.first_error is not None
    assert result.first_error.kind == "source_changed"
    assert rig.sink.objects == {}
    assert rig.sink.uploads == {}


def test_a_source_replaced_while_running_fails_the_object_and_the_others_arrive() -> None:
    """Other bytes under a running transfer: never a mixture."""
    rig = Rig({"big": content(8 * PART), "small": b"x"})

    def fault(operation: str, key: str, number: int) -> None:
        if operation == "open" and number == 3 * PART:
            rig.source.objects["big"] = content(8 * PART, 2)

    rig.source.fault = fault

    result = rig.go(limits=ONE)

    assert (result.objects_failed, result.objects) == (1, 1)
    assert rig.sink.objects == {"in/small": b"x"}
    assert rig.sink.uploads == {}


def test_a_failed_object_is_looked_at_afresh_by_the_next_attempt() -> None:
    """The next attempt takes the source as it is then."""
    rig = big(6)
    rig.crash("put_part", 4)
    rig.source.objects["big"] = content(7 * PART, 2)
    rig.go()

    result = rig.go()

    assert result.is_complete
    assert rig.arrived


def test_without_strong_validators_there_is_one_stream() -> None:
    """No range is read where no version can be named; the parts come from one stream."""
    rig = big(6)
    rig.source.capabilities = SOURCE_ALL - {Capability.VALIDATORS}

    result = rig.go()

    assert rig.arrived
    assert rig.source.opens == [("big", 0, None)]
    assert result.verification is Verification.DESTINATION


def test_without_strong_validators_a_kill_begins_the_object_anew() -> None:
    """Nothing of an unnamed version is kept."""
    rig = big(6)
    rig.source.capabilities = SOURCE_ALL - {Capability.VALIDATORS}
    rig.crash("put_part", 4)
    rig.source.objects["big"] = content(len(rig.source.objects["big"]), 2)

    result = rig.go()

    assert result.is_complete
    assert rig.arrived
    assert rig.sink.uploads == {}


def test_another_destination_begins_anew_and_the_old_upload_is_handed_to_clean_up() -> None:
    """Rows are worth nothing elsewhere: everything goes to the new place, the old upload is aborted later."""
    rig = Rig({"a": b"first", "big": content(6 * PART)})
    rig.crash("put_part", 4)
    other = MemorySink()
    other.identity = "memory://elsewhere"

    result = rig.go(sink=other)

    assert result.is_complete
    assert other.objects == {f"in/{name}": data for name, data in rig.source.objects.items()}
    assert len(rig.sink.uploads) == 1
    assert abort_due(rig.ledger, lambda cleanup: rig.sink, SystemClock()) == 1
    assert rig.sink.uploads == {}


def test_a_clean_up_without_credentials_is_reported() -> None:
    """Where the old place can't be opened any more, that is written and not tried again."""
    rig = big()
    rig.crash("put_part", 3)
    rig.ledger.abandon_all("t")

    assert abort_due(rig.ledger, lambda cleanup: None, SystemClock()) == 0
    assert "credentials" in (rig.ledger.given_up[0].last_error or "")


# Rule 6


def test_a_fenced_worker_neither_completes_nor_aborts() -> None:
    """A newer attempt before completion: nothing becomes visible, nothing is aborted."""
    rig = big(3)

    def fault(operation: str, key: str, number: int) -> None:
        if operation == "add_part committed" and number == 3:
            rig.ledger.begin("t")

    rig.ledger.fault = fault

    with pytest.raises(FencedError):
        rig.go(limits=ONE)

    assert rig.sink.completed == []
    assert len(rig.sink.uploads) == 1


@pytest.mark.parametrize("keeps_crc", [True, False])
def test_a_lost_reply_to_completion_is_settled_by_looking(*, keeps_crc: bool) -> None:
    """No such upload on completion: the object is there and is ours, so it is done, once."""
    rig = big()
    rig.sink.keeps_crc = keeps_crc
    rig.sink.fault = times(1, lambda: ConnectionFailedError("reply lost"), "completed")

    result = rig.go()

    assert rig.arrived
    assert rig.sink.completed == ["in/big"]
    assert result.bytes_retransferred == 0


def test_a_kill_after_completion_is_settled_by_looking() -> None:
    """The next attempt finds the finished object and moves nothing."""
    rig = big()
    rig.crash("completed")
    received = rig.sink.bytes_received

    result = rig.go()

    assert result.is_complete
    assert rig.sink.bytes_received == received


def test_an_upload_that_vanished_is_begun_anew() -> None:
    """No upload and no object: everything is sent again, and counted as such."""
    rig = big(6)
    rig.crash("put_part", 5)
    rig.sink.uploads.clear()

    result = rig.go()

    assert rig.arrived
    assert (result.bytes_resumed, result.bytes_retransferred) == (0, 4 * PART)


@pytest.mark.parametrize("keeps_crc", [True, False])
def test_an_object_of_somebody_else_is_not_taken_for_ours(*, keeps_crc: bool) -> None:
    """The upload is gone and an object of the same size but other bytes lies there: it is replaced."""
    rig = big(4)
    rig.sink.keeps_crc = keeps_crc
    rig.crash("complete")
    rig.sink.uploads.clear()
    rig.sink.objects["in/big"] = content(len(rig.source.objects["big"]), 77)
    rig.sink.etags["in/big"] = "0" * 32 + "-4"

    rig.go()

    assert rig.arrived


def test_an_upload_that_vanishes_while_parts_are_sent_is_begun_anew() -> None:
    """Parts in flight meet no such upload: the object begins again in the same attempt."""
    rig = big(6)
    cleared: list[OpenUpload] = []

    def fault(operation: str, key: str, number: int) -> None:
        if operation == "put_part" and number == 4 and not cleared:
            cleared.extend(rig.sink.uploads.values())
            rig.sink.uploads.clear()

    rig.sink.fault = fault

    result = rig.go()

    assert result.is_complete
    assert rig.arrived


# Rule 7


def test_stopping_ends_blocked_reads_and_all_threads() -> None:
    """Reads that block are aborted, threads are joined, and the attempt ends within a second."""
    rig = big(6)
    blocked = threading.Event()

    def fault(operation: str, key: str, number: int) -> None:
        if operation == "read" and number >= 2 * PART:
            blocked.set()
            raise BlockedError

    rig.source.fault = fault
    stop = Stop()
    ended: list[float] = []

    def attempt() -> None:
        with pytest.raises(StoppedError):
            rig.go(stop=stop)
        ended.append(time.monotonic())

    thread = threading.Thread(target=attempt)
    thread.start()
    assert blocked.wait(5)
    began = time.monotonic()
    stop.set()
    thread.join(5)

    assert ended
    assert ended[0] - began < 1.0
    assert not [t for t in threading.enumerate() if t.name.startswith("ferry-")]
    assert len(rig.sink.uploads) == 1
    rig.calm()
    assert rig.go().is_complete
    assert rig.arrived


def test_a_stop_set_before_ends_at_once() -> None:
    """An attempt that is stopped before it begins moves nothing."""
    rig = big()
    stop = Stop()
    stop.set()

    with pytest.raises(StoppedError):
        rig.go(stop=stop)

    assert rig.sink.bytes_received == 0


# Rule 8


@pytest.mark.parametrize("size", [100, 5 * PART])
def test_bytes_that_differ_from_the_sources_checksum_never_become_visible(size: int) -> None:
    """A source whose bytes do not have its own checksum fails with nothing under the final key."""
    rig = Rig({"o": content(size)})
    rig.source.keeps_crc = True
    rig.source.corrupt = True

    result = rig.go()

    assert result.objects_failed == 1
    assert result.first_error is not None
    assert rig.sink.objects == {}
    assert rig.sink.uploads == {}


# Rule 9


def test_equal_objects_are_skipped_and_others_replaced() -> None:
    """If-different: equal size and checksum is a skip with its reason; everything else moves."""
    rig = Rig({"same": b"same", "other": b"aaaa", "new": b"new"})
    rig.sink.objects = {"in/same": b"same", "in/other": b"bbbb"}

    result = rig.go()

    assert rig.arrived
    assert (result.objects, result.objects_skipped, result.bytes) == (3, 1, 11)
    (skipped,) = rig.ledger.objects("t", state=ObjectState.SKIPPED)
    assert (skipped.source.name, skipped.error) == ("same", "same size and MD5")


def test_never_overwrites_nothing() -> None:
    """Never: what is there stays, also if it appears after the plan was made."""
    rig = Rig({"there": b"new", "late": b"new", "big": content(4 * PART)})
    rig.sink.objects = {"in/there": b"old"}

    def fault(operation: str, key: str, number: int) -> None:
        if operation in ("put", "create"):
            rig.sink.objects.setdefault(key, b"late")

    rig.sink.fault = fault

    result = rig.go(overwrite=Overwrite.NEVER)

    assert rig.sink.objects == {"in/there": b"old", "in/late": b"late", "in/big": b"late"}
    assert (result.objects_skipped, result.objects_failed) == (3, 0)
    assert rig.sink.uploads == {}


def test_always_asks_nothing_and_moves_everything() -> None:
    """Always: equal objects are moved too, and the destination is not looked at."""
    rig = Rig({"same": b"same"})
    rig.sink.objects = {"in/same": b"same"}
    asked: list[str] = []
    rig.sink.fault = lambda operation, key, number: asked.append(operation)

    result = rig.go(overwrite=Overwrite.ALWAYS)

    assert result.objects_skipped == 0
    assert "find" not in asked


def test_colliding_keys_are_refused_before_a_byte_moves() -> None:
    """Where different names can be one object, the whole plan is made first and refused."""
    rig = Rig({"A": b"1", "a": b"2"} | {f"B{number:03}": b"3" for number in range(150)})
    rig.sink.capabilities -= {Capability.INJECTIVE_NAMES}
    rig.sink.folds_case = True
    moved = threading.Event()
    rig.sink.fault = lambda operation, key, number: moved.set() if operation == "put" else None
    # The listing gives workers time to begin before it comes to the name that collides.

    def slow(operation: str, key: str, number: int) -> None:
        if (operation, key) == ("list", "a"):
            moved.wait(0.3)

    rig.source.fault = slow

    with pytest.raises(ConflictError):
        rig.go()

    assert rig.sink.bytes_received == 0


def test_a_name_that_would_escape_fails_alone() -> None:
    """An object whose name the sink refuses fails with the reason; the others arrive."""
    rig = Rig({"ok": b"1", "../escape": b"2"})

    result = rig.go()

    assert (result.objects, result.objects_failed) == (1, 1)
    assert result.first_error is not None
    assert result.first_error.kind == "invalid_address"
    assert rig.sink.objects == {"in/ok": b"1"}


def test_part_size_is_kept_on_resume() -> None:
    """A resume with other sizes, even a threshold above the object, goes on in the parts that were begun."""
    rig = big(6)
    rig.crash("put_part", 4)

    other = replace(LIMITS, part_size_bytes=10 * 1024, multipart_threshold_bytes=1000 * PART)
    result = rig.go(limits=other)

    assert rig.arrived
    assert result.bytes_resumed == 3 * PART


@pytest.mark.parametrize(
    "end",
    [lambda rig: rig.ledger.abandon_all("t"), lambda rig: rig.go(limits=ONE)],
    ids=["terminate", "fail"],
)
def test_an_upload_that_no_row_knows_is_found_and_aborted(end: Callable[[Rig], object]) -> None:
    """Killed before the id of an upload was written, and the object never tried again: it is found."""
    rig = big(4)
    rig.crash("created")
    assert len(rig.sink.uploads) == 1
    rig.source.objects.clear()

    end(rig)
    abort_due(rig.ledger, lambda cleanup: rig.sink, SystemClock())

    assert rig.sink.uploads == {}
    assert rig.ledger.cleanups() == []
    assert rig.ledger.given_up == []


def test_only_a_lost_upload_is_aborted_when_one_is_looked_for() -> None:
    """Uploads of other keys, older ones and those that a row knows stay; one being opened makes it wait."""
    rig = big(4)
    older = rig.foreign_upload("in/big")
    rig.sink.uploads[older.upload_id].begun -= timedelta(hours=2)
    other = rig.foreign_upload("in/bigger")
    rig.crash("created")
    rig.ledger.abandon_all("t")
    rig.crash("created", transfer_id="another")

    assert abort_due(rig.ledger, lambda cleanup: rig.sink, SystemClock()) == 0
    assert len(rig.sink.uploads) == 4
    assert "being opened" in (rig.ledger.cleanups()[0].last_error or "")

    rig.crash("put_part", 2, transfer_id="another")
    assert abort_due(rig.ledger, lambda cleanup: rig.sink, SystemClock()) == 1
    known = rig.ledger.known_uploads(rig.sink.identity, "in/big")
    assert set(rig.sink.uploads) == {older.upload_id, other.upload_id, *known}


@pytest.mark.parametrize(("exclusive", "lists"), [(False, True), (True, False)])
def test_a_lost_upload_that_may_not_be_aborted_is_told(*, exclusive: bool, lists: bool) -> None:
    """Where others upload too, or listing is refused, it is left, written, and said what to do."""
    rig = big(4)
    rig.crash("created")
    rig.ledger.abandon_all("t")
    rig.sink.exclusive, rig.sink.lists_uploads = exclusive, lists
    told: list[str] = []

    gone = abort_due(
        rig.ledger,
        lambda cleanup: rig.sink,
        SystemClock(),
        given_up=lambda cleanup, error: told.append(error),
    )

    assert gone == 0
    assert len(rig.sink.uploads) == 1
    assert "lifecycle rule" in told[0]
    assert [cleanup.last_error for cleanup in rig.ledger.given_up] == told


def test_bytes_resumed_are_those_that_earlier_attempts_moved() -> None:
    """Objects that were there before count as skipped, not as resumed; finished ones and parts do."""
    rig = Rig({"a": b"there", "big": content(6 * PART), "small": b"moved"})
    rig.sink.objects["in/a"] = b"there"
    rig.crash("put_part", 4)
    committed = rig.ledger.totals("t")
    rig.crash("put")

    result = rig.go(limits=ONE)

    assert (committed.bytes_done, committed.bytes_skipped) == (3 * PART + 5, 5)
    assert (result.objects_skipped, result.bytes_resumed) == (1, 6 * PART)
    assert rig.witness.progress[-1].bytes_resumed == result.bytes_resumed
    assert rig.go(transfer_id="next").bytes_resumed == 0


@pytest.mark.parametrize("keeps_conditions", [True, False])
@pytest.mark.parametrize(("size", "moment"), [(5, "add"), (3 * PART, "put_part")])
def test_what_somebody_else_makes_in_the_middle_is_never_overwritten(
    *, keeps_conditions: bool, size: int, moment: str
) -> None:
    """An object that came after the plan stays with ``never``, at stores that ignore conditions too."""
    rig = Rig({"a": content(size)})
    rig.sink.keeps_conditions = keeps_conditions

    def fault(operation: str, key: str, number: int) -> None:
        if operation == moment:
            rig.sink.objects["in/a"] = b"theirs"

    rig.ledger.fault = rig.sink.fault = fault

    result = rig.go(limits=ONE, overwrite=Overwrite.NEVER)

    assert rig.sink.objects == {"in/a": b"theirs"}
    assert (result.objects_skipped, result.objects_failed) == (1, 0)
    assert rig.sink.uploads == {}


@pytest.mark.parametrize("size", [5, 4 * PART])
def test_a_source_that_grew_without_saying_so_is_not_cut_off(size: int) -> None:
    """A reply without length and validator is read to its end: more bytes are a change."""
    rig = Rig({"a": content(size)})
    rig.source.capabilities = SOURCE_ALL - {Capability.VALIDATORS}
    rig.source.says_length = False

    def fault(operation: str, key: str, number: int) -> None:
        if operation == "open":
            rig.source.objects["a"] = content(size + 1)

    rig.source.fault = fault

    result = rig.go(limits=ONE)

    assert (result.objects_failed, rig.sink.objects, rig.sink.uploads) == (1, {}, {})
    assert getattr(result.first_error, "kind", "") == "source_changed"
