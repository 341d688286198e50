"""Tells the operator's webhook that an orchestration has ended: at least once, patiently, and not for ever.

That somebody is to be told stands in the orchestration's own row from its beginning, so that its end and the
notice of it are written as one. What is told is read from the rows when it is sent.

Source: Standard Webhooks, "Deliverability and reliability".
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Lock
from typing import Protocol
from uuid import UUID

from dataferry.domain.clock import Clock
from dataferry.domain.errors import DatabaseUnavailableError, DataFerryError, GoneError, NotFoundError
from dataferry.domain.orchestration import Notice, NoticeState
from dataferry.flows.orchestration.orchestrator import OrchestrationView
from dataferry.flows.periodic import Periodic
from dataferry.flows.policy import Backoff
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.notices")

BATCH = 64
SENDERS = 4
POLL_INTERVAL_S = 0.25


class Webhook(Protocol):
    """The operator's receiver; implemented outside of this room. Thread-safe; nothing is retried within."""

    def tell(self, view: OrchestrationView) -> None:
        """Tell that an orchestration has ended; returns once that was taken.

        Raises:
            GoneError: It wants to be told nothing any more.
            DataFerryError: It was not taken.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticePolicy:
    """How patient notices are.

    Attributes:
        backoff: Between tries: a restart of the receiver takes seconds, its repair hours.
        give_up_after_s: Since the end; what nobody took by then is not sent again. Each is sent once, however
            late: who was down longer than that was this service.
    """

    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=2.0, most_s=900.0))
    give_up_after_s: float = 86_400.0


class NoticeSender:
    """Sends what is due, in threads that it owns.

    Args:
        store: Where orchestrations are.
        webhook: Whom to tell.
        view: Reads an orchestration with its entries.
        clock: Time.
        policy: Bounds.
    """

    def __init__(
        self,
        store: Store,
        webhook: Webhook,
        view: Callable[[UUID], OrchestrationView],
        clock: Clock,
        policy: NoticePolicy | None = None,
    ) -> None:
        self._store = store
        self._webhook = webhook
        self._view = view
        self._clock = clock
        self._policy = policy or NoticePolicy()
        self._lock = Lock()
        # Delivered, which could not be written down yet: not sent again by this process.
        self._delivered: set[UUID] = set()
        # The receiver did not answer: how often in a row, and until when it is left alone.
        self._failures = 0
        self._silent_until = 0.0
        self._pool = ThreadPoolExecutor(max_workers=SENDERS, thread_name_prefix="webhook")
        self._periodic = Periodic("webhook", self.tick, POLL_INTERVAL_S)

    def start(self) -> None:
        """Start sending."""
        self._periodic.start()

    def close(self) -> None:
        """Stop sending, and join the threads; what was not taken is sent after the next start."""
        self._periodic.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def tick(self) -> int:
        """Send what is due once; return how many notices were tried.

        A receiver that does not answer is left alone for a while, with all that waits for it.
        """
        for id_ in tuple(self._delivered):
            self._settle(id_)
        if self._silent_until > self._clock.monotonic():
            return 0
        with self._store.snapshot() as tx:
            due = tx.orchestrations.notices(1 if self._failures else BATCH)
        sent = [self._pool.submit(self._send, id_) for id_ in due]
        try:
            for one in sent:
                one.result()
        finally:
            # After a fault the rest is left for the next tick, which must find none that is still being told.
            wait([one for one in sent if not one.cancel()])
        return len(due)

    def _send(self, id_: UUID) -> None:
        """Tell of one orchestration, and write down what came of it."""
        try:
            view = self._view(id_)
        except NotFoundError:
            return
        notice = view.orchestration.notice or Notice()
        try:
            self._webhook.tell(view)
        except DatabaseUnavailableError:
            raise  # nobody was called
        except DataFerryError as exc:
            self._not_taken(view, notice, exc)
        except Exception as exc:  # noqa: BLE001 - a boundary: a fault of ours must not stop the others
            _log.exception("notice failed", orchestration=str(id_))
            self._not_taken(view, notice, DataFerryError(f"internal fault ({type(exc).__name__})"))
        else:
            with self._lock:
                self._failures = 0
                self._delivered.add(id_)
            self._settle(id_)

    def _settle(self, id_: UUID) -> None:
        """Write that one was taken, unless it was forgotten meanwhile."""
        with suppress(NotFoundError), self._store.transaction() as tx:
            notice = tx.orchestrations.get(id_).notice or Notice()
            done = replace(
                notice, state=NoticeState.DELIVERED, next_at=None, error=None, settled_at=self._clock.now()
            )
            tx.orchestrations.noted(id_, done)
        self._delivered.discard(id_)

    def _not_taken(self, view: OrchestrationView, notice: Notice, error: DataFerryError) -> None:
        """Try again later, or give up."""
        one, now = view.orchestration, self._clock.now()
        tried = replace(notice, attempts=notice.attempts + 1, error=str(error))
        age_s = (now - (one.ended_at or now)).total_seconds()
        delay_s = max(self._policy.backoff.delay_s(tried.attempts), error.retry_after_s or 0.0)
        if isinstance(error, GoneError) or age_s + delay_s > self._policy.give_up_after_s:
            after = replace(tried, state=NoticeState.GIVEN_UP, next_at=None, settled_at=now)
            _log.warning("notice given up", orchestration=str(one.id), error=after.error)
        else:
            after = replace(tried, next_at=now + timedelta(seconds=delay_s))
            _log.info("notice not taken", orchestration=str(one.id), error=after.error, again_in_s=delay_s)
        with self._lock:
            if error.is_temporary:
                self._failures += 1
                pause_s = max(self._policy.backoff.delay_s(self._failures), error.retry_after_s or 0.0)
                self._silent_until = self._clock.monotonic() + pause_s
        with self._store.transaction() as tx:
            tx.orchestrations.noted(one.id, after)
