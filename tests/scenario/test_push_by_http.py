"""Two planes, and a prefix pushed by HTTP from S3 to S3: suspended, resumed, each side killed."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.servers.authority import Authority, TlsFront
from tests.servers.did_documents import KEY, DidDocuments, Partner
from tests.servers.plane import MIB, PART_BYTES, WORKERS, Rig, running, s3_location
from tests.servers.s3_client import digests, open_uploads

from dataferry.demo.control_plane import message
from dataferry.demo.servers import JuiceFs, free_port

PUSH = "HttpData-PUSH"
PROFILE = "https://w3id.org/dspace-sig/profile/http-push"
RATE = 24 * MIB
LARGE = {"large/one.bin": 48 * MIB + 12_345, "large/two.bin": 31 * MIB}
SMALL = 60
# Of each kill: the parts in flight, and the small objects that were not written down.
IN_FLIGHT = (WORKERS + 1) * PART_BYTES


@dataclass
class Stage:
    """Both planes, with whom they serve, and what is at the provider's store."""

    provider: Rig
    consumer: Rig
    offering: Partner
    asking: Partner
    expected: dict[str, str]
    sink: Any
    bucket: str

    def begin(self, process_id: str) -> dict[str, Any]:
        """Bring a push to where bytes flow, as two connectors would; return the data address."""
        sides = {"participantId": self.asking.did, "counterPartyId": self.offering.did}
        told = message(process_id, "data", PUSH, **sides)
        reply = self.consumer.control_plane.prepare(self.consumer.address, told)
        assert reply.status == 200, reply.body
        address: dict[str, Any] = reply.body["dataAddress"]
        sides = {"participantId": self.offering.did, "counterPartyId": self.asking.did}
        said = message(process_id, "data", PUSH, dataAddress=address, **sides)
        reply = self.provider.control_plane.start_flow(self.provider.address, said)
        assert reply.status == 200, reply.body
        self.consumer.notify(process_id, "started")
        return address

    def assert_arrived(self, process_id: str) -> None:
        """Every byte is there, under its name, and nothing else; no upload is open."""
        found = digests(self.sink, self.bucket)
        prefix = f"{process_id}/"
        came = {key.removeprefix(prefix): digest for key, digest in found.items() if key.startswith(prefix)}
        assert came == self.expected
        assert open_uploads(self.sink, self.bucket, *(f"{prefix}{name}" for name in LARGE)) == []


@pytest.fixture
def stage(
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    source: Any,
    sink: Any,
    bucket: str,
    seeded: random.Random,
    tmp_path: Path,
) -> Iterator[Stage]:
    """Small and large objects at the provider's store, and a plane on each side."""
    sizes = {**LARGE, **{f"small/{number:03} ü#%.txt": 10_000 + number for number in range(SMALL)}, "none": 0}
    expected = {}
    for name, size in sizes.items():
        body = seeded.randbytes(size)
        source.put_object(Bucket=bucket, Key=f"out/{name}", Body=body, ContentType="text/x-odd")
        expected[name] = hashlib.sha256(body).hexdigest()
    patient = {"attempts": 12, "backoff_s": 0.1, "max_backoff_s": 1.0}
    with ExitStack() as open_:
        documents = open_.enter_context(DidDocuments())
        offering, asking = documents.partner("provider"), documents.partner("consumer")
        provider = Rig(
            tmp_path / "provider",
            locations={"s3": s3_location(juicefs_pair[0])},
            datasets=[{"id": "data", "source": f"s3:{bucket}/out/", "bandwidth_bytes_per_s": RATE}],
            engine=patient,
            more={
                "server": {"allow_http_on_loopback": True},
                "participants": [
                    {"id": "default", "did": offering.did, "signing_key": "env:KEY", "kid": KEY}
                ],
            },
            environment={"KEY": offering.pem},
        )
        consumer = Rig(
            tmp_path / "consumer",
            locations={"s3": s3_location(juicefs_pair[1], exclusive=True)},
            more={
                "server": {"allow_http_on_loopback": True, "access_token_ttl_s": 1},
                "participants": [{"id": "default", "did": asking.did}],
                "landing_zones": [{"name": "in", "sink": f"s3:{bucket}/{{processId}}/"}],
            },
        )
        open_.enter_context(running(provider))
        open_.enter_context(running(consumer))
        yield Stage(provider, consumer, offering, asking, expected, sink, bucket)


def test_a_push_outlives_suspension_kills_and_tokens(stage: Stage) -> None:
    """Tokens of a second, a suspension, both planes killed: all arrives, hardly a byte twice."""
    address = stage.begin("long")
    names = {entry["name"] for entry in address["endpointProperties"]}
    assert {"parts", "refreshToken", "expiresIn", "refreshEndpoint"} <= names
    stage.provider.wait_moved("long", 20 * MIB)
    stage.consumer.notify("long", "suspend")
    stage.provider.notify("long", "suspend")
    held = stage.consumer.plane.flow("long")
    again = stage.consumer.notify("long", "resume").body["dataAddress"]
    stage.provider.notify("long", "resume", dataAddress=again)
    assert held["paused"]
    stage.provider.wait_moved("long", 36 * MIB)
    stage.consumer.plane.kill()
    stage.consumer.plane.start()
    stage.provider.wait_moved("long", 52 * MIB)
    stage.provider.plane.kill()
    stage.provider.plane.start()
    view = stage.provider.wait_finished("long")
    stage.consumer.notify("long", "completed")

    stage.assert_arrived("long")
    came = stage.consumer.plane.flow("long")
    assert (came["state"], came["lastError"], came["percentComplete"]) == ("COMPLETED", None, 100.0)
    assert came["objectsDone"] == len(stage.expected)
    assert came["bytesTransferred"] == came["bytesTotal"] == view["bytesTotal"]
    assert view["verification"] == "destination"
    assert view["bytesResumed"] >= 52 * MIB - IN_FLIGHT
    assert view["bytesRetransferred"] <= 3 * IN_FLIGHT
    log = stage.consumer.plane.process.log.read_text()
    assert len(re.findall(r"path=/data/[0-9a-f-]+/token .*status=200\b", log)) >= 2
    # Bodies of plain PUTs and of parts, never a part more often than a suspension and two kills explain.
    sent = re.findall(r"method=PUT .*path=.?/ingest/.*status=20[14]\b", log)
    parts = sum(-(-size // PART_BYTES) for size in LARGE.values())
    assert parts + SMALL <= len(sent) <= parts + SMALL + 1 + 3 * (WORKERS + 1) + 2 * SMALL


def test_the_published_profile_is_kept_with_tls(tmp_path: Path, seeded: random.Random) -> None:
    """Strict at both ends: an https address of the profile, sent to in parts by who trusts its authority."""
    authority, port = Authority(tmp_path), free_port()
    for name in ("out", "in"):
        (tmp_path / name).mkdir()
    body = seeded.randbytes(3 * PART_BYTES + 1)
    (tmp_path / "out" / "large.bin").write_bytes(body)
    files = {"files": {"type": "file", "root": str(tmp_path)}}
    provider = Rig(
        tmp_path / "provider",
        locations=files,
        datasets=[{"id": "data", "source": "files:out/"}],
        more={"network": {"ca_file": str(authority.ca_file)}},
    )
    consumer = Rig(
        tmp_path / "consumer",
        locations=files,
        more={
            "server": {"public_url": f"https://localhost:{port}"},
            "landing_zones": [{"name": "in", "sink": "files:in/"}],
        },
    )
    certificate = authority.certificate("localhost")
    with (
        running(provider),
        running(consumer),
        TlsFront(consumer.plane.port, certificate, port=port),
    ):
        told = message("strict", "data", PROFILE)
        address = consumer.control_plane.prepare(consumer.address, told).body["dataAddress"]
        said = message("strict", "data", PROFILE, dataAddress=address)
        assert provider.control_plane.start_flow(provider.address, said).status == 200
        provider.wait_finished("strict")
        log = consumer.plane.process.log.read_text()

    assert address["endpointType"] == PROFILE
    assert address["endpoint"].startswith(f"https://localhost:{port}/ingest/")
    assert (tmp_path / "in" / "large.bin").read_bytes() == body
    assert len(re.findall(r"method=PUT .*status=201\b", log)) == 4


def test_a_flow_that_is_suspended_on_one_side_only_goes_on(stage: Stage) -> None:
    """The sender is told to come back, and does: nothing is reported as failed."""
    stage.begin("short")
    stage.provider.wait_moved("short", 12 * MIB)
    stage.consumer.notify("short", "suspend")
    stage.provider.wait_for(
        lambda: "status=403" in stage.consumer.plane.process.log.read_text(), what="refused"
    )
    stage.consumer.notify("short", "resume")
    stage.provider.wait_finished("short")

    stage.assert_arrived("short")
    assert stage.provider.kinds("short") == ["completed"]
