"""What a broker of MQTT 5 is told, and what it says: ``make interop-mqtt`` runs this. It needs Go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.mqtt.mochi import BOTH, DENY, READER, Mochi, built
from tests.servers.mqtt import PASSWORD, USER, MqttBroker, Subscriber

from dataferry.api.mqtt.broker import Broker, Outgoing
from dataferry.api.mqtt.connection import Connection
from dataferry.demo.control_plane import PlaneAddress, ScriptedControlPlane, message
from dataferry.demo.planes import PlaneProcess
from dataferry.domain.errors import ConfigError, ConnectionFailedError, DataFerryError
from dataferry.net.connections import Network

TOKEN = "token-of-the-control-plane-0123456789"
PULL = "https://w3id.org/dspace-sig/profile/http-pull"
WHOLE = [("STARTED", "idle"), ("TERMINATED", "idle")]
FLOWS = 40


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The broker's program."""
    return built(tmp_path_factory.mktemp("mochi"))


@pytest.fixture
def mochi(program: Path, tmp_path: Path) -> Iterator[Mochi]:
    """A broker where the plane may do everything."""
    with Mochi(program, tmp_path / "broker") as broker:
        yield broker


def plane_of(directory: Path, port: int, **mqtt: Any) -> PlaneProcess:
    """A plane whose flows hand out tokens, and move nothing themselves."""
    data = directory / "data"
    data.mkdir(parents=True)
    (data / "one").write_bytes(b"1")
    credentials = {"username": USER, "password": PASSWORD}
    return PlaneProcess(
        "plane",
        directory,
        {
            "server": {"allow_http_on_loopback": True},
            "control_planes": [{"id": "cp", "token": TOKEN}],
            "locations": {"here": {"type": "file", "root": str(data)}},
            "datasets": [{"id": "data", "source": "here:"}],
            "mqtt": {"url": f"mqtt://127.0.0.1:{port}", **credentials, **mqtt},
        },
    )


def begin_and_end(plane: PlaneProcess, *processes: str) -> None:
    """Have flows started and terminated."""
    control, address = ScriptedControlPlane(callback_token="c"), plane.address(TOKEN)
    for process_id in processes:
        reply = control.start_flow(address, message(process_id, "data", "HttpData-PULL"))
        assert reply.status == 200, reply.body
        end(control, address, process_id)


def end(control: ScriptedControlPlane, address: PlaneAddress, process_id: str) -> None:
    """Terminate a flow."""
    reply = control.notify(address, process_id, "terminate", reason="enough")
    assert reply.status == 200, reply.body


def test_many_states_within_the_brokers_bounds(mochi: Mochi, tmp_path: Path) -> None:
    """It lets seven wait; all are told in order. The last state of each is kept, and expires."""
    names = [f"process-{number}" for number in range(FLOWS)]
    with (
        plane_of(tmp_path / "plane", mochi.port) as plane,
        Subscriber(mochi.port, credentials=READER, is_v5=True) as live,
    ):
        begin_and_end(plane, *names)
        live.wait(lambda s: all(len(s.states(name)) >= len(WHOLE) for name in names))
        with Subscriber(mochi.port, credentials=READER, is_v5=True) as late:
            late.wait(lambda s: len(s.of("/state")) >= FLOWS)
        log = plane.process.log.read_text()
    assert [live.states(name) for name in names] == [WHOLE] * FLOWS
    sequences = [one.payload["sequence"] for one in live.of("/state")]
    assert sequences == sorted(sequences)
    assert [late.states(name) for name in names] == [WHOLE[-1:]] * FLOWS
    assert all(one.retained for one in late.received)
    assert {one.content_type for one in late.of("/state")} == {"application/json"}
    assert all(0 < (one.expires_after_s or 0) <= 90 * 86_400 for one in late.of("/state"))
    assert "wait in the database" not in log


def test_a_topic_that_is_refused_is_named_and_waited_for(program: Path, tmp_path: Path) -> None:
    """The broker's reason is logged; once its rules are right, nothing is missing."""
    with Mochi(program, tmp_path / "broker", {"+/+/status": BOTH, "#": DENY}) as mochi:
        with plane_of(tmp_path / "plane", mochi.port) as plane:
            log = plane.process.log
            begin_and_end(plane, "one")
            with Subscriber(mochi.port, credentials=READER, is_v5=True) as watching:
                watching.wait(
                    lambda _: "dataflows/" in log.read_text() and "Not authorized" in log.read_text(),
                    what="logged",
                )
                assert watching.of("/state") == []
            mochi.process.stop()
            mochi.rule({"#": BOTH})
            mochi.start()
            with Subscriber(mochi.port, credentials=READER, is_v5=True) as subscriber:
                subscriber.wait(lambda s: len(s.states("one")) >= len(WHOLE), timeout_s=60)
        assert subscriber.states("one") == WHOLE


def test_two_with_one_client_id_are_told_so(mochi: Mochi, tmp_path: Path) -> None:
    """The broker ends the older connection; the log says what to change."""
    with plane_of(tmp_path / "plane", mochi.port) as plane:
        log = plane.process.log
        connection = opened(mochi.port, client_id="dataferry-plane")
        with Subscriber(mochi.port, credentials=READER, is_v5=True) as subscriber:
            subscriber.wait(lambda _: "give each its own mqtt.client_id" in log.read_text(), what="logged")
        connection.drop()


def test_a_broker_of_an_older_version_is_told_so(tmp_path: Path) -> None:
    """Which setting to change is said, whatever such a broker answers."""
    with MqttBroker(tmp_path) as broker, pytest.raises(DataFerryError, match=r"mqtt\.version") as refused:
        opened(broker.port, client_id="x")
    assert isinstance(refused.value, ConfigError | ConnectionFailedError)


def opened(port: int, *, client_id: str) -> Connection:
    """A connection by MQTT 5."""
    broker = Broker(
        host="127.0.0.1", port=port, is_tls=False, client_id=client_id, username=USER, password=PASSWORD
    )
    connection = Connection(broker, Network(), Outgoing(topic="will", payload=b"{}"))
    connection.open()
    return connection
