"""What a data plane does by itself: bytes, callbacks, retries, failures; with the real store and engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from threading import Event

import pytest
from tests.unit.flows.world import PULL, QUICK, World, until

from dataferry.domain.dataflow import Run, State
from dataferry.domain.errors import (
    AccessDeniedError,
    ConflictError,
    ConnectionFailedError,
    DataFerryError,
    ExhaustedError,
    RetryClass,
    SourceChangedError,
    TimedOutError,
)
from dataferry.domain.location import ControlPlane, Dataset, LandingZone, OnFailure
from dataferry.domain.objects import Verification
from dataferry.engine.transfer import EngineLimits, Result
from dataferry.flows.attempts import objects_error
from dataferry.flows.messages import Caller
from dataferry.flows.policy import FlowPolicy
from dataferry.flows.writing import by_id, change, terminated

# Slow enough to be stopped in the middle, quick enough for a test.
SLOW = replace(
    QUICK, limits=EngineLimits(bandwidth_bytes_per_s=4_000_000, workers=2, part_size_bytes=1 << 20)
)
BIG = b"0123456789abcdef" * (1 << 20)


def slow(policy: FlowPolicy = SLOW) -> FlowPolicy:
    """A policy under which 16 MiB take four seconds."""
    return replace(policy, limits=replace(policy.limits, multipart_threshold_bytes=1 << 20))


def test_a_push_moves_the_bytes_and_tells_when_it_is_done(world: World) -> None:
    """Start of a push: the files are at the other side, COMPLETED, one ``completed``, no address in it."""
    for number in range(5):
        world.write(f"out/data/{number}.txt", b"x" * number)
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: world.notebook.kinds("p1"))
    assert (world.flow().state, world.flow().run) == (State.COMPLETED, Run.DONE)
    assert world.notebook.kinds("p1") == ["completed"]
    assert world.notebook.callbacks[0].data_address is None
    assert world.notebook.callbacks[0].state is State.COMPLETED
    got = {path.name: path.read_bytes() for path in (world.theirs / "got").iterdir()}
    assert {f"{number}.txt": b"x" * number for number in range(5)} == got
    progress = world.management.view("p1").progress
    assert progress is not None
    assert (progress.objects_done, progress.bytes_transferred) == (5, 10)


def test_a_pull_fetches_what_the_notification_names(world: World) -> None:
    """Prepare and started of a pull: the file lands in the landing zone, COMPLETED, ``completed``."""
    (world.theirs / "offer.bin").write_bytes(b"offer")
    world.signaling.prepare(world.caller, world.message(profile=PULL))
    world.signaling.started(world.caller, "p1", world.their_address("offer.bin"))
    until(lambda: world.notebook.kinds("p1"))
    assert (world.ours / "in/p1/offer.bin").read_bytes() == b"offer"


def test_a_fallback_source_is_fetched_without_address(make_world: Callable[..., World]) -> None:
    """A landing zone's own source serves control planes that convey no address."""
    world = make_world(zones=(LandingZone(name="z", sink="here:in/", source="here:out/{datasetId}"),))
    world.write("out/data", b"own")
    world.signaling.prepare(world.caller, world.message(profile=PULL))
    world.signaling.started(world.caller, "p1", None)
    until(lambda: world.notebook.kinds("p1"))
    assert (world.ours / "in/data").read_bytes() == b"own"


def test_a_landing_zone_may_want_a_manifest(make_world: Callable[..., World]) -> None:
    """It is there when ``completed`` is told, and lists what has arrived."""
    zone = LandingZone(name="z", sink="here:in/{processId}/", source="here:out/{datasetId}/", manifest=True)
    world = make_world(zones=(zone,))
    world.write("out/data/a.csv", b"a")
    world.signaling.prepare(world.caller, world.message(profile=PULL))
    world.signaling.started(world.caller, "p1", None)
    until(lambda: world.notebook.kinds("p1"))
    objects, last = map(json.loads, (world.ours / "in/p1/objects.jsonl").read_text().splitlines())
    assert (objects["name"], objects["key"]) == ("a.csv", "in/p1/a.csv")
    assert (last["summary"]["objects"], last["summary"]["failed"]) == (1, 0)


def test_asynchronous_prepare_tells_prepared_with_the_address(make_world: Callable[..., World]) -> None:
    """PREPARING, then PREPARED with the ``prepared`` callback that carries the address."""
    world = make_world(zones=(LandingZone(name="z", sink="here:in/", prepare_wait_s=0),))
    world.share.gate = Event()
    assert world.signaling.prepare(world.caller, world.message()).later
    assert world.signaling.status(world.caller, "p1").later
    world.share.gate.set()
    (callback,) = until(lambda: world.notebook.callbacks)
    assert (callback.kind, callback.state) == ("prepared", State.PREPARED)
    assert callback.data_address == world.flow().outgoing_address
    assert callback.data_address is not None
    assert (world.flow().state, world.flow().run) == (State.PREPARED, Run.IDLE)


def test_asynchronous_start_tells_started_and_then_completed(make_world: Callable[..., World]) -> None:
    """STARTING, then ``started`` and ``completed``, in that order."""
    world = make_world(datasets=(Dataset(match="*", source="here:out/x", prepare_wait_s=0),))
    world.write("out/x")
    assert world.signaling.start(world.caller, world.message(data_address=world.their_address("got/"))).later
    until(lambda: len(world.notebook.kinds("p1")) == 2)
    assert world.notebook.kinds("p1") == ["started", "completed"]


def test_a_passing_fault_is_retried(world: World) -> None:
    """A store that refuses connections for a while costs time, not the flow."""
    world.write("out/data")
    world.share.fault = ConnectionFailedError("refused")
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: "retry" in {event.kind for event in world.events()})
    world.share.fault = None
    until(lambda: world.flow().state is State.COMPLETED)
    assert world.flow().error is None


def test_a_fault_that_stays_is_reported_and_can_be_retried(world: World) -> None:
    """After the last try: run = failed, ``errored``, state untouched; a retry goes on when it is mended."""
    world.write("out/data")
    world.share.fault = ConnectionFailedError("refused")
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: world.notebook.kinds("p1") == ["errored"])
    flow = world.flow()
    assert (flow.state, flow.run, flow.error_kind) == (State.STARTED, Run.FAILED, "connection_failed")
    world.share.fault = None
    world.management.retry("p1")
    until(lambda: world.notebook.kinds("p1") == ["errored", "completed"])


def test_resume_of_a_failed_run_tries_again(world: World) -> None:
    """A control plane's resume of a STARTED flow whose run failed starts it anew."""
    world.write("out/data")
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: world.flow().state is State.COMPLETED)
    world.share.fault = ConnectionFailedError("refused")
    world.signaling.start(world.caller, world.message("p2", data_address=world.their_address("got2/")))
    until(lambda: world.flow("p2").run is Run.FAILED)
    world.share.fault = None
    world.signaling.resume(world.caller, "p2")
    until(lambda: world.flow("p2").state is State.COMPLETED)


@pytest.mark.parametrize(
    ("on_failure", "state", "terminated"),
    [
        (OnFailure.HOLD, State.STARTED, []),
        (OnFailure.TERMINATE, State.TERMINATED, []),
        (OnFailure.TERMINATE_VIA_MANAGEMENT_API, State.STARTED, ["p1"]),
    ],
)
def test_what_follows_a_failure_is_the_control_planes_choice(
    make_world: Callable[..., World], on_failure: OnFailure, state: State, terminated: list[str]
) -> None:
    """``errored`` in any case; then the flow is held, terminated here, or terminated at the control plane."""
    plane = ControlPlane(id="cp", endpoint="http://control.example", on_failure=on_failure)
    world = make_world(plane=plane)
    world.write("out/data")
    world.signaling.prepare(world.caller, world.message(profile=PULL))
    world.share.fault = AccessDeniedError("no")
    world.signaling.started(world.caller, "p1", world.their_address("x"))
    until(lambda: world.notebook.kinds("p1") == ["errored"])
    assert (state, Run.FAILED) == (world.flow().state, world.flow().run)
    until(lambda: [process for process, _ in world.notebook.terminated] == terminated)


def test_objects_that_fail_are_counted_and_the_first_is_named(world: World) -> None:
    """One of two objects can't be written: the run failed, the other is there, the error says so."""
    world.write("out/data/a", b"a")
    world.write("out/data/b", b"b")
    (world.theirs / "got/b").mkdir(parents=True)
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: world.notebook.kinds("p1") == ["errored"])
    error = world.flow().error or ""
    assert "1 of 2 objects failed" in error
    assert (world.theirs / "got/a").read_bytes() == b"a"


@pytest.mark.parametrize(
    ("kind", "retry"),
    [
        (ExhaustedError, RetryClass.EXHAUSTED),
        (TimedOutError, RetryClass.EXHAUSTED),
        (SourceChangedError, RetryClass.PERMANENT),
    ],
)
@pytest.mark.parametrize("of_sink", [True, False])
def test_only_passing_faults_of_objects_are_worth_another_attempt(
    kind: type[DataFerryError], retry: RetryClass, *, of_sink: bool
) -> None:
    """Objects that failed because the store was busy are tried again; a source that changed is not."""
    first = kind("why")
    first.of_sink = of_sink
    result = Result(
        objects=1,
        bytes=1,
        objects_failed=2,
        objects_skipped=0,
        bytes_moved=0,
        bytes_resumed=0,
        bytes_retransferred=0,
        seconds=1.0,
        strategy="streaming",
        verification=Verification.NONE,
        first_error=first,
    )
    error = objects_error(result)
    assert (error.kind, error.retry, error.of_sink) == (kind.kind, retry, of_sink)
    assert str(error) == "2 of 3 objects failed; the first: why"


def test_suspend_stops_the_bytes_and_resume_goes_on(make_world: Callable[..., World]) -> None:
    """After suspend nothing runs; resume ends the copy without beginning again."""
    world = make_world(policy=slow())
    world.write("out/data", BIG)
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: (p := world.management.view("p1").progress) and p.bytes_transferred > 2_000_000)
    world.signaling.suspend(world.caller, "p1")
    assert not world.embedded.running()
    assert (world.flow().state, world.flow().run) == (State.SUSPENDED, Run.IDLE)
    assert not (world.theirs / "got/data").exists()
    world.signaling.resume(world.caller, "p1", world.their_address("got/"))
    until(lambda: world.flow().state is State.COMPLETED)
    assert (world.theirs / "got/data").read_bytes() == BIG
    progress = world.management.view("p1").progress
    assert progress is not None
    assert progress.bytes_resumed >= 1 << 20


def test_terminate_in_the_middle_leaves_nothing(make_world: Callable[..., World]) -> None:
    """No thread, no callback, no partial file: the clean-up is done by the sweep."""
    world = make_world(policy=slow())
    world.write("out/data", BIG)
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: (p := world.management.view("p1").progress) and p.bytes_transferred > 2_000_000)
    begun = [path for path in world.theirs.rglob("*") if path.is_file()]
    assert begun
    world.signaling.terminate(world.caller, "p1")
    until(lambda: not world.embedded.running())
    until(lambda: not [path for path in begun if path.exists()])
    assert world.flow().state is State.TERMINATED
    assert world.notebook.kinds("p1") == []


def test_terminate_of_a_suspended_flow_leaves_nothing(make_world: Callable[..., World]) -> None:
    """What was begun before the suspension is cleaned up, though no attempt is running any more."""
    world = make_world(policy=slow())
    world.write("out/data", BIG)
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: (p := world.management.view("p1").progress) and p.bytes_transferred > 2_000_000)
    world.signaling.suspend(world.caller, "p1")
    begun = [path for path in world.theirs.rglob("*") if path.is_file()]
    assert begun
    world.signaling.terminate(world.caller, "p1")
    until(lambda: not [path for path in begun if path.exists()])


def test_a_terminate_that_a_kill_cut_short_leaves_nothing(make_world: Callable[..., World]) -> None:
    """Killed between the row that says terminated and the hand-over of its uploads: the sweep does it."""
    world = make_world(policy=slow())
    world.write("out/data", BIG)
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: (p := world.management.view("p1").progress) and p.bytes_transferred > 2_000_000)
    world.signaling.suspend(world.caller, "p1")
    begun = [path for path in world.theirs.rglob("*") if path.is_file()]
    assert begun
    change(world.store, by_id(world.flow().id), lambda _, row: terminated(row, None))
    until(lambda: not [path for path in begun if path.exists()])
    until(lambda: not world.store.ledger.cleanups())


def test_an_operators_terminate_is_reported(make_world: Callable[..., World]) -> None:
    """The operator's terminate is TERMINATED and ``errored`` with the reason."""
    world = make_world(policy=slow())
    world.write("out/data", BIG)
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    world.management.terminate("p1", "maintenance")
    (callback,) = until(lambda: world.notebook.callbacks)
    assert (callback.kind, callback.error, callback.state) == ("errored", "maintenance", State.TERMINATED)


def test_pause_holds_and_unpause_goes_on(make_world: Callable[..., World]) -> None:
    """An operator's pause stops the bytes and leaves the DPS state; what is over can't be paused."""
    world = make_world(policy=slow())
    world.write("out/data", BIG)
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: world.flow().run is Run.RUNNING)
    world.management.pause("p1")
    assert not world.embedded.running()
    assert (world.flow().state, world.flow().run) == (State.STARTED, Run.HELD)
    world.management.unpause("p1")
    until(lambda: world.flow().state is State.COMPLETED)
    with pytest.raises(ConflictError, match="is over"):
        world.management.pause("p1")


def test_one_flow_at_a_time_writes_to_a_destination(make_world: Callable[..., World]) -> None:
    """A second flow to the same place waits for the first, says so once, and then runs."""
    world = make_world(policy=slow())
    world.write("out/one", BIG)
    world.write("out/two", b"two")
    address = world.their_address("got/")
    world.signaling.start(world.caller, world.message("p1", dataset_id="one", data_address=address))
    until(lambda: world.flow("p1").run is Run.RUNNING)
    inside = world.their_address("got/deeper/")
    world.signaling.start(world.caller, world.message("p2", dataset_id="two", data_address=inside))
    until(lambda: [event for event in world.events("p2") if event.kind == "waiting"])
    assert Run.QUEUED is world.flow("p2").run
    until(lambda: world.flow("p2").state is State.COMPLETED)
    assert world.flow("p1").state is State.COMPLETED
    assert len([event for event in world.events("p2") if event.kind == "waiting"]) == 1


def test_who_waits_is_not_told_of_anothers_flow(make_world: Callable[..., World]) -> None:
    """That somebody writes to the same place, and not what another control plane calls its flow."""
    world = make_world(policy=slow())
    world.catalogue.control_planes.put(ControlPlane(id="other", endpoint="http://other.example"))
    world.write("out/one", BIG)
    address = world.their_address("got/")
    world.signaling.start(world.caller, world.message("named-p1", dataset_id="one", data_address=address))
    until(lambda: world.flow("named-p1").run is Run.RUNNING)
    other = Caller(control_plane_id="other")
    world.signaling.start(other, world.message("p2", dataset_id="one", data_address=address))
    until(lambda: [event for event in world.events("p2") if event.kind == "waiting"])
    world.signaling.terminate(world.caller, "named-p1")
    assert [event.reason for event in world.events("p2") if event.kind == "waiting"] == [
        "another flow is writing to the same destination"
    ]


def test_closing_in_the_middle_puts_the_flow_back(make_world: Callable[..., World]) -> None:
    """A process that ends leaves the flow queued: the next one goes on with it."""
    world = make_world(policy=slow())
    world.write("out/data", BIG)
    world.signaling.start(world.caller, world.message(data_address=world.their_address("got/")))
    until(lambda: world.flow().run is Run.RUNNING)
    assert world.embedded.close()
    assert (world.flow().state, world.flow().run) == (State.STARTED, Run.QUEUED)


def test_a_running_row_without_a_process_is_queued_at_start(still: World) -> None:
    """After a crash the row says running; the sweep's start queues it, with an event."""
    still.write("out/data")
    still.signaling.start(still.caller, still.message(data_address=still.their_address("got/")))
    with still.store.transaction() as tx:
        assert tx.flows.claim(still.flow().id) is not None
    still.sweep.start()
    until(lambda: still.flow().run is Run.QUEUED)
    assert "requeued" in {event.kind for event in still.events()}
    until(lambda: len(still.idle.submitted) > 1)


def test_a_row_that_nobody_runs_is_found(still: World) -> None:
    """An attempt that could not write its outcome does not strand the flow: two sweeps later it is queued."""
    still.write("out/data")
    still.signaling.start(still.caller, still.message(data_address=still.their_address("got/")))
    with still.store.transaction() as tx:
        assert tx.flows.claim(still.flow().id) is not None
    assert still.sweep.tick() == 0
    assert Run.RUNNING is still.flow().run
    assert still.sweep.tick() == 1
    assert Run.QUEUED is still.flow().run


def test_a_busy_destination_does_not_hold_up_an_asynchronous_start(make_world: Callable[..., World]) -> None:
    """STARTING becomes STARTED though another flow writes there; only the bytes wait."""
    datasets = (
        Dataset(match="one", source="here:out/one"),
        Dataset(match="two", source="here:out/two", prepare_wait_s=0),
    )
    world = make_world(policy=slow(), datasets=datasets)
    world.write("out/one", BIG)
    world.write("out/two")
    address = world.their_address("got/")
    world.signaling.start(world.caller, world.message("p1", dataset_id="one", data_address=address))
    until(lambda: world.flow("p1").run is Run.RUNNING)
    world.signaling.start(world.caller, world.message("p2", dataset_id="two", data_address=address))
    until(lambda: world.notebook.kinds("p2") == ["started"])
    assert Run.RUNNING is world.flow("p1").run
    until(lambda: world.flow("p2").state is State.COMPLETED)
