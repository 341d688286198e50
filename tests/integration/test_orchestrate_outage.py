"""The database fails under the orchestrator: no entry pays for it, nobody waits, and clients may repeat."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event
from tests.servers.orchestrator import Orchestrating, entry, orchestrating

from dataferry.domain.errors import DatabaseUnavailableError, DataFerryError, NoSpaceError
from dataferry.domain.location import Location
from dataferry.flows.orchestration import runner
from dataferry.store.database import Database

# More than a step has tries; odd, so that of step and failure, by turns, the failure would be written first.
MANY = 11


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orchestrating]:
    """A service whose steps are soon made again, with a place that was made over the API."""
    monkeypatch.setattr(runner, "AFTER_FAULT_S", 0.02)
    with orchestrating(tmp_path, orchestrator={"destinations": ["made"]}) as running:
        (tmp_path / "made").mkdir()
        settings = {"root": str(tmp_path / "made")}
        with running.service.application.state.services.store.transaction() as tx:
            tx.catalogue.put_location(Location(name="made", mechanism="file", settings=settings))
        yield running


def _database(rig: Orchestrating) -> Database:
    database: Database = rig.service.application.state.services.store._database
    return database


@pytest.mark.parametrize("kind", [DatabaseUnavailableError, NoSpaceError])
def test_an_entry_whose_data_is_stored_waits_for_the_database(
    rig: Orchestrating, kind: type[DataFerryError]
) -> None:
    """Its process was terminated as received, and then nothing can be written for more than all its tries."""
    rig.put("c", "/c", b"{}")
    refused: list[str] = []

    def refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        is_done = any(process.state == "TERMINATED" for process in rig.edc.processes.values())
        if is_done and "UPDATE orchestration_entries" in statement and len(refused) < MANY:
            refused.append(statement)
            raise kind("no writes now", operation="store")

    event.listen(_database(rig).engine, "before_cursor_execute", refuse)
    view = rig.wait(rig.begin("c"))
    assert len(refused) == MANY
    (path,) = view["storage_paths"]
    assert (path["status"], path.get("error"), path.get("note")) == ("SAVED", None, None)


def test_nobody_waits_for_a_look_at_a_destination(rig: Orchestrating) -> None:
    """While one request waits for a database that says nothing, the service answers whoever needs none."""
    release, reading = threading.Event(), threading.Event()

    def stand_still(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM locations" in statement:
            reading.set()
            release.wait(20)

    event.listen(_database(rig).engine, "before_cursor_execute", stand_still)
    answers: list[httpx.Response] = []
    body = rig.request(data=[entry("c", destination="made:")])
    thread = threading.Thread(target=lambda: answers.append(rig.post(body)))
    thread.start()
    try:
        assert reading.wait(20)
        began = time.monotonic()
        assert httpx.get(f"{rig.url}/healthz", trust_env=False, timeout=5).status_code == 200
        assert time.monotonic() - began < 5
    finally:
        release.set()
        thread.join()
    assert [answer.status_code for answer in answers] == [200]


@pytest.mark.parametrize("parameters", [{}, {"dryRun": "true"}])
def test_an_outage_is_no_fault_of_a_destination(rig: Orchestrating, parameters: dict[str, str]) -> None:
    """What can't be looked up now is no wrong field: the client may repeat the request."""

    def refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM locations" in statement:
            raise DatabaseUnavailableError("no reads now", operation="store", retry_after_s=5)

    engine = _database(rig).engine
    event.listen(engine, "before_cursor_execute", refuse)
    body = rig.request(data=[entry("c", destination="made:")])
    answer = rig.post(body, params=parameters)
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["details"]) == (500, "5", {})
    event.remove(engine, "before_cursor_execute", refuse)
    assert rig.post(body, params=parameters).status_code == 200
