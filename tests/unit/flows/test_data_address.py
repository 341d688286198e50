"""Flows that copy nothing: what becomes of them, and who is given their data address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from tests.unit.flows.world import PULL, PUSH, World, until

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import Run, State
from dataferry.domain.errors import (
    ConflictError,
    GoneError,
    InputError,
    NotFoundError,
)
from dataferry.domain.location import Landing, LandingZone
from dataferry.flows import data_addresses

KEEP = LandingZone(name="keep", mode=Landing.NONE)
COPY = LandingZone(name="copy", sink="here:in/{processId}/", datasets=("copied",))
ZONES = (KEEP, COPY)


@pytest.fixture
def keeping(make_world: Callable[..., World]) -> World:
    """A plane that works, and keeps the addresses of what it is given."""
    return make_world(zones=ZONES)


def started(world: World, process: str = "p1", **changes: object) -> DataAddress:
    """Bring a pull to STARTED; its address."""
    given = world.their_address("offer/")
    world.signaling.prepare(world.caller, world.message(process, PULL, **changes))
    world.signaling.started(world.caller, process, given)
    return given


def read(world: World, any_id: str = "p1", **changes: str) -> DataAddress:
    """Read a flow's address as an application with a key does."""
    return world.management.data_address(any_id, **{"actor": "app", **changes}).address


def test_a_flow_that_keeps_its_address_moves_nothing(keeping: World) -> None:
    """Its states are the control plane's, nothing runs, and the end is the provider's word."""
    given = started(keeping)
    told = [keeping.signaling.status(keeping.caller, "p1").flow]
    told.append(keeping.signaling.suspend(keeping.caller, "p1").flow)
    told.append(keeping.signaling.resume(keeping.caller, "p1").flow)
    again = read(keeping)
    told.append(keeping.signaling.completed(keeping.caller, "p1").flow)

    states = [State.STARTED, State.SUSPENDED, State.STARTED, State.COMPLETED]
    assert [(flow.state, flow.run) for flow in told] == list(
        zip(states, [Run.IDLE, Run.IDLE, Run.IDLE, Run.DONE], strict=True)
    )
    assert again == given
    assert keeping.share.opened == 0
    assert keeping.management.view("p1").progress is None
    assert keeping.notebook.kinds("p1") == []


def test_a_resume_may_bring_a_fresh_address(keeping: World) -> None:
    """With the resume, or with the notification after it."""
    started(keeping)
    fresh, fresher = keeping.their_address("fresh/"), keeping.their_address("fresher/")
    keeping.signaling.suspend(keeping.caller, "p1")
    keeping.signaling.resume(keeping.caller, "p1", fresh)
    assert read(keeping) == fresh
    keeping.signaling.started(keeping.caller, "p1", fresher)

    assert read(keeping) == fresher


@pytest.mark.parametrize(
    ("verbs", "error", "words"),
    [
        ((), ConflictError, "is PREPARED"),
        (("bare",), ConflictError, "has brought no data address"),
        (("started", "suspend"), ConflictError, "is SUSPENDED"),
        (("started", "terminate"), GoneError, "TERMINATED"),
        (("started", "completed"), GoneError, "COMPLETED"),
        (("terminate",), GoneError, "TERMINATED"),
    ],
    ids=str,
)
def test_there_is_an_address_while_it_is_started(
    keeping: World, verbs: tuple[str, ...], error: type[Exception], words: str
) -> None:
    """Else the answer says why not, and no reading is noted."""
    keeping.signaling.prepare(keeping.caller, keeping.message(profile=PULL))
    for verb in verbs:
        if verb in {"started", "bare"}:
            given = keeping.their_address() if verb == "started" else None
            keeping.signaling.started(keeping.caller, "p1", given)
        else:
            getattr(keeping.signaling, verb)(keeping.caller, "p1")
    with pytest.raises(error, match=words):
        read(keeping)

    assert not [event for event in keeping.events() if event.kind == data_addresses.EVENT]


def test_those_who_hand_addresses_out_have_none_to_read(make_world: Callable[..., World]) -> None:
    """A provider's, and that of a consumer who is sent to: 404, as what is not there; unknown ids too."""
    world = make_world(working=False)
    world.write("out/data")
    world.signaling.prepare(world.caller, world.message("push", PUSH))
    world.signaling.start(world.caller, world.message("pull", PULL))
    sent = world.message("sent", PUSH, data_address=world.their_address())
    world.signaling.start(world.caller, sent)

    for any_id in ("push", "pull", "sent", "nobody", str(uuid4())):
        with pytest.raises(NotFoundError):
            read(world, any_id)


def test_a_flow_that_is_copied_has_an_address_too(make_world: Callable[..., World]) -> None:
    """Who copies may read as well."""
    world = make_world(zones=ZONES, working=False)
    given = started(world, dataset_id="copied")

    assert read(world) == given
    assert world.flow().run is Run.QUEUED


def test_each_reading_is_an_event_with_who_read(keeping: World) -> None:
    """The newest of them, beside all else that happened; none names what was read."""
    started(keeping)
    for number in range(data_addresses.MOST_READINGS + 5):
        read(keeping, actor=f"app-{number}")
    events = list(keeping.management.events("p1", limit=1000))
    readings = [event.actor for event in events if event.kind == data_addresses.EVENT]

    assert readings == [f"app-{number}" for number in range(5, data_addresses.MOST_READINGS + 5)]
    assert [event.kind for event in events[:2]] == ["PREPARED", "STARTED"]
    assert str(keeping.theirs) not in repr(events)


def test_a_process_of_another_control_plane_is_not_meant(keeping: World) -> None:
    """Two control planes may have a process of one id: the scope tells which is meant."""
    started(keeping)
    assert read(keeping, control_plane_id="cp") == read(keeping)
    with pytest.raises(NotFoundError):
        read(keeping, control_plane_id="other")

    with keeping.store.transaction() as tx:
        row = tx.flows.resolve("p1")
        tx.flows.insert(replace(row, id=uuid4(), control_plane_id="other"))
    with pytest.raises(ConflictError, match="2 data flows"):
        read(keeping)
    assert read(keeping, control_plane_id="other") == read(keeping, control_plane_id="cp")


def test_what_is_not_copied_can_not_be_held(keeping: World) -> None:
    """An operator's pause would hold nothing: applications go on reading."""
    started(keeping)
    with pytest.raises(ConflictError, match="applications"):
        keeping.management.pause("p1")


def test_flows_are_found_by_what_they_belong_to(keeping: World) -> None:
    """A prepare may say it in its metadata; what is no short text is refused before there is a flow."""
    started(keeping, "p1", metadata={"correlationId": "order-7"})
    started(keeping, "p2", metadata={"correlationId": None})
    found, _ = keeping.management.list(correlation_id="order-7")
    assert [view.flow.process_id for view in found] == ["p1"]

    for wrong in (7, "", "x" * 301, "a\nb", ["order-7"]):
        with pytest.raises(InputError, match="correlationId"):
            started(keeping, "p3", metadata={"correlationId": wrong})
    assert keeping.rows() == 2


@pytest.mark.parametrize("when", ["PREPARED", "STARTED", "SUSPENDED"])
def test_a_flow_that_keeps_its_address_can_be_copied_after_all(keeping: World, when: str) -> None:
    """Whoever looks for it gives it a place, before or after the address came; then it is as any other."""
    (keeping.theirs / "offer").mkdir()
    (keeping.theirs / "offer" / "one").write_bytes(b"1")
    keeping.signaling.prepare(keeping.caller, keeping.message(profile=PULL))
    if when != "PREPARED":
        keeping.signaling.started(keeping.caller, "p1", keeping.their_address("offer/"))
    if when == "SUSPENDED":
        keeping.signaling.suspend(keeping.caller, "p1")
    keeping.management.copy_to("p1", "here:claimed/", actor="orchestrator")
    assert keeping.management.copy_to("p1", "here:claimed/").landing is Landing.COPY
    if when == "PREPARED":
        keeping.signaling.started(keeping.caller, "p1", keeping.their_address("offer/"))
    if when == "SUSPENDED":
        keeping.signaling.resume(keeping.caller, "p1")
    until(lambda: keeping.flow().state is State.COMPLETED)

    assert (keeping.ours / "claimed" / "one").read_bytes() == b"1"
    assert keeping.share.opened == 2
    (claim,) = [event for event in keeping.events() if event.kind == "destination"]
    assert claim.actor == "orchestrator"
    with pytest.raises(ConflictError):
        keeping.management.copy_to("p1", "here:other/")


def test_only_places_of_ours_can_be_claimed(keeping: World) -> None:
    """No location that there is not; and no flow that has its destination, or that is a provider's."""
    keeping.write("out/data")
    started(keeping)
    started(keeping, "has", dataset_id="copied")
    keeping.signaling.start(keeping.caller, keeping.message("gives", PULL))
    for sink in ("there:x/", "no place", ""):
        with pytest.raises(InputError):
            keeping.management.copy_to("p1", sink)
    for any_id in ("has", "gives"):
        with pytest.raises(ConflictError):
            keeping.management.copy_to(any_id, "here:x/")
    assert keeping.flow().landing is Landing.NONE
