"""A plane on PostgreSQL: killed, its database restarted or silent under it, its hold on it lost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from tests.integration.test_check_process import checked, run
from tests.servers.plane import (
    MIB,
    PART_BYTES,
    PUSH,
    TOKEN,
    WORKERS,
    Rig,
    running,
    s3_address,
    s3_location,
)
from tests.servers.postgresql import PostgresServer, Taker
from tests.servers.s3_client import digests, open_uploads

from dataferry.demo.control_plane import message
from dataferry.demo.planes import PlaneProcess
from dataferry.demo.servers import JuiceFs
from dataferry.store.database_postgresql import READ_SILENCE_S

RATE = 6 * MIB
# Beyond a bound of the plane: other things go on at the same time.
LEEWAY_S = 15.0
CARGO = {"large/a": 20 * MIB, "large/b": 10 * MIB, "small/c": MIB, "small/d": 1}


@dataclass(frozen=True)
class Stage:
    """A plane on a database of its own, what it offers and where that is to go.

    Attributes:
        server: The database's; tests may restart it.
        url: Of the database.
        rig: The plane, and the control plane that drives it.
        address: Of the consumer's place.
        source, sink: Clients of the provider's S3 and of the consumer's.
        bucket: Of both.
    """

    server: PostgresServer
    url: str
    rig: Rig
    address: dict[str, Any]
    source: Any
    sink: Any
    bucket: str

    def push(self, dataset: str, *, process_id: str | None = None, moved_bytes: int = 0) -> str:
        """Start a push and wait until so much is moved; return its process id."""
        process_id = self.rig.start_push(dataset, self.address, process_id=process_id)
        self.rig.wait_moved(process_id, moved_bytes)
        return process_id

    def wait_completed(self, *process_ids: str) -> None:
        """Wait until the control plane was told that all is there."""
        for process_id in process_ids:
            self.rig.wait_finished(process_id)
            self.rig.control_plane.wait_for("completed", process_id)

    def assert_arrived(self) -> None:
        """Two large objects and some small ones are there, byte for byte, and nothing else is left."""
        offered = digests(self.source, self.bucket)
        expected = {f"in/{name.partition('/')[2]}": value for name, value in offered.items()}
        assert digests(self.sink, self.bucket) == expected
        assert open_uploads(self.sink, self.bucket, "in/") == []

    def logged(self, words: str) -> bool:
        """Whether the plane has said so in its log."""
        return words in self.rig.plane.process.log.read_text()

    @property
    def config(self) -> tuple[str, str]:
        """Commands' option for the plane's configuration."""
        return ("--config", str(self.rig.plane.config))


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that nobody else uses."""
    with PostgresServer(durable=True) as started:
        yield started


@pytest.fixture
def server(own_server: PostgresServer) -> PostgresServer:
    """One that tests may restart; it runs when a test begins."""
    if not own_server.is_running:
        own_server.start()
    return own_server


@pytest.fixture
def make_stage(
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    source: Any,
    sink: Any,
    bucket: str,
    server: PostgresServer,
    tmp_path: Path,
    seeded: random.Random,
) -> Callable[[str], Stage]:
    """Return what makes a plane on a database; it is not started."""
    for name, size in CARGO.items():
        source.put_object(Bucket=bucket, Key=name, Body=seeded.randbytes(size))

    def make(url: str) -> Stage:
        rig = Rig(
            tmp_path / "plane",
            locations={"here": s3_location(juicefs_pair[0])},
            datasets=[
                {"id": "large", "source": f"here:{bucket}/large/", "bandwidth_bytes_per_s": RATE},
                {"id": "small", "source": f"here:{bucket}/small/", "prepare_wait_s": 0},
            ],
            more={"store": {"url": url}, "secrets": {"key_file": str(tmp_path / "shared.key")}},
        )
        address = s3_address(juicefs_pair[1], bucket, "in/")
        return Stage(server, url, rig, address, source, sink, bucket)

    return make


@pytest.fixture
def stage(server: PostgresServer, make_stage: Callable[[str], Stage]) -> Iterator[Stage]:
    """A plane that runs, on a database with tables."""
    with server.database() as url:
        made = make_stage(url)
        with running(made.rig):
            yield made


def test_a_killed_plane_goes_on_from_postgresql(
    server: PostgresServer, make_stage: Callable[[str], Stage]
) -> None:
    """Made with ``db upgrade``, found good by ``check``, killed twice: all is there, each callback once."""
    with server.database(migrated=False) as url:
        stage = make_stage(url)
        _assert_made(stage)
        with running(stage.rig):
            _kill_twice(stage)
        stage.assert_arrived()
        assert not stage.logged(server.password)


def _kill_twice(stage: Stage) -> None:
    """Kill the plane in the middle of a flow, and of a callback that is refused; it ends what it began."""
    rig, statuses = stage.rig, [503]
    rig.control_plane.answer = lambda kind, _: statuses[0] if kind == "completed" else 200
    small = rig.start_push("small", stage.address)
    large = stage.push("large", moved_bytes=15 * MIB)
    rig.plane.kill()
    rig.plane.start()
    view = rig.wait_finished(large)
    rig.wait_for(lambda: _message_ids(rig, large) != [], what="told")
    rig.plane.kill()
    statuses[0] = 200
    rig.plane.start()
    stage.wait_completed(large, small)

    assert view["bytesResumed"] > 0
    assert view["bytesRetransferred"] <= WORKERS * PART_BYTES
    assert (rig.kinds(large), rig.kinds(small)) == (["completed"], ["started", "completed"])
    assert len(_message_ids(rig, large)) > 1
    assert len(set(_message_ids(rig, large))) == 1


def _message_ids(rig: Rig, process_id: str) -> list[str]:
    """The ids of the messages that told of an end, those that were refused included."""
    told = [one for one in rig.control_plane.received if one.kind == "completed"]
    return [one.body["messageId"] for one in told if one.process_id == process_id]


def _assert_made(stage: Stage) -> None:
    """The commands lead an operator from an empty database to one that is good."""
    directory = stage.rig.plane.directory
    code, _, err = run(directory, "serve", *stage.config)
    assert code == 1
    assert "dataferry db upgrade" in err
    code, findings = checked(directory, "check", *stage.config)
    assert code == 1
    assert "dataferry db upgrade" in findings["store"][1]
    assert run(directory, "db", "upgrade", *stage.config)[0] == 0
    _, findings = checked(directory, "check", *stage.config)
    assert findings["store"] == (True, "answers, and its schema is of this version")


def test_the_database_goes_away_and_comes_back(stage: Stage) -> None:
    """It crashes under a flow, and while a callback is taken: verbs say when to ask again, then all goes on.

    What was taken is not told a second time, though it could not be written down.
    """
    rig = stage.rig
    rig.control_plane.wait_for("registration")
    told, moving = Event(), Event()
    rig.control_plane.answer = _crashing(stage.server, "small", told, moving)
    small = rig.start_push("small", stage.address, process_id="small")
    assert told.wait(30)
    # More than is in flight: some of it is written down.
    large = stage.push("large", moved_bytes=WORKERS * PART_BYTES + MIB)
    moving.set()
    rig.control_plane.wait_for("completed", small)
    rig.control_plane.answer = None

    refused = _start(stage, "later", "small")
    assert (refused.status_code, refused.json()["type"]) == (
        503,
        "urn:dataferry:problem:database_unavailable",
    )
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert _get(rig, "/healthz").status_code == 200
    assert _get(rig, "/readyz").status_code == 503
    rig.wait_for(lambda: stage.logged("waiting for the database"), what="noticed")
    # An outage that falls between two parts interrupts nothing.
    rig.wait_for(lambda: stage.logged("attempt ended: no database"), what="interrupted")

    stage.server.start()
    rig.wait_for(lambda: _get(rig, "/readyz").is_success, what="ready again")
    # The same message again, as a control plane repeats it.
    rig.wait_for(lambda: _start(stage, "later", "small").is_success, what="accepted")
    view = rig.wait_finished(large)
    stage.wait_completed(large, "later")

    stage.assert_arrived()
    assert view["bytesResumed"] > 0
    assert rig.kinds(large) == ["completed"]
    assert rig.kinds("later") == rig.kinds(small) == ["started", "completed"]
    rig.wait_for(
        lambda: {one["state"] for one in rig.plane.manage("GET", "/callbacks")["items"]} == {"sent"},
        what="settled",
    )


def _crashing(server: PostgresServer, process: str, told: Event, moving: Event) -> Callable[[str, str], int]:
    """Return answers of a control plane that takes the news of an end just when the database crashes.

    Args:
        server: The database.
        process: Of which the end is told.
        told: Set when it is.
        moving: When to crash.
    """

    def answer(kind: str, process_id: str) -> int:
        if (kind, process_id) == ("completed", process):
            told.set()
            moving.wait(30)
            server.crash()
        return 200

    return answer


def test_the_database_stands_still_and_goes_on(stage: Stage) -> None:
    """It takes connections and says nothing: the plane gives it up in seconds, and goes on with it later."""
    large = stage.push("large", moved_bytes=WORKERS * PART_BYTES + MIB)
    with stage.server.frozen():
        began = time.monotonic()
        assert _get(stage.rig, "/readyz").status_code == 503
        assert _start(stage, "later", "small").status_code == 503
        assert time.monotonic() - began < READ_SILENCE_S + LEEWAY_S
        stage.rig.wait_for(lambda: stage.logged("nothing is written until it is back"), what="noticed")
    stage.rig.wait_for(lambda: stage.logged("the database is held again"), what="held")
    stage.rig.wait_for(lambda: _start(stage, "later", "small").is_success, what="accepted")
    stage.wait_completed(large, "later")
    stage.assert_arrived()
    assert stage.rig.kinds(large) == ["completed"]


def test_a_plane_that_lost_its_hold_takes_it_again(stage: Stage) -> None:
    """All its connections are cut under running flows; nobody else came, so it goes on."""
    small = stage.rig.start_push("small", stage.address)
    large = stage.push("large", moved_bytes=10 * MIB)
    assert stage.server.disconnect("application_name = 'dataferry'") > 1
    stage.rig.wait_for(lambda: stage.logged("the database is held again"), what="held")
    stage.wait_completed(large, small)
    stage.assert_arrived()
    assert (stage.rig.kinds(large), stage.rig.kinds(small)) == (["completed"], ["started", "completed"])


def test_two_planes_never_work_on_one_database(stage: Stage) -> None:
    """A second one is refused; where it took the hold that the first lost, the first ends and it goes on."""
    plane = stage.rig.plane
    for command in (("serve", "--port", "0", *stage.config), ("db", "upgrade", *stage.config)):
        code, _, err = run(plane.directory, *command)
        assert (code, "another dataferry works on this database" in err) == (1, True)
    large = stage.push("large", moved_bytes=5 * MIB)

    rival = Taker(stage.url)
    stage.server.disconnect(f"pid = {rival.holder(stage.url)}")
    rival.wait()
    assert plane.process.wait(timeout_s=30) == 1
    assert stage.logged("another process works on the database now: this one ends")
    assert stage.rig.kinds(large) == []
    rival.close()
    plane.start()
    stage.wait_completed(large)


def test_a_database_that_is_down_is_told_at_start(server: PostgresServer, tmp_path: Path) -> None:
    """``serve``, ``check`` and ``db upgrade`` say that it does not answer, and show no password."""
    url, directory = server.url("postgres"), tmp_path / "plane"
    secrets = {"key_file": str(tmp_path / "shared.key")}
    plane = PlaneProcess("plane", directory, {"store": {"url": url}, "secrets": secrets})
    server.stop()
    config = ("--config", str(plane.config))
    for command in (("serve", *config), ("db", "upgrade", *config)):
        code, out, err = run(directory, *command)
        assert code == 1
        assert "the database does not answer" in err
        assert "Traceback" not in err
        assert server.password not in out + err
    _, findings = checked(directory, "check", *config)
    assert not findings["store"][0]
    assert "the database does not answer" in findings["store"][1]


def test_the_key_file_must_be_named(server: PostgresServer, tmp_path: Path) -> None:
    """Who has no SQLite file has no place for a key beside it; nothing is made."""
    plane = PlaneProcess("plane", tmp_path, {"store": {"url": server.url("postgres")}})
    code, _, err = run(tmp_path, "serve", "--config", str(plane.config))
    assert (code, "secrets.key_file is required" in err) == (1, True)


def _start(stage: Stage, process_id: str, dataset: str) -> httpx.Response:
    """Send a start as it is sent again and again."""
    asked = message(process_id, dataset, PUSH, dataAddress=stage.address)
    return httpx.post(
        f"{stage.rig.address.url}/dataflows/start",
        json={**asked, "messageId": "the-same-message"},
        headers={"Authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        timeout=READ_SILENCE_S + LEEWAY_S,
    )


def _get(rig: Rig, path: str) -> httpx.Response:
    return httpx.get(rig.plane.url + path, trust_env=False, timeout=READ_SILENCE_S + LEEWAY_S)
