"""Entries whose data is pushed: their connector has a place prepared here, and the provider writes to it.

Nothing is fetched and no address comes: an entry waits for the flow that its connector prepares in its name,
and then for that flow's end, which the connector tells. What has arrived is looked up here. How far it is
proved depends on who saw the bytes: this service, where they came through its gateway, else nobody here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dataferry.domain.dataflow import DataFlow, State
from dataferry.domain.errors import DataFerryError, ProtocolError, UnsupportedError
from dataferry.domain.objects import ObjectInfo, Verification
from dataferry.domain.orchestration import Entry
from dataferry.domain.profile import Direction
from dataferry.flows.ingest_completion import IncompleteError
from dataferry.flows.orchestration.closing import MAX_NOTE_CHARS, Closing
from dataferry.flows.orchestration.downloads import Downloads
from dataferry.flows.orchestration.faults import DownloadError, LateError, ended
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.orchestration.ports import COMPLETED, ENDED, FAILED, STARTED, EdcClient, TransferProcess
from dataferry.flows.orchestration.work import Next, Work
from dataferry.flows.shared import Shared
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.orchestration")

# Of a transfer process whose connector may not have asked its data plane for a place yet.
UNPREPARED = frozenset(
    {"INITIAL", "PROVISIONING", "PROVISIONING_REQUESTED", "PROVISIONED", "PREPARATION_REQUESTED"}
)
NOT_HERE = (
    "its connector had no place prepared here to push to: this service is not its data plane, or it does not"
    " hand on what a transfer request says for it (EDC does from 0.18 on); fetch by a pull instead"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What a push has brought.

    Attributes:
        objects: How many; of places that others write to, the first thousands are counted.
        size_bytes: Of all; None where that is not known.
        only: The object, if it is one.
        verification: The lowest of all.
        note: What is to be said about it.
    """

    objects: int
    size_bytes: int | None = None
    only: ObjectInfo | None = None
    verification: Verification = Verification.NONE
    note: str | None = None


class Pushes:
    """The steps of entries whose data is pushed, from the transfer process on.

    Args:
        shared: The parts of this data plane.
        edc: How connectors are asked.
        downloads: Finds flows, and what they have brought.
        closing: Ends entries.
        policy: Bounds.
    """

    def __init__(
        self,
        shared: Shared,
        edc: EdcClient,
        downloads: Downloads,
        closing: Closing,
        policy: OrchestratorPolicy,
    ) -> None:
        self._shared = shared
        self._edc = edc
        self._downloads = downloads
        self._closing = closing
        self._policy = policy

    def takes(self, entry: Entry) -> bool:
        """Return whether an entry's data is pushed."""
        return self._downloads.direction(entry) is Direction.PUSH

    def watch(self, work: Work, process: TransferProcess) -> Next | None:
        """Find the flow that the connector has prepared here; None while the provider has not started.

        Raises:
            TransferEndedError: The process has ended, and not well.
            UnsupportedError: The connector has asked somebody else for a place, or nobody.
        """
        if process.state in FAILED:
            raise ended(process)
        flow = self._downloads.pushed(work.entry)
        if flow is None and process.state not in UNPREPARED:
            work.memory.misses += 1
            if work.memory.misses >= self._policy.data_address_retries:
                raise UnsupportedError(f"the transfer process is {process.state}, and {NOT_HERE}")
            return Next(after_s=self._policy.data_address_delay_s)
        if flow is None or process.state not in {STARTED, *ENDED}:
            return None
        work.memory.misses = 0
        self._downloads.take(work.entry, flow)
        return Next()

    def follow(self, work: Work, flow: DataFlow) -> Next:
        """See whether all has come; and now and then at the process, whose end ends the right to it."""
        if flow.state is State.COMPLETED:
            return self._arrived(work, flow)
        if flow.state is State.TERMINATED:
            self._look(work)
            raise ProtocolError(f"the push was ended: {flow.reason or 'its flow was terminated'}")
        if self._shared.clock.monotonic() - work.memory.looked_at >= self._policy.watch_interval_s:
            self._look(work)
        return Next(after_s=min(self._policy.data_address_delay_s, self._policy.watch_interval_s))

    def _look(self, work: Work) -> None:
        """End the entry if its process has ended without it; an answer that does not come does not matter."""
        entry, memory = work.entry, work.memory
        memory.looked_at = self._shared.clock.monotonic()
        try:
            process = self._edc.process(work.connector, entry.transfer_id or "")
        except DataFerryError as exc:
            _log.debug("process not seen", entry=entry.reference, why=str(exc))
            return
        if process.state in FAILED:
            raise ended(process)
        memory.misses = memory.misses + 1 if process.state == COMPLETED else 0
        if memory.misses > self._policy.data_address_retries:
            raise LateError(
                "the transfer process is COMPLETED, and its connector has not told its data plane"
            )

    def _arrived(self, work: Work, flow: DataFlow) -> Next:
        """Write down what has come; nothing, or less than was begun, is a failure.

        Raises:
            DataFerryError: It is, or the place can't be looked at now.
        """
        if flow.error_kind is not None:
            raise DownloadError(flow)
        arrived = self._taken_in(flow) or self._found(work, flow)
        if not arrived.objects:
            raise IncompleteError("the provider has completed the transfer, and nothing has arrived")
        entry, only = work.entry, arrived.only
        shown = entry.storage_path or ""
        if only is not None and shown.endswith("/"):
            shown += only.name
        facts = replace(
            entry,
            storage_path=shown,
            size_bytes=arrived.size_bytes,
            crc64nvme=None if only is None else only.crc64nvme,
            verification=arrived.verification.word,
            note=arrived.note,
        )
        return self._closing.saved(work, flow, facts, only)

    def _taken_in(self, flow: DataFlow) -> Arrived | None:
        """Read what came through the gateway from the ledger; None if nothing did."""
        totals = self._shared.store.ledger.totals(str(flow.id))
        if not totals.objects_done:
            return None
        row = self._downloads.only_object(flow.id)
        return Arrived(
            objects=totals.objects_done,
            size_bytes=totals.bytes_done,
            only=None if row is None else replace(row.source, crc64nvme=row.crc64nvme),
            verification=totals.verification,
        )

    def _found(self, work: Work, flow: DataFlow) -> Arrived:
        """List what the provider has written to the place itself: who proved what, nobody here can say."""
        try:
            found, is_whole = self._downloads.listed(flow)
        except DataFerryError as exc:
            if exc.is_temporary and work.memory.failures < self._policy.retries:
                raise
            told = f"what was pushed could not be listed: {exc}"
            return Arrived(objects=1, note=told[:MAX_NOTE_CHARS])
        sizes = [info.size_bytes for info in found]
        known = sum(size for size in sizes if size is not None)
        return Arrived(
            objects=len(found),
            size_bytes=known if is_whole and None not in sizes else None,
            only=found[0] if len(found) == 1 else None,
            note=None if is_whole else f"there are more than {len(found):,} objects: they were not counted",
        )
