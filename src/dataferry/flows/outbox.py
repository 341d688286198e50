"""Delivers callbacks: at least once, in order per flow, patiently, and never for ever.

Rows hold no address: it is read from the flow when the message is sent. A message that nobody takes becomes a
dead letter, which is visible, can be sent again by an operator, and does not hold up other flows.

Source: Data Plane Signaling, "Control Plane Endpoint".
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import (
    ConfigError,
    ConflictError,
    ConnectionFailedError,
    DatabaseUnavailableError,
    DataFerryError,
    NotFoundError,
    UnauthorizedError,
)
from dataferry.domain.location import ControlPlane
from dataferry.flows.messages import Callback, ControlPlaneClient
from dataferry.flows.periodic import Periodic
from dataferry.flows.shared import Shared
from dataferry.flows.writing import TERMINATE_VIA_MANAGEMENT_API
from dataferry.store.records import OutboxMessage
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.outbox")

BATCH = 64
SENDERS = 4
POLL_INTERVAL_S = 0.25


class OutboxSender:
    """Sends what is due, in a thread that it owns.

    Args:
        shared: The parts of this data plane.
        client: How control planes are called.
    """

    def __init__(self, shared: Shared, client: ControlPlaneClient) -> None:
        self._shared = shared
        self._client = client
        # Control planes that did not answer: how often in a row, and until when they are left alone.
        self._silent: dict[str, tuple[int, float]] = {}
        # Taken by their control planes, which could not be written down yet: not sent a second time.
        self._taken: set[str] = set()
        self._pool = ThreadPoolExecutor(max_workers=SENDERS, thread_name_prefix="outbox")
        self._periodic = Periodic("outbox", self.tick, POLL_INTERVAL_S)

    def start(self) -> None:
        """Start sending."""
        self._periodic.start()

    def wake(self) -> None:
        """Look for messages now."""
        self._periodic.wake()

    def close(self) -> None:
        """Stop sending, and join the threads."""
        self._periodic.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def tick(self) -> int:
        """Send what is due once; return how many messages were tried.

        Control planes are served side by side. One that does not answer is left alone for a while, with all
        its messages, so that it delays the others by one time-out only.
        """
        self._settle_taken()
        now = self._shared.clock.monotonic()
        silent = [plane for plane, (_, until) in self._silent.items() if until > now]
        with self._shared.store.snapshot() as tx:
            due = [
                (message, tx.flows.get(message.flow_id)) for message in tx.outbox.due(BATCH, without=silent)
            ]
        by_plane: dict[str, list[tuple[OutboxMessage, DataFlow]]] = {}
        for message, flow in due:
            by_plane.setdefault(flow.control_plane_id, []).append((message, flow))
        for _ in self._pool.map(self._send_all, by_plane.values()):
            pass
        return len(due)

    def _send_all(self, messages: Sequence[tuple[OutboxMessage, DataFlow]]) -> None:
        """Send the messages of one control plane, one after the other."""
        for message, flow in messages:
            try:
                self._send(self._shared.catalogue.control_planes.get(flow.control_plane_id), message, flow)
            except ConnectionFailedError as exc:
                self._not_sent(message, exc)
                if message.kind != TERMINATE_VIA_MANAGEMENT_API:  # that is another place
                    self._leave_alone(flow.control_plane_id)
                    return
            except DatabaseUnavailableError:
                raise  # nobody was called
            except DataFerryError as exc:
                self._silent.pop(flow.control_plane_id, None)
                self._not_sent(message, exc)
            except Exception as exc:  # noqa: BLE001 - a boundary: a fault of ours must not stop the outbox
                _log.exception("callback failed", message_id=message.message_id)
                self._not_sent(message, DataFerryError(f"internal fault ({type(exc).__name__})"))
            else:
                self._silent.pop(flow.control_plane_id, None)
                self._taken.add(message.message_id)
                self._settle_taken()

    def _settle_taken(self) -> None:
        """Write down which messages were taken; those that could not be are tried again before others go."""
        for message_id in tuple(self._taken):
            with self._shared.store.transaction() as tx:
                tx.outbox.sent(message_id)
            self._taken.discard(message_id)

    def _leave_alone(self, plane: str) -> None:
        """Send nothing to a control plane for a while; only its own batch, in one thread, gets here."""
        failures = self._silent.get(plane, (0, 0.0))[0] + 1
        delay_s = self._shared.policy.callback_backoff.delay_s(failures)
        self._silent[plane] = (failures, self._shared.clock.monotonic() + delay_s)

    def _send(self, plane: ControlPlane, message: OutboxMessage, flow: DataFlow) -> None:
        if message.kind == TERMINATE_VIA_MANAGEMENT_API:
            self._client.terminate_transfer(plane, flow.process_id, message.error or "the transfer failed")
            return
        if plane.endpoint is None and flow.callback_address is None:
            raise NotFoundError(f"control plane {plane.id} has not said where it is called back")
        self._client.send(
            plane,
            Callback(
                message_id=message.message_id,
                kind=message.kind,
                process_id=flow.process_id,
                data_flow_id=flow.data_flow_id,
                dialect=flow.dialect,
                state=message.flow_state,
                data_address=flow.outgoing_address if message.with_address else None,
                error=message.error,
                callback_address=flow.callback_address,
            ),
        )

    def _not_sent(self, message: OutboxMessage, error: DataFerryError) -> None:
        """Try again later, or give up; a conflict that stays is taken as "I know already"."""
        failures = message.attempts + 1
        age_s = (self._shared.clock.now() - message.created_at).total_seconds()
        patient = error.is_temporary or isinstance(error, NotFoundError | UnauthorizedError)
        with self._shared.store.transaction() as tx:
            if isinstance(error, ConflictError) and failures >= self._shared.policy.callback_refusals:
                tx.outbox.sent(message.message_id)
                tx.events.add(message.flow_id, "callback", f"{message.kind}: {error}; taken as known already")
            elif age_s > self._shared.policy.callback_lifetime_s or (
                failures >= self._shared.policy.callback_refusals
                and not patient
                and not isinstance(error, ConfigError)
            ):
                tx.outbox.dead(message.message_id, error=str(error))
                tx.events.add(message.flow_id, "callback", f"{message.kind} was given up: {error}")
            else:
                delay_s = self._shared.policy.callback_backoff.delay_s(failures)
                delay_s = max(
                    delay_s, min(error.retry_after_s or 0.0, self._shared.policy.callback_backoff.most_s)
                )
                retry_at = self._shared.clock.now() + timedelta(seconds=delay_s)
                tx.outbox.later(message.message_id, error=str(error), retry_at=retry_at)
