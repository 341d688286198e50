"""The database is away while flows run and callbacks leave: nothing is lost, counted or told twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.flows.test_attempts import BIG, slow
from tests.unit.flows.world import World, until

from dataferry.domain.dataflow import Run, State
from dataferry.domain.errors import DatabaseUnavailableError
from dataferry.flows import periodic

AWAY = "the database is away"


def test_a_callback_that_could_not_be_written_down_is_not_sent_again(
    still: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control plane took it while the database went away; once it is back that is written down."""
    still.signaling.prepare(still.caller, still.message())
    flow = still.flow()
    with still.store.transaction() as tx:
        tx.outbox.add(flow, "prepared", with_address=True)
        tx.outbox.add(flow, "errored", error="later")
    send = still.notebook.send

    def take(*arguments: Any) -> None:
        send(*arguments)
        still.store.suspend(AWAY)

    monkeypatch.setattr(still.notebook, "send", take)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailableError):
            still.outbox.tick()
    assert still.notebook.kinds("p1") == ["prepared"]
    still.store.resume()
    monkeypatch.setattr(still.notebook, "send", send)
    until(lambda: still.outbox.tick() == 0)
    assert still.notebook.kinds("p1") == ["prepared", "errored"]
    assert still.outbox_kinds() == [("prepared", "sent"), ("errored", "sent")]


def test_a_running_flow_goes_on_when_the_database_is_back(make_world: Callable[..., World]) -> None:
    """No try is counted, though none is allowed beside the first: the flow goes on from the ledger."""
    world = make_world(policy=replace(slow(), run_retries=0))
    world.write("out/data/big", BIG)
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))

    def moved() -> bool:
        with world.store.snapshot() as tx:
            return world.store.ledger.totals(str(tx.flows.list()[0][0].id)).bytes_done >= 2 << 20

    until(moved)
    world.store.suspend(AWAY)
    until(lambda: not world.embedded.running())
    assert world.flow().run is Run.RUNNING
    with pytest.raises(DatabaseUnavailableError) as caught:
        world.signaling.start(world.caller, world.message("p2", data_address=world.their_address("p2/")))
    assert caught.value.retry_after_s is not None
    world.store.resume()
    until(lambda: world.notebook.kinds("p1"))
    assert (world.flow().state, world.flow().run) == (State.COMPLETED, Run.DONE)
    assert (world.theirs / "got/big").read_bytes() == BIG
    kinds = [event.kind for event in world.events()]
    assert "requeued" in kinds
    assert "retry" not in kinds
    progress = world.management.view("p1").progress
    assert progress is not None
    assert progress.bytes_resumed >= 2 << 20


def test_a_moment_without_database_counts_as_no_try(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row that can't be written, of a flow that has no tries: it is queued again, and ends well."""
    world = make_world(policy=replace(slow(), run_retries=0))
    world.write("out/data/big", BIG)
    ledger, errors = world.store.ledger, [DatabaseUnavailableError(AWAY)]
    add_part = ledger.add_part

    def once(*arguments: Any) -> None:
        if errors:
            raise errors.pop()
        add_part(*arguments)

    monkeypatch.setattr(ledger, "add_part", once)
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: world.notebook.kinds("p1"))
    assert errors == []
    assert world.notebook.kinds("p1") == ["completed"]
    assert (world.theirs / "got/big").read_bytes() == BIG
    assert "retry" not in [event.kind for event in world.events()]


def test_background_threads_say_once_that_they_wait(still: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage is a line a thread and no traceback, however long it lasts."""
    said: list[str] = []

    class Notes:
        """A log that is kept."""

        def info(self, event: str, **_: Any) -> None:
            said.append(event)

        warning = exception = info

    monkeypatch.setattr(periodic, "_log", Notes())
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        with still.store.transaction():
            pass

    thread = periodic.Periodic("tester", tick, 0.01)
    still.store.suspend(AWAY)
    thread.start()
    until(lambda: ticks > 5)
    still.store.resume()
    before = ticks
    until(lambda: ticks > before + 2)
    thread.close()
    assert said == ["waiting for the database", "the database answers again"]
