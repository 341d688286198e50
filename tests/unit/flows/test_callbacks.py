"""Callbacks and registration: at least once, in order, patient, and never for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.flows.world import PULL, QUICK, World, until

from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import (
    ConflictError,
    ConnectionFailedError,
    DataFerryError,
    InputError,
    NotFoundError,
    ServerError,
    UnauthorizedError,
)
from dataferry.domain.location import ControlPlane


def prepared(world: World, process: str = "p1", *kinds: str) -> DataFlow:
    """A flow with messages in the outbox."""
    world.signaling.prepare(world.caller, world.message(process))
    flow = world.flow(process)
    with world.store.transaction() as tx:
        for kind in kinds or ("prepared",):
            tx.outbox.add(flow, kind, with_address=kind == "prepared")
    return flow


def states(world: World) -> list[str]:
    return [state for _, state in world.outbox_kinds()]


def deliver(world: World, *, until_state: str) -> None:
    """Tick until the newest message is in a state."""

    def settled() -> bool:
        world.outbox.tick()
        return states(world)[-1] == until_state

    until(settled)


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionFailedError("down"),
        ServerError("500"),
        NotFoundError("404"),
        UnauthorizedError("401"),
        ConflictError("409"),
    ],
    ids=lambda fault: fault.kind,
)
def test_what_may_pass_is_tried_again(still: World, fault: DataFerryError) -> None:
    """Down, 5xx, and EDC's too early: the message arrives later, in order, with one messageId."""
    prepared(still, "p1", "prepared", "errored")
    still.notebook.refusals = [fault, fault]
    deliver(still, until_state="sent")
    assert still.notebook.kinds("p1") == ["prepared", "errored"]
    assert still.notebook.tries == 4


def test_the_address_is_read_when_the_message_is_sent(still: World) -> None:
    """The row holds none; a grant that was renewed meanwhile is what the control plane gets."""
    flow = prepared(still)
    with still.store.transaction() as tx:
        tx.flows.save(replace(flow, outgoing_address=still.their_address("newer")), expected=flow)
    deliver(still, until_state="sent")
    assert [still.their_address("newer")] == [callback.data_address for callback in still.notebook.callbacks]


def test_a_conflict_that_stays_settles(still: World) -> None:
    """409 again and again means "I know already": settled as sent, with an event."""
    prepared(still)
    still.notebook.refusals = [ConflictError("409")] * 50
    deliver(still, until_state="sent")
    assert still.notebook.kinds("p1") == []
    assert QUICK.callback_refusals == still.notebook.tries
    assert "callback" in {event.kind for event in still.events()}


def test_an_answer_that_is_no_use_becomes_a_dead_letter(still: World) -> None:
    """A few tries, then dead, visible, not in the way of others, and sent again when asked."""
    prepared(still)
    still.notebook.refusals = [InputError("400")] * QUICK.callback_refusals
    deliver(still, until_state="dead")
    prepared(still, "p2")
    still.outbox.tick()
    assert still.notebook.kinds("p2") == ["prepared"]
    (dead,) = still.management.outbox("p1")
    still.management.retry_callback(dead.message_id)
    still.outbox.tick()
    assert [dead.message_id] == [c.message_id for c in still.notebook.callbacks if c.process_id == "p1"]


def test_patience_ends(make_world: Callable[..., World]) -> None:
    """A control plane that stays down makes dead letters after the lifetime of a callback."""
    world = make_world(working=False, policy=replace(QUICK, callback_lifetime_s=1.0))
    prepared(world)
    world.notebook.refusals = [ConnectionFailedError("down")] * 1000
    deliver(world, until_state="dead")
    assert world.notebook.tries > 1


def test_a_control_plane_without_endpoint_is_waited_for(make_world: Callable[..., World]) -> None:
    """It may register later: the callback waits for that."""
    world = make_world(working=False, plane=ControlPlane(id="cp"))
    prepared(world)
    world.outbox.tick()
    assert states(world) == ["pending"]
    world.catalogue.control_planes.register(ControlPlane(id="cp", endpoint="http://control.example"))
    deliver(world, until_state="sent")
    assert world.notebook.kinds("p1") == ["prepared"]


def test_callbacks_of_one_flow_survive_an_outage_in_order(world: World) -> None:
    """The control plane is down at first: everything arrives, in order, when it is back."""
    world.notebook.refusals = [ConnectionFailedError("down")] * 10
    world.write("out/data")
    for process in ("p1", "p2"):
        address = world.their_address(f"{process}/")
        world.signaling.start(world.caller, world.message(process, data_address=address))
    until(lambda: world.notebook.kinds("p1") == world.notebook.kinds("p2") == ["completed"])


def test_registration_is_repeated_until_it_is_taken(make_world: Callable[..., World]) -> None:
    """Down at start-up: tried again until it works, visible to operators, then not before the interval."""
    plane = ControlPlane(id="cp", endpoint="http://control.example", register=True)
    world = make_world(working=False, plane=plane)
    world.notebook.refusals = [ConnectionFailedError("down")] * 3
    world.registrar.tick()
    assert "down" in (world.catalogue.control_planes.registration("cp").last_error or "")
    world.registrar.start()
    until(lambda: world.notebook.registered)
    until(lambda: world.catalogue.control_planes.registration("cp").registered_at)
    # Its own thread still has to note when it is due again: that is over when it has ended.
    world.registrar.close()
    assert world.registrar.tick() == 0
    assert world.notebook.registered == ["cp"]


def test_nobody_is_registered_with_unasked(still: World) -> None:
    """Only control planes with ``register`` are told of us."""
    assert still.registrar.tick() == 0
    assert still.notebook.tries == 0


def test_terminate_keeps_later_messages_from_going_out(still: World) -> None:
    """A voided message is not sent."""
    still.write("out/data")
    prepared(still)
    still.signaling.start(still.caller, still.message("p2", PULL))
    still.signaling.terminate(still.caller, "p1")
    assert still.outbox.tick() == 0
    assert states(still) == ["void"]
