"""``/ingest`` of a real plane: objects by plain PUT and in parts, into S3 and files."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from tests.servers.http_store import HttpStore
from tests.servers.plane import MIB, PART_BYTES, Rig, running, s3_location
from tests.servers.s3_client import keys, s3_client

from dataferry.demo.control_plane import message
from dataferry.demo.servers import JuiceFs
from dataferry.mechanisms.checksum import crc64nvme

PUSH = "HttpData-PUSH"
BUCKET = "ingest-data"
BODY = os.urandom(3 * MIB + 17)
LARGE = os.urandom(2 * PART_BYTES + 3 * MIB)
MOST_BYTES = 40 * MIB
STORE_TOKEN = "token-of-the-http-store-0123456789"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pushes land in files."""
    return tmp_path_factory.mktemp("landed")


@pytest.fixture(scope="module")
def store() -> Iterator[HttpStore]:
    """A server that takes objects by PUT."""
    with HttpStore(token=STORE_TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def rig(
    juicefs: JuiceFs, root: Path, store: HttpStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    """A consumer's plane: what is pushed lands in files, in S3 or by HTTP, by its dataset's name."""
    s3_client(juicefs).create_bucket(Bucket=BUCKET)
    made = Rig(
        tmp_path_factory.mktemp("plane"),
        locations={
            "s3": s3_location(juicefs, exclusive=True),
            "files": {"type": "file", "root": str(root)},
            "http": {"type": "http", "base_url": f"{store.url}/in/", "bearer_token": STORE_TOKEN},
        },
        engine={
            "max_unknown_length_bytes": MOST_BYTES,
            "max_received_object_bytes": MOST_BYTES,
            "spool_bytes": 16 * MIB,
        },
        more={
            "server": {"allow_http_on_loopback": True},
            "landing_zones": [
                {"name": "in-s3", "datasets": ["s3*"], "sink": f"s3:{BUCKET}/{{processId}}/"},
                {"name": "one", "datasets": ["one"], "sink": "files:{processId}/the.bin"},
                {
                    "name": "slow",
                    "datasets": ["slow"],
                    "sink": "files:{processId}/",
                    "bandwidth_bytes_per_s": MIB,
                },
                {"name": "by-http", "datasets": ["http"], "sink": "http:{processId}/"},
                {"name": "in-files", "sink": "files:{processId}/"},
            ],
        },
    )
    with running(made):
        yield made


@dataclass(frozen=True)
class Push:
    """A push that was prepared, a client that shows its token, and a look behind it."""

    process_id: str
    url: str
    address: dict[str, Any]
    client: httpx.Client
    juicefs: JuiceFs
    root: Path
    in_s3: bool

    def put(self, name: str, content: Any, **options: Any) -> httpx.Response:
        """PUT an object below the address."""
        return self.client.put(self.url + quote(name), content=content, **options)

    def landed(self) -> dict[str, bytes]:
        """What is visible, by name."""
        if self.in_s3:
            client, prefix = s3_client(self.juicefs), f"{self.process_id}/"
            return {
                key.removeprefix(prefix): client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
                for key in keys(client, BUCKET)
                if key.startswith(prefix)
            }
        found = (path for path in (self.root / self.process_id).rglob("*") if path.is_file())
        return {
            str(path.relative_to(self.root / self.process_id)): path.read_bytes()
            for path in found
            if not path.name.endswith(".dataferry-part")
        }


@pytest.fixture(params=["files", "s3"])
def push(rig: Rig, juicefs: JuiceFs, root: Path, request: pytest.FixtureRequest) -> Iterator[Push]:
    """A push that may begin: PREPARED is enough."""
    dataset = request.param
    process_id = f"{re.sub(r'[^a-z]+', '-', request.node.name)[:30]}-{os.urandom(4).hex()}"
    reply = rig.control_plane.prepare(rig.address, message(process_id, dataset, PUSH))
    assert reply.status == 200, reply.body
    address = reply.body["dataAddress"]
    properties = {entry["name"]: entry["value"] for entry in address["endpointProperties"]}
    assert (properties["authType"], properties["parts"]) == ("bearer", "crc64nvme")
    headers = {"Authorization": f"Bearer {properties['authorization']}"}
    with httpx.Client(headers=headers, trust_env=False, timeout=30) as client:
        yield Push(process_id, address["endpoint"], address, client, juicefs, root, dataset.startswith("s3"))


files_only = pytest.mark.parametrize("push", ["files"], indirect=True)


def test_plain_puts_become_objects(push: Push, rig: Rig) -> None:
    """Small, large (written in parts), empty, and odd names: all are there when they are answered."""
    sent = {"a b.txt": b"x", "deep/ünï?c#de%20.bin": BODY, "large": LARGE, "empty": b""}
    answers = {name: push.put(name, body) for name, body in sent.items()}

    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(sent, 201)
    assert answers["large"].headers["X-Crc64nvme"] == checksum(LARGE)
    assert push.landed() == sent
    rig.wait_for(lambda: (rig.plane.flow(push.process_id)["objectsDone"] or 0) == 4, what="counted")
    view = rig.plane.flow(push.process_id)
    assert view["bytesTransferred"] == sum(map(len, sent.values()))
    assert (view["bytesTotal"], view["percentComplete"], view["bytesRetransferred"]) == (None, None, None)


def test_a_body_without_a_length_is_taken(push: Push) -> None:
    """Chunked bodies, within a part and of several."""

    def pieces(body: bytes) -> Iterator[bytes]:
        for at in range(0, len(body), 100_000):
            yield body[at : at + 100_000]

    assert push.put("small", pieces(BODY)).status_code == 201
    assert push.put("large", pieces(LARGE)).status_code == 201
    assert push.landed() == {"small": BODY, "large": LARGE}


def test_what_is_too_large_is_refused(push: Push, rig: Rig) -> None:
    """By its length before it is read, else once it has more; nothing of it becomes visible or stays open."""

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(MIB)

    said = raw_put(push, "said", f"Content-Length: {MOST_BYTES + 1}\r\n", b"")
    assert said.startswith(b"HTTP/1.1 413 ")
    with suppress(httpx.TransportError):  # it may be told while it is still sending
        assert push.put("endless", endless()).status_code == 413
    assert push.landed() == {}
    rig.wait_for(lambda: not open_files(push), what="cleaned up")


@files_only
def test_one_object_goes_to_the_address_itself(rig: Rig, push: Push, root: Path) -> None:
    """Where the landing zone names one object; and of a prefix, the address is the dataset's object."""
    reply = rig.control_plane.prepare(rig.address, message(f"one-{push.process_id}", "one", PUSH))
    address = reply.body["dataAddress"]
    headers = {"Authorization": f"Bearer {address['endpointProperties'][0]['value']}"}
    with httpx.Client(headers=headers, trust_env=False) as client:
        assert client.put(address["endpoint"], content=BODY).status_code == 201
        assert client.put(f"{address['endpoint']}/more", content=BODY).status_code == 400
    assert (root / f"one-{push.process_id}" / "the.bin").read_bytes() == BODY
    assert push.client.put(push.url, content=b"whole").status_code == 201
    assert push.landed() == {"files": b"whole"}


@pytest.mark.parametrize(
    "path",
    [
        "..%2Fout",
        "%2e%2e/%2e%2e/out",
        "a/%2E%2E/%2E%2E/out",
        "a//b",
        "%00",
        "a%0ab",
        "/etc",
        "x/",
        "%ff%fe%5c..%5cx",
    ],
)
def test_no_name_leads_out_of_the_flow(push: Push, path: str) -> None:
    """Names that step, or that can't be names, are refused, and nothing is written anywhere."""
    before = outside(push)
    answer = raw_put(push, path, "Content-Length: 1\r\n", b"x")

    refused = answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))
    assert refused or push.landed(), answer
    assert outside(push) == before
    if refused:
        assert push.landed() == {}
    for secret in (str(push.root).encode(), BUCKET.encode()):
        assert secret not in answer


@files_only
def test_files_that_collide_are_refused(push: Push) -> None:
    """A file where another needs a directory, and the other way round."""
    assert push.put("a", b"1").status_code == 201
    assert push.put("a/b", b"2").status_code == 400
    assert push.put("c/d", b"3").status_code == 201
    assert push.put("c", b"4").status_code == 400
    assert push.landed() == {"a": b"1", "c/d": b"3"}


def test_an_object_is_replaced_unless_it_must_be_new(push: Push) -> None:
    """A second PUT is 204 and its bytes hold; If-None-Match: * is 412, other conditions are refused."""
    assert push.put("x", b"first").status_code == 201
    assert push.put("x", b"second").status_code == 204
    assert push.put("x", b"third", headers={"If-None-Match": "*"}).status_code == 412
    assert push.put("x", b"third", headers={"If-Match": '"v"'}).status_code == 400
    assert push.put("x", b"third", headers={"Content-Range": "bytes 0-4/9"}).status_code == 400
    assert push.landed() == {"x": b"second"}


@files_only
def test_what_was_there_is_protected_where_the_consumer_says_so(rig: Rig, push: Push, root: Path) -> None:
    """``never``: not what lay there before, whole or in parts; what the flow brought it may replace."""
    process_id = f"never-{push.process_id}"
    asked = {"overwrite": "never", "exclude": ["*.exe"]}
    told = message(process_id, "files", PUSH, metadata=asked)
    address = rig.control_plane.prepare(rig.address, told).body["dataAddress"]
    (root / process_id).mkdir()
    (root / process_id / "before").write_bytes(b"theirs")
    headers = {"Authorization": f"Bearer {address['endpointProperties'][0]['value']}"}
    with httpx.Client(headers=headers, trust_env=False, timeout=30) as client:
        url = address["endpoint"]
        assert client.put(f"{url}before", content=b"x").status_code == 412
        assert client.post(f"{url}before?uploads", json={}).status_code == 412
        assert [client.put(f"{url}new", content=body).status_code for body in (b"1", b"2")] == [201, 204]
        assert client.put(f"{url}virus.exe", content=b"x").status_code == 400

    found = {path.name: path.read_bytes() for path in (root / process_id).iterdir()}
    assert found == {"before": b"theirs", "new": b"2"}


@pytest.mark.parametrize("length", [1000, len(LARGE), None])
def test_a_body_that_breaks_off_leaves_nothing(push: Push, rig: Rig, length: int | None) -> None:
    """Neither an object nor an open upload; the flow's objects say that it is missing."""
    said = "Transfer-Encoding: chunked\r\n" if length is None else f"Content-Length: {length}\r\n"
    sent = b"1000\r\n" + bytes(0x1000) + b"\r\n" if length is None else bytes(length - 1)
    raw_put(push, "broken", said, sent, waits=False)

    def failed() -> bool:
        rows = rig.plane.manage("GET", f"/dataflows/{push.process_id}/objects")["items"]
        return [row["state"] for row in rows] == ["failed"]

    rig.wait_for(failed, what="written down")
    assert push.landed() == {}
    rig.wait_for(lambda: not open_files(push), what="cleaned up")
    assert push.put("broken", b"whole").status_code == 201
    rows = rig.plane.manage("GET", f"/dataflows/{push.process_id}/objects")["items"]
    assert [(row["state"], row["sizeBytes"]) for row in rows] == [("done", 5)]


def test_the_token_is_needed(push: Push, rig: Rig) -> None:
    """Without the flow's token the answer is 401, as for no flow; another flow's is not good."""
    other = rig.control_plane.prepare(rig.address, message(f"o-{push.process_id}", "files", PUSH)).body
    token = other["dataAddress"]["endpointProperties"][0]["value"]
    with httpx.Client(trust_env=False) as stranger:
        found = [
            stranger.put(f"{push.url}x", content=b"x"),
            stranger.put(f"{push.url}x", content=b"x", headers={"Authorization": f"Bearer {token}"}),
            stranger.put(f"{urlsplit(push.url)._replace(path='/ingest/nonsense/x').geturl()}", content=b"x"),
        ]
    reading = push.client.get(push.url.replace("/ingest/", "/data/"))

    assert [answer.status_code for answer in found] == [401, 401, 401]
    assert reading.status_code == 403
    assert push.landed() == {}


def test_what_others_wrote_is_not_told(push: Push, juicefs: JuiceFs, root: Path) -> None:
    """HEAD tells of what this flow has brought, and of nothing else that lies there; nothing is read."""
    if push.in_s3:
        s3_client(juicefs).put_object(Bucket=BUCKET, Key=f"{push.process_id}/theirs", Body=b"theirs")
    else:
        (root / push.process_id).mkdir(exist_ok=True)
        (root / push.process_id / "theirs").write_bytes(b"theirs")
    push.put("ours", BODY)
    ours = push.client.head(f"{push.url}ours")

    assert push.client.head(f"{push.url}theirs").status_code == 404
    assert (ours.status_code, ours.headers["Content-Length"]) == (200, str(len(BODY)))
    assert ours.headers["X-Crc64nvme"] == checksum(BODY)
    assert push.client.get(f"{push.url}ours").status_code == 404


@pytest.mark.parametrize(("verb", "status"), [("suspend", 403), ("terminate", 410), ("completed", 410)])
def test_bytes_in_flight_end_with_the_flow(push: Push, rig: Rig, verb: str, status: int) -> None:
    """A body that is being sent is cut off at once and leaves nothing; what follows is refused."""
    if verb == "suspend":
        rig.notify(push.process_id, "started")
    ended = threading.Event()
    found: list[Any] = []

    def endless() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(64 * 1024)
        began.set()
        while not ended.wait(0.02):
            yield bytes(1024)

    began = threading.Event()

    def send() -> None:
        try:
            found.append(push.put("flying", endless()).status_code)
        except httpx.TransportError as error:
            found.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    assert began.wait(20)
    rig.notify(push.process_id, verb)
    told_at = time.monotonic()
    sender.join(10)
    ended.set()

    assert time.monotonic() - told_at < 2
    assert found
    assert found[0] == status or isinstance(found[0], httpx.TransportError), found
    after = push.put("after", b"x")
    assert after.status_code == status
    assert ("Retry-After" in after.headers) == (verb == "suspend")
    assert push.landed() == {}
    if verb == "suspend":
        again = rig.notify(push.process_id, "resume").body["dataAddress"]
        assert again == push.address
        assert push.put("after", b"x").status_code == 201


def test_completed_says_what_is_missing(push: Push, rig: Rig) -> None:
    """What arrived is complete; what was begun and is not there stands with the flow, and is cleaned up."""
    push.put("there", BODY)
    begin(push, "half", len(LARGE))
    view = rig.notify(push.process_id, "completed").body
    flow = rig.plane.flow(push.process_id)

    assert view["state"] == "COMPLETED"
    assert (flow["finished"], flow["lastErrorKind"]) == (True, "incomplete")
    assert "1 objects were begun and did not arrive: 'half'" in flow["lastError"]
    assert push.landed() == {"there": BODY}
    rig.wait_for(lambda: not open_files(push), what="cleaned up")


def test_completed_with_everything_there(push: Push, rig: Rig) -> None:
    """Nothing is missing: no error, and all of it is all."""
    push.put("there", BODY)
    rig.notify(push.process_id, "completed")
    flow = rig.plane.flow(push.process_id)

    assert (flow["state"], flow["lastError"]) == ("COMPLETED", None)
    assert (flow["bytesTotal"], flow["percentComplete"]) == (len(BODY), 100.0)


@files_only
def test_a_place_without_parts_takes_plain_objects(rig: Rig, push: Push, store: HttpStore) -> None:
    """An HTTP location: nothing is said of parts, and what comes is passed on, also without a length."""
    process_id = f"http-{push.process_id}"
    address = rig.control_plane.prepare(rig.address, message(process_id, "http", PUSH)).body["dataAddress"]
    assert "parts" not in {entry["name"] for entry in address["endpointProperties"]}
    headers = {"Authorization": f"Bearer {address['endpointProperties'][0]['value']}"}
    with httpx.Client(headers=headers, trust_env=False, timeout=30) as client:
        assert client.put(f"{address['endpoint']}a b", content=LARGE).status_code == 201
        assert client.put(f"{address['endpoint']}c", content=iter([BODY, b"x"])).status_code == 201
        assert client.post(f"{address['endpoint']}d?uploads", json={}).status_code == 400
    found = {key: bytes(kept.body[:]) for key, kept in store.objects.items() if process_id in key}
    assert found == {f"/in/{process_id}/a b": LARGE, f"/in/{process_id}/c": BODY + b"x"}


def test_two_of_everything(push: Push) -> None:
    """The same object and the same upload from many connections at once: one of the bodies holds, whole."""
    bodies = [bytes([number]) * (MIB + number) for number in range(6)]
    upload = begin(push, "big", len(LARGE))

    def send(number: int) -> None:
        assert push.put("same", bodies[number]).status_code in {201, 204}
        assert put_part(push, "big", upload, 1 + number % 3).status_code == 201

    senders = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    answers = [complete(push, "big", upload).status_code for _ in range(2)]

    landed = push.landed()
    assert answers == [200, 200]
    assert landed["big"] == LARGE
    assert landed["same"] in bodies


# -- in parts


def begin(push: Push, name: str, size: int) -> str:
    """Begin an upload."""
    answer = push.client.post(f"{push.url}{quote(name)}", params={"uploads": ""}, json={"sizeBytes": size})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["uploadId"])


def put_part(push: Push, name: str, upload: str, number: int, **changes: Any) -> httpx.Response:
    """Send one part of ``LARGE``."""
    at = (number - 1) * PART_BYTES
    params = {"uploadId": upload, "partNumber": number, "offset": at, **changes}
    return push.client.put(f"{push.url}{quote(name)}", params=params, content=LARGE[at : at + PART_BYTES])


def complete(push: Push, name: str, upload: str, body: bytes = LARGE, parts: int = 3) -> httpx.Response:
    """Say that all is sent."""
    said = {"parts": parts, "sizeBytes": len(body), "crc64nvme": checksum(body)}
    return push.client.post(f"{push.url}{quote(name)}", params={"uploadId": upload}, json=said)


def test_parts_in_any_order_make_the_object(push: Push) -> None:
    """They are listed, complete once all are there, and an answer that was lost is given again."""
    upload = begin(push, "big", len(LARGE))
    for number in (3, 1):
        answer = put_part(push, "big", upload, number)
        assert answer.status_code == 201, answer.text
    early = complete(push, "big", upload)
    listed = push.client.get(f"{push.url}big", params={"uploadId": upload}).json()["parts"]
    put_part(push, "big", upload, 2)
    put_part(push, "big", upload, 2)
    wrong = complete(push, "big", upload, LARGE[:-1] + b"?")
    assert push.landed() == {}
    done, again = complete(push, "big", upload), complete(push, "big", upload)

    assert [part["number"] for part in listed] == [1, 3]
    assert listed[0]["crc64nvme"] == checksum(LARGE[:PART_BYTES])
    assert (early.status_code, wrong.status_code) == (409, 409)
    assert (done.status_code, again.status_code) == (200, 200)
    assert done.json() == again.json()
    assert push.landed() == {"big": LARGE}


def test_parts_can_not_lie_over_each_other(push: Push) -> None:
    """The first word fixes their size; a place that does not follow from it is refused."""
    upload = begin(push, "big", len(LARGE))
    assert put_part(push, "big", upload, 1).status_code == 201
    found = [
        put_part(push, "big", upload, 2, offset=0),
        put_part(push, "big", upload, 2, offset=PART_BYTES - 1),
        put_part(push, "big", upload, 2, offset=2 * PART_BYTES),
        put_part(push, "big", upload, 1, offset=1),
        put_part(push, "big", upload, 0),
        put_part(push, "big", upload, 10_001),
        put_part(push, "big", "0" * 32, 2),
        put_part(push, "other", upload, 2),
    ]

    assert [answer.status_code for answer in found] == [400, 400, 409, 400, 400, 400, 404, 404]


def test_an_upload_is_found_and_dropped(push: Push, rig: Rig) -> None:
    """Who lost its name finds it; a second one of the object takes its place; dropping leaves nothing."""
    first = begin(push, "big", len(LARGE))
    second = begin(push, "big", len(LARGE))
    found = push.client.get(f"{push.url}big", params={"uploads": ""}).json()["uploads"]

    assert [entry["uploadId"] for entry in found] == [second]
    assert put_part(push, "big", first, 1).status_code == 404
    for _ in range(2):
        assert push.client.delete(f"{push.url}big", params={"uploadId": second}).status_code == 204
    assert push.client.get(f"{push.url}big", params={"uploads": ""}).json()["uploads"] == []
    rig.wait_for(lambda: not open_files(push), what="cleaned up")


@pytest.mark.parametrize("body", [None, [], {"sizeBytes": -1}, {"sizeBytes": "1"}, {"sizeBytes": 2**62}])
def test_a_wrong_beginning_is_refused(push: Push, body: Any) -> None:
    """What is no description of an object is 400, one too large 413, and no upload is open."""
    answer = push.client.post(f"{push.url}big", params={"uploads": ""}, json=body)

    assert answer.status_code in {400, 413}
    assert not open_files(push)


@files_only
def test_the_token_is_in_no_log_and_no_view(push: Push, rig: Rig) -> None:
    """Neither the log nor the operators' views show the token."""
    push.put("x", b"x")
    token = push.client.headers["Authorization"].removeprefix("Bearer ")

    assert token not in rig.plane.process.log.read_text()
    assert token not in json.dumps(rig.plane.flow(push.process_id))


@files_only
def test_a_bound_of_bandwidth_holds(rig: Rig, root: Path, push: Push) -> None:
    """A landing zone's bound slows a push down, whatever its number of connections; verbs are answered."""
    process_id = f"slow-{push.process_id}"
    address = rig.control_plane.prepare(rig.address, message(process_id, "slow", PUSH)).body["dataAddress"]
    headers = {"Authorization": f"Bearer {address['endpointProperties'][0]['value']}"}

    def send(number: int) -> None:
        with httpx.Client(headers=headers, trust_env=False, timeout=30) as client:
            assert client.put(f"{address['endpoint']}{number}", content=bytes(MIB)).status_code == 201

    senders = [threading.Thread(target=send, args=(number,)) for number in range(3)]
    began = time.monotonic()
    for sender in senders:
        sender.start()
    assert rig.control_plane.status(rig.address, process_id).status == 200
    for sender in senders:
        sender.join(30)

    assert 2.0 < time.monotonic() - began < 8.0


# -- helpers


def checksum(body: bytes) -> str:
    """CRC-64/NVME in base64."""
    return b64encode(crc64nvme(memoryview(body), 0).to_bytes(8, "big")).decode()


def raw_put(push: Push, path: str, said: str, body: bytes, *, waits: bool = True) -> bytes:
    """PUT by hand; break off if it does not wait for the answer."""
    parts = urlsplit(push.url)
    head = f"PUT {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{said}Connection: close\r\n"
    head += f"Authorization: {push.client.headers['Authorization']}\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as sock:
        sock.sendall(head.encode() + body)
        if not waits:
            time.sleep(0.3)
            return b""
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
        return answer


def open_files(push: Push) -> list[str]:
    """Uploads, or temporary files, that are open for a flow."""
    if push.in_s3:
        listed = s3_client(push.juicefs).list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return [upload["Key"] for upload in listed if upload["Key"].startswith(f"{push.process_id}/")]
    return [str(path) for path in (push.root / push.process_id).rglob("*.dataferry-part")]


def outside(push: Push) -> set[str]:
    """What lies beside the flow's own place."""
    if push.in_s3:
        found = keys(s3_client(push.juicefs), BUCKET)
        return {key for key in found if not key.startswith(f"{push.process_id}/")}
    everything = {str(path) for path in push.root.parent.rglob("*") if path.is_file()}
    return {path for path in everything if "landed" in path and f"/{push.process_id}/" not in path}
