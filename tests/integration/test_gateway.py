"""``/data`` of a real plane: S3 and files over HTTP, to who has the token, while the flow is STARTED."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.servers.authority import Authority, TlsFront
from tests.servers.plane import MIB, Rig, running, s3_location
from tests.servers.s3_client import s3_client

from dataferry.demo.control_plane import message
from dataferry.demo.servers import JuiceFs, free_port

PULL = "HttpData-PULL"
BODY = os.urandom(3 * MIB + 17)
LARGE = os.urandom(24 * MIB)
NAMES = ("a b.txt", "deep/ünï?c#de%20.bin", "z")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of files."""
    root = tmp_path_factory.mktemp("files")
    for name in NAMES:
        path = root / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}")
    (root / "outside.txt").write_text("not in the dataset")
    return root


@pytest.fixture(scope="module")
def rig(juicefs: JuiceFs, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A provider's plane with an object in S3, a prefix in S3 and a tree of files."""
    client = s3_client(juicefs)
    client.create_bucket(Bucket="gateway-data")
    client.put_object(Bucket="gateway-data", Key="one.bin", Body=BODY, ContentType="application/x-one")
    client.put_object(Bucket="gateway-data", Key="large.bin", Body=LARGE)
    client.put_object(Bucket="gateway-data", Key="empty", Body=b"")
    client.put_object(Bucket="gateway-data", Key="secret.txt", Body=b"not in the dataset")
    for name in ("a b.txt", "deep/ünïc#de%20.bin"):
        client.put_object(Bucket="gateway-data", Key=f"set/{name}", Body=f"this is {name}".encode())
    made = Rig(
        tmp_path_factory.mktemp("plane"),
        locations={"s3": s3_location(juicefs), "files": {"type": "file", "root": str(files)}},
        datasets=[
            {"id": "one", "source": "s3:gateway-data/one.bin"},
            {"id": "large", "source": "s3:gateway-data/large.bin"},
            {"id": "empty", "source": "s3:gateway-data/empty"},
            {"id": "set", "source": "s3:gateway-data/set/"},
            {"id": "files", "source": "files:set/"},
            {"id": "some", "source": "files:set/", "include": ["z", "deep/"], "exclude": ["*.bin"]},
            {"id": "some-s3", "source": "s3:gateway-data/set/", "exclude": ["*.bin"]},
            {"id": "slow", "source": "files:set/", "bandwidth_bytes_per_s": 100},
        ],
        more={"server": {"allow_http_on_loopback": True}},
    )
    with running(made):
        yield made


@dataclass(frozen=True)
class Pull:
    """A pull that was started, and a client that shows its token."""

    process_id: str
    url: str
    address: dict[str, Any]
    client: httpx.Client

    def get(self, name: str = "", **headers: str) -> httpx.Response:
        """GET the address or an object below it."""
        return self.client.get(self.url + quote(name), headers=headers)


@pytest.fixture
def pull(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Pull]:
    """A pull of the dataset that the test names, of ``one`` if none."""
    dataset = getattr(request, "param", "one")
    process_id = f"{request.node.name[:30]}-{os.urandom(4).hex()}"
    reply = rig.control_plane.start_flow(rig.address, message(process_id, dataset, PULL))
    assert reply.status == 200, reply.body
    address = reply.body["dataAddress"]
    properties = {entry["name"]: entry["value"] for entry in address["endpointProperties"]}
    assert properties["authType"] == "bearer"
    headers = {"Authorization": f"Bearer {properties['authorization']}"}
    with httpx.Client(headers=headers, trust_env=False, timeout=20) as client:
        yield Pull(process_id, address["endpoint"], address, client)


def test_an_object_is_served_whole(pull: Pull) -> None:
    """GET answers with the bytes, their length, type, version, and nothing for caches to keep."""
    answer = pull.get()

    assert (answer.status_code, answer.content) == (200, BODY)
    assert answer.headers["Content-Length"] == str(len(BODY))
    assert answer.headers["Content-Type"] == "application/x-one"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"].startswith('"')
    assert answer.headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-1048675", 100, 1_048_676),
        ("bytes=3145000-", 3_145_000, len(BODY)),
        ("bytes=-17", len(BODY) - 17, len(BODY)),
        ("bytes=3145744-99999999", 3_145_744, len(BODY)),
    ],
)
def test_a_range_is_served(pull: Pull, asked: str, first: int, end: int) -> None:
    """A range is answered with 206, its bytes and its place."""
    answer = pull.get(Range=asked)

    assert (answer.status_code, answer.content) == (206, BODY[first:end])
    assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(BODY)}"


def test_a_range_behind_the_end_is_refused(pull: Pull) -> None:
    """What begins behind the end is 416, with the object's size."""
    answer = pull.get(Range=f"bytes={len(BODY)}-")

    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(BODY)}"


def test_conditions_name_the_version(pull: Pull) -> None:
    """If-Match of another version is 412, If-None-Match of this one 304, If-Range of another the whole."""
    etag = pull.client.head(pull.url).headers["ETag"]

    assert pull.get(**{"If-Match": '"another"'}).status_code == 412
    assert pull.get(**{"If-Match": etag, "Range": "bytes=0-9"}).content == BODY[:10]
    assert pull.get(**{"If-None-Match": etag}).status_code == 304
    assert pull.get(**{"If-Range": '"another"', "Range": "bytes=0-9"}).content == BODY
    assert pull.get(**{"If-Range": etag, "Range": "bytes=0-9"}).content == BODY[:10]


def test_head_tells_all_and_sends_nothing(pull: Pull) -> None:
    """HEAD has the headers of GET and no body."""
    answer = pull.client.head(pull.url)

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(BODY))


@pytest.mark.parametrize("pull", ["empty"], indirect=True)
def test_an_empty_object_is_served(pull: Pull) -> None:
    """No bytes are an answer too."""
    answer = pull.get()

    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("pull", ["files", "set"], indirect=True)
def test_a_set_is_listed_and_its_objects_are_below(pull: Pull) -> None:
    """The address itself is a listing that sums up; each name in it is an object below."""
    listing = pull.get()
    *lines, last = [json.loads(line) for line in listing.text.splitlines()]

    assert listing.headers["Content-Type"] == "application/jsonl"
    assert {"name": "listing", "value": "jsonl", "@type": "EndpointProperty"} in pull.address[
        "endpointProperties"
    ]
    assert last["summary"]["objects"] == len(lines) >= 2
    for line in lines:
        answer = pull.get(line["name"])
        assert (answer.status_code, answer.text) == (200, f"this is {line['name']}")
        assert answer.headers["ETag"] == f'"{line["etag"]}"'
        assert int(answer.headers["Content-Length"]) == line["size"]


@pytest.mark.parametrize("pull", ["files", "set"], indirect=True)
@pytest.mark.parametrize(
    "path", ["..%2Fsecret.txt", "%2e%2e%2foutside.txt", "x/%2E%2E/z", "nothing", "deep", "a//b", "%00"]
)
def test_no_name_leads_out_of_the_dataset(pull: Pull, path: str) -> None:
    """Names that are not in the dataset are not there, however they are written."""
    answer = pull.client.get(pull.url + path)

    assert answer.status_code == 404, answer.text
    assert "not in the dataset" not in answer.text
    assert not {"set", "gateway-data", "file.open"} & set(re.split(r"[^a-z.-]", answer.json()["detail"]))


@pytest.mark.parametrize("pull", ["files", "set"], indirect=True)
def test_a_listing_begins_behind_a_name(pull: Pull) -> None:
    """``start_after`` of the address that was handed out leaves out what stands before."""
    lines = pull.client.get(pull.url, params={"start_after": "a b.txt"}).text.splitlines()

    assert lines
    assert "a b.txt" not in {json.loads(line).get("name") for line in lines}


def test_what_a_control_plane_did_not_offer_is_not_served(rig: Rig) -> None:
    """Patterns in the provider's metadata bind the gateway: neither the listing nor a name leads further."""
    asked = message(f"part-{os.urandom(4).hex()}", "files", PULL, metadata={"include": ["z"]})
    address = rig.control_plane.start_flow(rig.address, asked).body["dataAddress"]
    headers = {"Authorization": f"Bearer {address['endpointProperties'][0]['value']}"}
    with httpx.Client(trust_env=False, headers=headers) as client:
        names = [json.loads(line).get("name") for line in client.get(address["endpoint"]).text.splitlines()]

        assert names == ["z", None]
        assert client.get(f"{address['endpoint']}z").status_code == 200
        assert client.get(f"{address['endpoint']}a%20b.txt").status_code == 404


@pytest.mark.parametrize(
    ("asked", "names"),
    [({}, ["z"]), ({"include": ["a b.txt", "z", "deep/"]}, ["z"]), ({"exclude": ["z"]}, [])],
)
def test_a_datasets_patterns_bind_whatever_is_asked(
    rig: Rig, asked: dict[str, Any], names: list[str]
) -> None:
    """The operator's word: metadata narrows it further, and never widens it."""
    told = message(f"some-{os.urandom(4).hex()}", "some", PULL, metadata=asked)
    address = rig.control_plane.start_flow(rig.address, told).body["dataAddress"]
    headers = {"Authorization": f"Bearer {address['endpointProperties'][0]['value']}"}
    with httpx.Client(trust_env=False, headers=headers) as client:
        *lines, last = map(json.loads, client.get(address["endpoint"]).text.splitlines())

        assert [line["name"] for line in lines] == names
        assert last["summary"]["objects"] == len(names)
        for hidden in set(NAMES) - set(names):
            assert client.get(address["endpoint"] + quote(hidden)).status_code == 404


def test_access_that_can_not_be_bounded_is_not_granted(rig: Rig) -> None:
    """Credentials for a prefix would show what the dataset leaves out: the start is refused, with advice."""
    told = message(f"some-{os.urandom(4).hex()}", "some-s3", "AmazonS3-PULL")
    reply = rig.control_plane.start_flow(rig.address, told)

    assert reply.status == 400
    assert "include, exclude" in reply.body["detail"]


def test_a_datasets_bandwidth_holds_at_the_gateway(rig: Rig) -> None:
    """All requests of the flow share it."""
    told = message(f"slow-{os.urandom(4).hex()}", "slow", PULL)
    address = rig.control_plane.start_flow(rig.address, told).body["dataAddress"]
    headers = {"Authorization": f"Bearer {address['endpointProperties'][0]['value']}"}
    began = time.monotonic()
    with httpx.Client(trust_env=False, headers=headers, timeout=30) as client:
        listing = client.get(address["endpoint"]).content

    assert time.monotonic() - began > len(listing) / 100 * 0.8


def test_the_token_is_needed(pull: Pull, rig: Rig) -> None:
    """Without the flow's token, or with another's, the answer is 401, as for a flow that is not there."""
    other = rig.control_plane.start_flow(rig.address, message(f"other-{pull.process_id}", "one", PULL))
    tokens = [entry["value"] for entry in other.body["dataAddress"]["endpointProperties"]]
    with httpx.Client(trust_env=False) as stranger:
        found = [
            stranger.get(pull.url),
            stranger.get(pull.url, headers={"Authorization": f"Bearer {tokens[0]}"}),
            stranger.get(pull.url[:-4] + "ffff", headers=dict(pull.client.headers)),
            stranger.get(pull.url.rsplit("/", 1)[0] + "/nonsense"),
        ]

    assert [answer.status_code for answer in found] == [401, 401, 401, 401]
    assert {answer.json()["detail"] for answer in found} == {
        "send the bearer token of this flow's data address"
    }
    assert "Bearer" in found[0].headers["WWW-Authenticate"]


def test_a_suspended_flow_serves_nothing_until_it_is_resumed(pull: Pull, rig: Rig) -> None:
    """403 while it is suspended; the answer to resume has the address again, and it is good again."""
    rig.notify(pull.process_id, "suspend")
    suspended = pull.get()
    again = rig.notify(pull.process_id, "resume").body["dataAddress"]

    assert suspended.status_code == 403
    assert again == pull.address
    assert pull.get().content == BODY


@pytest.mark.parametrize("verb", ["terminate", "completed"])
def test_a_flow_that_is_over_serves_nothing(pull: Pull, rig: Rig, verb: str) -> None:
    """410 after the end."""
    rig.notify(pull.process_id, verb)

    assert pull.get().status_code == 410


def test_bytes_in_flight_end_with_the_flow(rig: Rig, juicefs: JuiceFs) -> None:
    """A body that is being sent is broken off soon after the flow was suspended, and does not look whole."""
    size = 64 * MIB
    s3_client(juicefs).put_object(Bucket="gateway-data", Key="set/large", Body=bytes(size))
    process_id = f"in-flight-{os.urandom(4).hex()}"
    reply = rig.control_plane.start_flow(rig.address, message(process_id, "set", PULL))
    address = reply.body["dataAddress"]
    headers = {"Authorization": f"Bearer {address['endpointProperties'][0]['value']}"}
    received = 0
    with (
        httpx.Client(trust_env=False, headers=headers, timeout=20) as client,
        client.stream("GET", f"{address['endpoint']}large") as answer,
    ):
        pieces = answer.iter_raw(64 * 1024)
        received += len(next(pieces))
        rig.notify(process_id, "suspend")
        time.sleep(0.3)  # the plane looks at its flow four times a second; nothing else is waited for
        with pytest.raises(httpx.TransportError):
            received += sum(len(piece) for piece in pieces)

    assert received < size
    s3_client(juicefs).delete_object(Bucket="gateway-data", Key="set/large")


def test_the_token_is_in_no_log_and_no_view(pull: Pull, rig: Rig) -> None:
    """Neither the log nor the operators' views show the token."""
    pull.get()
    token = pull.client.headers["Authorization"].removeprefix("Bearer ")
    view = json.dumps(rig.plane.flow(pull.process_id))

    assert token not in rig.plane.process.log.read_text()
    assert token not in view


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, Path]]:
    """A consumer's plane, and the directory where its flows land."""
    root = tmp_path_factory.mktemp("landed")
    made = Rig(
        tmp_path_factory.mktemp("consumer"),
        locations={"files": {"type": "file", "root": str(root)}},
        more={
            "landing_zones": [
                {
                    "name": "slow",
                    "datasets": ["large"],
                    "sink": "files:{processId}/",
                    "bandwidth_bytes_per_s": 8 * MIB,
                },
                {"name": "in", "sink": "files:{processId}/"},
            ]
        },
    )
    with running(made):
        yield made, root


def landed(root: Path, process_id: str) -> dict[str, bytes]:
    """What a process brought, by name."""
    found = (path for path in (root / process_id).rglob("*") if path.is_file())
    return {str(path.relative_to(root / process_id)): path.read_bytes() for path in found}


def begin(consumer: Rig, pull: Pull, dataset: str = "any") -> None:
    """Prepare the consumer's side of a pull, and tell it where the data is."""
    consumer.control_plane.prepare(consumer.address, message(pull.process_id, dataset, PULL))
    consumer.notify(pull.process_id, "started", dataAddress=pull.address)


@pytest.mark.parametrize("pull", ["one"], indirect=True)
def test_a_plane_pulls_an_object_from_a_plane(pull: Pull, consumer: tuple[Rig, Path]) -> None:
    """The consumer's plane fetches from the provider's gateway, in ranges of one version."""
    begin(consumer[0], pull)
    consumer[0].wait_finished(pull.process_id)

    (body,) = landed(consumer[1], pull.process_id).values()
    assert body == BODY


@pytest.mark.parametrize("pull", ["set", "files"], indirect=True)
def test_a_plane_pulls_a_set_from_a_plane(pull: Pull, consumer: tuple[Rig, Path]) -> None:
    """The listing is read, and every object it names is fetched, odd names included."""
    begin(consumer[0], pull)
    consumer[0].wait_finished(pull.process_id)

    found = landed(consumer[1], pull.process_id)
    assert len(found) >= 2
    assert found == {name: f"this is {name}".encode() for name in found}


@pytest.mark.parametrize("pull", ["large"], indirect=True)
def test_a_pull_survives_kill_9_of_either_plane(pull: Pull, rig: Rig, consumer: tuple[Rig, Path]) -> None:
    """Both planes are killed while bytes flow; what arrives is whole, and was not begun anew."""
    fetching, root = consumer
    begin(fetching, pull, "large")
    fetching.wait_moved(pull.process_id, 6 * MIB)
    rig.plane.kill()
    rig.plane.start()
    fetching.wait_moved(pull.process_id, 12 * MIB)
    fetching.plane.kill()
    fetching.plane.start()
    view = fetching.wait_finished(pull.process_id)

    (body,) = landed(root, pull.process_id).values()
    assert body == LARGE
    assert view["bytesResumed"] >= 5 * MIB


def test_the_published_profile_is_served_with_tls(files: Path, tmp_path: Path) -> None:
    """Strict at both ends: an https address of the profile, fetched by who trusts its authority."""
    profile = "https://w3id.org/dspace-sig/profile/http-pull"
    authority = Authority(tmp_path)
    certificate = authority.certificate("localhost")
    port, root = free_port(), tmp_path / "landed"
    root.mkdir()
    provider = Rig(
        tmp_path / "provider",
        locations={"files": {"type": "file", "root": str(files)}},
        datasets=[{"id": "files", "source": "files:set/"}],
        more={"server": {"public_url": f"https://localhost:{port}"}},
    )
    fetching = Rig(
        tmp_path / "consumer",
        locations={"files": {"type": "file", "root": str(root)}},
        more={
            "landing_zones": [{"name": "in", "sink": "files:{processId}/"}],
            "network": {"ca_file": str(authority.ca_file)},
        },
    )
    with (
        running(provider),
        running(fetching),
        TlsFront(provider.plane.port, certificate, port=port),
    ):
        reply = provider.control_plane.start_flow(provider.address, message("strict", "files", profile))
        address = reply.body["dataAddress"]
        fetching.control_plane.prepare(fetching.address, message("strict", "any", profile))
        fetching.notify("strict", "started", dataAddress=address)
        fetching.wait_finished("strict")

    assert address["endpointType"] == profile
    assert address["endpoint"].startswith(f"https://localhost:{port}/data/")
    found = landed(root, "strict")
    assert found == {name: f"this is {name}".encode() for name in NAMES}
