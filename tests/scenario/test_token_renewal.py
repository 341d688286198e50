"""Two planes, and data that takes longer than its token lives: renewed in time, whoever is killed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.servers.did_documents import KEY, DidDocuments, Partner
from tests.servers.plane import MIB, Rig, running

from dataferry.demo.control_plane import message

PULL = "HttpData-PULL"
SIZE_BYTES = 64 * MIB
BYTES_PER_S = 20 * MIB
LIFETIME_S = 1


@dataclass
class Stage:
    """Both planes, with whom they serve, and where data is and lands."""

    provider: Rig
    consumer: Rig
    offering: Partner
    asking: Partner
    root: Path

    def begin(self, process_id: str) -> dict[str, Any]:
        """Bring a pull to where bytes flow; the data address."""
        sides = {"participantId": self.asking.did, "counterPartyId": self.offering.did}
        told = message(process_id, "data", PULL, **sides)
        assert self.consumer.control_plane.prepare(self.consumer.address, told).status == 200
        sides = {"participantId": self.offering.did, "counterPartyId": self.asking.did}
        said = message(process_id, "data", PULL, **sides)
        reply = self.provider.control_plane.start_flow(self.provider.address, said)
        address: dict[str, Any] = reply.body["dataAddress"]
        self.consumer.notify(process_id, "started", dataAddress=address)
        return address

    def renewals(self, status: int = 200) -> int:
        """How many refresh requests the provider's plane answered so."""
        log = self.provider.plane.process.log.read_text()
        return len(re.findall(rf"path=/data/[0-9a-f-]+/token .*status={status}\b", log))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two planes with a DID each, that live by tokens of a second."""
    root = tmp_path_factory.mktemp("files")
    (root / "out").mkdir()
    (root / "in").mkdir()
    (root / "out" / "data").write_bytes(os.urandom(SIZE_BYTES))
    files = {"files": {"type": "file", "root": str(root)}}
    with ExitStack() as open_:
        documents = open_.enter_context(DidDocuments())
        offering, asking = documents.partner("provider"), documents.partner("consumer")
        provider = Rig(
            tmp_path_factory.mktemp("provider"),
            locations=files,
            datasets=[{"id": "data", "source": "files:out/data"}],
            more={
                "server": {"allow_http_on_loopback": True, "access_token_ttl_s": LIFETIME_S},
                "participants": [{"id": "default", "did": offering.did}],
            },
        )
        zone = {"sink": "files:in/{processId}/", "bandwidth_bytes_per_s": BYTES_PER_S}
        consumer = Rig(
            tmp_path_factory.mktemp("consumer"),
            locations=files,
            engine={"part_size_bytes": MIB, "multipart_threshold_bytes": MIB, "attempts": 12},
            more={
                "server": {"allow_http_on_loopback": True},
                "participants": [{"id": "default", "did": asking.did, "signing_key": "env:KEY", "kid": KEY}],
                "landing_zones": [{"name": "in", "require_token_renewal": True, **zone}],
            },
            environment={"KEY": asking.pem},
        )
        open_.enter_context(running(provider))
        open_.enter_context(running(consumer))
        yield Stage(provider, consumer, offering, asking, root)


def test_a_pull_outlives_its_tokens_and_kill_9_of_each_side(stage: Stage) -> None:
    """Tokens of a second, seconds of data, both planes killed: all arrives, and hardly a byte twice."""
    stage.begin("long")
    stage.consumer.wait_moved("long", 12 * MIB)
    stage.provider.plane.kill()
    stage.provider.plane.start()
    stage.consumer.wait_moved("long", 28 * MIB)
    stage.consumer.plane.kill()
    stage.consumer.plane.start()
    view = stage.consumer.wait_finished("long")

    (arrived,) = [path for path in (stage.root / "in" / "long").rglob("*") if path.is_file()]
    assert _digest(arrived) == _digest(stage.root / "out" / "data")
    assert view["bytesResumed"] >= 24 * MIB
    assert stage.renewals() >= 3
    assert stage.renewals(400) == stage.renewals(401) == 0


def test_an_address_that_can_not_be_renewed_is_refused(stage: Stage) -> None:
    """Where the landing zone requires renewal, ``started`` is 400, and the flow goes on with one that can."""
    told = message("plain", "data", PULL, counterPartyId=stage.offering.did)
    consumer = stage.consumer
    assert consumer.control_plane.prepare(consumer.address, told).status == 200
    address = stage.begin("renewable")
    plain = {**address, "endpointProperties": address["endpointProperties"][:2]}
    broken = [
        {**entry, "value": "soon"} if entry["name"] == "expiresIn" else entry
        for entry in address["endpointProperties"]
    ]
    refusals = [
        consumer.control_plane.notify(consumer.address, "plain", "started", dataAddress=offered)
        for offered in (plain, {**address, "endpointProperties": broken})
    ]

    assert [reply.status for reply in refusals] == [400, 400]
    assert consumer.control_plane.status(consumer.address, "plain").body["state"] == "PREPARED"
    for process_id in ("plain", "renewable"):
        consumer.notify(process_id, "terminate")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
