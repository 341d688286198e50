"""Subscribers of a broker: they are told every state in order, whatever is killed, away or slow."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.servers.authority import Authority
from tests.servers.edc import EdcConnector
from tests.servers.http_store import HttpStore, Kept
from tests.servers.mqtt import PASSWORD, USER, MqttBroker, Subscriber
from tests.servers.orchestrator import entry
from tests.servers.plane import MIB, PUSH, Rig, running, s3_address, s3_location
from tests.servers.proxy import Faults, Proxy
from tests.servers.s3_client import digests

from dataferry.demo.control_plane import message
from dataferry.demo.servers import JuiceFs

WHOLE = [("STARTED", "queued"), ("STARTED", "running"), ("COMPLETED", "done")]
SUSPENDED = [
    ("STARTED", "queued"),
    ("STARTED", "running"),
    ("SUSPENDED", "idle"),
    ("STARTED", "queued"),
    ("STARTED", "running"),
    ("COMPLETED", "done"),
]
SLOW_RATE = 8 * MIB


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MqttBroker]:
    """A broker that lets everybody in."""
    with MqttBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def data(source: Any, bucket: str, seeded: random.Random) -> str:
    """A bucket with an object at the provider's S3."""
    source.put_object(Bucket=bucket, Key="one", Body=seeded.randbytes(12 * MIB))
    return bucket


def plane_of(
    directory: Path, storage: JuiceFs, bucket: str, mqtt: dict[str, Any], *, name: str = "plane", **more: Any
) -> Rig:
    """A provider's plane with a quick and a slow dataset, that tells a broker."""
    return Rig(
        directory,
        locations={"here": s3_location(storage)},
        datasets=[
            {"id": "quick", "source": f"here:{bucket}/"},
            {"id": "slow", "source": f"here:{bucket}/", "bandwidth_bytes_per_s": SLOW_RATE},
        ],
        more={
            "server": {"dataplane_id": name},
            "mqtt": {"version": "3.1.1", "progress_interval_s": 1.0, **mqtt},
            **more,
        },
    )


def url(port: int) -> dict[str, Any]:
    """The setting of a broker that speaks plainly."""
    return {"url": f"mqtt://127.0.0.1:{port}"}


def test_two_planes_tell_every_state_in_order(
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    broker: MqttBroker,
    data: str,
    source: Any,
    sink: Any,
    tmp_path: Path,
) -> None:
    """A push from plane to plane, suspended on the way: both sides' states, progress, and who is online."""
    provider = plane_of(tmp_path / "provider", juicefs_pair[0], data, url(broker.port), name="provider")
    theirs = juicefs_pair[1]
    shared = {
        "share_access_key_id": theirs.access_key_id,
        "share_secret_access_key": theirs.secret_access_key,
    }
    consumer = Rig(
        tmp_path / "consumer",
        locations={"s3": s3_location(theirs, **shared)},
        more={
            "server": {"dataplane_id": "consumer"},
            "landing_zones": [{"name": "in", "sink": f"s3:{data}/{{processId}}/"}],
            "mqtt": {"version": "3.1.1", **url(broker.port)},
        },
    )
    with ExitStack() as open_:
        subscriber = open_.enter_context(Subscriber(broker.port, "dataferry/#"))
        open_.enter_context(running(provider))
        open_.enter_context(running(consumer))
        prepared = consumer.control_plane.prepare(consumer.address, message("process-1", "slow", PUSH))
        assert prepared.status == 200, prepared.body
        provider.start_push("slow", prepared.body["dataAddress"], process_id="process-1")
        consumer.notify("process-1", "started")
        provider.wait_moved("process-1", 2 * MIB)
        provider.notify("process-1", "suspend", reason="a pause")
        provider.notify("process-1", "resume")
        provider.wait_finished("process-1")
        consumer.notify("process-1", "completed")
        subscriber.wait(lambda s: len(_of_plane(s, "consumer")) >= 3, what="told by the consumer")
        subscriber.wait(lambda s: len(_of_plane(s, "provider")) >= len(SUSPENDED), what="told")
        subscriber.wait(
            lambda s: any(one.payload["bytesTransferred"] == 12 * MIB for one in s.of("/progress")),
            what="told how far it is",
        )

    assert _of_plane(subscriber, "provider") == SUSPENDED
    assert _of_plane(subscriber, "consumer") == [
        ("PREPARED", "idle"),
        ("STARTED", "idle"),
        ("COMPLETED", "done"),
    ]
    assert set(digests(sink, data).values()) == set(digests(source, data).values())
    suspended = next(one for one in subscriber.of("/state") if one.payload["state"] == "SUSPENDED")
    assert suspended.payload["reason"] == "a pause"
    assert {one.qos for one in subscriber.of("/state")} == {1}
    progress = [one.payload for one in subscriber.of("/progress") if "/provider/" in one.topic]
    assert progress[-1]["bytesTransferred"] == 12 * MIB
    # In order of time; bytes fall where the pause took what was on its way.
    assert [one["at"] for one in progress] == sorted(one["at"] for one in progress)
    online = [(one.topic, one.payload["status"]) for one in subscriber.of("/status")]
    for name in ("provider", "consumer"):
        assert [status for topic, status in online if topic == f"dataferry/{name}/status"] == [
            "online",
            "offline",
        ]
    everything = repr(subscriber.received)
    assert theirs.secret_access_key not in everything
    assert theirs.access_key_id not in everything


def test_no_state_is_lost_by_a_kill_before_it_is_told(
    juicefs_pair: tuple[JuiceFs, JuiceFs], broker: MqttBroker, data: str, sink: Any, tmp_path: Path
) -> None:
    """Nothing gets through to the broker while a flow runs and ends; then the plane is killed, and starts."""
    with Proxy(broker.port) as proxy, Subscriber(broker.port, "dataferry/killed/#") as subscriber:
        rig = plane_of(tmp_path, juicefs_pair[0], data, url(proxy.port), name="killed")
        with running(rig):
            subscriber.wait(lambda s: s.of("/status"), what="online")
            proxy.faults.blackhole = True
            process_id = rig.start_push("quick", s3_address(juicefs_pair[1], data, "in/"))
            rig.wait_finished(process_id)
            rig.plane.kill()
            assert subscriber.states(process_id) == []
            proxy.faults.blackhole = False
            rig.plane.start()
            subscriber.wait(lambda s: len(s.states(process_id)) >= len(WHOLE))
    assert subscriber.states(process_id) == WHOLE


def test_a_killed_plane_is_offline(
    juicefs_pair: tuple[JuiceFs, JuiceFs], broker: MqttBroker, data: str, tmp_path: Path
) -> None:
    """The broker says so for it, without a time; the next one says when it came and went."""
    rig = plane_of(tmp_path, juicefs_pair[0], data, url(broker.port), name="gone")
    with Subscriber(broker.port, "dataferry/gone/status") as subscriber, running(rig):
        subscriber.wait(lambda s: len(s.received) == 1, what="online")
        rig.plane.kill()
        subscriber.wait(lambda s: len(s.received) == 2, what="offline")
        rig.plane.start()
        subscriber.wait(lambda s: len(s.received) == 3, what="online")
        rig.plane.stop()
        subscriber.wait(lambda s: len(s.received) == 4, what="offline")
    told = [one.payload for one in subscriber.received]
    assert [one["status"] for one in told] == ["online", "offline", "online", "offline"]
    assert [one["at"] is None for one in told] == [False, True, False, False]


def test_what_happens_while_the_broker_is_away_is_told_in_order(
    juicefs_pair: tuple[JuiceFs, JuiceFs], broker: MqttBroker, data: str, sink: Any, tmp_path: Path
) -> None:
    """It is away when the plane starts and while flows run: they do not care, and are told afterwards."""
    with Proxy(broker.port, Faults(refuse=True)) as proxy, Subscriber(broker.port, "away/#") as subscriber:
        mqtt = {**url(proxy.port), "topic_prefix": "away/for/long"}
        rig = plane_of(tmp_path, juicefs_pair[0], data, mqtt)
        with running(rig):
            processes = [
                rig.start_push("quick", s3_address(juicefs_pair[1], data, f"{number}/"))
                for number in range(5)
            ]
            for process_id in processes:
                rig.wait_finished(process_id)
            assert subscriber.received == ()
            proxy.faults.refuse = False
            subscriber.wait(
                lambda s: all(len(s.states(one)) >= len(WHOLE) for one in processes), timeout_s=90
            )
        log = rig.plane.process.log.read_text()
    assert [subscriber.states(process_id) for process_id in processes] == [WHOLE] * 5
    sequences = [one.payload["sequence"] for one in subscriber.of("/state")]
    assert sequences == sorted(sequences)
    assert log.count("state events wait in the database") == 1
    assert "connected" in log


def test_a_slow_broker_holds_nothing_up(
    juicefs_pair: tuple[JuiceFs, JuiceFs], broker: MqttBroker, data: str, sink: Any, tmp_path: Path
) -> None:
    """Each of the broker's answers takes two seconds, each byte a while: verbs and data are quick."""
    with Proxy(broker.port) as proxy, Subscriber(broker.port, "dataferry/slowed/#") as subscriber:
        rig = plane_of(tmp_path, juicefs_pair[0], data, url(proxy.port), name="slowed")
        with running(rig):
            subscriber.wait(lambda s: s.of("/status"), what="online")
            proxy.faults.latency_s, proxy.faults.rate_bytes_per_s = 2.0, 2_000.0
            began = time.monotonic()
            processes = [
                rig.start_push("quick", s3_address(juicefs_pair[1], data, f"{number}/"))
                for number in range(4)
            ]
            accepted_s = time.monotonic() - began
            for process_id in processes:
                rig.wait_finished(process_id)
            finished_s = time.monotonic() - began
            behind = len(subscriber.of("/state"))
            proxy.faults.latency_s, proxy.faults.rate_bytes_per_s = 0.0, None
            subscriber.wait(lambda s: all(len(s.states(one)) >= len(WHOLE) for one in processes))
    assert accepted_s < 4
    assert finished_s < 15
    assert behind < 4 * len(WHOLE)
    assert [subscriber.states(process_id) for process_id in processes] == [WHOLE] * 4


def test_wrong_credentials_are_told_once_and_tried_again_patiently(
    juicefs_pair: tuple[JuiceFs, JuiceFs], data: str, sink: Any, tmp_path: Path
) -> None:
    """The log says what to change, and never the password; the plane works; the broker is not hammered."""
    with (
        MqttBroker(tmp_path / "broker", needs_password=True) as broker,
        Proxy(broker.port) as proxy,
        Subscriber(broker.port, credentials=(USER, PASSWORD)) as subscriber,
    ):
        mqtt = {**url(proxy.port), "username": USER, "password": "wrong-password-0123456789"}
        rig = plane_of(tmp_path / "plane", juicefs_pair[0], data, mqtt)
        log = rig.plane.process.log
        with running(rig):
            process_id = rig.start_push("quick", s3_address(juicefs_pair[1], data, "in/"))
            rig.wait_finished(process_id)
            rig.wait_for(lambda: "refuses our credentials" in log.read_text(), what="logged")
            rig.plane.stop()
            tries = proxy.connections
            config = rig.plane.config
            config.write_text(config.read_text().replace("wrong-password-0123456789", PASSWORD))
            rig.plane.start()
            subscriber.wait(lambda s: len(s.states(process_id)) >= len(WHOLE))
    assert 1 <= tries <= 6
    assert "mqtt.password" in log.read_text()
    assert "wrong-password" not in log.read_text()
    assert PASSWORD not in log.read_text()
    assert PASSWORD not in repr(subscriber.received)


def test_tls_with_an_authority_of_ones_own(
    juicefs_pair: tuple[JuiceFs, JuiceFs], data: str, sink: Any, tmp_path: Path
) -> None:
    """Without the authority nothing is said to the broker; with it the plane tells all."""
    authority = Authority(tmp_path)
    certificate, own = authority.certificate("localhost"), authority.certificate("plane.example")
    with MqttBroker(tmp_path / "broker", tls=(authority.ca_file, certificate, certificate)) as broker:
        mqtt = {"url": f"mqtts://localhost:{broker.port}"}
        rig = plane_of(tmp_path / "plane", juicefs_pair[0], data, mqtt)
        with running(rig):
            process_id = rig.start_push("quick", s3_address(juicefs_pair[1], data, "in/"))
            rig.wait_finished(process_id)
            log = rig.plane.process.log
            rig.wait_for(lambda: "is not trusted" in log.read_text(), what="logged")
            rig.plane.stop()
            config = rig.plane.config
            more = f'ca_file = "{authority.ca_file}"\nclient_certificate = "{own}"\n'
            config.write_text(config.read_text().replace("[mqtt]\n", f"[mqtt]\n{more}"))
            with Subscriber(broker.port, ca_file=authority.ca_file) as subscriber:
                rig.plane.start()
                subscriber.wait(lambda s: len(s.states(process_id)) >= len(WHOLE))
    assert subscriber.states(process_id) == WHOLE


def test_participants_have_branches_of_their_own(
    juicefs_pair: tuple[JuiceFs, JuiceFs], broker: MqttBroker, data: str, sink: Any, tmp_path: Path
) -> None:
    """Whatever an id is made of, who may read one participant's branch is told nothing of the others."""
    hostile = "anna/+/#$\u00fc"
    rig = plane_of(
        tmp_path,
        juicefs_pair[0],
        data,
        {**url(broker.port), "topic_prefix": "several"},
        name="a/plane#",
        participants=[{"id": hostile}, {"id": "bert"}],
    )
    text = rig.plane.config.read_text()
    rig.plane.config.write_text(
        text.replace("[[control_planes]]\n", '[[control_planes]]\nparticipant_context_id = "bert"\n')
        + '\n[[control_planes]]\nid = "annas"\ntoken = "token-of-anna-0123456789abcdef"\n'
        + 'participant_context_id = "anna/+/#$\\u00fc"\n'
    )
    everything, anna, bert = (
        Subscriber(broker.port, topics)
        for topics in (
            "several/#",
            "several/a%2Fplane%23/participants/anna%2F%2B%2F%23%24%C3%BC/#",
            "several/a%2Fplane%23/participants/bert/#",
        )
    )
    with everything, anna, bert, running(rig):
        process_id = rig.start_push("quick", s3_address(juicefs_pair[1], data, "in/"))
        hers = rig.control_plane.start_flow(
            rig.plane.address("token-of-anna-0123456789abcdef"),
            message("hers/+/#", "quick", PUSH, dataAddress=s3_address(juicefs_pair[1], data, "hers/")),
        )
        assert hers.status == 200, hers.body
        for name in (process_id, "hers/+/#"):
            everything.wait(lambda s, name=name: len(s.states(name)) >= len(WHOLE))  # type: ignore[misc]
        anna.wait(lambda s: len(s.states("hers/+/#")) >= len(WHOLE))
        bert.wait(lambda s: len(s.states(process_id)) >= len(WHOLE))
    assert {one.payload["participantContextId"] for one in anna.received} == {hostile}
    assert {one.payload["participantContextId"] for one in bert.received} == {"bert"}
    flows = [one for one in everything.received if not one.topic.endswith("/status")]
    assert len(flows) == len(anna.received) + len(bert.received)


def test_orchestrations_are_told_too(broker: MqttBroker, tmp_path: Path) -> None:
    """An orchestration's states in their order, and its counts with the last."""
    with (
        EdcConnector(key="connector-key") as edc,
        HttpStore(token="t") as store,
        Subscriber(broker.port, "orchestrating/#") as subscriber,
    ):
        store.objects["/c"] = Kept(b"{}", headers={"Content-Type": "application/json"})
        edc.offer("c", f"{store.url}/c", token=lambda: "t")
        rig = Rig(
            tmp_path,
            locations={},
            more={
                "orchestrator": {
                    "connectors": [{"address": edc.address, "api_key": "connector-key"}],
                    "data_storage_path": str(tmp_path / "data"),
                    "api_key": "key-of-the-orchestrator",
                },
                "mqtt": {**url(broker.port), "version": "3.1.1", "topic_prefix": "orchestrating"},
            },
        )
        with running(rig):
            _orchestrate(rig, edc)
            told = subscriber.wait(lambda s: [one for one in _orchestrations(s) if one["saved"] is not None])
        everything = _orchestrations(subscriber)
    assert [one["state"] for one in everything] == [
        "QUEUED",
        "PROCESSING",
        "ASSET_REGISTERED",
        "DATA_ADDRESS_RETRIEVED",
        "COMPLETED",
    ]
    assert [(one["entries"], one["saved"], one["failed"], one["cancelled"]) for one in told] == [(1, 1, 0, 0)]


def _orchestrate(rig: Rig, edc: EdcConnector) -> None:
    """Ask for one contract."""
    import httpx

    body = {"connectorAddress": edc.address, "data": [entry("c")]}
    with httpx.Client(trust_env=False, headers={"X-Api-Key": "key-of-the-orchestrator"}) as client:
        answer = client.post(f"{rig.plane.url}/orchestrate", json=body)
    assert answer.status_code == 200, answer.text


def _orchestrations(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [one.payload for one in subscriber.received if "/orchestrations/" in one.topic]


def _of_plane(subscriber: Subscriber, name: str) -> list[tuple[str, str]]:
    """``(state, run)`` of the flows of a plane, as told, without what was told again."""
    told = {
        one.payload["messageId"]: one.payload for one in subscriber.of("/state") if f"/{name}/" in one.topic
    }
    return [(payload["state"], payload["run"]) for payload in told.values()]
