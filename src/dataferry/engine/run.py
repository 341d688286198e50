"""Runs one attempt at a transfer, from its plan to its result; its threads end before it returns."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from threading import Thread

from dataferry.domain.clock import Clock, SystemClock
from dataferry.domain.errors import StoppedError
from dataferry.domain.ledger import PAGE_ROWS, Attempt, Cleanup, Ledger, OwnWriter, rows_of
from dataferry.domain.objects import Capability
from dataferry.domain.schedule import Schedule
from dataferry.engine.attempt.course import Course
from dataferry.engine.attempt.progress import Monitor, Tally
from dataferry.engine.attempt.retry import Retrier
from dataferry.engine.attempt.route import Route
from dataferry.engine.attempt.tags import Tags
from dataferry.engine.cleanup import abort_one
from dataferry.engine.objects.readback import refuse_unreadable
from dataferry.engine.plan.manifest import manifest_key, refuse_collision, write_manifest
from dataferry.engine.plan.planning import UNPLACEABLE, Planner
from dataferry.engine.plan.retargeting import retarget
from dataferry.engine.rates.bandwidth import Bandwidth, Share
from dataferry.engine.rates.pause import Pause
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import Observer, Result, Transfer
from dataferry.engine.workers.crew import START_WORKERS, Crew
from dataferry.engine.workers.feed import Feed
from dataferry.engine.workers.gathering import Gathering
from dataferry.engine.workers.lanes import Lanes
from dataferry.mechanisms.abilities import Abortable, KeyCheck, NamesToLearn

# How long the feeder waits for room or for the planner, before it looks whether it is to end.
WAIT_S = 0.1
JOIN_S = 0.2


def run(
    transfer: Transfer,
    ledger: Ledger,
    *,
    stop: Stop,
    observer: Observer,
    clock: Clock | None = None,
) -> Result:
    """Run one attempt: plan, move, verify, and report.

    Objects that fail are counted in the result; those that an earlier attempt failed are tried again.

    Args:
        transfer: What to move, under which epoch.
        ledger: Remembers it; the epoch must have been claimed there.
        stop: Set from any thread, ends the attempt within a second.
        observer: Told of progress and events.
        clock: The machine's if None.

    Raises:
        StoppedError: ``stop`` was set; what was committed stays for the next attempt.
        FencedError: A newer attempt owns the transfer.
        ConflictError: Two objects would have the same key at the destination.
        DataFerryError: The attempt can't go on: bucket gone, place not reachable, no access to the listing.
    """
    clock = clock or SystemClock()
    began = clock.monotonic()
    halt = Stop()
    course = course_of(transfer, ledger, observer, clock, halt)
    unregister = stop.on_stop(halt.set)
    try:
        if course.bandwidth is not None and not transfer.waits_for_windows:
            course.bandwidth.refuse_closed()
        _move(course)
        if not halt.is_set:
            write_manifest(course)
    finally:
        unregister()
        course.tags.tell()
        if course.bandwidth is not None:
            course.bandwidth.close()
    if course.error is not None and not isinstance(course.error, StoppedError):
        raise course.error
    if halt.is_set:
        raise StoppedError("the transfer was stopped")
    _clean_up(course, stop)
    return _result(course, clock.monotonic() - began)


def course_of(transfer: Transfer, ledger: Ledger, observer: Observer, clock: Clock, halt: Stop) -> Course:
    """Put together what all threads share."""
    limits = transfer.limits
    refuse_unreadable(transfer)
    attempt = Attempt(transfer_id=transfer.id, epoch=transfer.epoch)
    ledger.check(attempt)
    route = Route(transfer, observer)
    route.announce()
    retried = ledger.retry_failed(attempt)
    if retried:
        observer.noted("failed_objects_retried", f"{retried} objects that had failed are tried again")
    return Course(
        transfer=transfer,
        ledger=ledger,
        attempt=attempt,
        observer=observer,
        clock=clock,
        halt=halt,
        retrier=Retrier(limits, halt, Pause(clock, halt), observer),
        tally=Tally(ledger.totals(transfer.id), clock),
        tags=Tags(transfer, observer),
        bandwidth=_bandwidth(transfer, clock, halt),
        route=route,
    )


def _bandwidth(transfer: Transfer, clock: Clock, halt: Stop) -> Share | None:
    """Put together the transfer's own bound and those that it shares; None if there is none."""
    rate = transfer.limits.bandwidth_bytes_per_s
    own = () if rate is None else (Bandwidth("this transfer", Schedule(bytes_per_s=rate), clock),)
    bounds = (*own, *transfer.bandwidths)
    return Share(bounds, halt) if bounds else None


def _move(course: Course) -> None:
    """Run planner, workers and monitor; return when all have ended."""
    limits = course.transfer.limits
    lanes = Lanes(course)
    feed = Feed(min(START_WORKERS, limits.workers), course.is_big)
    crew = Crew(course, feed, lanes)
    planner = Thread(target=lambda: _plan(course), name="ferry-planner", daemon=True)
    threads: list[Thread] = []
    gathering = Gathering(
        course.tally,
        course.clock,
        lambda: _thread_ids(course, crew, planner),
        lambda reason: course.observer.noted("gathered", reason),
    )

    def watch() -> None:
        crew.watch()
        lanes.watch()
        gathering.watch()

    def let_go() -> None:
        feed.end()
        _let_go(course, crew, lanes)

    def remind() -> None:
        if course.halt.is_set:
            let_go()

    monitor = Monitor(course.tally, course.observer, watch, course.doom)
    unregister = course.halt.on_stop(let_go)
    monitor.start()
    try:
        if isinstance(course.transfer.sink, NamesToLearn):
            course.transfer.sink.learn_names()
        refuse_collision(course)
        retarget(course)
        planner.start()
        threads.append(planner)
        if Capability.INJECTIVE_NAMES not in course.transfer.sink.capabilities:
            # Names that collide are found while they are written down, before a byte moves (rule 9).
            _join([planner], lambda: None)
            refuse_collisions(course)
        crew.start()
        _supply(course, feed, crew, lanes, gathering)
    except BaseException as error:  # noqa: BLE001 - the task's boundary: run() raises it again
        course.doom(error)
    finally:
        _join(threads, remind)
        crew.join(remind)
        lanes.close()
        unregister()
        monitor.close()
        gathering.close()


def _thread_ids(course: Course, crew: Crew, planner: Thread) -> Iterator[int]:
    """Return the system's numbers of the threads that wait for each other: who sends, lists, writes down."""
    yield from crew.thread_ids
    if planner.is_alive() and planner.native_id:
        yield planner.native_id
    writer = course.ledger.writer_id if isinstance(course.ledger, OwnWriter) else None
    if writer is not None:
        yield writer


def _let_go(course: Course, crew: Crew, lanes: Lanes) -> None:
    """Make every blocked call fail at once (rule 7)."""
    crew.let_go()
    lanes.end()
    for end in (course.transfer.source, course.transfer.sink):
        if isinstance(end, Abortable):
            end.abort()


def _plan(course: Course) -> None:
    """The planner thread."""
    try:
        Planner(course).run()
    except BaseException as error:  # noqa: BLE001 - the task's boundary: run() raises it again
        course.doom(error)


def refuse_collisions(course: Course) -> None:
    """Have the sink look at all keys of the plan together (rule 9).

    Raises:
        AddressError: Two of them can't be there together.
    """
    sink = course.transfer.sink
    if not (course.tally.plan_complete and isinstance(sink, KeyCheck)):
        return

    rows = rows_of(course.ledger, course.transfer.id)
    keys = (row.target_key for row in rows if not row.target_key.startswith(UNPLACEABLE))
    sink.check_keys(_with(keys, manifest_key(course.transfer)))


def _with(keys: Iterator[str], another: str | None) -> Iterator[str]:
    """Return keys in their order, another one among them."""
    return keys if another is None else heapq.merge(keys, [another])


def _supply(course: Course, feed: Feed, crew: Crew, lanes: Lanes, gathering: Gathering) -> None:
    """Feed the workers from the ledger, a page at a time, until the plan is exhausted."""
    after = 0
    while not course.halt.is_set:
        has_room = feed.wait_for_room(WAIT_S)
        # Asked before the rows: what the planner adds between the two is found next time.
        course.tally.planned.clear()
        complete = course.tally.plan_complete
        lanes.consider()
        if not has_room:
            continue
        rows = course.ledger.pending(course.transfer.id, after_ordinal=after, limit=PAGE_ROWS)
        if rows:
            if not after:
                gathering.expect([row.source.size_bytes for row in rows])
            after = rows[-1].ordinal
            crew.expect(rows)
            feed.offer(rows)
        elif complete:
            feed.close()
            return
        else:
            while not (course.tally.planned.wait(WAIT_S) or course.halt.is_set):
                pass


def _join(threads: list[Thread], remind: Callable[[], None]) -> None:
    """Wait until all threads have ended; ``remind`` those that opened a connection just after being told."""
    for thread in threads:
        while thread.is_alive():
            thread.join(JOIN_S)
            remind()


def _clean_up(course: Course, stop: Stop) -> None:
    """Abort the uploads of objects that failed or began anew, while we have the sink open."""
    sink = course.transfer.sink

    def given_up(_cleanup: Cleanup, error: str) -> None:
        course.observer.noted("upload_left_open", error)

    for cleanup in course.ledger.cleanups(limit=1000, transfer_id=course.transfer.id):
        if cleanup.target_identity == sink.identity and not stop.is_set:
            abort_one(course.ledger, cleanup, sink, course.clock, given_up)


def _result(course: Course, seconds: float) -> Result:
    """Read the outcome from the ledger: what is committed counts; why not, is told by who failed."""
    transfer_id = course.transfer.id
    totals = course.ledger.totals(transfer_id)
    first = None if course.first_failure is None else course.first_failure[1]
    copied = sum(meter.done_by_copy for meter in course.tally.meters)
    streamed = sum(meter.done for meter in course.tally.meters) - copied
    return Result(
        objects=totals.objects_done + totals.objects_skipped,
        bytes=totals.bytes_done,
        objects_failed=totals.objects_failed,
        objects_skipped=totals.objects_skipped,
        bytes_moved=course.tally.bytes_moved,
        bytes_resumed=course.tally.bytes_resumed,
        bytes_retransferred=course.tally.bytes_retransferred,
        seconds=seconds,
        strategy=course.route.taken(copied, streamed),
        bytes_copied=course.tally.bytes_copied,
        verification=totals.verification,
        first_error=first,
    )
