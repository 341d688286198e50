"""Has every entry that is at work make its steps, in few threads; those that wait hold none.

Which entries are at work, and when their next step is due, is in this process's memory only, and bounded: the
rows say all that a restart needs. Between requests it is fair: the oldest ones first, each with so many
entries at most.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from uuid import UUID

from dataferry.domain.dataflow import Run
from dataferry.domain.errors import DataFerryError
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.orchestration.steps import Steps
from dataferry.flows.orchestration.work import Memory, Next
from dataferry.flows.periodic import Periodic
from dataferry.flows.shared import Shared
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.orchestration")

EXPANDED_A_TICK = 1
FORGOTTEN_A_TICK = 50
RETENTION_INTERVAL_S = 600.0
# After a step whose outcome could not be written, e.g. because the disk is full.
AFTER_FAULT_S = 2.0
# A wake-up may be lost, as everywhere.
LOOK_INTERVAL_S = 5.0

Key = tuple[UUID, int]


@dataclass(slots=True)
class _Place:
    """One entry at work.

    Attributes:
        due_at: Monotonic seconds.
        flow_id: Its download, while it waits for that.
        is_held: A thread makes its step now.
        is_called: It was called for meanwhile: its next step is due at once.
    """

    memory: Memory = field(default_factory=Memory)
    due_at: float = 0.0
    flow_id: UUID | None = None
    is_held: bool = False
    is_called: bool = False


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
        self._begun: list[Key] = []
        self._pool = ThreadPoolExecutor(max_workers=policy.threads, thread_name_prefix="orchestration")
        self._closed = False
        self._periodic = Periodic("orchestrator", self.tick, policy.tick_s)
        self._forgetting = Periodic("orchestrations-retention", self.forget, RETENTION_INTERVAL_S)
        # Whether something may wait that nobody has taken up; asked again from time to time in any case.
        self._may_wait = False
        self._is_behind = False
        self._look_at = 0.0

    def start(self) -> None:
        """Go on with what a former process left, and start."""
        with self._shared.store.snapshot() as tx:
            self._begun = list(tx.orchestrations.begun())
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
            self._may_wait = True
            for (owner, _), place in self._places.items():
                place.is_called = place.is_called or owner == cancelled
        self._periodic.wake()

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
        self._expand()
        self._take_up()
        self._notice_flows()
        with self._lock:
            due = self._due(now)
            for _, place in due:
                place.is_held, place.is_called = True, False
        for key, place in due:
            self._pool.submit(self._make, key, place)
        return len(due)

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

    def _expand(self) -> None:
        """Give entries that were accepted as one row rows of their own."""
        with self._lock:
            if not self._may_wait or len(self._places) >= self._policy.concurrency:
                return
        with self._shared.store.snapshot() as tx:
            ids = tx.orchestrations.unexpanded(EXPANDED_A_TICK)
        for id_ in ids:
            with self._shared.store.transaction() as tx:
                tx.orchestrations.expand(id_)
        self._is_behind = len(ids) == EXPANDED_A_TICK

    def _take_up(self) -> None:
        """Put as many entries to work as there is room for: those begun before a restart first."""
        with self._lock:
            room = self._policy.concurrency - len(self._places)
            if room <= 0 or not (self._begun or self._may_wait):
                return
            crowded = Counter(owner for owner, _ in self._places)
            chosen, self._begun = self._begun[:room], self._begun[room:]
            if len(chosen) < room:
                self._may_wait = self._is_behind
        crowded.update(owner for owner, _ in chosen)
        if len(chosen) < room:
            chosen += self._waiting(room - len(chosen), crowded)
        with self._shared.store.snapshot() as tx:
            connectors = tx.orchestrations.connectors_of({owner for owner, _ in chosen})
        with self._lock:
            for key in chosen:
                memory = Memory(connector=connectors.get(key[0], ""))
                self._places.setdefault(key, _Place(memory=memory))

    def _waiting(self, room: int, crowded: Counter[UUID]) -> list[Key]:
        """Choose entries that nobody has begun: the oldest requests first, each with so many at most."""
        most = self._policy.concurrency_per_request
        full = [owner for owner, count in crowded.items() if count >= most]
        with self._shared.store.snapshot() as tx:
            waiting = tx.orchestrations.waiting(self._policy.concurrency, without=full)
        chosen: list[Key] = []
        with self._lock:
            self._may_wait = self._may_wait or bool(waiting)
            for key in waiting:
                if len(chosen) < room and key not in self._places and crowded[key[0]] < most:
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
            while following.after_s == 0 and not self._closed:
                following = self._steps.make(key, place.memory)
        except DataFerryError as exc:
            _log.warning("step not written", orchestration=str(key[0]), position=key[1], error=str(exc))
        except Exception:  # noqa: BLE001 - a thread's boundary
            _log.exception("step failed", orchestration=str(key[0]), position=key[1])
        with self._lock:
            if following.after_s is None:
                del self._places[key]
                self._may_wait = True
            else:
                place.due_at = self._shared.clock.monotonic() + following.after_s
                place.flow_id = following.flow_id
                place.is_held = False
        if following.after_s is None:
            self._periodic.wake()

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
