"""A real MQTT broker on loopback, and a client that subscribes to it."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage, topic_matches_sub
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from dataferry.demo.processes import ChildProcess, free_port

READY_TIMEOUT_S = 30.0
USER, PASSWORD = "ferry", "password-of-the-broker-0123"


class Broker:
    """A broker on loopback, in a process of its own; a context manager.

    Attributes:
        port: Where it listens.
        process: Runs it.
    """

    port: int
    process: ChildProcess

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process.start()
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not _listens(self.port):
            assert self.process.is_running, self.process.log_tail()
            assert time.monotonic() < deadline, self.process.log_tail()
            time.sleep(0.05)


class MqttBroker(Broker):
    """amqtt, which speaks MQTT 3.1.1.

    Args:
        directory: For its configuration and log.
        needs_password: Only ``USER`` with ``PASSWORD`` gets in.
        tls: ``(authority, certificate, key)``, PEM files; None: it speaks plainly.
    """

    def __init__(
        self, directory: Path, *, needs_password: bool = False, tls: tuple[Path, Path, Path] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        listener: dict[str, Any] = {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}
        if tls is not None:
            authority, certificate, key = map(str, tls)
            listener |= {"ssl": True, "cafile": authority, "certfile": certificate, "keyfile": key}
        plugins: dict[str, Any] = {
            "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
        }
        if needs_password:
            passwords = directory / "passwords"
            passwords.write_text(f"{USER}:{PasswordHash((Argon2Hasher(),)).hash(PASSWORD)}\n")
            plugins = {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(passwords)}}
        config = directory / "broker.yaml"
        config.write_text(json.dumps({"listeners": {"default": listener}, "plugins": plugins}))  # YAML too
        self.process = ChildProcess(
            "broker",
            [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(config)],
            log=directory / "broker.log",
            environment={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory)},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message as a subscriber got it."""

    topic: str
    payload: dict[str, Any]
    retained: bool
    qos: int
    content_type: str | None = None
    expires_after_s: int | None = None


class Subscriber:
    """Notes what is published below a filter; a context manager.

    Args:
        port: Of the broker.
        topics: The filter.
        credentials: ``(user, password)``; None: anonymous.
        is_v5: MQTT 5.0; else 3.1.1.
        ca_file: Whose authority vouches for the broker; None: it speaks plainly.
    """

    def __init__(
        self,
        port: int,
        topics: str = "#",
        *,
        credentials: tuple[str, str] | None = None,
        is_v5: bool = False,
        ca_file: Path | None = None,
    ) -> None:
        self._port = port
        self._topics = topics
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self._subscribed = threading.Event()
        version = MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=version)
        if ca_file is not None:
            self._client.tls_set(str(ca_file))
        if credentials is not None:
            self._client.username_pw_set(*credentials)
        self._client.on_connect = lambda client, *_: client.subscribe(self._topics, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._note

    def __enter__(self) -> Self:
        self._client.connect("localhost", self._port)
        self._client.loop_start()
        assert self._subscribed.wait(READY_TIMEOUT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def received(self) -> tuple[Received, ...]:
        """What came so far."""
        with self._lock:
            return tuple(self._received)

    def of(self, leaf: str) -> list[Received]:
        """What came on topics that end so."""
        return [one for one in self.received if one.topic.endswith(leaf)]

    def states(self, process_id: str) -> list[tuple[str, str]]:
        """``(state, run)`` of a process's flow, as told, without what was told again."""
        told: dict[str, Mapping[str, Any]] = {}
        for one in self.of("/state"):
            if one.payload.get("processId") == process_id:
                told.setdefault(one.payload["messageId"], one.payload)
        return [(payload["state"], payload["run"]) for payload in told.values()]

    def wait(self, until: Callable[[Subscriber], Any], *, what: str = "told", timeout_s: float = 30.0) -> Any:
        """Return what ``until`` says, once that is something."""
        deadline = time.monotonic() + timeout_s
        while not (value := until(self)):
            if time.monotonic() > deadline:
                detail = f"not {what} within {timeout_s} s: {self.received[-20:]}"
                raise AssertionError(detail)
            time.sleep(0.02)
        return value

    def _note(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        # amqtt sends what it retains to who subscribed to something else, now and then.
        if not topic_matches_sub(self._topics, message.topic):
            return
        received = Received(
            topic=message.topic,
            payload=json.loads(message.payload),
            retained=message.retain,
            qos=message.qos,
            content_type=getattr(message.properties, "ContentType", None),
            expires_after_s=getattr(message.properties, "MessageExpiryInterval", None),
        )
        with self._lock:
            self._received.append(received)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
