"""What each step of an entry does: one question to the connector, or one look at the download, and one row.

A step says when the next one is due, and never waits itself. Whatever goes wrong ends in the row, after as
many tries as may help; a crash at any point finds the row at the last step that was written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from dataferry.domain.objects import ObjectInfo
from dataferry.domain.orchestration import Connector, Entry, OnSaved, Orchestration, Standing, Step
from dataferry.flows.orchestration.connectors import Connectors
from dataferry.flows.orchestration.downloads import Downloads
from dataferry.flows.orchestration.faults import (
    DownloadError,
    LateError,
    TransferEndedError,
    fault_of,
)
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.orchestration.ports import (
    ENDED,
    STARTED,
    TERMINATED,
    DataAddressSource,
    EdcClient,
    TransferProcess,
)
from dataferry.flows.orchestration.sidecar import sidecar_of, write_sidecar
from dataferry.flows.shared import Shared
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.orchestration")

SAVED_REASON = "the data was received completely"
UNWANTED_REASON = "the data is not wanted any more"
MAX_NOTE_CHARS = 1_000


@dataclass(slots=True)
class Memory:
    """What this process knows of an entry beside its row; lost in a crash, and no harm done.

    Attributes:
        is_new: Its first step was written by this process, which has not asked the connector yet.
        failures: Of the present step, in a row.
        looks: At its transfer process, since it was started.
        misses: Of its data address.
        looked_at: Monotonic seconds of the last look at the process of a running download.
    """

    is_new: bool = False
    failures: int = 0
    looks: int = 0
    misses: int = 0
    looked_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """When an entry's next step is due.

    Attributes:
        after_s: None if it has ended.
        flow_id: What it waits for, besides: a change of this flow makes the step due at once.
    """

    after_s: float | None = 0.0
    flow_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """An entry as it was read, with what belongs to it."""

    order: Orchestration
    entry: Entry
    connector: Connector
    memory: Memory = field(repr=False)


class Steps:
    """Makes steps. Thread-safe: an entry is in one thread at a time.

    Args:
        shared: The parts of this data plane.
        connectors: Which may be asked.
        edc: How they are asked.
        addresses: Where data addresses come from.
        downloads: Moves the bytes.
        policy: Bounds.
        participant: Our own participant context.
    """

    def __init__(
        self,
        shared: Shared,
        connectors: Connectors,
        edc: EdcClient,
        addresses: DataAddressSource,
        downloads: Downloads,
        policy: OrchestratorPolicy,
        *,
        participant: str = "default",
    ) -> None:
        self._shared = shared
        self._connectors = connectors
        self._edc = edc
        self._addresses = addresses
        self._downloads = downloads
        self._policy = policy
        self._participant = participant
        self._verbs: dict[Step, Callable[[_Work], Next]] = {
            Step.WAITING: self._begin,
            Step.STARTING: self._start,
            Step.WATCHING: self._watch,
            Step.DOWNLOADING: self._follow,
            Step.CLOSING: self._close,
        }

    def make(self, key: tuple[UUID, int], memory: Memory) -> Next:
        """Make an entry's next step, and say when the one after it is due."""
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
            return self._went_wrong(work, exc)
        except Exception as exc:  # noqa: BLE001 - a boundary: the fault is recorded, the entry fails visibly
            _log.exception("step failed", entry=entry.reference, step=entry.step.value)
            fault = DataFerryError(f"internal fault ({type(exc).__name__}); see the log")
            return self._went_wrong(work, fault)
        memory.failures = 0
        return done

    def _work(self, key: tuple[UUID, int], memory: Memory) -> _Work:
        with self._shared.store.snapshot() as tx:
            order, entry = tx.orchestrations.get(key[0]), tx.orchestrations.entry(key)
        try:
            connector = self._connectors.of(order.connector_address)
        except InputError:
            # Its operator took it out of the configuration meanwhile: nobody is asked with credentials.
            connector = Connector(address=order.connector_address, is_configured=False)
        return _Work(order=order, entry=entry, connector=connector, memory=memory)

    # -- the steps

    def _begin(self, work: _Work) -> Next:
        """Write that the connector is about to be asked, before it is."""
        self._save(
            work, work.entry.to(Step.STARTING, started_at=self._shared.clock.now()), Standing.PROCESSING
        )
        work.memory.is_new = True
        return Next()

    def _start(self, work: _Work) -> Next:
        """Start a transfer process, or find the one whose answer never came."""
        self._refuse_unconfigured(work)
        entry, memory = work.entry, work.memory
        found = None if memory.is_new else self._found(work)
        memory.is_new = False
        if found is None:
            found = self._edc.start(
                work.connector,
                entry.ask,
                transfer_type=entry.ask.transfer_type or self._policy.transfer_type,
                reference=entry.reference,
            )
        memory.looks = memory.misses = 0
        self._save(work, entry.to(Step.WATCHING, transfer_id=found), Standing.ASSET_REGISTERED)
        return Next(after_s=self._policy.first_delay_s)

    def _found(self, work: _Work) -> str | None:
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

    def _watch(self, work: _Work) -> Next:
        """Wait until the process is STARTED, then for its data address, and begin the download."""
        entry, memory = work.entry, work.memory
        transfer_id = _known(entry)
        process = self._edc.process(work.connector, transfer_id)
        if process.state in ENDED:
            raise _ended(process)
        if process.state != STARTED:
            self._refuse_late(entry.started_at or entry.updated_at, process.state)
            memory.looks += 1
            return Next(after_s=self._pause_s(memory.looks))
        memory.looked_at = self._shared.clock.monotonic()
        opened = self._downloads.opened(entry)
        if opened is not None and opened.incoming_address is not None:
            after = self._downloads.claim(entry, opened)
            return Next(after_s=self._policy.watch_interval_s, flow_id=after.flow_id)
        address = None if opened is not None else self._address(work, transfer_id)
        if address is None:
            memory.misses += 1
            if memory.misses >= self._policy.data_address_retries:
                raise LateError(
                    f"the process is STARTED, and there was no data address in {memory.misses} tries"
                )
            return Next(after_s=self._policy.data_address_delay_s)
        after = self._downloads.begin(entry, address, participant=self._participant)
        return Next(after_s=self._policy.watch_interval_s, flow_id=after.flow_id)

    def _address(self, work: _Work, transfer_id: str) -> DataAddress | None:
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

    def _pause_s(self, looks: int) -> float:
        most_s = max(self._policy.data_address_delay_s, self._policy.first_delay_s)
        return float(min(most_s, self._policy.first_delay_s * 1.5 ** min(looks, 30)))

    def _refuse_late(self, since: datetime, state: str) -> None:
        if (self._shared.clock.now() - since).total_seconds() > self._policy.start_timeout_s:
            most_s = self._policy.start_timeout_s
            raise LateError(f"the transfer process is {state}, not STARTED, after {most_s:g} s")

    def _follow(self, work: _Work) -> Next:
        """See how the download is; and now and then at the process, since its end ends the right to it."""
        entry = work.entry
        flow = self._downloads.flow(entry)
        if flow is None:
            raise NotFoundError("the download's data flow is gone")
        if flow.state is State.COMPLETED:
            return self._stored(work, flow)
        if flow.state is State.TERMINATED:
            raise ProtocolError(f"the download was ended: {flow.reason or 'terminated by the operator'}")
        if flow.run is Run.FAILED:
            return self._failed(work, flow)
        if flow.landing is Landing.NONE:
            self._downloads.direct(entry)
        self._look_meanwhile(work)
        return Next(after_s=self._policy.watch_interval_s, flow_id=flow.id)

    def _look_meanwhile(self, work: _Work) -> None:
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
            raise _ended(process)

    def _failed(self, work: _Work, flow: DataFlow) -> Next:
        """Fetch a new data address where the old one was refused; else the entry failed."""
        entry = work.entry
        moved = self._downloads.bytes_moved(flow.id)
        renewals = 0 if moved > entry.renewed_at_bytes else entry.renewals
        refused = flow.is_own and flow.error_kind == AccessDeniedError.kind
        if not refused or renewals >= self._policy.most_renewals:
            raise DownloadError(flow)
        transfer_id = _known(entry)
        process = self._edc.process(work.connector, transfer_id)
        if process.state in ENDED:
            raise _ended(process)
        if process.state != STARTED:
            self._refuse_late(flow.updated_at, process.state)
            return Next(after_s=self._policy.data_address_delay_s)
        address = self._addresses.find(work.connector, transfer_id)
        counted = replace(entry, renewals=renewals + 1, renewed_at_bytes=moved)
        self._save(work, counted.to(Step.DOWNLOADING))
        if address is None:
            return Next(after_s=self._policy.data_address_delay_s)
        if not self._downloads.is_same_place(flow, address):
            raise ProtocolError(f"the data address leads elsewhere now, and {flow.error}")
        self._downloads.go_on(flow, address)
        return Next(after_s=self._policy.watch_interval_s, flow_id=flow.id)

    def _stored(self, work: _Work, flow: DataFlow) -> Next:
        """The bytes are there and proved: write down which, and the file beside them."""
        row = self._downloads.stored(work.entry)
        totals = self._shared.store.ledger.totals(str(flow.id))
        facts = replace(
            work.entry,
            size_bytes=totals.bytes_done,
            crc64nvme=None if row is None else row.crc64nvme,
            verification=totals.verification.word,
        )
        note = self._write_sidecar(work, facts, flow, None if row is None else row.source)
        self._save(work, facts.to(Step.CLOSING, outcome=Step.SAVED, note=note))
        return Next()

    def _write_sidecar(
        self, work: _Work, facts: Entry, flow: DataFlow, source: ObjectInfo | None
    ) -> str | None:
        """Write the file beside; where that can't be, the data is stored all the same: return what to say."""
        if not self._policy.sidecar:
            return None
        content = sidecar_of(facts, flow, source=source, connector=work.order.connector_address)
        try:
            write_sidecar(self._shared.resolver, self._shared.network, facts.sink_ref or "", content)
        except DataFerryError as exc:
            if exc.is_temporary and work.memory.failures < self._policy.retries:
                raise
            return f"the sidecar could not be written: {exc}"[:MAX_NOTE_CHARS]
        return None

    def _close(self, work: _Work) -> Next:
        """Take back what is open: the download if it did not come to its end, and the transfer process."""
        entry = work.entry
        outcome = entry.outcome or Step.FAILED
        if outcome is not Step.SAVED:
            self._downloads.end(
                entry, "the entry was cancelled" if entry.fault is None else "the entry failed"
            )
        self._terminate(work, outcome)
        self._end(work, outcome, entry.note)
        return Next(after_s=None)

    def _terminate(self, work: _Work, outcome: Step) -> None:
        """Terminate the transfer process, also one that was started without our knowing."""
        entry, connector = work.entry, work.connector
        keeps = outcome is Step.SAVED and (connector.on_saved is OnSaved.KEEP or self._completes(entry))
        if keeps or (entry.fault is not None and entry.fault.kind == TransferEndedError.kind):
            return
        transfer_id = entry.transfer_id or self._edc.find(connector, entry.reference)
        if transfer_id is None:
            return
        reason = SAVED_REASON if outcome is Step.SAVED else UNWANTED_REASON
        if entry.fault is not None:
            reason = f"the download failed ({entry.fault.kind})"
        self._edc.terminate(connector, transfer_id, reason)

    def _completes(self, entry: Entry) -> bool:
        """Return whether an entry's control plane is told of its flow: that completes the process."""
        flow = self._downloads.flow(entry)
        return flow is not None and not flow.is_own

    def _end(self, work: _Work, outcome: Step, note: str | None) -> None:
        entry = work.entry
        self._save(work, entry.to(outcome, note=note))
        _log.info(
            "entry",
            entry=entry.reference,
            outcome=outcome.value,
            transfer=entry.transfer_id,
            error=None if entry.fault is None else entry.fault.message,
        )

    # -- what goes wrong

    def _went_wrong(self, work: _Work, error: DataFerryError) -> Next:
        """Try again where that can help and was not done too often; else the entry ends."""
        memory, entry = work.memory, work.entry
        closes = entry.step is Step.CLOSING
        most = self._policy.close_retries if closes else self._policy.retries
        if error.is_temporary and memory.failures < most:
            memory.failures += 1
            delay_s = max(self._policy.backoff.delay_s(memory.failures), error.retry_after_s or 0.0)
            _log.info("step again", entry=entry.reference, step=entry.step.value, why=str(error))
            return Next(after_s=min(delay_s, self._policy.backoff.most_s))
        memory.failures = 0
        if closes:
            # The outcome does not depend on it; what may be open still is said.
            note = f"the transfer process may still be open: {error}"[:MAX_NOTE_CHARS]
            self._end(work, entry.outcome or Step.FAILED, note)
            return Next(after_s=None)
        begun = entry if entry.step is not Step.WAITING else entry.to(Step.STARTING)
        self._save(work, begun.to(Step.CLOSING, outcome=Step.FAILED, fault=fault_of(error)))
        return Next()

    def _cancel(self, work: _Work) -> Next:
        if work.entry.step is Step.WAITING:
            self._save(work, work.entry.to(Step.CANCELLED))
            return Next(after_s=None)
        self._save(work, work.entry.to(Step.CLOSING, outcome=Step.CANCELLED))
        return Next()

    def _refuse_unconfigured(self, work: _Work) -> None:
        """Ask nobody for data that the configuration does not name any more."""
        self._connectors.of(work.order.connector_address)

    def _save(self, work: _Work, entry: Entry, standing: Standing | None = None) -> Entry:
        with self._shared.store.transaction() as tx:
            return tx.orchestrations.save(entry, expected=work.entry, standing=standing)


def _ended(process: TransferProcess) -> DataFerryError:
    detail = f": {process.error}" if process.error else ""
    return TransferEndedError(f"the transfer process is {process.state}{detail}")


def _known(entry: Entry) -> str:
    if entry.transfer_id is None:
        raise NotFoundError("the entry has no transfer process")
    return entry.transfer_id
