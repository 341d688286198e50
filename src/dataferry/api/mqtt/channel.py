"""The broker as those know it who have something to tell: topics, payloads, and what a broker keeps."""

from __future__ import annotations

from dataclasses import dataclass

from dataferry.api.mqtt.broker import Broker, Outgoing
from dataferry.api.mqtt.connection import Connection, Receipt
from dataferry.api.mqtt.payloads import (
    Redactor,
    encoded,
    flow_progress,
    flow_state,
    orchestration_state,
    plane_status,
)
from dataferry.api.mqtt.topics import Topics
from dataferry.domain.clock import Clock
from dataferry.domain.dataflow import DataFlow
from dataferry.net.connections import Network
from dataferry.store.records import FlowTransition, Moment, Transition

# A plane's own status is always acknowledged and kept: who subscribes later must know it.
STATUS_QOS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How this plane publishes.

    Attributes:
        qos: Of state events: 1 is acknowledged by the broker, 0 is not.
        retain: Whether a broker keeps the last state of each flow and orchestration.
        kept_final_s: For how long it keeps one that is over; None: for ever. Needs MQTT 5.0.
        orchestrator: The participant whose orchestrations are.
    """

    qos: int
    retain: bool
    kept_final_s: int | None
    orchestrator: str


class MqttChannel:
    """Tells a broker; connected anew by each ``open``. One thread but for ``let_go``.

    Args:
        broker: To whom.
        network: How it is reached.
        topics: Where to.
        terms: How.
        clock: Time.
        redact: Masks known secrets.
    """

    def __init__(
        self,
        broker: Broker,
        network: Network,
        topics: Topics,
        terms: Terms,
        *,
        clock: Clock,
        redact: Redactor,
    ) -> None:
        self._broker = broker
        self._network = network
        self._topics = topics
        self._terms = terms
        self._clock = clock
        self._redact = redact
        self._opening: Connection | None = None
        self._connection: Connection | None = None

    def __str__(self) -> str:
        return str(self._broker)

    @property
    def is_open(self) -> bool:
        """True from ``open`` until ``close`` or ``drop``."""
        return self._connection is not None

    @property
    def most_in_flight(self) -> int:
        """How many messages the broker lets wait for its acknowledgement."""
        return self._open.most_in_flight

    @property
    def is_idle(self) -> bool:
        """True if everything is written: the broker keeps up."""
        return self._open.is_idle

    def open(self) -> None:
        """Connect, and say that this plane is online.

        Raises:
            DataFerryError: As ``Connection.open``.
        """
        connection = Connection(self._broker, self._network, self._status(is_online=False, is_will=True))
        self._opening = connection
        try:
            connection.open()
            try:
                connection.publish_and_wait(self._status(is_online=True))
            except BaseException:
                connection.drop()
                raise
        finally:
            self._opening = None
        self._connection = connection

    def tell(self, change: Transition) -> Receipt:
        """Begin to publish a state event.

        Raises:
            ConnectionFailedError: The connection is lost.
        """
        if isinstance(change, FlowTransition):
            participant, is_over = change.participant_context_id, change.state.is_final
            topic = self._topics.state(change.flow_id, participant)
            payload = flow_state(change, self._redact)
        else:
            participant, is_over = self._terms.orchestrator, change.standing.is_final
            topic = self._topics.orchestration(change.orchestration_id, participant)
            payload = orchestration_state(change, participant, self._redact)
        return self._open.publish(
            Outgoing(
                topic=topic,
                payload=encoded(payload),
                qos=self._terms.qos,
                retain=self._terms.retain,
                expires_after_s=self._terms.kept_final_s if is_over and self._terms.retain else None,
            )
        )

    def tell_progress(self, flow: DataFlow, moment: Moment) -> None:
        """Publish how far a flow is, without acknowledgement.

        Raises:
            ConnectionFailedError: The connection is lost.
        """
        topic = self._topics.progress(flow.id, flow.participant_context_id)
        payload = encoded(flow_progress(flow, moment, self._redact))
        self._open.publish(Outgoing(topic=topic, payload=payload))

    def turn(self, timeout_s: float) -> None:
        """Let the connection work, for this long if there is nothing to do.

        Raises:
            ConnectionFailedError: It is lost.
        """
        self._open.turn(timeout_s)

    def close(self) -> None:
        """Say that this plane is offline, and goodbye."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(last=self._status(is_online=False))

    def drop(self) -> None:
        """Forget the connection: the broker publishes the will."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()

    def let_go(self) -> None:
        """Make ``open`` fail at once, if it is under way. Any thread."""
        opening = self._opening
        if opening is not None:
            opening.let_go()

    @property
    def _open(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the channel is not open")
        return self._connection

    def _status(self, *, is_online: bool, is_will: bool = False) -> Outgoing:
        at = None if is_will else self._clock.now()
        payload = plane_status(self._topics.data_plane_id, is_online=is_online, at=at)
        return Outgoing(topic=self._topics.status, payload=encoded(payload), qos=STATUS_QOS, retain=True)
