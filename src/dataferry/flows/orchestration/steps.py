"""What each step of an entry does: one question to the connector, or one look at the download, and one row.

A step says when the next one is due, and never waits itself. Whatever goes wrong ends in the row, after as
many tries as may help; a crash at any point finds the row at the last step that was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow, Run, State
from dataferry.domain.errors import (
    AccessDeniedError,
    DataFerryError,
    InputError,
    NotFoundError,
    ProtocolError,
    UnsupportedError,
)
from dataferry.domain.location import Landing
from dataferry.domain.orchestration import Connector, Entry, Standing, Step
from dataferry.domain.profile import Direction
from dataferry.flows.orchestration.closing import MAX_NOTE_CHARS, Closing
from dataferry.flows.orchestration.connectors import Connectors
from dataferry.flows.orchestration.downloads import Downloads
from dataferry.flows.orchestration.faults import (
    DownloadError,
    LateError,
    ended,
    fault_of,
    is_outage,
    shown,
)
from dataferry.flows.orchestration.named_files import NamedFiles, Turns
from dataferry.flows.orchestration.negotiating import Negotiating
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.orchestration.ports import (
    ENDED,
    STARTED,
    TERMINATED,
    DataAddressSource,
    EdcClient,
    Negotiator,
    TransferProcess,
)
from dataferry.flows.orchestration.pushes import Pushes
from dataferry.flows.orchestration.work import Memory, Next, Retry, Work
from dataferry.flows.shared import Shared
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.orchestration")


class Steps:
    """Makes steps. Thread-safe: an entry is in one thread at a time.

    Args:
        shared: The parts of this data plane.
        connectors: Which may be asked.
        edc: How they are asked.
        negotiator: How they are asked for contracts.
        addresses: Where data addresses come from.
        downloads: Moves the bytes.
        policy: Bounds.
    """

    def __init__(
        self,
        shared: Shared,
        connectors: Connectors,
        edc: EdcClient,
        negotiator: Negotiator,
        addresses: DataAddressSource,
        downloads: Downloads,
        policy: OrchestratorPolicy,
    ) -> None:
        self._shared = shared
        self._connectors = connectors
        self._edc = edc
        self._addresses = addresses
        self._downloads = downloads
        self._policy = policy
        self._files = NamedFiles(shared.resolver, policy)
        self._turns = Turns()
        negotiating = Negotiating(shared, negotiator, policy)
        self._closing = Closing(shared, edc, negotiating, downloads, policy)
        self._pushes = Pushes(shared, edc, downloads, self._closing, policy)
        self._verbs: dict[Step, Callable[[Work], Next]] = {
            Step.WAITING: self._begin,
            Step.CHOOSING: negotiating.choose,
            Step.REQUESTING: negotiating.request,
            Step.NEGOTIATING: negotiating.watch,
            Step.STARTING: self._start,
            Step.WATCHING: self._watch,
            Step.DOWNLOADING: self._follow,
            Step.CLOSING: self._closing.close,
        }

    def go_on(self, begun: Iterable[Entry]) -> None:
        """Take the turns of entries that a former process has begun, before another one makes a step.

        Args:
            begun: In the order in which they were.
        """
        for entry in begun:
            try:
                self._is_up(entry)
            except DataFerryError as exc:
                # Its own step meets that again, and ends it: nothing can be written there.
                _log.debug("no turn", entry=entry.reference, why=str(exc))

    def _is_up(self, entry: Entry) -> bool:
        """Return whether no other entry is at work on the file that this one names."""
        return self._turns.is_up(entry.key, self._files.of(entry.ask.destination))

    def make(self, key: tuple[UUID, int], memory: Memory) -> Next:
        """Make an entry's next step, and say when the one after it is due.

        Raises:
            DataFerryError: Our own database fails: the step is to be made again, from the row, and counts
                for nothing.
        """
        following = self._make(key, memory)
        if following.after_s is None:
            self._turns.leave(key)
        return following

    def _make(self, key: tuple[UUID, int], memory: Memory) -> Next:
        """As ``make``, which sees to it that an entry that has ended leaves its turn to others."""
        try:
            work = self._work(key, memory)
        except NotFoundError:
            return Next(after_s=None)
        entry = work.entry
        if entry.step.is_final:
            return Next(after_s=None)
        try:
            if work.order.is_cancelled and entry.step is not Step.CLOSING:
                return self._cancel(work)
            done = self._verbs[entry.step](work)
        except DataFerryError as exc:
            if is_outage(exc):
                raise
            return self._went_wrong(work, exc)
        except Exception as exc:  # noqa: BLE001 - a boundary: the fault is recorded, the entry fails visibly
            _log.exception("step failed", entry=entry.reference, step=entry.step.value)
            fault = DataFerryError(f"internal fault ({type(exc).__name__}); see the log")
            return self._went_wrong(work, fault)
        memory.failures, memory.retry = 0, None
        return done

    def _work(self, key: tuple[UUID, int], memory: Memory) -> Work:
        """Return an entry as it stands in its row: as the last step left it in memory, else as it is read.

        A step leaves there what it wrote, or what it has not written over; whatever else happens empties it.
        """
        if memory.work is not None:
            work, memory.work = memory.work, None
            return work
        with self._shared.store.snapshot() as tx:
            order, entry = tx.orchestrations.get(key[0]), tx.orchestrations.entry(key)
        memory.connector = order.connector_address
        try:
            connector = self._connectors.of(order.connector_address)
        except InputError:
            # Its operator took it out of the configuration meanwhile: nobody is asked with credentials.
            connector = Connector(address=order.connector_address, is_configured=False)
        return Work(order=order, entry=entry, connector=connector, memory=memory)

    # -- the steps

    def _begin(self, work: Work) -> Next:
        """Write that the connector is about to be asked, before it is; wait while another writes there."""
        if not self._is_up(work.entry):
            work.memory.looks += 1
            work.memory.work = work
            return Next(after_s=self._policy.look_delay_s(work.memory.looks))
        work.memory.looks = 0
        following = Step.CHOOSING if work.entry.ask.negotiates else Step.STARTING
        work.save(
            self._shared.store,
            work.entry.to(following, started_at=self._shared.clock.now()),
            Standing.PROCESSING,
        )
        work.memory.is_new = True
        return Next()

    def _start(self, work: Work) -> Next:
        """Start a transfer process, or find the one whose answer never came."""
        self._refuse_unconfigured(work)
        entry, memory = work.entry, work.memory
        found = None if memory.is_new else self._found(work)
        memory.is_new = False
        if found is None:
            found = self._edc.start(
                work.connector,
                entry.ask,
                transfer_type=self._downloads.transfer_type(entry),
                reference=entry.reference,
                direction=self._downloads.direction(entry),
            )
        memory.looks = memory.misses = 0
        work.save(self._shared.store, entry.to(Step.WATCHING, transfer_id=found), Standing.ASSET_REGISTERED)
        return Next(after_s=self._policy.first_delay_s)

    def _found(self, work: Work) -> str | None:
        """Look for a process that was started without our knowing; None also where that can't be told."""
        try:
            return self._edc.find(work.connector, work.entry.reference)
        except DataFerryError as exc:
            if exc.is_temporary:
                raise
            _log.warning(
                "a transfer process may have been started twice", entry=work.entry.reference, why=str(exc)
            )
            return None

    def _watch(self, work: Work) -> Next:
        """Wait until the process is STARTED, then for its data address, and begin the download."""
        entry, memory = work.entry, work.memory
        transfer_id = _known(entry)
        process = self._edc.process(work.connector, transfer_id)
        if self._pushes.takes(entry):
            return self._pushes.watch(work, process) or self._not_yet(work, process)
        if process.state in ENDED:
            raise ended(process)
        if process.state != STARTED:
            return self._not_yet(work, process)
        memory.looked_at = self._shared.clock.monotonic()
        opened = self._downloads.opened(entry)
        if opened is not None and opened.incoming_address is not None:
            after = self._downloads.claim(entry, opened)
            memory.work = replace(work, entry=after)
            return Next(after_s=self._policy.watch_interval_s, flow_id=after.flow_id)
        address = None if opened is not None else self._address(work, transfer_id)
        if address is None:
            memory.misses += 1
            if memory.misses >= self._policy.data_address_retries:
                raise LateError(
                    f"the process is STARTED, and there was no data address in {memory.misses} tries"
                )
            return Next(after_s=self._policy.data_address_delay_s)
        try:
            after = self._downloads.begin(entry, address)
        except AccessDeniedError:
            # It may be too early, or the token too old: the next address may do.
            memory.misses += 1
            if memory.misses >= self._policy.data_address_retries:
                raise
            return Next(after_s=self._policy.data_address_delay_s)
        memory.work = replace(work, entry=after)
        return Next(after_s=self._policy.watch_interval_s, flow_id=after.flow_id)

    def _not_yet(self, work: Work, process: TransferProcess) -> Next:
        """Wait for a process that is not started, for so long."""
        self._refuse_late(work.entry.updated_at, process.state)
        work.memory.looks += 1
        work.memory.work = work
        return Next(after_s=self._policy.look_delay_s(work.memory.looks))

    def _address(self, work: Work, transfer_id: str) -> DataAddress | None:
        """Ask for a data address; a connector that keeps none may yet tell its data plane, which we may be.

        Raises:
            UnsupportedError: It keeps none, and has told nobody here, as often as asked.
        """
        try:
            return self._addresses.find(work.connector, transfer_id)
        except UnsupportedError:
            if work.memory.misses + 1 >= self._policy.data_address_retries:
                raise
            return None

    def _refuse_late(self, since: datetime, state: str) -> None:
        if (self._shared.clock.now() - since).total_seconds() > self._policy.start_timeout_s:
            most_s = self._policy.start_timeout_s
            raise LateError(f"the transfer process is {state}, not STARTED, after {most_s:g} s")

    def _follow(self, work: Work) -> Next:
        """See how the download is; and now and then at the process, since its end ends the right to it."""
        entry = work.entry
        flow = self._downloads.flow(entry)
        if flow is None:
            raise NotFoundError("the download's data flow is gone")
        if flow.direction is Direction.PUSH:
            return self._pushes.follow(work, flow)
        if flow.state is State.COMPLETED:
            return self._closing.stored(work, flow)
        if flow.state is State.TERMINATED:
            raise ProtocolError(f"the download was ended: {flow.reason or 'terminated by the operator'}")
        if flow.run is Run.FAILED:
            return self._failed(work, flow)
        if flow.landing is Landing.NONE:
            self._downloads.direct(entry)
        self._look_meanwhile(work)
        if flow.run is Run.IDLE:
            # Its control plane has suspended it: there is no end to be noticed.
            return Next(after_s=self._policy.data_address_delay_s)
        return Next(after_s=self._policy.watch_interval_s, flow_id=flow.id)

    def _look_meanwhile(self, work: Work) -> None:
        """End the entry if its process was terminated; an answer that does not come does not matter now."""
        now, memory = self._shared.clock.monotonic(), work.memory
        if now - memory.looked_at < self._policy.watch_interval_s:
            return
        memory.looked_at = now
        try:
            process = self._edc.process(work.connector, _known(work.entry))
        except DataFerryError as exc:
            _log.debug("process not seen", entry=work.entry.reference, why=str(exc))
            return
        if process.state == TERMINATED:
            raise ended(process)

    def _failed(self, work: Work, flow: DataFlow) -> Next:
        """Fetch a new data address where the old one was refused; else the entry failed."""
        entry = work.entry
        moved = self._downloads.bytes_moved(flow.id)
        renewals = 0 if moved > entry.renewed_at_bytes else entry.renewals
        refused = flow.is_own and flow.error_kind == AccessDeniedError.kind and not flow.error_of_sink
        if not refused or renewals >= self._policy.most_renewals:
            raise DownloadError(flow)
        transfer_id = _known(entry)
        process = self._edc.process(work.connector, transfer_id)
        if process.state in ENDED:
            raise ended(process)
        if process.state != STARTED:
            self._refuse_late(flow.updated_at, process.state)
            return Next(after_s=self._policy.data_address_delay_s)
        address = self._addresses.find(work.connector, transfer_id)
        counted = replace(entry, renewals=renewals + 1, renewed_at_bytes=moved)
        work.save(self._shared.store, counted.to(Step.DOWNLOADING))
        if address is None:
            return Next(after_s=self._policy.data_address_delay_s)
        if not self._downloads.leads_on(flow, address):
            raise ProtocolError(f"the data address leads elsewhere now, and {flow.error}")
        self._downloads.go_on(flow, address)
        return Next(after_s=self._policy.watch_interval_s, flow_id=flow.id)

    # -- what goes wrong

    def _went_wrong(self, work: Work, error: DataFerryError) -> Next:
        """Try again where that can help and was not done too often; else the entry ends."""
        memory, entry = work.memory, work.entry
        closes = entry.step is Step.CLOSING
        most = self._policy.close_retries if closes else self._policy.retries
        if error.is_temporary and memory.failures < most:
            memory.failures += 1
            memory.retry = Retry(reason=shown(error), at=self._shared.clock.now())
            delay_s = max(self._policy.backoff.delay_s(memory.failures), error.retry_after_s or 0.0)
            _log.info("step again", entry=entry.reference, step=entry.step.value, why=str(error))
            return Next(after_s=min(delay_s, self._policy.backoff.most_s))
        memory.failures, memory.retry = 0, None
        if closes:
            # The outcome does not depend on it; what may be open still is said.
            what = "negotiation" if entry.ask.negotiates else "transfer process"
            note = f"the {what} may still be open: {error}"[:MAX_NOTE_CHARS]
            self._closing.end(work, entry.outcome or Step.FAILED, note)
            return Next(after_s=None)
        begun = entry if entry.step is not Step.WAITING else entry.to(Step.STARTING)
        work.save(self._shared.store, begun.to(Step.CLOSING, outcome=Step.FAILED, fault=fault_of(error)))
        return Next()

    def _cancel(self, work: Work) -> Next:
        if work.entry.step is Step.WAITING:
            work.save(self._shared.store, work.entry.to(Step.CANCELLED))
            return Next(after_s=None)
        work.save(self._shared.store, work.entry.to(Step.CLOSING, outcome=Step.CANCELLED))
        return Next()

    def _refuse_unconfigured(self, work: Work) -> None:
        """Ask nobody for data that the configuration does not name any more."""
        self._connectors.of(work.order.connector_address)


def _known(entry: Entry) -> str:
    if entry.transfer_id is None:
        raise NotFoundError("the entry has no transfer process")
    return entry.transfer_id
