"""Bounds that flows share, and flows that wait for a window without keeping others from working."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.unit.flows.world import QUICK, World, until

from dataferry.api.management.views import flow_view
from dataferry.domain.dataflow import Run, State
from dataferry.domain.limits import LocationLimits
from dataferry.domain.location import Dataset, Location
from dataferry.domain.progress import Progress
from dataferry.domain.schedule import Schedule, Window

SHUT = LocationLimits(bandwidth_windows=(Window(begin_minute=0, end_minute=24 * 60, bytes_per_s=0),))
TOLD = "waiting for the bandwidth window of location gate until its windows are changed"


def gate(world: World, limits: LocationLimits) -> None:
    """Set the limits of a location over the API, with a dataset in it."""
    world.catalogue.locations.put(
        Location(name="gate", mechanism="share", settings={"root": str(world.ours)}, limits=limits)
    )


def start(world: World, process: str, dataset: str = "data") -> None:
    message = world.message(process, dataset_id=dataset, data_address=world.their_address(f"{process}/"))
    world.signaling.start(world.caller, message)


def gated(make_world: Callable[..., World], **settings: object) -> World:
    """A plane whose dataset ``data`` lies behind the gate, shut, and ``free`` does not."""
    world = make_world(datasets=(), **settings)
    gate(world, SHUT)
    world.catalogue.datasets.put(Dataset(match="data", source="gate:out/data"))
    world.catalogue.datasets.put(Dataset(match="free", source="here:out/data"))
    world.write("out/data", b"bytes")
    return world


def test_a_flow_waits_for_its_window_and_others_go_on(make_world: Callable[..., World]) -> None:
    """More flows wait than may run at once: told once each, shown with the flow, and nobody else waits."""
    world = gated(make_world)
    for number in range(5):
        start(world, f"p{number}")
    until(lambda: all(world.management.view(f"p{number}").progress for number in range(5)))
    start(world, "free", "free")
    until(lambda: world.flow("free").state is State.COMPLETED)
    flow = world.management.view("p0")
    assert (flow.flow.state, flow.flow.run, flow.flow.epoch) == (State.STARTED, Run.QUEUED, 0)
    assert flow_view(flow)["waitingFor"] == TOLD
    assert [event.reason for event in world.events("p0") if event.kind == "waiting"] == [TOLD]
    world.management.pause("p0", actor="me")
    assert flow_view(world.management.view("p0"))["waitingFor"] is None


def test_a_flow_goes_on_when_its_window_opens(make_world: Callable[..., World]) -> None:
    """Also when it opens because the operator changed it, as soon as somebody asks."""
    world = gated(make_world)
    start(world, "p1")
    until(lambda: world.management.view("p1").progress)
    gate(world, LocationLimits())
    world.schedule.hold(world.flow("p1").id, 0.0, "the minute is over")
    until(lambda: world.flow("p1").state is State.COMPLETED)
    assert world.management.view("p1").progress == replace(
        world.management.view("p1").progress or Progress(), waiting=None
    )


def test_the_bound_of_the_plane_holds_too(make_world: Callable[..., World]) -> None:
    """A window of the whole plane keeps every flow waiting, whatever its locations."""
    shut = Schedule(windows=SHUT.bandwidth_windows)
    world = make_world(policy=replace(QUICK, bandwidth=shut))
    world.write("out/data")
    start(world, "p1")
    until(lambda: [event for event in world.events() if event.kind == "waiting"])
    assert "of this plane until" in (world.management.view("p1").progress or Progress()).waiting  # type: ignore[operator]


def test_a_flow_whose_window_shuts_while_it_runs_is_queued_again(make_world: Callable[..., World]) -> None:
    """It gives its place back, is not failed, and keeps what it moved."""
    world = gated(make_world)
    gate(world, LocationLimits(bandwidth_bytes_per_s=100_000))
    world.write("out/data", bytes(10_000_000))
    start(world, "p1")
    until(lambda: (world.management.view("p1").progress or Progress()).bytes_transferred)
    gate(world, SHUT)
    until(lambda: world.flow("p1").run is Run.QUEUED and world.management.view("p1").progress)
    until(lambda: [event for event in world.events() if event.kind == "waiting"])
    assert (world.flow("p1").state, world.flow("p1").error) == (State.STARTED, None)
    until(lambda: not world.embedded.running())
    gate(world, LocationLimits(bandwidth_bytes_per_s=100_000))
    world.schedule.hold(world.flow("p1").id, 0.0, TOLD)
    until(lambda: world.flow("p1").run is Run.RUNNING)
    gate(world, SHUT)
    until(lambda: [event.reason for event in world.events() if event.kind == "waiting"] == [TOLD, TOLD])


def test_two_flows_share_their_locations_bound(make_world: Callable[..., World]) -> None:
    """Together they move no more than it lets through; each its half."""
    world = gated(make_world)
    gate(world, LocationLimits(bandwidth_bytes_per_s=400_000))
    world.write("out/data", bytes(300_000))
    began = world.clock.monotonic()
    for process in ("p1", "p2"):
        start(world, process)
    until(lambda: all(world.flow(process).state is State.COMPLETED for process in ("p1", "p2")))
    assert 600_000 / (world.clock.monotonic() - began) <= 400_000
    moved = [world.management.view(process).progress for process in ("p1", "p2")]
    assert [progress and progress.bytes_transferred for progress in moved] == [300_000, 300_000]
