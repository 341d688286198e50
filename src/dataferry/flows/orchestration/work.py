"""An entry at work: as its row was read, with what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from dataferry.domain.orchestration import Connector, Entry, Orchestration, Standing
from dataferry.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What was tried again last.

    Attributes:
        reason: Of what the try before it failed; no secret.
        at: When that was.
    """

    reason: str
    at: datetime


@dataclass(slots=True)
class Memory:
    """What this process knows of an entry beside its row; lost in a crash, and no harm done.

    Attributes:
        connector: Whom its steps ask; empty before the first.
        is_new: Its first step was written by this process, which has not asked the connector yet.
        failures: Of the present step, in a row.
        retry: The last of these; None if there is none.
        looks: At its transfer process, since it was started.
        misses: Of its data address.
        looked_at: Monotonic seconds of the last look at the process of a running download.
        work: As it was last read or written, so that not every step has to read it; None: to be read.
    """

    connector: str = ""
    is_new: bool = False
    failures: int = 0
    retry: Retry | None = None
    looks: int = 0
    misses: int = 0
    looked_at: float = 0.0
    work: Work | None = field(default=None, repr=False)


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
class Work:
    """An entry as it was read, with what belongs to it."""

    order: Orchestration
    entry: Entry
    connector: Connector
    memory: Memory = field(repr=False)

    def save(self, store: Store, entry: Entry, standing: Standing | None = None) -> Entry:
        """Write the entry over the one that was read.

        Raises:
            StaleVersionError: Somebody else wrote it meanwhile.
        """
        with store.transaction() as tx:
            saved = tx.orchestrations.save(entry, expected=self.entry, standing=standing)
        self.memory.work = replace(self, entry=saved)
        return saved
