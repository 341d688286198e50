"""One connection to a broker, made once and used by one thread.

The protocol is paho-mqtt's; the socket is ours, so that a broker is reached as every other place is that the
operator names: by the guard, the proxies and the authorities of ``net``. There is no thread and no event
loop: ``turn`` lets the connection work.

Source: MQTT 5.0 and MQTT 3.1.1 (OASIS).
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from dataferry.api.mqtt.broker import (
    CONNECT_TIMEOUT_S,
    DOUBTS,
    Broker,
    Outgoing,
    dialled,
    lost,
    refused,
)
from dataferry.domain.errors import ConnectionFailedError, DataFerryError, ForbiddenError
from dataferry.net.connections import Network
from dataferry.net.handles import SocketHandle

GOODBYE_TIMEOUT_S = 2.0
TURN_S = 0.1
# We subscribe to nothing: what a broker has to say is short.
MAX_INCOMING_BYTES = 64 * 1024
_UNBOUNDED = 65_535


class Receipt:
    """What became of a message.

    Attributes:
        topic: Where it went.
        refusal: Why the broker did not take it; None if it did, or has not said.
    """

    def __init__(self, topic: str, info: MQTTMessageInfo, qos: int) -> None:
        self.topic = topic
        self.refusal: str | None = None
        self._info = info
        self._qos = qos
        self._is_acknowledged = False

    @property
    def is_settled(self) -> bool:
        """True once the broker has answered; without acknowledgements, once the message is written."""
        return self._is_acknowledged if self._qos else self._info.is_published()

    def acknowledge(self, refusal: str | None) -> None:
        """Note the broker's answer."""
        self._is_acknowledged, self.refusal = True, refusal


class _Client(Client):
    """A client on a socket of ours. paho has no public way to give it one, hence the private name."""

    dial: Callable[[], socket.socket]

    def _create_socket(self) -> socket.socket:
        return self.dial()


class Connection:
    """A connection, from ``open`` to ``close``; all but ``let_go`` is for its owner's thread.

    Args:
        broker: To whom.
        network: How it is reached.
        will: What the broker publishes for us when the connection breaks.
    """

    def __init__(self, broker: Broker, network: Network, will: Outgoing) -> None:
        self._broker = broker
        self._network = network
        self._handle = SocketHandle()
        self._answer: ReasonCode | None = None
        self._ended: str | None = None
        self._terms: Any = None
        self._receipts: dict[int, Receipt] = {}
        self._client = self._made(will)

    def open(self) -> None:
        """Connect.

        Raises:
            UnauthorizedError: The broker refuses our credentials.
            ConfigError: It refuses us for another reason that is the operator's to change.
            UntrustedCertificateError: Its certificate is not right.
            ConnectionFailedError: It can't be reached, or does not answer.
        """
        try:
            self._connect()
            self._await_answer()
        except BaseException:
            self.drop()
            raise

    @property
    def most_in_flight(self) -> int:
        """How many messages the broker lets wait for its acknowledgement."""
        return int(getattr(self._terms, "ReceiveMaximum", _UNBOUNDED))

    @property
    def is_idle(self) -> bool:
        """True if everything is written: the broker keeps up."""
        return not self._client.want_write()

    def publish(self, message: Outgoing) -> Receipt:
        """Begin to publish a message; ``turn`` does the rest.

        Raises:
            ConnectionFailedError: The connection is lost.
        """
        # A broker that keeps nothing, or acknowledges nothing, ends the connection when it is asked to.
        qos = min(message.qos, int(getattr(self._terms, "MaximumQoS", 2)))
        retain = message.retain and bool(getattr(self._terms, "RetainAvailable", 1))
        info = self._client.publish(
            message.topic, message.payload, qos, retain, properties=self._properties(message)
        )
        receipt = Receipt(message.topic, info, qos)
        if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._lost()
        if qos:
            self._receipts[info.mid] = receipt
        return receipt

    def publish_and_wait(self, message: Outgoing) -> None:
        """Publish a message, and wait for its receipt.

        Raises:
            ForbiddenError: The broker refuses it.
            ConnectionFailedError: The connection is lost, or no receipt comes.
        """
        receipt = self.publish(message)
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while not receipt.is_settled:
            if time.monotonic() > deadline:
                raise ConnectionFailedError(f"{self._broker} acknowledges nothing")
            self.turn(TURN_S)
        if receipt.refusal is not None:
            raise ForbiddenError(
                f"{self._broker} refuses what is published to {message.topic}: {receipt.refusal}"
            )

    def turn(self, timeout_s: float) -> None:
        """Read and write what there is, and keep the connection alive.

        Args:
            timeout_s: How long to wait for something to read, or for room to write.

        Raises:
            ConnectionFailedError: The connection is lost.
        """
        sock = self._client.socket()
        if sock is None:
            raise self._lost()
        try:
            code = self._work(sock, timeout_s)
        except (OSError, ValueError, KeyError, IndexError, MQTTException) as exc:
            raise ConnectionFailedError(
                f"{self._broker} says what can't be understood ({type(exc).__name__}){DOUBTS}"
            ) from exc
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS and (
            self._answer is None or not self._answer.is_failure
        ):
            raise self._lost()

    def close(self, last: Outgoing | None = None) -> None:
        """Say goodbye, after a last message: the broker then publishes no will."""
        try:
            deadline = time.monotonic() + GOODBYE_TIMEOUT_S
            said = None if last is None else self.publish(last)
            while said is not None and not said.is_settled and time.monotonic() < deadline:
                self.turn(TURN_S)
            self._client.disconnect()
            while not self.is_idle and time.monotonic() < deadline:
                self.turn(TURN_S)
        except DataFerryError:
            pass  # gone already
        finally:
            self.drop()

    def drop(self) -> None:
        """Close the socket, without a word."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def let_go(self) -> None:
        """Make a blocked call of the owner fail at once, and every later one too. Any thread."""
        self._handle.shut()

    def _made(self, will: Outgoing) -> _Client:
        broker = self._broker
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            clean_session=None if broker.is_v5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if broker.is_v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.dial = lambda: dialled(broker, self._network, self._handle)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        client.max_inflight_messages_set(0)  # our caller has a bound of its own
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        return client

    def _connect(self) -> None:
        """Dial, and send CONNECT: with a session that is new each time, as we repeat by ourselves."""
        broker = self._broker
        asked = None
        if broker.is_v5:
            asked = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            asked.MaximumPacketSize = MAX_INCOMING_BYTES
        try:
            self._client.connect(
                broker.host,
                broker.port,
                broker.keepalive_s,
                clean_start=True if broker.is_v5 else 3,
                properties=asked,
            )
        except (OSError, ValueError) as exc:
            raise ConnectionFailedError(f"can't connect to {broker}: {exc}") from exc

    def _await_answer(self) -> None:
        """Wait until the broker takes us."""
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while self._answer is None:
            if time.monotonic() > deadline:
                raise ConnectionFailedError(f"{self._broker} does not answer{DOUBTS}")
            self.turn(TURN_S)
        if self._answer.is_failure:
            raise refused(self._broker, self._answer.getName())

    def _work(self, sock: Any, timeout_s: float) -> MQTTErrorCode:
        """Wait for the socket, read and write; by ``poll``: ``select`` knows no descriptor above 1023."""
        waiting = select.poll()
        waiting.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        held = sock.pending() if hasattr(sock, "pending") else 0
        ready = waiting.poll(0 if held else timeout_s * 1000)
        events = ready[0][1] if ready else 0
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        if held or events & ~select.POLLOUT:
            code = self._client.loop_read()
        if code is MQTTErrorCode.MQTT_ERR_SUCCESS and events & select.POLLOUT:
            code = self._client.loop_write()
        if code is MQTTErrorCode.MQTT_ERR_SUCCESS:
            code = self._client.loop_misc()
        return code

    def _properties(self, message: Outgoing) -> Properties | None:
        """What MQTT 5.0 says beside the payload."""
        if not self._broker.is_v5:
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.PayloadFormatIndicator = 1
        properties.ContentType = "application/json"
        if message.expires_after_s is not None:
            properties.MessageExpiryInterval = message.expires_after_s
        return properties

    def _connected(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, terms: Properties | None
    ) -> None:
        self._answer, self._terms = reason, terms

    def _disconnected(
        self, _client: Client, _data: Any, flags: DisconnectFlags, reason: ReasonCode, _more: Any
    ) -> None:
        # paho makes up a reason where the broker gave none.
        self._ended = reason.getName() if flags.is_disconnect_packet_from_server else None

    def _published(self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _more: Any) -> None:
        receipt = self._receipts.pop(mid, None)
        if receipt is not None:
            receipt.acknowledge(str(reason) if reason.is_failure else None)

    def _lost(self) -> DataFerryError:
        """Why the connection is over."""
        return lost(self._broker, is_taken=self._answer is not None, why=self._ended)
