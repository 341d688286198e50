"""Which way bytes go: the store copies them by itself, or they are streamed through here; and why.

Decided before a byte moves, from what the two ends say of each other. Whether a store really copies shows at
the first objects: what it refuses is streamed, and so is the rest of the attempt if it refuses everything.
"""

from __future__ import annotations

from threading import Lock

from dataferry.domain.errors import DataFerryError, IntegrityError, ObjectNotFoundError, SourceChangedError
from dataferry.domain.objects import Capability
from dataferry.engine.transfer import Observer, Overwrite, Transfer, Verify
from dataferry.mechanisms.abilities import CopyingSink

STREAMING = "streaming"
COPYING = "server-side copy"
BOTH = f"{COPYING} and {STREAMING}"
# So many refusals with no copy between them end the attempt's copies.
MAX_REFUSALS = 3
# They say something about one object, and nothing about the store.
_OF_ONE_OBJECT = (SourceChangedError, ObjectNotFoundError)


class Route:
    """The way of one attempt's objects. Any thread.

    Args:
        transfer: What to move.
        observer: Told of the choice, and of each change of it.
    """

    def __init__(self, transfer: Transfer, observer: Observer) -> None:
        self._transfer = transfer
        self._observer = observer
        self._lock = Lock()
        self._copied = False
        self._refusals = 0
        self.why_not = refusal(transfer)

    @property
    def is_copying(self) -> bool:
        """True while the store is asked to copy."""
        return self.why_not is None

    @property
    def strategy(self) -> str:
        """The way that is taken now, as results name it."""
        return COPYING if self.is_copying else STREAMING

    @property
    def why(self) -> str:
        """The reason for it."""
        return self.why_not or (
            "one set of credentials reads and writes both ends, so the store is asked to copy by itself; "
            "what it refuses is streamed"
        )

    def announce(self) -> None:
        """Say which way is taken, and why."""
        most = f"up to {self._transfer.limits.workers} workers"
        self._observer.noted(
            "strategy",
            f"{COPYING} by {most}: {self.why}"
            if self.is_copying
            else f"{STREAMING}: {most} read from the source and write to the destination, since {self.why}",
        )

    def takes_whole(self, size_bytes: int) -> bool:
        """Return True if the store is asked to copy an object of that size in one request.

        Never where nothing may be overwritten: a copy can't be made conditional everywhere, and one that went
        wrong could not be told from somebody else's object. Parts become visible by a completion, which can.
        """
        sink = self._transfer.sink
        return (
            self.is_copying
            and self._transfer.overwrite is not Overwrite.NEVER
            and isinstance(sink, CopyingSink)
            and size_bytes <= sink.max_copy_bytes
        )

    def succeeded(self) -> None:
        """The store has copied something."""
        if not self._copied or self._refusals:
            with self._lock:
                self._copied, self._refusals = True, 0

    def refused(self, what: str, error: DataFerryError) -> None:
        """The store did not copy: ``what`` is streamed, and so is the rest if it never copies."""
        with self._lock:
            if self.why_not is not None:
                return
            self._refusals += 1
            never_copied = not self._copied and not isinstance(error, _OF_ONE_OBJECT)
            ends = never_copied or isinstance(error, IntegrityError) or self._refusals >= MAX_REFUSALS
        if ends:
            self.give_up(str(error))
        else:
            self._observer.noted("copy_refused", f"{what} is streamed, as the store did not copy it: {error}")

    def give_up(self, reason: str) -> None:
        """Stream everything from here on."""
        with self._lock:
            if self.why_not is not None:
                return
            self.why_not = f"the store did not copy: {reason}"
        self._observer.noted("strategy", f"{STREAMING} from here on, since {self.why_not}")

    def taken(self, copied: int, streamed: int) -> str:
        """Name the way that was taken, in the end; where there were two, say how many objects went each.

        Args:
            copied: Objects that the store copied.
            streamed: Objects of which some bytes passed here.
        """
        if copied and streamed:
            self._observer.noted("strategy", f"{COPYING}: {copied:,} objects; {STREAMING}: {streamed:,}")
            return BOTH
        if copied or streamed:
            return COPYING if copied else STREAMING
        return self.strategy


def refusal(transfer: Transfer) -> str | None:
    """Return why the store can't copy by itself between two ends; None if it is to be tried."""
    source, sink = transfer.source, transfer.sink
    if Capability.COPY not in sink.capabilities or not isinstance(sink, CopyingSink):
        return "the destination has no copies of its own"
    if Capability.VALIDATORS not in source.capabilities:
        return "the source does not name versions"
    if transfer.verify is Verify.READBACK:
        return "what is read back is compared with bytes that were sent from here"
    return sink.refuses_copy(source)
