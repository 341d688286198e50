"""Progress: adds up the workers' counters about four times a second and tells the observer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Thread

from dataferry.domain.clock import Clock
from dataferry.domain.objects import Totals
from dataferry.domain.progress import Progress
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import Observer

INTERVAL_S = 0.25
WINDOW_S = 5.0


@dataclass(slots=True)
class Meter:
    """One worker's counters. Only its thread writes, so nobody waits; readers add them up.

    Attributes:
        bytes: Sent by this attempt, in flight included; taken back when a part fails.
        copied: Bytes that the store copied by itself.
        retransferred: Of bytes that had been sent before.
        lost: Committed bytes that count no more: missing at the destination, or of an object that failed.
        unresumed: Those of them that an earlier attempt had committed.
        verified: Read back from the destination and compared.
        done, skipped, failed: Objects ended.
        done_by_copy: Those of ``done`` that the store copied by itself.
        sized, sized_bytes: Objects whose length turned out on the way, and the sum of those lengths.
        beat: Grows with every sign of life.
        busy: True inside a call that must show life.
        waiting: True while it waits for bandwidth: then it need not.
    """

    bytes: int = 0
    copied: int = 0
    retransferred: int = 0
    lost: int = 0
    unresumed: int = 0
    verified: int = 0
    done: int = 0
    done_by_copy: int = 0
    skipped: int = 0
    failed: int = 0
    sized: int = 0
    sized_bytes: int = 0
    beat: int = 0
    busy: bool = False
    waiting: bool = False


class Tally:
    """Everything an attempt counts: the ledger's totals at its start, the plan's growth, each worker's meter.

    Args:
        start: The ledger's totals when the attempt began.
        clock: For throughput.
    """

    def __init__(self, start: Totals, clock: Clock) -> None:
        self._start = start
        self._clock = clock
        self._meters: list[Meter] = []
        self._samples: deque[tuple[float, int]] = deque([(clock.monotonic(), 0)])
        self.planned_objects = 0
        self.planned_bytes = 0
        self.planned_skips = 0
        self.planned_skip_bytes = 0
        self.left_out = 0
        self.planned_unsized = 0
        self.plan_complete = start.plan_complete
        self.workers = 0
        self.waiting: str | None = None
        # Set when there may be more in the plan, so that nobody needs to ask the ledger again and again.
        self.planned = Event()

    def rebase(self, start: Totals) -> None:
        """Begin from other totals, before any byte moved."""
        self._start = start

    def meter(self) -> Meter:
        """Return a new worker's meter."""
        meter = Meter()
        self._meters.append(meter)
        return meter

    @property
    def meters(self) -> Sequence[Meter]:
        """All meters."""
        return tuple(self._meters)

    @property
    def objects_total(self) -> int:
        """In the plan so far."""
        return self._start.objects_total + self.planned_objects

    def left(self) -> tuple[int, int]:
        """Return how many objects, and bytes of them, are planned and have not ended."""
        start, meters = self._start, self._meters
        ended = sum(meter.done + meter.skipped + meter.failed for meter in meters) + self.planned_skips
        begun = start.objects_total - start.objects_done - start.objects_skipped - start.objects_failed
        there = start.bytes_done + self.planned_skip_bytes + self.bytes_moved
        left_bytes = start.bytes_total + self.planned_bytes - there
        return begun + self.planned_objects - ended, max(0, left_bytes)

    @property
    def bytes_resumed(self) -> int:
        """That earlier attempts had committed, without what turned out to be missing at the destination.

        Objects that were skipped are no part of it: nobody had moved them.
        """
        committed = self._start.bytes_done - self._start.bytes_skipped
        return max(0, committed - sum(meter.unresumed for meter in self._meters))

    @property
    def bytes_moved(self) -> int:
        """Read and written by this attempt."""
        return sum(meter.bytes for meter in self._meters)

    @property
    def bytes_copied(self) -> int:
        """Copied by the store itself in this attempt."""
        return sum(meter.copied for meter in self._meters)

    @property
    def bytes_retransferred(self) -> int:
        """Sent though they had been sent before."""
        return sum(meter.retransferred for meter in self._meters)

    @property
    def bytes_verified(self) -> int:
        """Read back from the destination by this attempt."""
        return sum(meter.verified for meter in self._meters)

    def progress(self) -> Progress:
        """Return this moment; call it from one thread, since throughput is taken between calls."""
        start, meters = self._start, self._meters
        moved = self.bytes_moved + self.bytes_copied
        total = start.bytes_total + self.planned_bytes + sum(meter.sized_bytes for meter in meters)
        unsized = start.objects_unsized + self.planned_unsized - sum(meter.sized for meter in meters)
        there = start.bytes_done + self.planned_skip_bytes + moved - sum(meter.lost for meter in meters)
        rate = self._throughput(moved)
        plan_complete = self.plan_complete
        is_final = plan_complete and unsized <= 0
        left = max(0, total - there)
        return Progress(
            objects_total=self.objects_total,
            objects_done=start.objects_done + sum(meter.done for meter in meters),
            objects_skipped=start.objects_skipped
            + self.planned_skips
            + sum(meter.skipped for meter in meters),
            objects_failed=start.objects_failed + sum(meter.failed for meter in meters),
            objects_unsized=max(0, unsized),
            bytes_total=total,
            bytes_transferred=max(0, there if unsized > 0 else min(there, total)),
            bytes_resumed=self.bytes_resumed,
            bytes_retransferred=self.bytes_retransferred,
            bytes_verified=self.bytes_verified,
            throughput_bytes_per_s=rate,
            eta_s=left / rate if is_final and rate > 0 else None,
            plan_complete=plan_complete,
            workers=self.workers,
            waiting=self.waiting,
        )

    def _throughput(self, moved: int) -> float:
        now = self._clock.monotonic()
        samples = self._samples
        samples.append((now, moved))
        while len(samples) > 2 and now - samples[0][0] > WINDOW_S:  # noqa: PLR2004 - two make an interval
            samples.popleft()
        span_s = now - samples[0][0]
        return max(0.0, (moved - samples[0][1]) / span_s) if span_s > 0 else 0.0


class Monitor:
    """One thread that watches an attempt: reports progress, and looks for stalled workers.

    Args:
        tally: What to report.
        observer: Whom to tell.
        watch: Called at each tick; ends calls that stall.
        failed: Told of what an observer raises; then nothing is watched any more.
    """

    def __init__(
        self,
        tally: Tally,
        observer: Observer,
        watch: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._failed = failed
        self._tally = tally
        self._observer = observer
        self._watch = watch
        self._end = Stop()
        self._thread = Thread(target=self._run, name="ferry-monitor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End and join the thread, and report a last time."""
        self._end.set()
        self._thread.join()
        self._tick()

    def _run(self) -> None:
        while not self._end.wait(INTERVAL_S):
            if not (self._guarded(self._watch) and self._tick()):
                return

    def _tick(self) -> bool:
        return self._guarded(lambda: self._observer.progressed(self._tally.progress()))

    def _guarded(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - the task's boundary: run() raises it again
            self._failed(error)
            return False
        return True
