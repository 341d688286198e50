"""Two planes and a pull by temporary credentials: suspended and resumed, and ended in the middle."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.servers.plane import MIB, PULL, PUSH, Rig, running, s3_location
from tests.servers.s3_client import digests, s3_client
from tests.servers.token_service import Ageing, GatewayUser

from dataferry.demo.control_plane import message
from dataferry.demo.servers import JuiceFs

BUCKET = "granted-data"
SIZE_BYTES = 48 * MIB
BYTES_PER_S = 12 * MIB
NAMES = ("accessKeyId", "secretAccessKey", "sessionToken")


@dataclass
class Stage:
    """A provider's plane and a consumer's, each with a store; grants are made on both by a token service."""

    provider: Rig
    consumer: Rig
    offered: Ageing
    received: Ageing
    addresses: list[dict[str, Any]] = field(default_factory=list)

    def handed(self, body: Any) -> dict[str, Any]:
        """Return the address of an answer, and keep it: what it holds must show nowhere else."""
        address: dict[str, Any] = body["dataAddress"]
        self.addresses.append(address)
        return address

    def secrets(self) -> list[str]:
        """Every credential that was handed out."""
        entries = [entry for address in self.addresses for entry in address["endpointProperties"]]
        return [entry["value"] for entry in entries if entry["name"] in NAMES]

    def begin_pull(self, process_id: str) -> None:
        """Bring a pull to where the consumer fetches."""
        told = message(process_id, "data", PULL)
        assert self.consumer.control_plane.prepare(self.consumer.address, told).status == 200
        reply = self.provider.control_plane.start_flow(self.provider.address, told)
        assert reply.status == 200, reply.body
        self.consumer.notify(process_id, "started", dataAddress=self.handed(reply.body))

    def resume(self, process_id: str, owner: Rig, mover: Rig) -> None:
        """Resume as control planes do: the owner's answer brings the mover a fresh address."""
        reply = owner.notify(process_id, "resume")
        mover.notify(process_id, "resume", dataAddress=self.handed(reply.body))


def rig(directory: Path, store: Ageing, user: GatewayUser, **more: Any) -> Rig:
    """A plane whose location grants by the gateway's token service."""
    return Rig(
        directory,
        locations={
            "here": {
                **s3_location(store),
                "access_key_id": user.access_key_id,
                "secret_access_key": user.secret_access_key,
                "sts_endpoint_url": store.endpoint_url,
            }
        },
        datasets=[
            {"id": "data", "source": f"here:{BUCKET}/out/", "bandwidth_bytes_per_s": BYTES_PER_S},
            {"match": "any-*", "source": f"here:{BUCKET}/{{datasetId}}/"},
        ],
        more={
            "server": {"log_level": "debug"},
            "landing_zones": [
                {
                    "name": "in",
                    "sink": f"here:{BUCKET}/in/{{processId}}/",
                    "bandwidth_bytes_per_s": BYTES_PER_S,
                }
            ],
        },
        **more,
    )


@pytest.fixture(scope="module")
def stage(juicefs_pair: tuple[JuiceFs, JuiceFs], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Both planes; the provider's bucket has an object in parts, and two small ones."""
    with ExitStack() as open_:
        offered, received = (open_.enter_context(Ageing(server)) for server in juicefs_pair)
        users = [GatewayUser(server, "scenario") for server in juicefs_pair]
        for server in juicefs_pair:
            s3_client(server).create_bucket(Bucket=BUCKET)
        owner = s3_client(juicefs_pair[0])
        owner.put_object(Bucket=BUCKET, Key="out/large", Body=random.Random(1).randbytes(SIZE_BYTES))
        for name in ("a", "b/c", "odd *?${x}"):
            owner.put_object(Bucket=BUCKET, Key=f"out/{name}", Body=name.encode())
        owner.put_object(Bucket=BUCKET, Key="secret", Body=b"not offered")
        provider = rig(tmp_path_factory.mktemp("provider"), offered, users[0])
        consumer = rig(tmp_path_factory.mktemp("consumer"), received, users[1])
        open_.enter_context(running(provider))
        open_.enter_context(running(consumer))
        yield Stage(provider, consumer, offered, received)


def arrived(server: JuiceFs, process_id: str) -> dict[str, str]:
    """Digests of what arrived, by name."""
    prefix = f"in/{process_id}/"
    found = digests(s3_client(server), BUCKET)
    return {key.removeprefix(prefix): digest for key, digest in found.items() if key.startswith(prefix)}


def sent(server: JuiceFs) -> dict[str, str]:
    """Digests of what was offered, by name."""
    found = digests(s3_client(server), BUCKET)
    return {key.removeprefix("out/"): digest for key, digest in found.items() if key.startswith("out/")}


def test_a_pull_goes_on_with_a_fresh_grant_after_suspend_and_after_its_end(
    stage: Stage, juicefs_pair: tuple[JuiceFs, JuiceFs]
) -> None:
    """Suspend and resume bring another address; one that ends midway fails the run, and a resume goes on."""
    provider, consumer = stage.provider, stage.consumer
    stage.begin_pull("pull")
    consumer.wait_moved("pull", 6 * MIB)
    for side in (consumer, provider):
        side.notify("pull", "suspend", reason="later")
    stage.offered.end_all()
    stage.resume("pull", provider, consumer)
    consumer.wait_moved("pull", 16 * MIB)

    stage.offered.end_all()
    told = consumer.control_plane.wait_for("errored", "pull")
    view = consumer.view("pull")
    assert view is not None
    assert (view["state"], view["run"], view["lastErrorKind"]) == ("STARTED", "failed", "credentials_expired")
    assert "resume of the flow" in json.dumps(dict(told.body))
    provider.notify("pull", "suspend")
    stage.resume("pull", provider, consumer)
    done = consumer.wait_finished("pull")

    assert arrived(juicefs_pair[1], "pull") == sent(juicefs_pair[0])
    assert done["bytesResumed"] >= 10 * MIB
    assert len({json.dumps(address) for address in stage.addresses}) == 3
    events = provider.plane.manage("GET", "/dataflows/pull/events")
    assert "stays good until" in json.dumps(events)


def test_a_push_goes_on_with_a_fresh_grant(stage: Stage, juicefs_pair: tuple[JuiceFs, JuiceFs]) -> None:
    """The consumer grants writing only; the provider's run that meets its end goes on with another."""
    provider, consumer = stage.provider, stage.consumer
    told = message("push", "data", PUSH)
    prepared = consumer.control_plane.prepare(consumer.address, told)
    provider.start_push("data", stage.handed(prepared.body), process_id="push")
    consumer.notify("push", "started")
    provider.wait_moved("push", 10 * MIB)
    stage.received.end_all()
    provider.control_plane.wait_for("errored", "push")
    consumer.notify("push", "suspend")
    stage.resume("push", consumer, provider)
    done = provider.wait_finished("push")

    assert arrived(juicefs_pair[1], "push") == sent(juicefs_pair[0])
    assert done["bytesResumed"] >= 5 * MIB
    consumer.notify("push", "completed")


def test_a_dataset_id_that_is_a_pattern_opens_nothing(stage: Stage) -> None:
    """It is refused before anything is asked or kept."""
    asked = len(stage.offered.asked)
    told = message("hostile", "any-*", PULL)
    reply = stage.provider.control_plane.start_flow(stage.provider.address, told)
    assert reply.status == 400
    assert "pattern" in reply.body["detail"]
    assert len(stage.offered.asked) == asked
    assert stage.provider.control_plane.status(stage.provider.address, "hostile").status == 404


def test_what_was_handed_out_shows_nowhere_else(stage: Stage) -> None:
    """No credential is in a log, an event, a callback, an answer of the management API or a row in plain."""
    stage.begin_pull("ended")
    for side in (stage.consumer, stage.provider):
        side.notify("ended", "terminate")
    texts = {}
    for side in (stage.provider, stage.consumer):
        name = side.plane.directory.name
        for path in ("/dataflows", "/dataflows/ended", "/dataflows/ended/events", "/locations"):
            texts[name + path] = json.dumps(side.plane.manage("GET", path))
        texts[f"{name} callbacks"] = json.dumps([dict(one.body) for one in side.control_plane.received])
        side.plane.stop()
        for file in side.plane.directory.rglob("*"):
            if file.is_file() and file != side.plane.config:
                texts[str(file)] = file.read_bytes().decode("latin-1")
        side.plane.start()
    secrets = stage.secrets()
    assert len(secrets) >= 3
    assert [(name, secret) for name, text in texts.items() for secret in secrets if secret in text] == []
    assert sum(name.endswith("dataferry.db") for name in texts) == 2
