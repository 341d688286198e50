"""A worker: one thread that takes objects and parts from the feed until there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import Thread

from dataferry.domain.errors import (
    DataFerryError,
    DestinationExistsError,
    FencedError,
    IntegrityError,
    ObjectNotFoundError,
    StoppedError,
    UploadGoneError,
)
from dataferry.domain.ledger import Finished, ObjectRow
from dataferry.domain.objects import Capability, PartPlan
from dataferry.engine.attempt.course import Course
from dataferry.engine.attempt.retry import dooms_attempt
from dataferry.engine.objects.arrivals import Arrivals
from dataferry.engine.objects.completion import complete, find_gone, write_down
from dataferry.engine.objects.copying import copied_part, copied_whole, prove_copied
from dataferry.engine.objects.hands import Hands
from dataferry.engine.objects.opening import begin, forget
from dataferry.engine.objects.parts import carry_part
from dataferry.engine.objects.readback import parts_to_read, read_back_part
from dataferry.engine.objects.streaming import send_streamed
from dataferry.engine.objects.unknown_length import send_unknown
from dataferry.engine.objects.whole import send_whole
from dataferry.engine.objects.work import Arrival, BigObject, MultipartObject, Part, WholeObject, Work
from dataferry.engine.plan.planning import UNPLACEABLE
from dataferry.engine.transfer import Overwrite
from dataferry.engine.workers.feed import Feed
from dataferry.engine.workers.lanes import BATCH_OBJECTS, Lanes, Seat

# What a new beginning of the object may mend.
BEGIN_ANEW = (UploadGoneError, IntegrityError)


class Worker:
    """One thread with its own connections and buffer.

    Args:
        number: From 1; the feed lets those of low numbers work.
        course: The attempt.
        feed: Where work comes from.
        lanes: Where small objects may be sent by others.
    """

    def __init__(self, number: int, course: Course, feed: Feed, lanes: Lanes) -> None:
        self._number = number
        self._course = course
        self._feed = feed
        self._lanes = lanes
        self.hands = Hands(course)
        self._arrivals = Arrivals(course)
        self.hands.settle = self._arrivals.commit
        self._seat: Seat | None = None
        self.thread = Thread(target=self._run, name=f"ferry-worker-{number}", daemon=True)
        source = course.transfer.source.capabilities
        self._looks = Capability.VALIDATORS in source
        self._reads_ranges = {Capability.RANGES, Capability.VALIDATORS} <= source

    def _run(self) -> None:
        try:
            try:
                while (work := self._next()) is not None:
                    self._do(work)
            finally:
                self._arrivals.commit()
        except StoppedError as error:
            self._course.doom(error)
        except BaseException as error:  # noqa: BLE001 - the task's boundary: run() raises it again
            self._course.doom(error)
        finally:
            self.hands.connections.close()
            self._leave_seat()

    def _next(self) -> Work | None:
        """Take work; nothing stays unwritten while this waits for some, nor beside a part (rule 2)."""
        work = self._feed.poll(self._number)
        if isinstance(work, WholeObject):
            self._arrivals.make_room(work.row.source.size_bytes or 0)
            return work
        self._arrivals.commit()
        if work is None and self._feed.is_resting(self._number):
            # It may rest for hours, and a store has better uses for a connection.
            self.hands.connections.close()
            self._leave_seat()
        return work or self._feed.take(self._number)

    def _do(self, work: Work) -> None:
        if isinstance(work, Part):
            self._move_part(work)
            return
        if isinstance(work, WholeObject) and self._send_apart(work.row):
            self._feed.done(work)
            return
        row = self._attended(work.row, lambda: self._current(work.row))
        if row is None:
            self._feed.done(work)
        elif isinstance(work, WholeObject) and row.source.size_bytes is None:
            self._feed.again(BigObject(row))
            self._feed.done(work)
        elif isinstance(work, WholeObject) or not self._course.is_large(row):
            self._attended(row, lambda: self._send_whole(row))
            self._feed.done(work)
        else:
            in_ranges = self._reads_ranges and row.source.validator is not None
            self._begin(replace(work, row=row), in_ranges=in_ranges)

    def _send_apart(self, first: ObjectRow) -> bool:
        """Have a lane send a small object and others after it; False if this worker is to send it itself."""
        seat = self._seated() if self._lanes.count and self._is_current(first) else None
        if seat is None:
            return False
        meter = self.hands.meter
        self._arrivals.commit()
        most_bytes = self._course.transfer.limits.part_size_bytes - (first.source.size_bytes or 0)
        rows = [first, *self._feed.more_small(BATCH_OBJECTS - 1, most_bytes, self._is_current)]
        while rows and (report := seat.send(rows)) is not None:
            for name, count in report.counted.items():
                setattr(meter, name, getattr(meter, name) + count)
            for row, outcome in zip(rows, report.outcomes, strict=False):
                self._attended(row, partial(self._told, row, outcome))
            self._arrivals.commit()
            rows = rows[len(report.outcomes) :]
        for row in rows:  # the lane is lost
            self._arrivals.make_room(row.source.size_bytes or 0)
            self._attended(row, partial(self._send_whole, row))
        return True

    def _leave_seat(self) -> None:
        seat, self._seat = self._seat, None
        if seat is not None:
            seat.close()

    def _seated(self) -> Seat | None:
        """Return this worker's place in a lane, if there is one for it."""
        if self._seat is not None and self._seat.is_lost:
            self._seat = None
        if self._seat is None:
            self._seat = self._lanes.seat(self._number)
            if self._seat is not None:
                self.hands.connections.close()  # those of its lane take their place
        return None if self._course.route.is_copying else self._seat

    def _told(self, row: ObjectRow, outcome: Finished | DataFerryError) -> ObjectRow:
        """Take in what a lane says of an object.

        Raises:
            DataFerryError: What failed there.
        """
        if isinstance(outcome, DataFerryError):
            raise outcome
        self._ended(outcome)
        return row

    def _is_current(self, row: ObjectRow) -> bool:
        """True if ``_current`` would change nothing, and it goes in one piece."""
        return (
            row.source.size_bytes is not None
            and not self._course.is_large(row)  # was to be copied whole by the store
            and not row.target_key.startswith(UNPLACEABLE)
            and not (self._looks and row.source.validator is None)
            and self._course.transfer.selection.selects(row.source.name)
        )

    def _current(self, row: ObjectRow) -> ObjectRow:
        """Bring a row up to date: its key at this sink, and a look at a source without validator."""
        course, sink = self._course, self._course.transfer.sink
        if not course.transfer.selection.selects(row.source.name):
            # The plan may be older than the patterns, which may be a rule of access: theirs is the last word.
            raise ObjectNotFoundError(f"{row.source.name} is left out by the patterns that apply now")
        # The plan's keys are this sink's (see ``retarget``), but for names that it refused: they fail here.
        moved = row.target_key.startswith(UNPLACEABLE)
        key = row.target_key
        if moved:
            key = sink.place(row.source.name, single=course.transfer.source.is_single)
        source = None
        if self._looks and row.source.validator is None:
            source = self.hands.trying(
                f"looking at {row.source.name}", lambda: self.hands.connections.reader.stat(row.source)
            )
            source = replace(source, attributes=None)
        if not moved and source in (None, row.source):
            return row
        self._lose_parts(row)
        if source is not None:
            self.hands.resized(row.source.size_bytes, source.size_bytes)
        if moved:
            course.ledger.restart(
                course.attempt, row.ordinal, source=source, abandon=True, target=(key, sink.identity)
            )
        else:
            course.ledger.restart(course.attempt, row.ordinal, source=source, abandon=True)
        return replace(row.anew, source=source or row.source, target_key=key, target_identity=sink.identity)

    def _begin(self, work: BigObject, *, in_ranges: bool) -> None:
        owner: MultipartObject | None = None

        def once() -> ObjectRow:
            nonlocal owner
            sent: MultipartObject | Finished | None
            if work.row.source.size_bytes is None:
                sent = send_unknown(self.hands, work)
            else:
                sent = begin(self.hands, work) if in_ranges else None
                sent = sent or send_streamed(self.hands, work)
            if isinstance(sent, MultipartObject):
                owner = sent
            else:
                self._ended(sent)
                self.hands.resized(None, sent.size_bytes)
            return work.row

        self._attended(work.row, once)
        if owner is None:
            self._feed.done(work)
        elif self._feed.opened(owner):
            self._settle(owner)

    def _move_part(self, part: Part) -> None:
        """Send one part, or read it back."""
        owner = part.owner
        error: DataFerryError | None = None
        try:
            if owner.arrival is None:
                self._carry(owner, part.plan)
            else:
                read_back_part(self.hands, owner, owner.arrival, part.plan)
        except (StoppedError, FencedError):
            raise
        except DataFerryError as caught:
            if dooms_attempt(caught):
                raise
            error = caught
        if self._feed.part_done(part, error):
            self._settle(owner)

    def _carry(self, owner: MultipartObject, plan: PartPlan) -> None:
        """Send or copy one part; its row is committed before the next is taken (rule 2)."""
        course, hands = self._course, self.hands
        again = plan.length_bytes if plan.number in owner.sent_before else 0
        what = f"part {plan.number} of {owner.row.source.name}"
        receipt = copied_part(hands, owner, plan)
        if receipt is None:
            owner.is_streamed = True
            receipt = hands.moving(what, lambda: carry_part(hands, owner, plan), sent_before=again)
        course.ledger.add_part(course.attempt, owner.row.ordinal, receipt)
        owner.receipts[plan.number] = receipt

    def _settle(self, owner: MultipartObject) -> None:
        """All parts have ended: complete the object and have it read back, begin it anew, or let it fail."""
        again: BigObject | None = None
        reading = False

        def once() -> ObjectRow:
            nonlocal again, reading
            try:
                if owner.error is not None:
                    raise owner.error
                arrival = owner.arrival = owner.arrival or self._complete(owner)
            except BEGIN_ANEW as error:
                if owner.tries >= self._course.transfer.limits.attempts or self._is_final(owner):
                    raise
                again = self._anew(owner, error)
                return owner.row
            if self._course.reads_back and not owner.reads_back:
                owner.reads_back = reading = True
                return owner.row
            write_down(self.hands, owner, arrival)
            self.hands.resized(owner.row.source.size_bytes, owner.source.size_bytes)
            self._count_done(by_copy=owner.is_copied and not owner.is_streamed)
            return owner.row

        self._attended(owner.row, once, owner.kept)
        if not reading:
            self._feed.settled(owner, again)
        elif self._feed.reopened(owner, parts_to_read(owner)):
            self._settle(owner)

    def _is_final(self, owner: MultipartObject) -> bool:
        """True if it is visible and may not be overwritten: another try would find it there."""
        return owner.arrival is not None and self._course.transfer.overwrite is Overwrite.NEVER

    def _complete(self, owner: MultipartObject) -> Arrival:
        """Make an object visible; what an earlier attempt completed is found."""
        try:
            if owner.is_copied:
                prove_copied(self.hands, owner)
            return complete(self.hands, owner)
        except UploadGoneError:
            arrival = find_gone(self.hands, owner.row, owner.source, owner.receipts.values())
            if arrival is None:
                raise
            return arrival

    def _anew(self, owner: MultipartObject, error: DataFerryError) -> BigObject:
        course = self._course
        if owner.is_copied and isinstance(error, IntegrityError):
            course.route.give_up(str(error))
        course.observer.noted("object_restarted", f"{owner.row.source.name} begins anew: {error}")
        forget(
            self.hands,
            owner.row,
            owner.receipts.values(),
            abandon=not isinstance(error, UploadGoneError),
            kept=owner.kept,
        )
        return BigObject(
            owner.row.anew,
            tries=owner.tries + 1,
            sent_before=owner.sent_before | frozenset(owner.receipts),
        )

    def _send_whole(self, row: ObjectRow) -> ObjectRow:
        finished = copied_whole(self.hands, row)
        if finished is not None:
            self._ended(finished, by_copy=True)
        elif self._course.is_large(row):
            # It was to be copied whole by the store, which did not.
            self._feed.again(BigObject(row))
        else:
            self._ended(send_whole(self.hands, row))
        return row

    def _ended(self, finished: Finished, *, by_copy: bool = False) -> None:
        self._arrivals.add(finished)
        self._count_done(by_copy=by_copy)

    def _attended(
        self, row: ObjectRow, action: Callable[[], ObjectRow], kept: frozenset[int] | None = None
    ) -> ObjectRow | None:
        """Run what concerns one object; its failure is written, and the others go on.

        Args:
            row: The object.
            action: What to run.
            kept: Numbers of parts that an earlier attempt committed; None is all that there are.

        Returns:
            What ``action`` returns; None if the object ended here.
        """
        course, meter = self._course, self.hands.meter
        try:
            return action()
        except (StoppedError, FencedError):
            raise
        except DestinationExistsError as error:
            self._lose_parts(row, kept)
            if row.upload is not None:
                course.ledger.restart(course.attempt, row.ordinal, source=None, abandon=True)
            course.ledger.skip(course.attempt, row.ordinal, reason=str(error))
            self.hands.resized(row.source.size_bytes, row.source.size_bytes or 0)
            meter.skipped += 1
        except DataFerryError as error:
            if dooms_attempt(error) or course.is_denied(error):
                raise
            self._lose_parts(row, kept)
            course.failed(row.ordinal, error)
            course.observer.noted("object_failed", f"{row.source.name}: {error.kind}: {error}")
            meter.failed += 1
        return None

    def _count_done(self, *, by_copy: bool = False) -> None:
        self.hands.meter.done += 1
        self.hands.meter.done_by_copy += by_copy
        self._course.denials = 0

    def _lose_parts(self, row: ObjectRow, kept: frozenset[int] | None = None) -> None:
        """Take back what was committed of an object that fails, is skipped, or begins anew elsewhere."""
        if row.upload is not None:
            self.hands.lose(self._course.ledger.parts(self._course.attempt.transfer_id, row.ordinal), kept)
