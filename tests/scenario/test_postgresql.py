"""A plane on PostgreSQL: killed, its database restarted under it, its hold on it lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
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

RATE = 6 * MIB
MakeRig = Callable[[str], Rig]


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
def make_rig(juicefs_pair: tuple[JuiceFs, JuiceFs], bucket: str, tmp_path: Path) -> MakeRig:
    """Return what makes a plane on a database."""

    def make(url: str) -> Rig:
        more = {"store": {"url": url}, "secrets": {"key_file": str(tmp_path / "shared.key")}}
        return Rig(
            tmp_path / "plane",
            locations={"here": s3_location(juicefs_pair[0])},
            datasets=[
                {"id": "large", "source": f"here:{bucket}/large/", "bandwidth_bytes_per_s": RATE},
                {"id": "small", "source": f"here:{bucket}/small/", "prepare_wait_s": 0},
            ],
            more=more,
        )

    return make


@pytest.fixture
def cargo(source: Any, sink: Any, bucket: str, seeded: random.Random) -> Callable[[], None]:
    """Two large objects and some small ones; what it returns asserts that all are there, byte for byte."""
    for name, size in {"large/a": 20 * MIB, "large/b": 10 * MIB, "small/c": MIB, "small/d": 1}.items():
        source.put_object(Bucket=bucket, Key=name, Body=seeded.randbytes(size))

    def assert_arrived() -> None:
        expected = {f"in/{name.partition('/')[2]}": value for name, value in digests(source, bucket).items()}
        assert digests(sink, bucket) == expected
        assert open_uploads(sink, bucket, "in/") == []

    return assert_arrived


def test_a_killed_plane_goes_on_from_postgresql(
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    bucket: str,
    cargo: Callable[[], None],
    make_rig: MakeRig,
    server: PostgresServer,
) -> None:
    """Made with ``db upgrade``, found good by ``check``, killed twice: all is there, each callback once."""
    with server.database(migrated=False) as url:
        rig = make_rig(url)
        _assert_made(rig)
        with running(rig):
            _kill_twice(rig, s3_address(juicefs_pair[1], bucket, "in/"))
        cargo()
        assert server.password not in rig.plane.process.log.read_text()


def _kill_twice(rig: Rig, address: Any) -> None:
    """Kill the plane in the middle of a flow, and of a callback that is refused; it ends what it began."""
    statuses = [503]
    rig.control_plane.answer = lambda kind, _: statuses[0] if kind == "completed" else 200
    large, small = rig.start_push("large", address), rig.start_push("small", address)
    rig.wait_moved(large, 15 * MIB)
    rig.plane.kill()
    rig.plane.start()
    view = rig.wait_finished(large)
    rig.wait_for(lambda: _message_ids(rig, large) != [], what="told")
    rig.plane.kill()
    statuses[0] = 200
    rig.plane.start()
    rig.control_plane.wait_for("completed", large)
    rig.control_plane.wait_for("completed", small)

    assert view["bytesResumed"] > 0
    assert view["bytesRetransferred"] <= WORKERS * PART_BYTES
    assert (rig.kinds(large), rig.kinds(small)) == (["completed"], ["started", "completed"])
    assert len(_message_ids(rig, large)) > 1
    assert len(set(_message_ids(rig, large))) == 1


def _message_ids(rig: Rig, process_id: str) -> list[str]:
    """The ids of the messages that told of an end, those that were refused included."""
    told = [one for one in rig.control_plane.received if one.kind == "completed"]
    return [one.body["messageId"] for one in told if one.process_id == process_id]


def _assert_made(rig: Rig) -> None:
    """The commands lead an operator from an empty database to one that is good."""
    directory = rig.plane.directory
    config = ("--config", str(rig.plane.config))
    code, _, err = run(directory, "serve", *config)
    assert code == 1
    assert "dataferry db upgrade" in err
    code, findings = checked(directory, "check", *config)
    assert code == 1
    assert "dataferry db upgrade" in findings["store"][1]
    assert run(directory, "db", "upgrade", *config)[0] == 0
    _, findings = checked(directory, "check", *config)
    assert findings["store"] == (True, "answers, and its schema is of this version")


def test_the_database_goes_away_and_comes_back(
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    bucket: str,
    cargo: Callable[[], None],
    make_rig: MakeRig,
    server: PostgresServer,
) -> None:
    """It crashes under a flow, and while a callback is taken: verbs say when to ask again, then all goes on.

    What was taken is not told a second time, though it could not be written down.
    """
    with server.database() as url, running(make_rig(url)) as rig:
        rig.control_plane.wait_for("registration")
        address = s3_address(juicefs_pair[1], bucket, "in/")
        told, moving = Event(), Event()
        rig.control_plane.answer = _crashing(server, "small", told, moving)
        small = rig.start_push("small", address, process_id="small")
        assert told.wait(30)
        large = rig.start_push("large", address)
        # More than is in flight: some of it is written down.
        rig.wait_moved(large, WORKERS * PART_BYTES + MIB)
        moving.set()
        rig.control_plane.wait_for("completed", small)
        rig.control_plane.answer = None

        refused = _start(rig, "later", "small", address)
        assert (refused.status_code, refused.json()["type"]) == (
            503,
            "urn:dataferry:problem:database_unavailable",
        )
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert _get(rig, "/healthz").status_code == 200
        assert _get(rig, "/readyz").status_code == 503
        rig.wait_for(lambda: "waiting for the database" in rig.plane.process.log.read_text(), what="noticed")

        server.start()
        rig.wait_for(lambda: _get(rig, "/readyz").is_success, what="ready again")
        # The same message again, as a control plane repeats it.
        rig.wait_for(lambda: _start(rig, "later", "small", address).is_success, what="accepted")
        view = rig.wait_finished(large)
        for process_id in (large, "later"):
            rig.control_plane.wait_for("completed", process_id)

        cargo()
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


def test_a_plane_that_lost_its_hold_takes_it_again(
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    bucket: str,
    cargo: Callable[[], None],
    make_rig: MakeRig,
    server: PostgresServer,
) -> None:
    """All its connections are cut under running flows; nobody else came, so it goes on."""
    with server.database() as url, running(make_rig(url)) as rig:
        address = s3_address(juicefs_pair[1], bucket, "in/")
        large, small = rig.start_push("large", address), rig.start_push("small", address)
        rig.wait_moved(large, 10 * MIB)
        assert server.disconnect("application_name = 'dataferry'") > 1
        rig.wait_for(lambda: "the database is held again" in rig.plane.process.log.read_text(), what="held")
        rig.wait_finished(large)
        for process_id in (large, small):
            rig.control_plane.wait_for("completed", process_id)
        cargo()
        assert (rig.kinds(large), rig.kinds(small)) == (["completed"], ["started", "completed"])


def test_two_planes_never_work_on_one_database(
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    bucket: str,
    cargo: Callable[[], None],
    make_rig: MakeRig,
    server: PostgresServer,
) -> None:
    """A second one is refused; where it took the hold that the first lost, the first ends and it goes on."""
    with server.database() as url, running(make_rig(url)) as rig:
        config = ("--config", str(rig.plane.config))
        for command in (("serve", "--port", "0", *config), ("db", "upgrade", *config)):
            code, _, err = run(rig.plane.directory, *command)
            assert (code, "another dataferry works on this database" in err) == (1, True)
        large = rig.start_push("large", s3_address(juicefs_pair[1], bucket, "in/"))
        rig.wait_moved(large, 5 * MIB)

        rival = Taker(url)
        server.disconnect(f"pid = {rival.holder(url)}")
        rival.wait()
        assert rig.plane.process.wait(timeout_s=30) == 1
        assert "another process works on the database now: this one ends" in rig.plane.process.log.read_text()
        assert rig.kinds(large) == []
        rival.close()
        rig.plane.start()
        rig.wait_finished(large)
        rig.control_plane.wait_for("completed", large)


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


def _start(rig: Rig, process_id: str, dataset: str, address: Any) -> httpx.Response:
    """Send a start as it is sent again and again."""
    body = {**message(process_id, dataset, PUSH, dataAddress=address), "messageId": "the-same-message"}
    return httpx.post(
        f"{rig.address.url}/dataflows/start",
        json=body,
        headers={"Authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        timeout=20,
    )


def _get(rig: Rig, path: str) -> httpx.Response:
    return httpx.get(rig.plane.url + path, trust_env=False, timeout=20)
