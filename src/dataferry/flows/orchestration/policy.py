"""How patient and how generous the orchestrator is: every bound of it, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from dataferry.flows.orchestration.acceptance import AcceptedPolicy
from dataferry.flows.policy import Backoff

# Nobody is asked the same again sooner.
LEAST_DELAY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorPolicy:
    """Bounds of the orchestrator.

    Attributes:
        destination: ``location:path/`` below which files are stored; ends with ``/`` or is a whole location.
        shown_as: What ``storage_path`` begins with instead, where clients know the place by another name.
        transfer_type: What entries that name none are transferred by.
        participant: Our own participant context, whose locations are written to and whose key renews tokens.
        destinations: Locations, patterns with ``*``, in which an entry may name where it goes.
        accepted: What may be agreed to without asking anybody; nothing is negotiated beyond.
        sidecar: Whether a JSON file is written beside each stored one.
        max_entries: Of one request.
        concurrency: Entries at work at once; each waits for its connector without a thread.
        concurrency_per_request: Of these, how many of one request: a long one does not hold up others.
        threads: Steps made at once: each waits for one answer at most.
        data_address_retries: How often a data address that should be there is asked for; once at least.
        data_address_delay_s: Between those, and at most between looks at a process that is not started;
            ``LEAST_DELAY_S`` or more, for what waits without a bound would else hold a thread.
        first_delay_s: Before the first of those looks; each next one waits half as long again.
        start_timeout_s: How long a process may take to be STARTED, and a negotiation to be FINALIZED; an
            approval by hand may stand behind it.
        watch_interval_s: How often a process is looked at while its data is downloaded.
        retries: How often a step that failed for a passing reason is tried again; 6 make half a minute.
        backoff: Between those.
        close_retries: How often taking a process back is tried again; the outcome does not depend on it.
        most_renewals: How often in a row a new data address may be fetched with no byte arriving between.
        tick_s: How often finished downloads are looked for.
        retention_days: How long a request that ended is kept; 0 is for ever.
        notifies: Whether a webhook is told of the end of what is taken in.
    """

    destination: str
    participant: str = "default"
    shown_as: str | None = None
    transfer_type: str = "HttpData-PULL"
    destinations: tuple[str, ...] = ()
    accepted: tuple[AcceptedPolicy, ...] = ()
    sidecar: bool = True
    max_entries: int = 1000
    concurrency: int = 32
    concurrency_per_request: int = 8
    threads: int = 8
    data_address_retries: int = 3
    data_address_delay_s: float = 1.0
    first_delay_s: float = LEAST_DELAY_S
    start_timeout_s: float = 300.0
    watch_interval_s: float = 5.0
    retries: int = 6
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.5, most_s=30.0))
    close_retries: int = 2
    most_renewals: int = 3
    tick_s: float = 0.1
    retention_days: int = 90
    notifies: bool = False

    def look_delay_s(self, looks: int) -> float:
        """Return how long to wait after so many looks at something that is not there yet."""
        most_s = max(self.data_address_delay_s, self.first_delay_s)
        return float(min(most_s, self.first_delay_s * 1.5 ** min(looks, 30)))
