"""The behaviour suite that every ledger runs.

A ledger's test file makes a rig and hands it over::

    class TestMine(LedgerSuite):
        @pytest.fixture
        def rig(self, tmp_path: Path) -> Iterator[LedgerRig]:
            ...
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from dataferry.domain.errors import ConflictError, DataFerryError, FencedError, StoppedError
from dataferry.domain.ledger import (
    Attempt,
    Cleanup,
    Finished,
    Ledger,
    ObjectState,
    Plan,
    PlannedObject,
    ReceivingLedger,
)
from dataferry.domain.objects import Attributes, ObjectInfo, PartReceipt, Totals, Upload, Verification

# A service's transfers are named by UUIDs.
T1 = "00000000-0000-4000-8000-000000000001"
T2 = "00000000-0000-4000-8000-000000000002"
PLACE = "s3://store.example/bucket"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class StillClock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.moment = NOON

    def now(self) -> datetime:
        """The time that was set."""
        return self.moment

    def monotonic(self) -> float:
        """Seconds of the time that was set."""
        return self.moment.timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRig:
    """What the suite needs of a ledger.

    Attributes:
        begin: Starts a new attempt at a transfer, making it if it is new.
        reopen: Closes the ledger, and opens the same one again.
    """

    ledger: Ledger
    clock: StillClock
    begin: Callable[[str], Attempt]
    reopen: Callable[[], Ledger]


def planned(name: str, size_bytes: int | None = 100, *, skip_reason: str | None = None) -> PlannedObject:
    """Return an object to copy, called the same on both sides."""
    source = ObjectInfo(name=name, key=f"from/{name}", size_bytes=size_bytes, validator="v1")
    return PlannedObject(
        source=source, target_key=f"to/{name}", target_identity=PLACE, skip_reason=skip_reason
    )


def part(number: int, size_bytes: int = 40) -> PartReceipt:
    """Return a part as a store accepted it."""
    return PartReceipt(number=number, size_bytes=size_bytes, etag=f"e{number}", crc64nvme=number)


def finish(ledger: Ledger, attempt: Attempt, ordinal: int, *, size_bytes: int = 100) -> None:
    """Write an object as done, with the least that is needed."""
    ledger.finish(
        attempt, ordinal, size_bytes=size_bytes, etag="e", crc64nvme=None, verification=Verification.TRANSPORT
    )


class PlanCases:
    """The plan, and what is read of it."""

    def test_a_new_transfer_has_no_plan(self, rig: LedgerRig) -> None:
        """Before anything was listed there is nothing to move and nothing is complete."""
        attempt = rig.begin(T1)
        assert Plan(complete=False, cursor=None) == rig.ledger.plan(attempt)
        assert Totals() == rig.ledger.totals(T1)
        assert rig.ledger.pending(T1, after_ordinal=0, limit=10) == []

    def test_objects_come_back_as_planned(self, rig: LedgerRig) -> None:
        """Every field of a source survives, and ordinals follow the listing over several calls."""
        attempt = rig.begin(T1)
        source = ObjectInfo(
            name="odd ?#% ü.bin",
            key="k",
            size_bytes=5 * 1024**4,
            validator='"x"',
            version_id="v",
            crc64nvme=2**64 - 1,
            modified_at=NOON,
            attributes=Attributes(content_type="text/plain", user_metadata=(("a", "b"),)),
        )
        rig.ledger.add(attempt, [planned("a")], cursor="a")
        rig.ledger.add(
            attempt, [PlannedObject(source=source, target_key="t", target_identity=PLACE)], cursor="odd"
        )
        rows = rig.ledger.pending(T1, after_ordinal=0, limit=10)
        assert [row.ordinal for row in rows] == [1, 2]
        assert source == rows[1].source
        assert (rows[1].target_key, rows[1].target_identity) == ("t", PLACE)

    def test_the_cursor_moves_with_the_objects(self, rig: LedgerRig) -> None:
        """The cursor names what was added last, and the plan is complete once that is written."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned("a"), planned("b")], cursor="b")
        assert Plan(complete=False, cursor="b") == rig.ledger.plan(attempt)
        rig.ledger.finish_plan(attempt)
        assert Plan(complete=True, cursor="b") == rig.ledger.plan(attempt)

    @pytest.mark.parametrize("same_call", [True, False])
    def test_a_target_key_is_planned_once(self, rig: LedgerRig, *, same_call: bool) -> None:
        """Two objects that would become the same are refused by name, and nothing of that call is added."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned("a")], cursor="a")
        again = [planned("b"), planned("b")] if same_call else [planned("b"), planned("a")]
        with pytest.raises(ConflictError, match="to/b" if same_call else "to/a"):
            rig.ledger.add(attempt, again, cursor="z")
        assert rig.ledger.totals(T1).objects_total == 1
        assert rig.ledger.plan(attempt).cursor == "a"

    def test_pages_follow_the_ordinal(self, rig: LedgerRig) -> None:
        """A page begins after the ordinal given, and a state selects."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned(f"n{index}") for index in range(5)], cursor=None)
        finish(rig.ledger, attempt, 2)
        assert [row.ordinal for row in rig.ledger.pending(T1, after_ordinal=1, limit=2)] == [3, 4]
        done = rig.ledger.objects(T1, state=ObjectState.DONE)
        assert [(row.ordinal, row.etag, row.verification) for row in done] == [
            (2, "e", Verification.TRANSPORT)
        ]

    def test_what_arrived_is_told_by_key(self, rig: LedgerRig) -> None:
        """Objects that are done or skipped are found by their keys, with the version that is there."""
        attempt = rig.begin(T1)
        skipped = replace(
            planned("c"),
            skip_reason="same",
            skip_etag="e3",
            skip_level=Verification.DESTINATION,
            skip_crc64nvme=2**64 - 1,
        )
        rig.ledger.add(attempt, [planned("a"), planned("b"), skipped], cursor="c")
        rig.ledger.finish(
            attempt, 1, size_bytes=100, etag="e1", crc64nvme=None, verification=Verification.END_TO_END
        )
        ledger = rig.reopen()
        found = ledger.arrived(T1, ["to/a", "to/b", "to/c", "to/d"])
        assert {key: row.etag for key, row in found.items()} == {"to/a": "e1", "to/c": "e3"}
        assert found["to/c"].crc64nvme == 2**64 - 1
        assert ledger.totals(T1).verification is Verification.DESTINATION
        assert ledger.arrived(T2, ["to/a"]) == {}

    def test_skipped_objects_count_as_there(self, rig: LedgerRig) -> None:
        """What is at the destination already counts in bytes done and is not pending."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned("a", 10, skip_reason="same etag"), planned("b", 5)], cursor="b")
        rig.ledger.skip(attempt, 2, reason="same size")
        totals = rig.ledger.totals(T1)
        assert (totals.objects_skipped, totals.bytes_done, totals.bytes_total) == (2, 15, 15)
        assert totals.bytes_skipped == 15
        rig.ledger.restart(attempt, 2, source=None, abandon=True)
        assert rig.ledger.totals(T1).bytes_skipped == 10
        rig.ledger.skip(attempt, 2, reason="same size")
        assert [row.error for row in rig.ledger.objects(T1)] == ["same etag", "same size"]


class UploadCases:
    """Intents, uploads and parts."""

    def _open(self, rig: LedgerRig, name: str = "a") -> Attempt:
        """Plan one object and open its upload."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned(name)], cursor=name)
        rig.ledger.intend(attempt, 1, part_size_bytes=40)
        rig.ledger.open_upload(attempt, 1, Upload(upload_id="u1", key=f"to/{name}", started_at=NOON))
        return attempt

    def test_an_intent_stands_before_the_upload(self, rig: LedgerRig) -> None:
        """An intent's time and part size survive a crash, and a second intent keeps the first's time."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned("a")], cursor="a")
        row = rig.ledger.intend(attempt, 1, part_size_bytes=40)
        assert (row.intent_at, row.part_size_bytes) == (NOON, 40)
        rig.clock.moment += timedelta(hours=1)
        rig.ledger.intend(attempt, 1, part_size_bytes=50)
        reread = rig.reopen().objects(T1)[0]
        assert (reread.intent_at, reread.part_size_bytes, reread.upload) == (NOON, 50, None)
        assert planned("a").source == reread.source

    def test_an_intent_says_which_version_is_read(self, rig: LedgerRig) -> None:
        """Where a listing named none, a resume has to ask for the one that was begun."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned("a")], cursor="a")
        row = rig.ledger.intend(attempt, 1, part_size_bytes=40, version_id="v1")
        assert row.source.version_id == "v1"
        rig.ledger.intend(attempt, 1, part_size_bytes=40)
        assert rig.reopen().objects(T1)[0].source.version_id == "v1"

    def test_an_upload_needs_an_intent(self, rig: LedgerRig) -> None:
        """An upload that was created without an intent is a fault of the caller."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned("a")], cursor="a")
        with pytest.raises(ConflictError):
            rig.ledger.open_upload(attempt, 1, Upload(upload_id="u1", key="to/a"))

    def test_parts_are_there_after_reopening(self, rig: LedgerRig) -> None:
        """A committed part survives the process, in order, and is counted once if sent twice."""
        attempt = self._open(rig)
        for number in (2, 1, 2):
            rig.ledger.add_part(attempt, 1, part(number))
        ledger = rig.reopen()
        assert [part(1), part(2)] == ledger.parts(T1, 1)
        assert ledger.totals(T1).bytes_done == 80
        assert Upload(upload_id="u1", key="to/a", started_at=NOON) == ledger.objects(T1)[0].upload

    def test_parts_need_an_open_upload(self, rig: LedgerRig) -> None:
        """A part of an object that was restarted meanwhile is refused."""
        attempt = self._open(rig)
        rig.ledger.restart(attempt, 1, source=None, abandon=False)
        with pytest.raises(ConflictError):
            rig.ledger.add_part(attempt, 1, part(1))

    def test_dropped_parts_are_not_counted(self, rig: LedgerRig) -> None:
        """Parts that the destination does not have are forgotten, in the counters too."""
        attempt = self._open(rig)
        for number in (1, 2, 3):
            rig.ledger.add_part(attempt, 1, part(number))
        rig.ledger.drop_parts(attempt, 1, iter([1, 3, 9]))
        assert [part(2)] == rig.ledger.parts(T1, 1)
        assert rig.ledger.totals(T1).bytes_done == 40

    def test_a_finished_object_leaves_no_parts(self, rig: LedgerRig) -> None:
        """Rows of parts end with the object, and it counts with the size that it turned out to have."""
        attempt = self._open(rig)
        rig.ledger.add_part(attempt, 1, part(1))
        finish(rig.ledger, attempt, 1, size_bytes=120)
        assert rig.ledger.parts(T1, 1) == []
        totals = rig.ledger.totals(T1)
        assert (totals.objects_done, totals.bytes_done, totals.bytes_total) == (1, 120, 120)
        assert Verification.TRANSPORT is totals.verification
        assert frozenset() == rig.ledger.known_uploads(PLACE, "to/a")

    def test_lengths_that_are_not_known_are_counted(self, rig: LedgerRig) -> None:
        """Until the object is there, or a new look at the source says it; failing says nothing."""
        attempt = rig.begin(T1)
        names = ("a", "b", "c", "d")
        unknown = [
            replace(planned(name), source=ObjectInfo(name=name, key=name, size_bytes=None)) for name in names
        ]
        skipped = replace(unknown[3], skip_reason="it is there")
        rig.ledger.add(attempt, [*unknown[:3], skipped], cursor="d")
        totals = rig.ledger.totals(T1)
        assert (totals.objects_unsized, totals.bytes_total, totals.bytes_done) == (3, 0, 0)
        finish(rig.ledger, attempt, 1, size_bytes=120)
        rig.ledger.fail(attempt, 2, kind="short_body", error="it broke off")
        rig.ledger.restart(attempt, 3, source=ObjectInfo(name="c", key="c", size_bytes=7), abandon=False)
        totals = rig.reopen().totals(T1)
        assert (totals.objects_unsized, totals.bytes_total, totals.bytes_done) == (1, 127, 120)

    def test_several_objects_are_finished_together(self, rig: LedgerRig) -> None:
        """Some sent whole, one in parts, one of another size: each ends as if it had been finished alone."""
        attempt = self._open(rig)
        rig.ledger.add_part(attempt, 1, part(1))
        rig.ledger.add(attempt, [planned("x"), planned("y"), planned("z", 7)], cursor="z")
        last = rig.ledger.pending(T1, after_ordinal=0, limit=9)[-1].ordinal
        levels = {
            1: Verification.DESTINATION,
            last - 1: Verification.TRANSPORT,
            last: Verification.END_TO_END,
        }
        before = rig.ledger.totals(T1)
        rig.ledger.finish_many(
            attempt,
            [
                Finished(ordinal=ordinal, size_bytes=100, etag=f"e{ordinal}", crc64nvme=9, verification=level)
                for ordinal, level in levels.items()
            ],
        )
        done = rig.ledger.objects(T1, state=ObjectState.DONE)
        assert levels == {row.ordinal: row.verification for row in done}
        assert [(row.etag, row.crc64nvme, row.upload) for row in done] == [
            (f"e{ordinal}", 9, None) for ordinal in levels
        ]
        totals = rig.ledger.totals(T1)
        assert (totals.objects_done, totals.bytes_done) == (3, 300)
        assert totals.bytes_total == before.bytes_total + 93
        assert Verification.TRANSPORT is totals.verification
        assert rig.ledger.parts(T1, 1) == []

    def test_known_uploads_are_those_of_exactly_that_key(self, rig: LedgerRig) -> None:
        """Open uploads and those waiting for their abort are known, at their place and key only."""
        attempt = self._open(rig)
        assert frozenset({"u1"}) == rig.ledger.known_uploads(PLACE, "to/a")
        assert frozenset() == rig.ledger.known_uploads(PLACE, "to/ab")
        assert frozenset() == rig.ledger.known_uploads("elsewhere", "to/a")
        rig.ledger.restart(attempt, 1, source=None, abandon=True)
        assert frozenset({"u1"}) == rig.ledger.known_uploads(PLACE, "to/a")

    def test_a_restart_takes_the_new_source_and_target(self, rig: LedgerRig) -> None:
        """A restarted object is pending with what was looked up anew; its old upload is to be aborted."""
        attempt = self._open(rig)
        rig.ledger.add_part(attempt, 1, part(1))
        fresh = ObjectInfo(name="a", key="from/a", size_bytes=7, validator="v2")
        rig.ledger.restart(attempt, 1, source=fresh, abandon=True, target=("new/a", "elsewhere"))
        row = rig.ledger.pending(T1, after_ordinal=0, limit=1)[0]
        assert (fresh, "new/a", "elsewhere", None) == (
            row.source,
            row.target_key,
            row.target_identity,
            row.upload,
        )
        totals = rig.ledger.totals(T1)
        assert (totals.bytes_total, totals.bytes_done) == (7, 0)
        assert [(task.target_identity, task.key) for task in rig.ledger.cleanups()] == [(PLACE, "to/a")]

    def test_a_restart_does_not_take_another_objects_key(self, rig: LedgerRig) -> None:
        """The key of another object of the transfer is refused by name."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned("a"), planned("b")], cursor="b")
        with pytest.raises(ConflictError, match="to/a"):
            rig.ledger.restart(attempt, 2, source=None, abandon=False, target=("to/a", PLACE))

    def test_a_failed_object_hands_over_its_upload(self, rig: LedgerRig) -> None:
        """A failure is counted with its kind, and its upload is to be aborted."""
        attempt = self._open(rig)
        rig.ledger.add_part(attempt, 1, part(1))
        rig.ledger.fail(attempt, 1, kind="source_changed", error="it changed")
        totals = rig.ledger.totals(T1)
        assert (totals.objects_failed, totals.bytes_done, totals.bytes_total) == (1, 0, 100)
        assert [uid(task) for task in rig.ledger.cleanups(transfer_id=T1)] == ["u1"]
        row = rig.ledger.objects(T1, state=ObjectState.FAILED)[0]
        assert (row.error_kind, row.error) == ("source_changed", "it changed")

    def test_failed_objects_are_retried_with_a_fresh_look(self, rig: LedgerRig) -> None:
        """A retried object is pending, and the version that it failed with is forgotten."""
        attempt = self._open(rig)
        rig.ledger.fail(attempt, 1, kind="source_changed", error="it changed")
        assert rig.ledger.retry_failed(attempt) == 1
        row = rig.ledger.pending(T1, after_ordinal=0, limit=1)[0]
        assert (row.source.validator, row.error) == (None, None)
        assert rig.ledger.totals(T1).objects_failed == 0


class CleanupCases:
    """Uploads that must be aborted."""

    @pytest.mark.parametrize(
        "end",
        [
            lambda ledger, attempt: ledger.abandon_all(attempt.transfer_id),
            lambda ledger, attempt: ledger.fail(attempt, 1, kind="k", error="e"),
            lambda ledger, attempt: ledger.skip(attempt, 1, reason="r"),
            lambda ledger, attempt: ledger.restart(attempt, 1, source=None, abandon=True),
            lambda ledger, attempt: ledger.restart(
                attempt, 1, source=None, abandon=True, target=("new", "elsewhere")
            ),
            lambda ledger, attempt: finish(ledger, attempt, 1),
        ],
    )
    def test_an_intent_without_an_upload_is_handed_over(
        self, rig: LedgerRig, end: Callable[[Ledger, Attempt], object]
    ) -> None:
        """What an intent may have created is to be looked for, however its object ends; and only once."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned("a")], cursor="a")
        rig.ledger.intend(attempt, 1, part_size_bytes=40)
        assert rig.ledger.is_opening(PLACE, "to/a")
        rig.clock.moment += timedelta(hours=1)
        end(rig.ledger, attempt)
        assert not rig.ledger.is_opening(PLACE, "to/a")
        assert rig.ledger.abandon_all(T1) == 0
        found = [
            (task.target_identity, task.key, task.upload, task.since) for task in rig.reopen().cleanups()
        ]
        assert found == [(PLACE, "to/a", None, NOON)]

    def test_only_an_intent_without_an_upload_is_opening(self, rig: LedgerRig) -> None:
        """A key is being opened from the intent until the upload is known, at its place only."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned("a")], cursor="a")
        assert not rig.ledger.is_opening(PLACE, "to/a")
        rig.ledger.intend(attempt, 1, part_size_bytes=40)
        assert not rig.ledger.is_opening("elsewhere", "to/a")
        assert not rig.ledger.is_opening(PLACE, "to/ab")
        rig.ledger.open_upload(attempt, 1, Upload(upload_id="u1", key="to/a"))
        assert not rig.ledger.is_opening(PLACE, "to/a")

    def _abandoned(self, rig: LedgerRig) -> None:
        """Leave two open uploads behind."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned("a"), planned("b"), planned("c")], cursor="c")
        for ordinal in (1, 2):
            rig.ledger.intend(attempt, ordinal, part_size_bytes=40)
            rig.ledger.open_upload(attempt, ordinal, Upload(upload_id=f"u{ordinal}", key="to/?"))
            rig.ledger.add_part(attempt, ordinal, part(1))
        rig.begin(T1)
        assert rig.ledger.abandon_all(T1) == 2

    def test_abandoning_hands_over_every_upload_once(self, rig: LedgerRig) -> None:
        """Every open upload is to be aborted under its object's key, whatever the epoch; and only once."""
        self._abandoned(rig)
        assert rig.ledger.abandon_all(T1) == 0
        tasks = rig.reopen().cleanups()
        assert [(uid(task), task.key, task.attempts) for task in tasks] == [
            ("u1", "to/a", 0),
            ("u2", "to/b", 0),
        ]

    def test_abandoned_parts_are_not_counted(self, rig: LedgerRig) -> None:
        """Parts end with their upload."""
        self._abandoned(rig)
        assert rig.ledger.totals(T1).bytes_done == 0
        assert rig.ledger.parts(T1, 1) == []

    def test_a_failed_abort_is_due_again_later(self, rig: LedgerRig) -> None:
        """A clean-up that failed waits for its time; one that is done is gone; one given up is not due."""
        self._abandoned(rig)
        first, second = rig.ledger.cleanups()
        rig.ledger.cleaned(first.id, error="refused", retry_at=NOON + timedelta(minutes=5))
        rig.ledger.cleaned(second.id, error=None, retry_at=None)
        assert rig.ledger.cleanups() == []
        rig.clock.moment += timedelta(minutes=5)
        again = rig.ledger.cleanups()
        assert [(first.id, 1, "refused")] == [(task.id, task.attempts, task.last_error) for task in again]
        rig.ledger.cleaned(first.id, error="no credentials", retry_at=None)
        assert rig.ledger.cleanups() == []
        assert frozenset({"u1"}) == rig.ledger.known_uploads(PLACE, "to/a")

    def test_clean_ups_are_told_by_transfer(self, rig: LedgerRig) -> None:
        """Another transfer's clean-ups are left out, and a limit bounds the list."""
        self._abandoned(rig)
        assert rig.ledger.cleanups(transfer_id=T2) == []
        assert len(rig.ledger.cleanups(limit=1)) == 1


class FenceCases:
    """Epochs, threads and the end."""

    @pytest.mark.parametrize(
        "write",
        [
            lambda ledger, old: ledger.plan(old),
            lambda ledger, old: ledger.check(old),
            lambda ledger, old: ledger.add(old, [planned("z")], cursor="z"),
            lambda ledger, old: ledger.finish_plan(old),
            lambda ledger, old: ledger.intend(old, 2, part_size_bytes=40),
            lambda ledger, old: ledger.open_upload(old, 1, Upload(upload_id="u1", key="to/a")),
            lambda ledger, old: ledger.add_part(old, 1, part(1)),
            lambda ledger, old: ledger.drop_parts(old, 1, [1]),
            lambda ledger, old: ledger.restart(old, 1, source=None, abandon=True),
            lambda ledger, old: finish(ledger, old, 1),
            lambda ledger, old: ledger.fail(old, 1, kind="k", error="e"),
            lambda ledger, old: ledger.skip(old, 1, reason="r"),
            lambda ledger, old: ledger.retry_failed(old),
        ],
    )
    def test_an_older_attempt_writes_nothing(
        self, rig: LedgerRig, write: Callable[[Ledger, Attempt], object]
    ) -> None:
        """Once a newer attempt began, every call of an older one is fenced and changes nothing."""
        old = rig.begin(T1)
        rig.ledger.add(old, [planned("a"), planned("b")], cursor="b")
        rig.ledger.intend(old, 1, part_size_bytes=40)
        rig.ledger.open_upload(old, 1, Upload(upload_id="u1", key="to/a"))
        new = rig.begin(T1)
        before = (rig.ledger.objects(T1), rig.ledger.totals(T1), rig.ledger.plan(new))
        with pytest.raises(FencedError):
            write(rig.ledger, old)
        assert before == (rig.ledger.objects(T1), rig.ledger.totals(T1), rig.ledger.plan(new))
        rig.ledger.check(new)

    def test_many_threads_lose_nothing(self, rig: LedgerRig) -> None:
        """Parts that eight threads commit at the same time are all there, and counted."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned(f"n{index}") for index in range(8)], cursor=None)
        for ordinal in range(1, 9):
            rig.ledger.intend(attempt, ordinal, part_size_bytes=40)
            rig.ledger.open_upload(attempt, ordinal, Upload(upload_id=f"u{ordinal}", key="k"))

        def work(index: int) -> None:
            for number in range(1, 26):
                rig.ledger.add_part(attempt, index + 1, part(number, 1))

        assert in_threads(8, work) == []
        assert [len(rig.ledger.parts(T1, ordinal)) for ordinal in range(1, 9)] == [25] * 8
        assert rig.ledger.totals(T1).bytes_done == 200

    def test_one_callers_fault_is_its_own(self, rig: LedgerRig) -> None:
        """Of calls that are committed together, only the faulty ones fail."""
        old = rig.begin(T1)
        rig.ledger.add(old, [planned(f"n{index}") for index in range(200)], cursor=None)
        new = rig.begin(T1)

        def work(index: int) -> None:
            for step in range(20):
                finish(rig.ledger, old if index % 2 else new, index * 20 + step + 1, size_bytes=3)

        errors = in_threads(8, work)
        assert [FencedError] * 4 == [type(error) for error in errors]
        totals = rig.ledger.totals(T1)
        assert (totals.objects_done, totals.bytes_done) == (80, 240)

    def test_a_closed_ledger_refuses_at_once(self, rig: LedgerRig) -> None:
        """After close a caller gets an error, and nobody waits for ever."""
        attempt = rig.begin(T1)
        rig.ledger.close()
        with pytest.raises(StoppedError):
            rig.ledger.add(attempt, [planned("a")], cursor="a")
        rig.ledger.close()

    def test_close_commits_what_was_asked(self, rig: LedgerRig) -> None:
        """Callers that wait when the ledger is closed find their write there, or are told of an error."""
        attempt = rig.begin(T1)
        rig.ledger.add(attempt, [planned(f"n{index}") for index in range(64)], cursor=None)
        started = threading.Barrier(9)

        def work(index: int) -> None:
            started.wait()
            finish(rig.ledger, attempt, index + 1)

        def end() -> None:
            started.wait()
            rig.ledger.close()

        closer = threading.Thread(target=end)
        closer.start()
        errors = in_threads(8, work)
        closer.join()
        assert {StoppedError} >= {type(error) for error in errors}
        assert 8 - len(errors) == rig.reopen().totals(T1).objects_done


def uid(task: Cleanup) -> str | None:
    """The id of the upload that a clean-up knows."""
    return None if task.upload is None else task.upload.upload_id


class ReceivingCases:
    """What a ledger offers too, where the other side sends."""

    @pytest.fixture
    def receiving(self, rig: LedgerRig) -> ReceivingLedger:
        """The rig's ledger, if it is one."""
        ledger = rig.ledger
        if not isinstance(ledger, ReceivingLedger):
            pytest.skip("nobody sends to this ledger's owner")
        return ledger

    def test_what_arrives_is_there(self, rig: LedgerRig, receiving: ReceivingLedger) -> None:
        """Without a plan; again with another size it is counted once, and known by its key in any state."""
        attempt = rig.begin(T1)
        assert receiving.named(T1, "to/a") is None
        receiving.arrive(attempt, planned("a", 100), arrived(100))
        receiving.arrive(attempt, planned("b", 7), arrived(7))
        receiving.arrive(attempt, planned("a", 30), arrived(30))
        row = receiving.named(T1, "to/a")
        assert row is not None
        assert (row.state, row.source.size_bytes, row.crc64nvme) == (ObjectState.DONE, 30, 5)
        totals = receiving.totals(T1)
        assert (totals.objects_total, totals.objects_done) == (2, 2)
        assert (totals.bytes_total, totals.bytes_done) == (37, 37)
        assert totals.verification is Verification.TRANSPORT

    def test_two_names_do_not_share_a_key(self, rig: LedgerRig, receiving: ReceivingLedger) -> None:
        """Neither what arrives nor what is on its way takes another object's key."""
        attempt = rig.begin(T1)
        receiving.arrive(attempt, planned("a"), arrived(100))
        other = replace(planned("A"), target_key="to/a")
        with pytest.raises(ConflictError):
            receiving.arrive(attempt, other, arrived(1))
        with pytest.raises(ConflictError):
            receiving.expect(attempt, other)
        assert receiving.totals(T1).objects_total == 1

    def test_what_is_expected_begins_anew(self, rig: LedgerRig, receiving: ReceivingLedger) -> None:
        """Whatever was known: its open upload, and an intent without one, go to the clean-up list."""
        attempt = rig.begin(T1)
        first = receiving.expect(attempt, planned("a", None))
        receiving.intend(attempt, first.ordinal, part_size_bytes=0)
        receiving.open_upload(attempt, first.ordinal, Upload(upload_id="u1", key="to/a"))
        receiving.add_part(attempt, first.ordinal, part(1))
        again = receiving.expect(attempt, planned("a", 50))
        assert (again.ordinal, again.upload, again.source.size_bytes) == (first.ordinal, None, 50)
        assert [it.upload and it.upload.upload_id for it in receiving.cleanups()] == ["u1"]
        assert receiving.totals(T1).bytes_done == 0
        receiving.arrive(attempt, planned("a", 50), arrived(50))
        once_more = receiving.expect(attempt, planned("a", 60))
        assert once_more.state is ObjectState.PENDING
        assert (receiving.totals(T1).objects_done, receiving.totals(T1).bytes_done) == (0, 0)

    def test_an_arrival_ends_an_open_upload(self, rig: LedgerRig, receiving: ReceivingLedger) -> None:
        """Of the same object, sent whole meanwhile: its parts count no more, and it is to be aborted."""
        attempt = rig.begin(T1)
        row = receiving.expect(attempt, planned("a", 100))
        receiving.intend(attempt, row.ordinal, part_size_bytes=40)
        receiving.open_upload(attempt, row.ordinal, Upload(upload_id="u1", key="to/a"))
        receiving.add_part(attempt, row.ordinal, part(1))
        receiving.arrive(attempt, planned("a", 100), arrived(100))
        assert receiving.totals(T1).bytes_done == 100
        assert len(receiving.cleanups()) == 1
        with pytest.raises(ConflictError):
            receiving.add_part(attempt, row.ordinal, part(2))

    def test_the_first_word_fixes_the_size_of_parts(self, rig: LedgerRig, receiving: ReceivingLedger) -> None:
        """The same again is fine, another is not, and without an upload there is nothing to fix."""
        attempt = rig.begin(T1)
        row = receiving.expect(attempt, planned("a", None))
        with pytest.raises(ConflictError):
            receiving.agree_part_size(attempt, row.ordinal, 40)
        receiving.intend(attempt, row.ordinal, part_size_bytes=0)
        receiving.agree_part_size(attempt, row.ordinal, 40)
        receiving.agree_part_size(attempt, row.ordinal, 40)
        with pytest.raises(ConflictError):
            receiving.agree_part_size(attempt, row.ordinal, 41)

    def test_an_older_attempt_receives_nothing(self, rig: LedgerRig, receiving: ReceivingLedger) -> None:
        """It is fenced, as all writing is."""
        old = rig.begin(T1)
        receiving.expect(old, planned("a"))
        rig.begin(T1)
        for write in (
            lambda: receiving.expect(old, planned("b")),
            lambda: receiving.arrive(old, planned("b"), arrived(1)),
            lambda: receiving.agree_part_size(old, 1, 40),
        ):
            with pytest.raises(FencedError):
                write()

    def test_many_threads_receive(self, rig: LedgerRig, receiving: ReceivingLedger) -> None:
        """Each object has an ordinal of its own, and all are counted."""
        attempt = rig.begin(T1)

        def send(number: int) -> None:
            for at in range(10):
                receiving.arrive(attempt, planned(f"{number}-{at}", 10), arrived(10))

        assert in_threads(8, send) == []
        assert receiving.totals(T1).objects_done == 80
        assert receiving.totals(T1).bytes_done == 800


def arrived(size_bytes: int) -> Finished:
    """How an object went that came whole."""
    return Finished(
        ordinal=0, size_bytes=size_bytes, etag="e", crc64nvme=5, verification=Verification.TRANSPORT
    )


class LedgerSuite(PlanCases, UploadCases, CleanupCases, FenceCases, ReceivingCases):
    """All cases. Subclass it as ``Test…`` and override the fixture ``rig``."""


def in_threads(count: int, work: Callable[[int], None]) -> Sequence[BaseException]:
    """Run ``work(0..count-1)`` at the same time; return what was raised."""
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            work(index)
        except DataFerryError as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a caller hangs"
    return errors
