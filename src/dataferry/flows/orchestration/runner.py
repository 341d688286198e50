"""Has every entry that is at work make its steps, in few threads; those that wait hold none.

Which entries are at work, and when their next step is due, is in this process's memory only, and bounded: the
rows say all that a restart needs. Between requests it is fair: the oldest ones first, each with so many
entries at most.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from uuid import UUID

from dataferry.domain.dataflow import Run
from dataferry.domain.errors import DataFerryError
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.orchestration.steps import Steps
from dataferry.flows.orchestration.work import Memory, Next, Retry
from dataferry.flows.periodic import Periodic
from dataferry.flows.shared import Shared
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.orchestration")

FORGOTTEN_A_TICK = 50
RETENTION_INTERVAL_S = 600.0
# After a step whose outcome could not be written, e.g. because the disk is full.
AFTER_FAULT_S = 2.0
# Requests that come in a crowd are taken up when the last one has been answered: until then they would
# compete with those that are still to be read. A crowd that does not end is waited for no longer than that,
# and nothing else waits for it.
SETTLE_S = 0.05
MOST_SETTLING_S = 1.0
# Entries that are put to work with one look; fewer wait so long for others.
TOGETHER = 8
TOGETHER_S = 0.05
# A wake-up may be lost, as everywhere.
LOOK_INTERVAL_S = 5.0
# Downloads are ended by operators too, of which nobody is told.
FLOWS_INTERVAL_S = 0.5

Key = tuple[UUID, int]


@dataclass(slots=True)
class _Place:
    """One entry at work.

    Attributes:
        due_at: Monotonic seconds.
        flow_id: Its download, while it waits for that.
        is_held: A thread makes its step now.
        is_called: It was called for meanwhile: its next step is due at once.
        is_stale: What its memory has of rows is to be read again.
    """

    memory: Memory = field(default_factory=Memory)
    due_at: float = 0.0
    flow_id: UUID | None = None
    is_held: bool = False
    is_called: bool = False
    is_stale: bool = False


class Runner:
    """Owns the threads of the orchestrator.

    Args:
        shared: The parts of this data plane.
        steps: Makes them.
        policy: Bounds.
    """

    def __init__(self, shared: Shared, steps: Steps, policy: OrchestratorPolicy) -> None:
        self._shared = shared
        self._steps = steps
        self._policy = policy
        self._lock = Lock()
        self._places: dict[Key, _Place] = {}
        self._followed: dict[UUID, Key] = {}
        # Flows that ended before it was known that somebody follows them; few are ever looked for.
        self._ended: deque[UUID] = deque(maxlen=policy.concurrency)
        self._begun: list[Key] = []
        self._pool = ThreadPoolExecutor(max_workers=policy.threads, thread_name_prefix="orchestration")
        self._closed = False
        self._periodic = Periodic("orchestrator", self.tick, self._pause_s)
        self._forgetting = Periodic("orchestrations-retention", self.forget, RETENTION_INTERVAL_S)
        # Whether something may wait that nobody has taken up; asked again from time to time in any case.
        self._may_wait = False
        # A crowd that nobody has taken up, and when that is to be.
        self._crowd_began_at: float | None = None
        self._crowd_ends_at = self._taken_up_at = 0.0
        self._look_at = self._notice_at = 0.0

    def start(self) -> None:
        """Go on with what a former process left, and start."""
        with self._shared.store.snapshot() as tx:
            self._begun = list(tx.orchestrations.begun())
            begun = [tx.orchestrations.entry(key) for key in self._begun]
        self._steps.go_on(begun)
        self._may_wait = True
        self._periodic.start()
        if self._policy.retention_days:
            self._forgetting.start()

    def wake(self, cancelled: UUID | None = None) -> None:
        """Look for work now: something was asked for, or called off.

        Args:
            cancelled: What was called off: its entries make a step at once. Others keep to their time, so
                that no client can have connectors asked more often.
        """
        with self._lock:
            if cancelled is None:
                # No wake-up: the next look is soon, and should find all of a crowd.
                self._settle(self._shared.clock.monotonic())
                return
            self._may_wait = True
            for (owner, _), place in self._places.items():
                if owner == cancelled:
                    place.is_called = place.is_stale = True
        self._periodic.wake()

    def _settle(self, now: float) -> None:
        """Put off what a request asks for until no other one has come for a moment.

        Behind others that wait it has its turn with them, and is no crowd's beginning.
        """
        if self._crowd_began_at is None:
            if self._may_wait or self._begun:
                return
            self._crowd_began_at = now
        self._crowd_ends_at = min(now + SETTLE_S, self._crowd_began_at + MOST_SETTLING_S)

    def flow_ended(self, flow_id: UUID) -> None:
        """Make a step due whose download has come to an end. Any thread."""
        with self._lock:
            key = self._followed.get(flow_id)
            if key is None:
                self._ended.append(flow_id)
                return
            self._places[key].is_called = True
        self._periodic.wake()

    def retry(self, key: Key) -> Retry | None:
        """Return why an entry's step is being tried again; None if it is not, or not by this process."""
        with self._lock:
            place = self._places.get(key)
            return None if place is None else place.memory.retry

    def close(self) -> None:
        """End, and join the threads; what is at work goes on with the next start."""
        with self._lock:
            self._closed = True
        self._periodic.close()
        self._forgetting.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def tick(self) -> int:
        """Take up entries, and make the steps that are due; return how many were begun."""
        now = self._shared.clock.monotonic()
        if now >= self._look_at:
            self._look_at, self._may_wait = now + LOOK_INTERVAL_S, True
        if now >= self._notice_at:
            self._notice_at = now + FLOWS_INTERVAL_S
            self._notice_flows()
        self._take_up(now)
        with self._lock:
            due = self._due(now)
            for _, place in due:
                if place.is_stale:
                    place.memory.work = None
                place.is_held, place.is_called, place.is_stale = True, False, False
        for key, place in due:
            self._pool.submit(self._make, key, place)
        return len(due)

    def _pause_s(self) -> float:
        """Return how long nothing will be due, ``tick_s`` at most; whoever ends a step wakes us besides."""
        now = self._shared.clock.monotonic()
        with self._lock:
            later = [place.due_at - now for place in self._places.values() if place.due_at > now]
        return min([self._policy.tick_s, *later])

    def _due(self, now: float) -> list[tuple[Key, _Place]]:
        """Choose the steps to make; a connector that does not answer has some of the threads at most."""
        most = max(1, self._policy.threads * 3 // 4)
        held = Counter(place.memory.connector for place in self._places.values() if place.is_held)
        due: list[tuple[Key, _Place]] = []
        for key, place in self._places.items():
            connector = place.memory.connector
            is_due = place.is_called or place.due_at <= now
            if is_due and not place.is_held and held[connector] < most:
                held[connector] += 1
                due.append((key, place))
        return due

    def _take_up(self, now: float) -> None:
        """Put as many entries to work as there is room for: those begun before a restart first.

        Where there is room for a few only, there soon is for more: one look finds them all. Requests of a
        crowd that has not ended have no rows of entries yet, and get none: only what came before is found.
        """
        with self._lock:
            if self._crowd_began_at is not None and now >= self._crowd_ends_at:
                self._crowd_began_at, self._may_wait = None, True
            room = self._policy.concurrency - len(self._places)
            is_little = room < min(TOGETHER, self._policy.concurrency)
            if room <= 0 or not (self._begun or self._may_wait):
                return
            if is_little and now < self._taken_up_at + TOGETHER_S:
                return
            self._taken_up_at, self._may_wait = now, False
            may_expand = self._crowd_began_at is None
            chosen = self._begun[:room]
        while len(chosen) < room:
            found = self._waiting(room - len(chosen), chosen)
            chosen += found
            if not found and not (may_expand and self._expand()):
                break
        self._put_to_work(chosen, is_full=len(chosen) == room)

    def _put_to_work(self, chosen: Sequence[Key], *, is_full: bool) -> None:
        with self._shared.store.snapshot() as tx:
            connectors = tx.orchestrations.connectors_of({owner for owner, _ in chosen})
        with self._lock:
            self._may_wait = self._may_wait or is_full
            for key in chosen:
                memory = Memory(connector=connectors.get(key[0], ""))
                self._places.setdefault(key, _Place(memory=memory))
            self._begun = [key for key in self._begun if key not in self._places]

    def _expand(self) -> bool:
        """Give rows to the entries of the oldest request that is but one row; False if none is."""
        with self._shared.store.snapshot() as tx:
            ids = tx.orchestrations.unexpanded(1)
        for id_ in ids:
            with self._shared.store.transaction() as tx:
                tx.orchestrations.expand(id_)
        return bool(ids)

    def _waiting(self, room: int, before: Sequence[Key]) -> list[Key]:
        """Choose entries that nobody has begun: the oldest requests first, each with so many at most.

        Args:
            room: Of how many.
            before: What was chosen already and is not at work yet.
        """
        with self._lock:
            present = {*self._places, *before}
        most = self._policy.concurrency_per_request
        crowded = Counter(owner for owner, _ in present)
        full = [owner for owner, count in crowded.items() if count >= most]
        with self._shared.store.snapshot() as tx:
            # Of those that it finds, some may be here and have not made their first step yet.
            waiting = tx.orchestrations.waiting(room + len(present), of_one=2 * most, without=full)
        chosen: list[Key] = []
        for key in waiting:
            if len(chosen) < room and key not in present and crowded[key[0]] < most:
                crowded[key[0]] += 1
                chosen.append(key)
        return chosen

    def _notice_flows(self) -> None:
        """Make the steps due whose downloads have come to an end, with one look for all of them."""
        with self._lock:
            followed = {p.flow_id: p for p in self._places.values() if p.flow_id and not p.is_held}
        if not followed:
            return
        with self._shared.store.snapshot() as tx:
            runs = tx.flows.runs(list(followed))
        with self._lock:
            for flow_id, place in followed.items():
                if runs.get(flow_id) not in {Run.QUEUED, Run.RUNNING, Run.HELD}:
                    place.is_called = True

    def _make(self, key: Key, place: _Place) -> None:
        """Make steps of one entry until it has to wait; in a thread of the pool."""
        following = Next(after_s=AFTER_FAULT_S)
        try:
            following = self._steps.make(key, place.memory)
            while following.after_s == 0 and not (self._closed or place.is_called):
                following = self._steps.make(key, place.memory)
        except DataFerryError as exc:
            _log.warning("step not written", orchestration=str(key[0]), position=key[1], error=str(exc))
        except Exception:  # noqa: BLE001 - a thread's boundary
            _log.exception("step failed", orchestration=str(key[0]), position=key[1])
        with self._lock:
            self._put_off(key, place, following)
        self._periodic.wake()

    def _put_off(self, key: Key, place: _Place, following: Next) -> None:
        """Say when an entry's next step is due; called with the lock held."""
        if place.flow_id is not None:
            self._followed.pop(place.flow_id, None)
        place.flow_id = following.flow_id
        if following.after_s is None:
            del self._places[key]
            self._may_wait = True
            return
        place.due_at = self._shared.clock.monotonic() + following.after_s
        place.is_held = False
        if following.flow_id is not None:
            self._followed[following.flow_id] = key
            place.is_called = place.is_called or following.flow_id in self._ended

    def forget(self) -> int:
        """Forget orchestrations that ended long ago; what they stored stays. Return how many."""
        before = self._shared.clock.now() - timedelta(days=self._policy.retention_days)
        forgotten = 0
        while not self._closed:
            with self._shared.store.snapshot() as tx:
                expired = tx.orchestrations.expired(before, FORGOTTEN_A_TICK)
            for id_ in expired:
                done = False
                while not done:
                    with self._shared.store.transaction() as tx:
                        done = tx.orchestrations.forget(id_)
                forgotten += 1
            if not expired:
                break
        if forgotten:
            _log.info("forgotten", orchestrations=forgotten, ended_before=before.isoformat())
        return forgotten
