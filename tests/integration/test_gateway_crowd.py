"""``/data`` under a crowd: connections to stores are kept between requests; nobody gets what is not his."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import httpx
import pytest
from tests.servers.plane import Rig, running, s3_location
from tests.servers.s3_client import s3_client

from dataferry.demo.control_plane import message
from dataferry.demo.servers import JuiceFs

PULL = "HttpData-PULL"
KIB = 1024
SIZES = (0, 1, 16 * KIB, 256 * KIB, 256 * KIB + 1, 700 * KIB)
SETS = ("left", "right")
CLIENTS = 8


def content(dataset: str, size_bytes: int) -> bytes:
    """What an object of a dataset has in it: no two are alike anywhere."""
    return hashlib.shake_128(f"{dataset} {size_bytes}".encode()).digest(size_bytes)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where files are."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def rig(juicefs: JuiceFs, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A plane with the same two datasets in S3 and in files."""
    client = s3_client(juicefs)
    client.create_bucket(Bucket="crowd")
    for dataset in SETS:
        (root / dataset).mkdir()
        for size in SIZES:
            body = content(dataset, size)
            (root / dataset / f"{size}.bin").write_bytes(body)
            client.put_object(Bucket="crowd", Key=f"{dataset}/{size}.bin", Body=body)
    made = Rig(
        tmp_path_factory.mktemp("plane"),
        locations={"s3": s3_location(juicefs), "files": {"type": "file", "root": str(root)}},
        datasets=[
            {"id": f"{place}-{dataset}", "source": f"{path}{dataset}/"}
            for dataset in SETS
            for place, path in (("s3", "s3:crowd/"), ("files", "files:"))
        ],
        more={"server": {"allow_http_on_loopback": True}},
    )
    with running(made):
        yield made


@dataclass(frozen=True)
class Pull:
    """A pull that was started."""

    process_id: str
    dataset: str
    url: str
    headers: dict[str, str]

    def client(self) -> httpx.Client:
        """A client that shows its token."""
        return httpx.Client(headers=self.headers, trust_env=False, timeout=30)


def begin(rig: Rig, place: str, dataset: str) -> Pull:
    """Start a pull."""
    process_id = f"crowd-{os.urandom(4).hex()}"
    reply = rig.control_plane.start_flow(rig.address, message(process_id, f"{place}-{dataset}", PULL))
    assert reply.status == 200, reply.body
    address = reply.body["dataAddress"]
    token = next(e["value"] for e in address["endpointProperties"] if e["name"] == "authorization")
    return Pull(process_id, dataset, address["endpoint"], {"Authorization": f"Bearer {token}"})


def whole(pull: Pull, client: httpx.Client, size: int) -> None:
    """Fetch an object."""
    answer = client.get(f"{pull.url}{size}.bin")
    assert (answer.status_code, answer.content) == (200, content(pull.dataset, size))


def part(pull: Pull, client: httpx.Client, size: int) -> None:
    """Fetch a part of an object; of an empty one there is none."""
    first = size // 3
    answer = client.get(f"{pull.url}{size}.bin", headers={"Range": f"bytes={first}-{first + 99}"})
    assert answer.status_code == (206 if size else 416)
    assert not size or answer.content == content(pull.dataset, size)[first : first + 100]


def head(pull: Pull, client: httpx.Client, size: int) -> None:
    """Ask for no body, then for one only if it is new."""
    answer = client.head(f"{pull.url}{size}.bin")
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(size))
    known = client.get(f"{pull.url}{size}.bin", headers={"If-None-Match": answer.headers["ETag"]})
    assert known.status_code == 304


def absent(pull: Pull, client: httpx.Client, size: int) -> None:
    """Ask for what is not there."""
    assert client.get(f"{pull.url}{size}.none").status_code == 404


def broken_off(pull: Pull, _: httpx.Client, size: int) -> None:
    """Ask, and go away: at once, or with a little of the answer."""
    parts = urlsplit(pull.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as sock:
        authorization = pull.headers["Authorization"]
        head = f"GET {parts.path}{size}.bin HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n"
        sock.sendall(head.encode())
        if size % 2:
            sock.recv(1000)


@pytest.mark.parametrize("place", ["s3", "files"])
def test_each_has_what_it_asked_for(rig: Rig, place: str) -> None:
    """Wholes, parts, heads, errors and clients that go away, all at once, of two flows over one store."""
    pulls = [begin(rig, place, dataset) for dataset in SETS]
    ways: tuple[Callable[[Pull, httpx.Client, int], None], ...] = (whole, part, head, absent, broken_off)

    def ask(seed: int) -> None:
        choose = random.Random(seed)
        with pulls[0].client() as left, pulls[1].client() as right:
            for _ in range(60):
                at = choose.randrange(2)
                choose.choice(ways)(pulls[at], (left, right)[at], choose.choice(SIZES))

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(ask, seed) for seed in range(CLIENTS)]:
            done.result()
    for pull in pulls:
        with pull.client() as client:
            for size in SIZES:
                whole(pull, client, size)


@pytest.mark.parametrize("place", ["s3", "files"])
def test_what_is_replaced_is_served_as_it_is_now(rig: Rig, place: str, juicefs: JuiceFs, root: Path) -> None:
    """A connection that is kept remembers no object: neither its bytes nor its version, nor its directory."""
    pull = begin(rig, place, "left")
    with pull.client() as client:
        for number in range(5):
            body = f"version {number}".encode() * (number + 1)
            if place == "s3":
                s3_client(juicefs).put_object(Bucket="crowd", Key="left/changing", Body=body)
            else:
                (root / "left").rename(root / f"left-{number}")
                shutil.copytree(root / f"left-{number}", root / "left")
                (root / "left" / "changing").write_bytes(body)
            assert client.get(f"{pull.url}changing").content == body


@pytest.mark.parametrize("place", ["s3", "files"])
def test_a_verb_holds_from_its_answer_on(rig: Rig, place: str) -> None:
    """Requests that begin after a suspend was answered get 403, those after a resume the data, every time."""
    pull, over = begin(rig, place, "left"), Event()

    def crowd() -> int:
        count = 0
        with pull.client() as client:
            while not over.is_set():
                count += client.get(f"{pull.url}1.bin").status_code == 200
        return count

    with ThreadPoolExecutor(4) as pool, pull.client() as client:
        working = [pool.submit(crowd) for _ in range(4)]
        try:
            for _ in range(15):
                rig.notify(pull.process_id, "suspend")
                assert [client.get(f"{pull.url}1.bin").status_code for _ in range(3)] == [403] * 3
                rig.notify(pull.process_id, "resume")
                assert [client.get(f"{pull.url}1.bin").status_code for _ in range(3)] == [200] * 3
            rig.notify(pull.process_id, "terminate")
            assert [client.get(f"{pull.url}1.bin").status_code for _ in range(3)] == [410] * 3
        finally:
            over.set()
        served = sum(each.result() for each in working)

    assert served > 0
