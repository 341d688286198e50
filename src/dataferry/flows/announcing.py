"""Tells subscribers what becomes of flows and orchestrations: no change is lost, and nothing waits for them.

The store is the queue: every change is a row (``store.transitions``), and how far they are told is another.
So nothing is lost by ``kill -9`` or with a broker that is away, changes are told in their order, and a broker
that is slow costs nothing but this thread. After a crash, what it had not acknowledged is told again.
Progress is told as it stands, now and then, and never caught up on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event
from typing import Protocol
from uuid import UUID

from dataferry.domain.clock import Clock
from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import (
    ConnectionFailedError,
    DatabaseUnavailableError,
    DataFerryError,
    ForbiddenError,
    NotFoundError,
)
from dataferry.flows.periodic import Periodic
from dataferry.flows.policy import Backoff
from dataferry.store.records import Moment, Transition
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

READER = "mqtt"
POLL_INTERVAL_S = 0.25
TURN_S = 0.1
# For receipts that are out when the service ends.
GOODBYE_S = 2.0
# On PostgreSQL a gateway on another machine writes progress too, with a clock of its own.
CLOCK_SKEW_S = 60.0
PAGE = 500

_log = get_logger("flows.announcing")


class Receipt(Protocol):
    """What became of a message."""

    topic: str
    refusal: str | None

    @property
    def is_settled(self) -> bool:
        """True once it is known."""


class Channel(Protocol):
    """Where it is told; used by one thread, but for ``let_go``."""

    @property
    def is_open(self) -> bool:
        """True from ``open`` until ``close`` or ``drop``."""

    @property
    def most_in_flight(self) -> int:
        """How many messages may wait for their receipts."""

    @property
    def is_idle(self) -> bool:
        """True if the other side keeps up."""

    def open(self) -> None:
        """Connect."""

    def tell(self, change: Transition) -> Receipt:
        """Begin to tell a change."""

    def tell_progress(self, flow: DataFlow, moment: Moment) -> None:
        """Tell how far a flow is."""

    def turn(self, timeout_s: float) -> None:
        """Let it work."""

    def close(self) -> None:
        """Say goodbye."""

    def drop(self) -> None:
        """Forget the connection."""

    def let_go(self) -> None:
        """Make ``open`` fail at once. Any thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncingPolicy:
    """How it is told.

    Attributes:
        max_in_flight: Changes that may wait for their receipts at once.
        progress_interval_s: Between two messages about a flow's progress.
        receipt_timeout_s: A connection over which none comes for so long is made anew.
        backoff: Between tries to connect.
    """

    max_in_flight: int = 20
    progress_interval_s: float = 5.0
    receipt_timeout_s: float = 30.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=1.0, most_s=60.0))


class Announcer:
    """Tells what is new, in a thread that it owns.

    Args:
        store: Where it stands.
        channel: Where it is told.
        clock: Time.
        policy: Bounds.
    """

    def __init__(self, store: Store, channel: Channel, clock: Clock, policy: AnnouncingPolicy) -> None:
        self._store = store
        self._channel = channel
        self._clock = clock
        self._policy = policy
        self._closing = Event()
        # Told up to here; and what of that is written down, which may have to wait for the database.
        self._after = 0
        self._noted = 0
        self._failures = 0
        self._not_before = 0.0
        self._opened_at = 0.0
        self._said: str | None = None
        self._progress = _ProgressTeller(store, channel, clock, policy.progress_interval_s)
        self._thread = Periodic("announcer", self.tick, POLL_INTERVAL_S)

    def start(self) -> None:
        """Go on where the last process was; the first one ever begins with what happens from now on."""
        with self._store.transaction() as tx:
            place = tx.transitions.place(READER)
            if place is None:
                place = tx.transitions.last()
                tx.transitions.move(READER, place)
        self._after = self._noted = place
        self._thread.start()

    def close(self) -> None:
        """Tell what can be told at once, say goodbye, and join the thread; the rest is for the next start."""
        self._closing.set()
        if not self._channel.is_open:
            self._channel.let_go()
        self._thread.close()
        if self._channel.is_open:
            with contextlib.suppress(DataFerryError):
                self._tell_page()
            self._channel.close()

    def tick(self) -> None:
        """Tell everything that is new; connect first, if it is time to."""
        if not self._channel.is_open and not self._connect():
            return
        try:
            self._channel.turn(0)
            while self._tell_page() and not self._closing.is_set():
                self._progress.tell()
            self._progress.tell()
        except DatabaseUnavailableError:
            raise
        except DataFerryError as error:
            self._lost(error)

    def _connect(self) -> bool:
        """Connect, unless the last try was a moment ago; return whether it worked."""
        if self._closing.is_set() or self._clock.monotonic() < self._not_before:
            return False
        try:
            self._channel.open()
        except DatabaseUnavailableError:
            raise
        except DataFerryError as error:
            self._lost(error)
            return False
        self._opened_at = self._clock.monotonic()
        with self._store.snapshot() as tx:
            waiting = tx.transitions.count(self._after)
        _log.info("connected", to=str(self._channel), waiting=waiting)
        return True

    def _tell_page(self) -> int:
        """Tell the next changes and write down which are told; return how many.

        Raises:
            DataFerryError: The connection is lost, or the broker refuses one.
        """
        self._note()
        bound = max(1, min(self._policy.max_in_flight, self._channel.most_in_flight))
        with self._store.snapshot() as tx:
            page = tx.transitions.since(self._after, bound)
        if not page:
            return 0
        receipts = [self._channel.tell(change) for change in page]
        try:
            self._wait(receipts)
        finally:
            self._move(page, receipts)
            self._note()
        return len(page)

    def _wait(self, receipts: Sequence[Receipt]) -> None:
        """Let the channel work until each has its receipt."""
        began_at = self._clock.monotonic()
        while not all(receipt.is_settled for receipt in receipts):
            waited_s = self._clock.monotonic() - began_at
            if waited_s > (GOODBYE_S if self._closing.is_set() else self._policy.receipt_timeout_s):
                raise ConnectionFailedError(f"{self._channel} has acknowledged nothing for {waited_s:.0f} s")
            self._channel.turn(TURN_S)
        refused = next((receipt for receipt in receipts if receipt.refusal is not None), None)
        if refused is not None:
            raise ForbiddenError(
                f"{self._channel} refuses what is published to {refused.topic}: {refused.refusal}; this and"
                " what follows waits until it takes it"
            )

    def _move(self, page: Sequence[Transition], receipts: Sequence[Receipt]) -> None:
        """Move our place behind the last change before the first that is not told."""
        for change, receipt in zip(page, receipts, strict=True):
            if not receipt.is_settled or receipt.refusal is not None:
                break
            self._after = change.sequence
            self._failures, self._said = 0, None

    def _note(self) -> None:
        """Write our place down, if it is another one; nothing more is told before that works."""
        if self._after != self._noted:
            with self._store.transaction() as tx:
                tx.transitions.move(READER, self._after)
            self._noted = self._after

    def _lost(self, error: DataFerryError) -> None:
        """Leave it alone for a while; each reason is said once in a row."""
        if self._channel.is_open:
            self._channel.drop()
            if self._clock.monotonic() - self._opened_at > self._policy.backoff.most_s:
                self._failures, self._said = 0, None  # it was good for long: this is another story
        self._failures += 1
        delay_s = self._policy.backoff.delay_s(self._failures)
        self._not_before = self._clock.monotonic() + delay_s
        # An outage has many words for the same thing.
        reason = error.kind if error.is_temporary else str(error)
        if reason != self._said and not self._closing.is_set():
            self._said = reason
            _log.warning("state events wait in the database", reason=str(error), next_try_in_s=delay_s)


class _ProgressTeller:
    """Tells the progress of flows that changed, at most once an interval.

    Args:
        store: Where it stands.
        channel: Where it is told.
        clock: Time.
        interval_s: Between two looks.
    """

    def __init__(self, store: Store, channel: Channel, clock: Clock, interval_s: float) -> None:
        self._store = store
        self._channel = channel
        self._clock = clock
        self._interval_s = interval_s
        self._due_at = 0.0
        self._told: dict[UUID, datetime] = {}

    def tell(self) -> None:
        """Tell what changed since the last look, the oldest first, as long as the broker keeps up.

        Raises:
            ConnectionFailedError: The connection is lost.
        """
        now = self._clock.monotonic()
        if now < self._due_at:
            return
        self._due_at = now + self._interval_s
        written = self._written()
        self._told = {one.flow_id: self._told[one.flow_id] for one in written if one.flow_id in self._told}
        for moment in written:
            if self._told.get(moment.flow_id) == moment.at:
                continue
            if not self._channel.is_idle:
                return  # the newest is told when it keeps up again
            self._tell(moment)

    def _written(self) -> list[Moment]:
        """What was written of late, the oldest first."""
        since = self._clock.now() - timedelta(seconds=self._interval_s + CLOCK_SKEW_S)
        written: list[Moment] = []
        with self._store.snapshot() as tx:
            while page := tx.progress.written_since(since, PAGE, behind=written[-1] if written else None):
                written += page
        return written

    def _tell(self, moment: Moment) -> None:
        with self._store.snapshot() as tx, contextlib.suppress(NotFoundError):
            self._channel.tell_progress(tx.flows.get(moment.flow_id), moment)
        self._told[moment.flow_id] = moment.at
