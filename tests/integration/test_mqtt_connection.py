"""The connection to a broker: it goes the operator's way, and no peer can hold it or break it."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.servers.acceptor import Acceptor
from tests.servers.authority import Authority, TlsFront
from tests.servers.http_proxy import HttpProxy
from tests.servers.mqtt import MqttBroker, Subscriber

from dataferry.api.mqtt.broker import Broker, Outgoing
from dataferry.api.mqtt.connection import Connection
from dataferry.domain.errors import ConnectionFailedError, UntrustedCertificateError
from dataferry.net.connections import Network
from dataferry.net.routes import Proxies, Proxy

MANY = 1_100


class Speaker(Acceptor):
    """A peer that says something of its own, and then nothing.

    Args:
        words: What it says.
    """

    def __init__(self, words: bytes) -> None:
        super().__init__()
        self._words = words

    def serve(self, client: socket.socket) -> None:
        """Speak, and wait for the other side to leave."""
        with contextlib.suppress(OSError):
            client.sendall(self._words)
            while client.recv(1024):
                pass


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MqttBroker]:
    """A broker that lets everybody in."""
    with MqttBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def connection(host: str, port: int, network: Network | None = None, **more: Any) -> Connection:
    """A connection that is not open."""
    settings = {"is_tls": False, "client_id": "tried", "is_v5": False, **more}
    will = Outgoing(topic="will", payload=b"{}")
    return Connection(Broker(host=host, port=port, **settings), network or Network(), will)


def test_it_goes_through_the_proxy_and_checks_the_name(broker: MqttBroker, tmp_path: Path) -> None:
    """By a tunnel that the proxy makes to a name that it alone knows; TLS is checked against that name."""
    authority = Authority(tmp_path)
    with ExitStack() as open_:
        good, bad = (
            open_.enter_context(TlsFront(broker.port, authority.certificate(name)))
            for name in ("broker.example", "other.example")
        )
        proxy = open_.enter_context(HttpProxy({"broker.example": good.port, "wrong.example": bad.port}))
        subscriber = open_.enter_context(Subscriber(broker.port))
        network = Network(proxies=Proxies(https=Proxy.of(proxy.url)))
        tls = {"is_tls": True, "ca_file": str(authority.ca_file)}
        through = connection("broker.example", 8883, network, **tls)
        through.open()
        through.publish_and_wait(Outgoing(topic="by/proxy", payload=b"{}", qos=1))
        through.close()
        subscriber.wait(lambda s: s.of("by/proxy"))
        with pytest.raises(UntrustedCertificateError):
            connection("wrong.example", 8883, network, **tls).open()
    assert proxy.asked == ["CONNECT broker.example:8883 HTTP/1.1", "CONNECT wrong.example:8883 HTTP/1.1"]


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\xff\xff\xff\xff\xff",
        b"\x20\x00",
        b"\x30\xff\xff\xff\x7f",
        random.Random(64).randbytes(64),
    ],
    ids=["http", "endless length", "empty answer", "huge message", "noise"],
)
@pytest.mark.parametrize("is_v5", [False, True])
def test_what_is_no_broker_is_said_to_be_none(
    words: bytes, is_v5: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it says; soon, and with what may be the matter."""
    monkeypatch.setattr("dataferry.api.mqtt.connection.CONNECT_TIMEOUT_S", 0.5)
    with Speaker(words) as peer, pytest.raises(ConnectionFailedError, match=r"is it an MQTT broker"):
        connection("127.0.0.1", peer.port, is_v5=is_v5).open()


def test_a_silent_peer_is_let_go_at_once() -> None:
    """The service does not wait for it when it ends."""
    with Speaker(b"") as peer:
        opening = connection("127.0.0.1", peer.port)
        timer = threading.Timer(0.2, opening.let_go)
        timer.start()
        began = time.monotonic()
        with pytest.raises(ConnectionFailedError):
            opening.open()
        assert time.monotonic() - began < 5
        timer.join()


def test_it_works_beside_a_thousand_other_connections(broker: MqttBroker) -> None:
    """Its descriptor may be any number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * MANY)), hard))
    with ExitStack() as open_:
        for _ in range(MANY):
            open_.enter_context(Path(os.devnull).open("rb"))
        one = connection("127.0.0.1", broker.port)
        one.open()
        one.publish_and_wait(Outgoing(topic="a", payload=b"{}", qos=1))
        one.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
