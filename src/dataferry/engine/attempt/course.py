"""What all threads of one attempt share."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

from dataferry.domain.clock import Clock
from dataferry.domain.errors import AccessDeniedError, DataFerryError
from dataferry.domain.ledger import Attempt, Ledger, ObjectRow
from dataferry.domain.objects import Capability
from dataferry.engine.attempt.progress import Tally
from dataferry.engine.attempt.retry import Retrier
from dataferry.engine.attempt.route import Route
from dataferry.engine.attempt.spool import Bounds, bounds
from dataferry.engine.attempt.tags import Tags
from dataferry.engine.proofs.etags import Etags
from dataferry.engine.rates.bandwidth import Share
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import Observer, Transfer, Verify

# Credentials that expired would fail a million objects one by one; so many in a row end the attempt.
MAX_DENIALS = 20
MAX_PARTS = 9_000


@dataclass(kw_only=True)
class Course:
    """One attempt on its way.

    Attributes:
        halt: Set when we are told to stop, and when an error ends the attempt.
        route: Which way bytes go.
        denials: Objects refused by the access rules since the last that arrived.
        bandwidth: What it has of every bound; None if there is none.
        etags: What is known of both stores' ETags.
        first_failure: Of the objects that failed, the first of the plan: its ordinal, and of what.
    """

    transfer: Transfer
    ledger: Ledger
    attempt: Attempt
    observer: Observer
    clock: Clock
    halt: Stop
    retrier: Retrier
    tally: Tally
    tags: Tags
    bandwidth: Share | None
    route: Route
    denials: int = 0
    etags: Etags = field(default_factory=Etags)
    first_failure: tuple[int, DataFerryError] | None = None
    _lock: Lock = field(default_factory=Lock)
    _error: BaseException | None = None
    _held: tuple[bool, str] | None = None

    @property
    def error(self) -> BaseException | None:
        """What ended the attempt."""
        return self._error

    def doom(self, error: BaseException) -> None:
        """End the attempt with ``error``, unless it is ending already; every blocked call lets go."""
        with self._lock:
            if self._error is None and not self.halt.is_set:
                self._error = error
        self.halt.set()

    def look_at_bandwidth(self) -> None:
        """Tell the observer, once for each change, which bound holds the transfer."""
        if self.bandwidth is None:
            return
        state = self.bandwidth.state()
        if state == self._held:
            return
        self._held = state
        is_closed, text = state or (False, "no bandwidth limit holds the transfer now")
        self.tally.waiting = text if is_closed else None
        self.observer.noted("waiting" if is_closed else "bandwidth", text)

    def failed(self, ordinal: int, error: DataFerryError) -> None:
        """Write down that an object failed; the others go on."""
        self.ledger.fail(self.attempt, ordinal, kind=error.kind, error=str(error))
        with self._lock:
            if self.first_failure is None or ordinal < self.first_failure[0]:
                self.first_failure = (ordinal, error)

    def is_denied(self, error: DataFerryError) -> bool:
        """Return True once so many objects in a row were refused that it is the credentials' fault."""
        if isinstance(error, AccessDeniedError):
            self.denials += 1
        return self.denials >= MAX_DENIALS

    @property
    def reads_back(self) -> bool:
        """True if what was written is read from the destination and compared."""
        return self.transfer.verify is Verify.READBACK

    def is_big(self, row: ObjectRow) -> bool:
        """True if an object goes in parts, and not whole by a copy of the store."""
        return not self.copies_whole(row) and self.is_large(row)

    def copies_whole(self, row: ObjectRow) -> bool:
        """True if the store is to copy an object in one request."""
        size = row.source.size_bytes
        return size is not None and not _has_begun(row) and self.route.takes_whole(size)

    def is_large(self, row: ObjectRow) -> bool:
        """True if an object that is streamed goes in parts: it has begun so, or it is large and the sink can.

        One of unknown length counts as large, so that only some of them are on their way at once.
        """
        size = row.source.size_bytes
        if _has_begun(row) or size is None:
            return True
        large = size > max(self.transfer.limits.multipart_threshold_bytes, self.part_size_bytes(size))
        return large and Capability.PARTS in self.transfer.sink.capabilities

    def bounds_of_unknown(self) -> Bounds:
        """Return how an object is cut whose source does not say its length."""
        sink = self.transfer.sink
        most = min(MAX_PARTS, sink.max_parts) if Capability.PARTS in sink.capabilities else 1
        return bounds(self.transfer.limits, most_parts=most, least_part_bytes=sink.min_part_size_bytes)

    def part_size_bytes(self, size_bytes: int) -> int:
        """Return the uniform part size for an object, so that it never has more than 9,000 parts."""
        sink = self.transfer.sink
        most = min(MAX_PARTS, sink.max_parts)
        return max(self.transfer.limits.part_size_bytes, -(-size_bytes // most), sink.min_part_size_bytes)


def _has_begun(row: ObjectRow) -> bool:
    return row.upload is not None or row.intent_at is not None
