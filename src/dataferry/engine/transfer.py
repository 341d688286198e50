"""What a transfer is, and what comes out of an attempt at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from dataferry.domain.errors import DataFerryError
from dataferry.domain.objects import Verification
from dataferry.domain.progress import Progress
from dataferry.engine.rates.bandwidth import Bandwidth
from dataferry.engine.selection import Selection
from dataferry.mechanisms.base import Sink, Source


class Overwrite(StrEnum):
    """What to do where the destination has an object of that name."""

    IF_DIFFERENT = "if-different"
    NEVER = "never"
    ALWAYS = "always"


class Verify(StrEnum):
    """How far what this attempt moves is to be proved."""

    BEST = "best"  # the best that the pair can give without moving bytes again
    READBACK = "readback"  # what was written is read from the destination and compared


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """Bounds of an attempt; each default with its reason in docs/reference/settings.md.

    Attributes:
        workers: Threads at most, each with a reader, a writer and a 1 MiB buffer: memory is their product.
            How many of them work is the tuner's decision.
        part_size_bytes: The least size of a part; grows so that an object never has more than 9,000.
        multipart_threshold_bytes: Objects larger than this, and than a part, are sent in parts; the size of a
            part, so that a kill costs no more than ``workers`` parts.
        stall_timeout_s: No byte for this long fails the part, to be retried.
        attempts: Of one part or object, before it fails for good.
        backoff_s, max_backoff_s: Exponential with full jitter.
        bandwidth_bytes_per_s: All workers of one transfer together; None is no bound.
        max_unknown_length_bytes: The most of an object whose source does not say its length.
        spool_bytes: What one such object may take on this machine's disk: a part, or the whole object where
            the sink takes no parts.
        spool_directory: Where; None is the system's directory for temporary files.
        max_objects: That a plan may have: a listing from outside need not end, and each takes a row.
    """

    workers: int = 32
    part_size_bytes: int = 16 * 1024 * 1024
    multipart_threshold_bytes: int = 16 * 1024 * 1024
    stall_timeout_s: float = 60.0
    attempts: int = 6
    backoff_s: float = 0.2
    max_backoff_s: float = 20.0
    bandwidth_bytes_per_s: int | None = None
    max_unknown_length_bytes: int = 64 * 1024**3
    spool_bytes: int = 1024**3
    spool_directory: str | None = None
    max_objects: int = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One attempt's task: from a source to a sink, under an epoch.

    Attributes:
        bandwidths: Bounds that it shares with others, beside that of its limits.
        waits_for_windows: Whether it stays where a bandwidth window lets nothing flow; else it ends with
            ``WindowClosedError``, to be tried again later.
        earlier: A finished transfer between the same two places in the same ledger: what it brought and has
            not changed since is skipped.
        selection: Which objects it is about; the plan in the ledger belongs to it.
        manifest: Write at the destination what has arrived; it is not complete before.
    """

    id: str
    epoch: int
    source: Source
    sink: Sink
    limits: EngineLimits = field(default_factory=EngineLimits)
    overwrite: Overwrite = Overwrite.IF_DIFFERENT
    verify: Verify = Verify.BEST
    earlier: str | None = None
    selection: Selection = field(default_factory=Selection)
    manifest: bool = False
    bandwidths: tuple[Bandwidth, ...] = ()
    waits_for_windows: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an attempt achieved.

    Attributes:
        objects: At the destination, skipped ones included.
        bytes: Of those objects.
        bytes_moved: That this attempt read and wrote: those that passed here.
        bytes_resumed: That earlier attempts had moved and this one did not need to.
        bytes_retransferred: Moved again, though this attempt or an earlier one had moved them before.
        strategy: ``streaming``, ``server-side copy``, or both.
        bytes_copied: That the store copied by itself in this attempt.
        verification: The lowest level of any object.
        first_error: Of the first object that failed.
    """

    objects: int
    bytes: int
    objects_failed: int
    objects_skipped: int
    bytes_moved: int
    bytes_resumed: int
    bytes_retransferred: int
    seconds: float
    strategy: str
    verification: Verification
    first_error: DataFerryError | None = None
    bytes_copied: int = 0

    @property
    def is_complete(self) -> bool:
        """True if every object is at the destination."""
        return self.objects_failed == 0


class Observer(Protocol):
    """Who watches an attempt; called from the engine's threads, must be quick."""

    def progressed(self, progress: Progress) -> None:
        """Called about four times a second, and at the end."""
        ...

    def noted(self, kind: str, message: str) -> None:
        """An event worth keeping, with its reason: the route, a retry, an upload aborted or reported."""
        ...
