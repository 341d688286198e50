"""One attempt at a flow's work, from the row that says ``queued`` to the row that says how it went.

The attempt claims the row (which bumps its epoch), does the asynchronous part of prepare or start if that is
still to be done, moves the bytes, and records the outcome together with the callback in one transaction. It
records nothing if the row says meanwhile that the work is no longer this attempt's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Protocol
from uuid import UUID

from dataferry.domain.dataflow import DataFlow, Event, Role, Run, State
from dataferry.domain.errors import (
    ConfigError,
    DatabaseUnavailableError,
    DataFerryError,
    EgressDeniedError,
    ExhaustedError,
    FencedError,
    NotFoundError,
    RetryClass,
    StoppedError,
    StorageError,
)
from dataferry.domain.location import ControlPlane
from dataferry.domain.progress import Progress
from dataferry.engine.rates.bandwidth import WindowClosedError, refuse_closed
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import Result, Transfer
from dataferry.flows import gateway_tokens
from dataferry.flows.bounds import Bounds
from dataferry.flows.messages import Caller
from dataferry.flows.observing import FlowObserver, ProgressWriter
from dataferry.flows.preparation import Prepared
from dataferry.flows.resolution import Place
from dataferry.flows.retries import Destinations
from dataferry.flows.shared import Shared
from dataferry.flows.writing import by_id, change, completed, failed, wants_run
from dataferry.mechanisms.abilities import AccessTokens, RenewableEndpoints
from dataferry.mechanisms.base import Endpoint
from dataferry.store.store import Transaction
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.attempts")

# How often a flow that waits for a bandwidth window looks whether that was changed.
WINDOW_CHECK_S = 60.0


class InternalError(DataFerryError):
    """A fault of this program; its text stays in the log."""

    kind = "internal"


class OwnTokens(Protocol):
    """How flows that this service makes for itself come to new tokens, once those they have are refused."""

    def of(self, flow: DataFlow) -> AccessTokens | None:
        """Return a flow's tokens; None if it has none that can be had anew."""
        ...


class Attempts:
    """Runs attempts, in whatever thread the executor gives.

    Args:
        shared: The parts of this data plane.
        own_tokens: Knows how flows of our own come to new tokens.
    """

    def __init__(self, shared: Shared, own_tokens: OwnTokens | None = None) -> None:
        self._shared = shared
        self._bounds = Bounds(shared.catalogue, shared.resolver, shared.bandwidths, shared.policy)
        self._own_tokens = own_tokens
        self._destinations = Destinations()
        self._progress = ProgressWriter(shared.store, shared.clock, shared.policy.progress_interval_s)

    def is_due(self, flow_id: UUID) -> bool:
        """Return whether an attempt may be made now, or one that failed is still to be waited for."""
        return self._shared.schedule.is_due(flow_id)

    def owner(self, flow_id: UUID) -> str:
        """Return which control plane's a flow is, for executors that are fair; empty if nobody can tell."""
        try:
            with self._shared.store.snapshot() as tx:
                return tx.flows.owner(flow_id) or ""
        except DataFerryError:
            return ""

    def run(self, flow_id: UUID, stop: Stop) -> None:
        """Make one attempt, if the flow's row says that there is something to do; never raises.

        Args:
            flow_id: Whose.
            stop: Ends it early; the row says then whether it is to go on later.
        """
        try:
            if not self._shared.schedule.is_due(flow_id):
                return
            flow = self._queued(flow_id)
            if flow is not None and flow.state in {State.PREPARING, State.STARTING}:
                self._claimed(flow_id, self._prepare)
                flow = self._queued(flow_id) if self._shared.schedule.is_due(flow_id) else None
            if flow is not None and self._is_open(flow) and self._has_destination(flow):
                self._claimed(flow_id, lambda claimed: self._move(claimed, stop))
        except NotFoundError:
            self._shared.schedule.forget(flow_id)
        except DatabaseUnavailableError as exc:
            # The row says what it said; the sweep finds the flow as soon as the database is back.
            _log.warning("attempt ended: no database", flow_id=str(flow_id), error=str(exc))
        except Exception:  # noqa: BLE001 - a thread's boundary
            _log.exception("attempt failed", flow_id=str(flow_id))
        finally:
            self._destinations.release(flow_id)

    def _queued(self, flow_id: UUID) -> DataFlow | None:
        """Return the flow if there is something to do for it."""
        with self._shared.store.snapshot() as tx:
            flow = tx.flows.get(flow_id)
        return flow if flow.run is Run.QUEUED else None

    def _is_open(self, flow: DataFlow) -> bool:
        """Return whether bandwidth windows let something flow; else have the flow wait, without a thread."""
        try:
            refuse_closed(self._bounds.shared(self._shared.resolver.ends(flow)))
        except WindowClosedError as error:
            self._wait_for_window(flow, error)
            return False
        except DataFerryError:
            return True  # the attempt meets it again, and records it
        return True

    def renew_bounds(self) -> None:
        """Have bounds that flows share now be as their locations are set now; called every moment."""
        self._bounds.renew()

    def _wait_for_window(self, flow: DataFlow, error: WindowClosedError) -> None:
        """Try again when the window opens; windows that are changed meanwhile are noticed within a minute."""
        opens_in_s = WINDOW_CHECK_S if error.opens_in_s is None else error.opens_in_s
        if not self._shared.schedule.hold(flow.id, min(opens_in_s, WINDOW_CHECK_S), error.message):
            return
        with self._shared.store.transaction() as tx:
            tx.events.add(flow.id, "waiting", error.message)
            moment = tx.progress.get(flow.id) or Progress()
            tx.progress.put(
                flow.id, replace(moment, waiting=error.message, throughput_bytes_per_s=0.0, eta_s=None)
            )

    def _has_destination(self, flow: DataFlow) -> bool:
        """Claim the flow's destination; False if another flow is writing there (rule 9)."""
        try:
            sink = self._shared.resolver.ends(flow).sink
        except DataFerryError:
            return True  # the attempt meets it again, and records it
        holder = None if sink is None else self._destinations.take(flow.id, sink.endpoint.identity)
        if holder is None:
            return True
        if self._destinations.is_news(flow.id, holder):
            with self._shared.store.transaction() as tx:
                other = tx.flows.get(holder)
                # What others call their flows is not for everybody's eyes.
                name = f"flow {other.data_flow_id}" if Caller.of(other) == Caller.of(flow) else "another flow"
                tx.events.add(flow.id, "waiting", f"{name} is writing to the same destination")
        return False

    def _claimed(self, flow_id: UUID, work: Callable[[DataFlow], None]) -> None:
        """Claim the row and work; whatever goes wrong ends in the row."""
        with self._shared.store.transaction() as tx:
            flow = tx.flows.claim(flow_id)
        if flow is None:
            return
        try:
            work(flow)
        except StoppedError:
            self._record(flow, lambda _, row: replace(row, run=Run.QUEUED))
        except WindowClosedError as exc:
            if self._record(flow, lambda _, row: replace(row, run=Run.QUEUED)) is not None:
                self._wait_for_window(flow, exc)
        except DatabaseUnavailableError:
            raise  # no fault of the flow's: no try is counted
        except FencedError:
            _log.info("attempt is fenced", flow_id=str(flow_id), epoch=flow.epoch)
        except DataFerryError as exc:
            self._went_wrong(flow, exc)
        except Exception as exc:  # noqa: BLE001 - a boundary: the fault is recorded, the flow fails visibly
            _log.exception("attempt failed", flow_id=str(flow_id))
            self._went_wrong(flow, InternalError(f"internal fault ({type(exc).__name__}); see the log"))
        self._clean_if_terminated(flow_id)

    def _prepare(self, flow: DataFlow) -> None:
        """Do what prepare or start left for later."""
        prepared = self._shared.preparations.run(flow)
        self._shared.schedule.forget(flow.id)

        def ready(tx: Transaction, row: DataFlow) -> DataFlow:
            after = _ready(tx, row, prepared, self._shared.clock.now())
            self._shared.note_grant(tx, after)
            return after

        self._record(flow, ready)

    def _move(self, flow: DataFlow, stop: Stop) -> None:
        """Move the bytes, and record that they are there, or which are not."""
        self._shared.schedule.release(flow.id)
        result = self._transfer(flow, stop)
        if result.is_complete:
            self._shared.schedule.forget(flow.id)
            self._record(flow, lambda tx, row: completed(tx, row, result))
        else:
            self._went_wrong(flow, objects_error(result))

    def _transfer(self, flow: DataFlow, stop: Stop) -> Result:
        """Open both ends and hand them to the engine."""
        ends = self._shared.resolver.ends(flow)
        source_place = _known(ends.source, flow, "where the data is")
        sink_place = _known(ends.sink, flow, "where the data goes")
        shared = self._shared
        options = self._bounds.options(flow, ends)
        endpoint = self._renewing(flow, source_place, Role.CONSUMER)
        source = source_place.mechanism.open_source(endpoint, shared.network)
        try:
            endpoint = self._renewing(flow, sink_place, Role.PROVIDER)
            sink = sink_place.mechanism.open_sink(endpoint, shared.network)
            try:
                transfer = Transfer(
                    id=str(flow.id),
                    epoch=flow.epoch,
                    source=source,
                    sink=sink,
                    limits=options.limits,
                    overwrite=options.overwrite,
                    verify=options.verify,
                    selection=options.selection,
                    manifest=options.manifest,
                    bandwidths=self._bounds.shared(ends),
                    waits_for_windows=False,
                )
                with FlowObserver(shared.store, flow.id, self._progress) as observer:
                    for sentence in options.lowered:
                        observer.noted("options", sentence)
                    return run(
                        transfer, shared.store.ledger, stop=stop, observer=observer, clock=shared.clock
                    )
            finally:
                sink.close()
        finally:
            source.close()

    def _renewing(self, flow: DataFlow, place: Place, receiver: Role) -> Endpoint:
        """Return a place; with tokens that are renewed if it is of the address that that role receives."""
        from_address = place.location is None and flow.role is receiver
        if not (from_address and isinstance(place.mechanism, RenewableEndpoints)):
            return place.endpoint
        tokens: AccessTokens | None = None
        if flow.is_own and self._own_tokens is not None:
            tokens = self._own_tokens.of(flow)
        tokens = tokens or self._shared.renewals.of(flow)
        return place.endpoint if tokens is None else place.mechanism.with_tokens(place.endpoint, tokens)

    def _went_wrong(self, flow: DataFlow, error: DataFerryError) -> None:
        """Try again later where that can help and has not been done too often; else the run failed."""
        passing = error.retry is not RetryClass.PERMANENT or isinstance(error, EgressDeniedError)
        at_least_s = error.retry_after_s or 0.0
        delay_s = self._shared.schedule.again_in_s(flow.id, at_least_s=at_least_s) if passing else None
        if delay_s is None:
            self._fail(flow, error)
            return

        def again(tx: Transaction, row: DataFlow) -> DataFlow:
            tx.events.add(row.id, "retry", f"trying again in {delay_s:.0f} s: {error}")
            return replace(
                row, run=Run.QUEUED, error=str(error), error_kind=error.kind, error_of_sink=error.of_sink
            )

        self._record(flow, again)

    def _fail(self, flow: DataFlow, error: DataFerryError) -> None:
        self._shared.schedule.forget(flow.id)
        plane = self._plane(flow)
        self._record(flow, lambda tx, row: failed(tx, row, error, plane))

    def _plane(self, flow: DataFlow) -> ControlPlane | None:
        try:
            return self._shared.catalogue.control_planes.get(flow.control_plane_id)
        except NotFoundError:
            return None

    def _record(self, flow: DataFlow, decide: Callable[[Transaction, DataFlow], DataFlow]) -> DataFlow | None:
        """Write an outcome, if the row still says that this attempt is running; None if it does not."""

        def if_ours(tx: Transaction, row: DataFlow) -> DataFlow:
            ours = row.epoch == flow.epoch and row.run is Run.RUNNING
            return decide(tx, row) if ours else row

        done = change(self._shared.store, by_id(flow.id), if_ours)
        return done.after if done.changed else None

    def _clean_if_terminated(self, flow_id: UUID) -> None:
        """Hand over what a worker began between the terminate and its own end."""
        with self._shared.store.snapshot() as tx:
            state = tx.flows.state(flow_id)
        if state is State.TERMINATED:
            self._shared.store.ledger.abandon_all(str(flow_id))


def _ready(tx: Transaction, flow: DataFlow, prepared: Prepared, now: datetime) -> DataFlow:
    """Asynchronous preparation is done: the state, the address and the callback, in one transaction.

    Source: Data Plane Signaling, "Asynchronous Transitions".
    """
    consumer = flow.role is Role.CONSUMER
    after = flow.after(
        Event.PREPARATION_DONE if consumer else Event.START_DONE,
        outgoing_address=prepared.address or flow.outgoing_address,
        error=None,
        error_kind=None,
    )
    after = replace(after, run=Run.QUEUED if wants_run(after) else Run.IDLE)
    gateway_tokens.record(tx, after, now)
    tx.outbox.add(
        after, "prepared" if consumer else "started", with_address=after.outgoing_address is not None
    )
    tx.events.add(flow.id, after.state.value, "preparation is done")
    return after


def _known(place: Place | None, flow: DataFlow, what: str) -> Place:
    """Return a place that must be known by now."""
    if place is None:
        raise ConfigError(f"flow {flow.data_flow_id} does not say {what}")
    return place


def objects_error(result: Result) -> DataFerryError:
    """Count the objects that failed, and name the fault of the first.

    Where that was a passing fault that came too often, so is this: the whole attempt may be made again.
    """
    first = result.first_error or StorageError("no reason was given")
    total = result.objects + result.objects_failed
    text = f"{result.objects_failed} of {total} objects failed; the first: {first}"
    error = ExhaustedError(text) if isinstance(first, ExhaustedError) else StorageError(text)
    error.kind = first.kind  # type: ignore[misc]  # the kind of the first fault is what on-call filters by
    error.of_sink = first.of_sink
    return error
