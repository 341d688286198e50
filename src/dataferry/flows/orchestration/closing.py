"""How entries end: what is stored is written down, what is open is taken back."""

from __future__ import annotations

from dataclasses import replace

from dataferry.domain.dataflow import DataFlow, State
from dataferry.domain.errors import DataFerryError
from dataferry.domain.objects import ObjectInfo
from dataferry.domain.orchestration import Entry, OnSaved, Step
from dataferry.flows.orchestration.downloads import Downloads
from dataferry.flows.orchestration.faults import TransferEndedError
from dataferry.flows.orchestration.negotiating import UNWANTED_REASON, Negotiating
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.orchestration.ports import EdcClient
from dataferry.flows.orchestration.sidecar import sidecar_of, write_sidecar
from dataferry.flows.orchestration.work import Next, Work
from dataferry.flows.shared import Shared
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.orchestration")

SAVED_REASON = "the data was received completely"
MAX_NOTE_CHARS = 1_000


class Closing:
    """The last steps of entries.

    Args:
        shared: The parts of this data plane.
        edc: How connectors are asked.
        negotiating: Takes back what did not lead to a contract.
        downloads: Ends the flows of entries that do not come to their end.
        policy: Bounds.
    """

    def __init__(
        self,
        shared: Shared,
        edc: EdcClient,
        negotiating: Negotiating,
        downloads: Downloads,
        policy: OrchestratorPolicy,
    ) -> None:
        self._shared = shared
        self._edc = edc
        self._negotiating = negotiating
        self._downloads = downloads
        self._policy = policy

    def stored(self, work: Work, flow: DataFlow) -> Next:
        """The bytes are there and proved: write down which, and the file beside them."""
        row = self._downloads.only_object(work.entry.flow_id)
        totals = self._shared.store.ledger.totals(str(flow.id))
        facts = replace(
            work.entry,
            size_bytes=totals.bytes_done,
            crc64nvme=None if row is None else row.crc64nvme,
            verification=totals.verification.word,
        )
        return self.saved(work, flow, facts, None if row is None else row.source)

    def saved(self, work: Work, flow: DataFlow, facts: Entry, source: ObjectInfo | None) -> Next:
        """Write an entry down as stored.

        Args:
            work: The entry as it was read.
            flow: That brought its data.
            facts: The entry with what is known of the data.
            source: The object; None if there are several.
        """
        note = self._write_sidecar(work, facts, flow, source) or facts.note
        closing = replace(work, entry=facts.to(Step.CLOSING, outcome=Step.SAVED, note=note))
        try:
            self._terminate(closing, Step.SAVED, flow)
        except DataFerryError:
            # A step of its own tries again, and says so if nothing helps. A crash has all this repeated.
            work.save(self._shared.store, closing.entry)
            return Next()
        self._write_end(work, closing.entry.to(Step.SAVED))
        return Next(after_s=None)

    def _write_sidecar(
        self, work: Work, facts: Entry, flow: DataFlow, source: ObjectInfo | None
    ) -> str | None:
        """Write the file beside; where that can't be, the data is stored all the same: return what to say."""
        if not self._policy.sidecar:
            return None
        content = sidecar_of(facts, flow, source=source, connector=work.order.connector_address)
        try:
            write_sidecar(self._shared, flow, content)
        except DataFerryError as exc:
            if exc.is_temporary and work.memory.failures < self._policy.retries:
                raise
            return f"the sidecar could not be written: {exc}"[:MAX_NOTE_CHARS]
        return None

    def close(self, work: Work) -> Next:
        """Take back what is open: the download if it did not come to its end, and what the connector has."""
        entry = work.entry
        outcome = entry.outcome or Step.FAILED
        if outcome is not Step.SAVED:
            self._downloads.end(
                entry, "the entry was cancelled" if entry.fault is None else "the entry failed"
            )
        if entry.ask.negotiates:
            self._negotiating.take_back(work)
        else:
            self._terminate(work, outcome, self._downloads.flow(entry))
        self.end(work, outcome, entry.note or self._stored_all_the_same(entry, outcome))
        return Next(after_s=None)

    def _stored_all_the_same(self, entry: Entry, outcome: Step) -> str | None:
        """Say where the data is that came whole before its entry ended otherwise."""
        flow = None if outcome is Step.SAVED else self._downloads.flow(entry)
        if flow is None or flow.state is not State.COMPLETED or entry.storage_path is None:
            return None
        return f"its data was stored by then: {entry.storage_path}"[:MAX_NOTE_CHARS]

    def _terminate(self, work: Work, outcome: Step, flow: DataFlow | None) -> None:
        """Terminate the transfer process, also one that was started without our knowing.

        Where a control plane is told of the flow, that completes the process.
        """
        entry, connector = work.entry, work.connector
        completes = flow is not None and not flow.is_own
        keeps = outcome is Step.SAVED and (connector.on_saved is OnSaved.KEEP or completes)
        if keeps or (entry.fault is not None and entry.fault.kind == TransferEndedError.kind):
            return
        transfer_id = entry.transfer_id or self._edc.find(connector, entry.reference)
        if transfer_id is None:
            return
        reason = SAVED_REASON if outcome is Step.SAVED else UNWANTED_REASON
        if entry.fault is not None:
            reason = f"the download failed ({entry.fault.kind})"
        self._edc.terminate(connector, transfer_id, reason)

    def end(self, work: Work, outcome: Step, note: str | None) -> None:
        """Write an entry's end, and what is to say about it."""
        self._write_end(work, work.entry.to(outcome, note=note))

    def _write_end(self, work: Work, entry: Entry) -> None:
        work.save(self._shared.store, entry)
        _log.info(
            "entry",
            entry=entry.reference,
            outcome=entry.step.value,
            transfer=entry.transfer_id,
            error=None if entry.fault is None else entry.fault.message,
        )
