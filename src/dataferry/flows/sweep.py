"""Finds what should run and does not, and cleans up what was left behind.

A wake-up may be lost: a crash between commit and wake-up, a flow that waits for another one's destination, a
try that is due again. The row says what should run; the sweep hands it to the executor, and that is safe to
repeat.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from uuid import UUID

from dataferry.domain.dataflow import DataFlow, Run
from dataferry.domain.errors import NotFoundError
from dataferry.domain.execution import Executor
from dataferry.domain.ledger import Cleanup
from dataferry.engine.cleanup import abort_due
from dataferry.flows.attempts import Attempts
from dataferry.flows.periodic import Periodic
from dataferry.flows.shared import Shared
from dataferry.flows.writing import by_id, change
from dataferry.mechanisms.base import Sink
from dataferry.store.store import Transaction

MOST_QUEUED = 1000
CLEANUPS_A_TICK = 20


class Sweep:
    """Hands queued flows to the executor, and aborts abandoned uploads, in threads that it owns.

    Args:
        shared: The parts of this data plane.
        executor: Runs and stops attempts.
        attempts: Knows which tries are due.
    """

    def __init__(self, shared: Shared, executor: Executor, attempts: Attempts) -> None:
        self._shared = shared
        self._executor = executor
        self._attempts = attempts
        self._suspects: dict[UUID, int] = {}
        # Aborting asks stores that may hang; it must not delay the flows.
        self._flows = Periodic("sweep", self.tick, shared.policy.sweep_interval_s)
        self._cleanups = Periodic("cleanup", self.clean, shared.policy.sweep_interval_s)

    def start(self) -> None:
        """Queue what a former process left running, and start sweeping."""
        with self._shared.store.transaction() as tx:
            for flow_id in tx.flows.requeue_running():
                tx.events.add(flow_id, "requeued", "the service was restarted; the flow goes on")
        self._flows.start()
        self._cleanups.start()

    def close(self) -> None:
        """Stop sweeping, and join the threads."""
        self._flows.close()
        self._cleanups.close()

    def tick(self) -> int:
        """Hand queued flows to the executor once; return how many were due."""
        self._requeue_lost()
        self._attempts.renew_bounds()
        with self._shared.store.snapshot() as tx:
            queued = tx.flows.queued(MOST_QUEUED)
        due = [flow_id for flow_id in queued if self._attempts.is_due(flow_id)]
        for flow_id in due:
            self._executor.submit(flow_id)
        return len(due)

    def _requeue_lost(self) -> None:
        """Queue flows whose row says running and that nobody runs: their outcome could not be written.

        An attempt is in the executor's list before it claims its row, and until after it wrote its outcome; a
        row that is running in two sweeps and in no list, under one epoch, has nobody.
        """
        with self._shared.store.snapshot() as tx:
            rows, _ = tx.flows.list(run=Run.RUNNING, limit=MOST_QUEUED)
        running = self._executor.running()
        suspects = {flow.id: flow.epoch for flow in rows if flow.id not in running}
        lost = [flow_id for flow_id, epoch in suspects.items() if self._suspects.get(flow_id) == epoch]
        self._suspects = suspects
        for flow_id in lost:
            change(self._shared.store, by_id(flow_id), self._queued_again)

    def _queued_again(self, tx: Transaction, flow: DataFlow) -> DataFlow:
        if flow.run is not Run.RUNNING or flow.epoch != self._suspects.get(flow.id):
            return flow
        tx.events.add(flow.id, "requeued", "the last attempt ended without a word; the flow goes on")
        return replace(flow, run=Run.QUEUED)

    def clean(self) -> int:
        """Abort abandoned uploads that are due; return how many were tried."""
        self._abandon_forgotten()
        return abort_due(
            self._shared.store.ledger,
            self._sink,
            self._shared.clock,
            CLEANUPS_A_TICK,
            given_up=self._given_up,
        )

    def _abandon_forgotten(self) -> None:
        """Hand over the uploads of flows that ended just before their process was killed."""
        running = self._executor.running()  # asked first: who ends after it hands over by itself
        with self._shared.store.snapshot() as tx:
            forgotten = tx.flows.ended_with_uploads()
        for flow_id in forgotten:
            if flow_id not in running:
                self._shared.store.ledger.abandon_all(str(flow_id))

    def _given_up(self, cleanup: Cleanup, error: str) -> None:
        """Say with the flow's events that an upload may stay open."""
        with contextlib.suppress(NotFoundError, ValueError), self._shared.store.transaction() as tx:
            flow = tx.flows.get(UUID(cleanup.transfer_id))
            tx.events.add(flow.id, "upload_left_open", error)

    def _sink(self, cleanup: Cleanup) -> Sink | None:
        """Open the sink of an abandoned upload; None if the flow's places do not lead there any more."""
        try:
            with self._shared.store.snapshot() as tx:
                flow = tx.flows.get(UUID(cleanup.transfer_id))
        except NotFoundError:
            return None
        place = self._shared.resolver.ends(flow).sink
        if place is None:
            return None
        sink = place.mechanism.open_sink(place.endpoint, self._shared.network)
        if sink.identity != cleanup.target_identity:
            sink.close()
            return None
        return sink
