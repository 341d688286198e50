"""What the gateway keeps from one request to the next opens no door to flows that end, or to strangers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import httpx
import pytest
from tests.unit.api.api_rig import Plane, message, plane

from dataferry.api.gateway.objects import OpenedObject
from dataferry.api.gateway.threads import GatewayThreads
from dataferry.domain.clock import SystemClock
from dataferry.domain.dataflow import State
from dataferry.domain.errors import UnauthorizedError
from dataferry.flows.gateway import Served, Watch
from dataferry.flows.kept import IDLE_S, MOST_IDLE, Kept
from dataferry.flows.readers import Readers
from dataferry.flows.resolution import Place
from dataferry.mechanisms.http import MECHANISM
from dataferry.net.connections import Network
from dataferry.secrets.sealing import Sealer
from dataferry.store.store import Store

BODY = b"a small object"
UNWATCHED = cast("Watch", None)


@dataclass(frozen=True)
class Pull:
    """A pull of files, asked for a moment ago: all that is kept is at hand."""

    api: Plane
    flow_id: str
    token: str
    directory: Path

    def get(self, name: str = "a", token: str | None = None) -> httpx.Response:
        """Ask for an object."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return self.api.client.get(f"/data/{self.flow_id}/{name}", headers=headers)


@pytest.fixture
def pull(tmp_path: Path) -> Iterator[Pull]:
    """On a plane whose threads do not run."""
    with plane(tmp_path) as api:
        root = tmp_path / "files" / "out"
        root.mkdir(parents=True)
        (root / "a").write_bytes(BODY)
        assert api.manage("PUT", "/datasets/data-1", json={"source": "disk:out/"}).status_code == 200
        address = api.signal("start", message("pull-1", profile="HttpData-PULL")).json()["dataAddress"]
        flow_id = address["endpoint"].rstrip("/").rpartition("/")[2]
        begun = Pull(api, flow_id, address["endpointProperties"][0]["value"], tmp_path)
        assert begun.get().content == BODY
        assert begun.get().content == BODY
        yield begun


def test_a_flow_that_was_just_read_from_can_be_suspended_and_ended(pull: Pull) -> None:
    """The very next request after the verb meets its word, and so does the one after a resume."""
    statuses = []
    for verb in ("suspend", "resume", "terminate"):
        assert pull.api.signal("pull-1/" + verb, {"messageId": verb}).status_code == 200
        statuses.append(pull.get().status_code)

    assert statuses == [403, 200, 410]


def test_what_another_process_writes_holds_at_once(pull: Pull) -> None:
    """The row decides: a verb that came in elsewhere, on the same database, is known here without a word."""
    url = f"sqlite:///{pull.directory}/api.db"
    other = Store.open(url, sealer=Sealer(bytes(32)), clock=SystemClock())
    try:
        with other.transaction() as tx:
            flow = tx.flows.get(UUID(pull.flow_id))
            tx.flows.save(replace(flow, state=State.SUSPENDED), expected=flow)
        answer = pull.get()
    finally:
        other.close()

    assert answer.status_code == 403


def test_another_token_is_none_however_good_the_last_one_was(pull: Pull) -> None:
    """Nothing that is kept makes up for a token."""
    assert pull.get(token="another-token-0123456789").status_code == 401
    assert pull.get().status_code == 200


def test_what_would_wait_for_a_thread_is_not_let_in_there() -> None:
    """Who may not come in is told so though a store has all its threads: then that is asked elsewhere."""
    go_on = threading.Event()

    async def look() -> list[bool]:
        threads = GatewayThreads(4)
        one, other, third = (
            Place(mechanism=MECHANISM, endpoint=MECHANISM.at_url(f"http://127.0.0.1:{port}/"))
            for port in (9, 10, 11)
        )
        free = [threads.is_free_for(one)]
        waiting = [asyncio.ensure_future(threads.run(one, go_on.wait)) for _ in range(20)]
        await asyncio.sleep(0)
        free += [threads.is_free_for(one), threads.is_free_for(other)]
        waiting += [asyncio.ensure_future(threads.run(other, go_on.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        free.append(threads.is_free_for(third))
        go_on.set()
        await asyncio.wait(waiting)
        return [*free, threads.is_free_for(one), threads.is_free_for(third)]

    assert asyncio.run(look()) == [True, False, True, False, True, True]


@pytest.mark.parametrize("guess", [None, "http://127.0.0.1:9/", "http://127.0.0.1:10/"])
def test_each_comes_in_once_and_goes_on_where_his_data_is(guess: str | None) -> None:
    """Where it was a moment ago is a guess: right, wrong or none, the same is done at the right place."""
    place, guessed = (
        None if url is None else Place(mechanism=MECHANISM, endpoint=MECHANISM.at_url(url))
        for url in ("http://127.0.0.1:10/", guess)
    )
    assert place is not None
    served, done = Served(flow_id=uuid4(), place=place), []

    async def come() -> list[bool]:
        threads = GatewayThreads(2)  # a place has one

        def let_in() -> Served:
            done.append("let in")
            return served

        def go_on(opened: Served) -> list[bool]:
            done.append("gone on")
            return [opened is served, threads.is_free_for(place)]

        return await threads.enter(guessed, let_in, go_on)

    assert asyncio.run(come()) == [True, False]
    assert done == ["let in", "gone on"]


def test_who_may_not_come_in_does_not_wait_for_a_store() -> None:
    """All turns of his place are taken, for as long as its store likes: he is told at once."""
    go_on = threading.Event()

    def refuse() -> Served:
        raise UnauthorizedError("no")

    async def come() -> None:
        threads = GatewayThreads(4)
        place = Place(mechanism=MECHANISM, endpoint=MECHANISM.at_url("http://127.0.0.1:9/"))
        waiting = [asyncio.ensure_future(threads.run(place, go_on.wait)) for _ in range(20)]
        await asyncio.sleep(0)
        try:
            await asyncio.wait_for(threads.enter(place, refuse, lambda _: None), timeout=10)
        finally:
            go_on.set()
            await asyncio.wait(waiting)

    with pytest.raises(UnauthorizedError):
        asyncio.run(come())


class Origin:
    """A server that counts its connections."""

    def __init__(self) -> None:
        self.connections = 0
        origin = self

        class Handler(BaseHTTPRequestHandler):
            """Answers with one object."""

            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                """Count."""
                origin.connections += 1
                super().setup()

            def do_HEAD(self) -> None:
                """The head."""
                self.send_response(200)
                self.send_header("Content-Length", str(len(BODY)))
                self.send_header("ETag", '"1"')
                self.end_headers()

            def do_GET(self) -> None:
                """The object."""
                self.do_HEAD()
                self.wfile.write(BODY)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/one"


@pytest.fixture
def origin() -> Iterator[Origin]:
    """One that runs."""
    made = Origin()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def readers() -> Iterator[Readers]:
    """Without any kept yet."""
    made = Readers(Network())
    yield made
    made.close()


def at(origin: Origin, flow_id: UUID) -> Served:
    """Where a flow's data is."""
    return Served(flow_id=flow_id, place=Place(mechanism=MECHANISM, endpoint=MECHANISM.at_url(origin.url)))


def read(served: Served, readers: Readers) -> bytes | None:
    """Read as a request does."""
    opened = OpenedObject(served, "", readers)
    info = opened.look_up()
    pieces = opened.read(info, UNWATCHED, offset_bytes=0, length_bytes=len(BODY))
    opened.close()
    return pieces.at_hand


def test_a_flows_requests_share_connections(origin: Origin, readers: Readers) -> None:
    """The second request dials nothing, and looks the object up all the same."""
    served = at(origin, uuid4())
    assert read(served, readers) == BODY
    first = origin.connections

    assert [read(served, readers) for _ in range(5)] == [BODY] * 5
    assert origin.connections == first


def test_another_flow_has_connections_of_its_own(origin: Origin, readers: Readers) -> None:
    """What one flow's token opened serves no other, though it lead to the same store."""
    read(at(origin, uuid4()), readers)
    first = origin.connections
    read(at(origin, uuid4()), readers)

    assert origin.connections > first


def test_a_connection_that_was_let_go_of_serves_nobody(origin: Origin, readers: Readers) -> None:
    """A request that was broken off leaves nothing half read to the next one."""
    served = at(origin, uuid4())
    opened = OpenedObject(served, "", readers)
    lent = opened._held()
    opened.look_up()
    opened.abort()
    opened.release()

    assert readers.lend(served) is not lent


def test_a_request_that_is_over_breaks_no_other_off(origin: Origin, readers: Readers) -> None:
    """Who goes away after the last byte was read does not shut what serves the next request by then."""
    served = at(origin, uuid4())
    gone = OpenedObject(served, "", readers)
    gone.read(gone.look_up(), UNWATCHED, offset_bytes=0, length_bytes=len(BODY))
    following = OpenedObject(served, "", readers)
    gone.abort()
    gone.close()

    info = following.look_up()
    pieces = following.read(info, UNWATCHED, offset_bytes=0, length_bytes=len(BODY))
    assert pieces.at_hand == BODY


def test_connections_are_kept_for_a_while_and_not_without_number(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest make room, those that idle are closed, and none stays when the service ends."""
    closed: list[int] = []
    kept: Kept[int] = Kept(closed.append)
    place, flow_id, now = at(origin, uuid4()).place, uuid4(), 0.0
    monkeypatch.setattr("dataferry.flows.kept.time.monotonic", lambda: now)
    for number in range(MOST_IDLE + 2):
        kept.keep(flow_id, place, number)
    assert closed == [0, 1]
    assert kept.take(flow_id, place) == MOST_IDLE + 1
    now = IDLE_S + 1
    kept.keep(flow_id, place, -1)
    kept.tick()
    assert closed == list(range(MOST_IDLE + 1))
    kept.close()
    kept.keep(flow_id, place, -2)
    assert closed[-2:] == [-1, -2]
