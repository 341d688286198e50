"""The control plane's verbs, one by one, and what they leave in the row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from tests.unit.flows.world import PULL, PUSH, World, until

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import Role, Run, State
from dataferry.domain.errors import (
    AccessDeniedError,
    AddressError,
    ConflictError,
    ConnectionFailedError,
    DuplicateProcessError,
    EgressDeniedError,
    InputError,
    NotFoundError,
    ProfileError,
    ServerError,
    ThrottledError,
    TransitionError,
)
from dataferry.domain.location import ControlPlane, Dataset, LandingZone, Retries
from dataferry.flows.messages import Caller
from dataferry.flows.preparation import GRANT_TRIES
from dataferry.mechanisms.base import GrantMode

REPLAY = ControlPlane(id="cp", endpoint="http://control.example", retries=Retries.REPLAY)


def test_a_push_consumer_hands_out_its_landing_zone(still: World) -> None:
    """Prepare of a push grants WRITE on the landing zone, and answers with the address."""
    answer = still.signaling.prepare(still.caller, still.message())
    assert (answer.flow.state, answer.flow.run, answer.flow.role) == (State.PREPARED, Run.IDLE, Role.CONSUMER)
    assert answer.data_address is not None
    assert answer.data_address.get("path") == "in/p1/"
    assert still.share.granted == [GrantMode.WRITE]
    assert not answer.later


def test_a_pull_consumer_has_no_address_to_give(still: World) -> None:
    """Prepare of a pull checks the landing zone and answers without an address."""
    answer = still.signaling.prepare(still.caller, still.message(profile=PULL))
    assert answer.flow.state is State.PREPARED
    assert answer.data_address is None
    assert still.share.opened == 1


def test_a_pull_provider_hands_out_its_dataset(still: World) -> None:
    """Start of a pull grants READ on the dataset's place, and answers with the address."""
    still.write("out/data")
    answer = still.signaling.start(still.caller, still.message(profile=PULL))
    assert (answer.flow.state, answer.flow.run) == (State.STARTED, Run.IDLE)
    assert answer.data_address is not None
    assert answer.data_address.get("path") == "out/data"
    assert still.share.granted == [GrantMode.READ]


def test_a_push_provider_is_queued_and_answers_without_address(still: World) -> None:
    """Start of a push takes the address, queues the flow, and gives no address back."""
    still.write("out/data")
    answer = still.signaling.start(still.caller, still.message(data_address=still.their_address()))
    assert (answer.flow.state, answer.flow.run) == (State.STARTED, Run.QUEUED)
    assert answer.data_address is None
    assert [answer.flow.id] == still.idle.submitted


def test_a_start_with_the_wrong_address_rule_is_refused(still: World) -> None:
    """An address with a pull, none with a push, a malformed one: refused, and no row is left."""
    still.write("out/data")
    address = still.their_address()
    with pytest.raises(InputError, match="must not have a dataAddress"):
        still.signaling.start(still.caller, still.message(profile=PULL, data_address=address))
    with pytest.raises(InputError, match="needs a dataAddress"):
        still.signaling.start(still.caller, still.message())
    broken = DataAddress(endpoint_type=PUSH, endpoint="share://")
    with pytest.raises(AddressError, match="root"):
        still.signaling.start(still.caller, still.message(data_address=broken))
    assert still.rows() == 0


@pytest.mark.parametrize("fault", [AccessDeniedError("no"), EgressDeniedError("not there")])
def test_what_is_wrong_for_good_leaves_nothing(still: World, fault: Exception) -> None:
    """A refusal found while the caller waits is the answer, and no row is left."""
    still.share.fault = fault  # type: ignore[assignment]
    with pytest.raises(type(fault)):
        still.signaling.start(still.caller, still.message(data_address=still.their_address()))
    with pytest.raises(type(fault)):
        still.signaling.prepare(still.caller, still.message())
    assert still.rows() == 0


def test_unknown_words_are_refused(make_world: Callable[..., World]) -> None:
    """An unknown profile, dataset, landing zone or control plane is a client's error."""
    world = make_world(
        working=False,
        datasets=(Dataset(match="known", source="here:x"),),
        zones=(LandingZone(name="z", sink="here:y", datasets=("known",)),),
    )
    with pytest.raises(ProfileError, match="no mechanism offers"):
        world.signaling.prepare(world.caller, world.message(profile="nothing"))
    with pytest.raises(NotFoundError, match="no dataset"):
        world.signaling.start(world.caller, world.message(profile=PULL))
    with pytest.raises(NotFoundError, match="no landing zone"):
        world.signaling.prepare(world.caller, world.message())
    with pytest.raises(NotFoundError, match="no control plane"):
        world.signaling.prepare(Caller(control_plane_id="other"), world.message())
    assert world.rows() == 0


def test_a_store_that_is_down_does_not_refuse_a_push(still: World) -> None:
    """Connection refused while probing: the start is accepted, and the run meets it."""
    still.share.fault = ConnectionFailedError("refused")
    answer = still.signaling.start(still.caller, still.message(data_address=still.their_address()))
    assert (answer.flow.state, answer.flow.run) == (State.STARTED, Run.QUEUED)


def test_a_landing_zone_that_is_down_prepares_later(still: World) -> None:
    """Connection refused while preparing: 202, and the attempt goes on with it."""
    still.share.fault = ConnectionFailedError("refused")
    answer = still.signaling.prepare(still.caller, still.message())
    assert (answer.flow.state, answer.flow.run, answer.later) == (State.PREPARING, Run.QUEUED, True)
    assert answer.data_address is None


def test_preparation_that_takes_long_is_answered_with_later(make_world: Callable[..., World]) -> None:
    """Prepare and start that outlast the dataset's or landing zone's wait go on asynchronously."""
    world = make_world(
        working=False,
        datasets=(Dataset(match="*", source="here:out/x", prepare_wait_s=0.05),),
        zones=(LandingZone(name="z", sink="here:in/", prepare_wait_s=0),),
    )
    world.share.gate = Event()
    started = world.signaling.start(world.caller, world.message("p1", PULL))
    assert (started.flow.state, started.flow.run, started.later) == (State.STARTING, Run.QUEUED, True)
    prepared = world.signaling.prepare(world.caller, world.message("p2"))
    assert (prepared.flow.state, prepared.flow.run, prepared.later) == (State.PREPARING, Run.QUEUED, True)


def test_started_lets_a_pull_consumer_fetch(still: World) -> None:
    """Started with an address queues the flow; a second one with the same address changes nothing."""
    still.signaling.prepare(still.caller, still.message(profile=PULL))
    first = still.signaling.started(still.caller, "p1", still.their_address("x"))
    assert (first.flow.state, first.flow.run) == (State.STARTED, Run.QUEUED)
    again = still.signaling.started(still.caller, "p1", still.their_address("x"))
    assert first.flow.version == again.flow.version


def test_started_without_address_waits_for_one(still: World) -> None:
    """Without an address the flow is STARTED and idle; the address may come with a second message."""
    still.signaling.prepare(still.caller, still.message(profile=PULL))
    answer = still.signaling.started(still.caller, "p1", None)
    assert (answer.flow.state, answer.flow.run) == (State.STARTED, Run.IDLE)
    later = still.signaling.started(still.caller, "p1", still.their_address("x"))
    assert later.flow.run is Run.QUEUED


def test_a_fallback_source_needs_no_address(make_world: Callable[..., World]) -> None:
    """A landing zone that names a source fetches from there when no address came."""
    zone = LandingZone(name="z", sink="here:in/", source="here:out/{datasetId}")
    world = make_world(working=False, zones=(zone,))
    world.signaling.prepare(world.caller, world.message(profile=PULL))
    assert world.signaling.started(world.caller, "p1", None).flow.run is Run.QUEUED


def test_started_is_for_consumers(still: World) -> None:
    """A provider refuses it; a consumer of a push takes note and moves nothing."""
    still.write("out/data")
    still.signaling.start(still.caller, still.message("p1", PULL))
    with pytest.raises(TransitionError, match="for consumers"):
        still.signaling.started(still.caller, "p1", None)
    still.signaling.prepare(still.caller, still.message("p2"))
    answer = still.signaling.started(still.caller, "p2", None)
    assert (answer.flow.state, answer.flow.run) == (State.STARTED, Run.IDLE)


def test_completed_is_for_the_side_that_moves_nothing(still: World) -> None:
    """The owner of the address takes it, in PREPARED too, and again; the mover refuses it."""
    still.write("out/data")
    still.signaling.prepare(still.caller, still.message("p1"))
    assert still.signaling.completed(still.caller, "p1").flow.state is State.COMPLETED
    assert still.signaling.completed(still.caller, "p1").flow.state is State.COMPLETED
    still.signaling.start(still.caller, still.message("p2", data_address=still.their_address()))
    with pytest.raises(ConflictError, match="not all there"):
        still.signaling.completed(still.caller, "p2")
    assert until(lambda: len(still.share.revoked)) == 1


def test_suspend_and_resume_hand_over_fresh_addresses(still: World) -> None:
    """The owner answers resume with a new grant; the mover takes the new address; both may be repeated."""
    still.write("out/data")
    owner = still.signaling.start(still.caller, still.message("p1", PULL))
    still.signaling.suspend(still.caller, "p1", "later")
    assert still.signaling.suspend(still.caller, "p1").flow.state is State.SUSPENDED
    resumed = still.signaling.resume(still.caller, "p1")
    assert resumed.data_address is not None
    assert owner.data_address is not None
    assert resumed.data_address.get("token") != owner.data_address.get("token")
    assert still.signaling.resume(still.caller, "p1").data_address == resumed.data_address

    still.signaling.start(still.caller, still.message("p2", data_address=still.their_address("a")))
    suspended = still.signaling.suspend(still.caller, "p2")
    assert (suspended.flow.state, suspended.flow.run) == (State.SUSPENDED, Run.IDLE)
    back = still.signaling.resume(still.caller, "p2", still.their_address("b"))
    assert (back.flow.state, back.flow.run) == (State.STARTED, Run.QUEUED)
    assert back.data_address is None
    assert still.flow("p2").incoming_address == still.their_address("b")


def test_suspend_takes_the_grant_back(still: World) -> None:
    """What was handed out is taken back with the suspend, once; the next address comes with the resume."""
    still.write("out/data")
    granted = still.signaling.start(still.caller, still.message("p1", PULL)).data_address
    still.signaling.suspend(still.caller, "p1")
    still.signaling.suspend(still.caller, "p1")
    fresh = still.signaling.resume(still.caller, "p1").data_address
    still.signaling.terminate(still.caller, "p1")
    assert until(lambda: len(still.share.revoked) == 2)
    assert still.share.revoked == [granted, fresh]
    assert "grant" not in {event.kind for event in still.events()}


def test_a_grant_that_can_not_be_taken_back_is_said_to_stay(still: World) -> None:
    """Each suspend and end says until when the address is good."""
    still.share.lasting = True
    still.share.ends_at = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    still.write("out/data")
    still.signaling.start(still.caller, still.message("p1", PULL))
    still.signaling.suspend(still.caller, "p1")
    told = until(lambda: [it.reason for it in still.events() if "stays" in (it.reason or "")])
    made = [it.reason for it in still.events() if it.kind == "grant" and it.reason not in told]
    assert "stays good until 2031-05-06 07:08:09 UTC" in told[0]
    assert made == ["an address was handed out that is good until 2031-05-06 07:08:09 UTC"]


def test_a_resume_without_a_suspend_grants_anew_only_what_has_ended(still: World) -> None:
    """The mover's credentials have ended: the owner's next resume brings others, repeated ones do not."""
    still.write("out/data")
    first = still.signaling.start(still.caller, still.message("p1", PULL)).data_address
    assert still.signaling.resume(still.caller, "p1").data_address == first
    still.share.ends_at = still.clock.now() - timedelta(seconds=1)
    second = still.signaling.resume(still.caller, "p1").data_address
    assert second != first
    assert still.flow("p1").outgoing_address == second
    still.share.ends_at = still.clock.now() + timedelta(hours=1)
    assert still.signaling.resume(still.caller, "p1").data_address == second
    assert still.share.purposes == [str(still.flow("p1").id)] * 2


def test_a_fresh_grant_is_asked_for_again_where_that_can_help(still: World) -> None:
    """What passes is tried again, boundedly; what does not is the answer, and the flow stays suspended."""
    still.write("out/data")
    still.signaling.start(still.caller, still.message("p1", PULL))
    still.signaling.suspend(still.caller, "p1")
    still.share.refusals = [AccessDeniedError("no")]
    with pytest.raises(AccessDeniedError):
        still.signaling.resume(still.caller, "p1")
    still.share.refusals = [ThrottledError("busy", retry_after_s=0.01) for _ in range(GRANT_TRIES)]
    with pytest.raises(ThrottledError):
        still.signaling.resume(still.caller, "p1")
    assert still.flow("p1").state is State.SUSPENDED
    still.share.refusals = [ThrottledError("busy", retry_after_s=0.01), ServerError("oh", retry_after_s=0.01)]
    assert still.signaling.resume(still.caller, "p1").data_address is not None
    assert len(still.share.granted) == 1 + 1 + GRANT_TRIES + 3


def test_an_operators_hold_outlasts_the_control_planes_verbs(still: World) -> None:
    """Pause, suspend, resume: still held; unpause: queued."""
    still.write("out/data")
    still.signaling.start(still.caller, still.message(data_address=still.their_address()))
    still.management.pause("p1")
    still.signaling.suspend(still.caller, "p1")
    assert still.signaling.resume(still.caller, "p1").flow.run is Run.HELD
    assert still.management.unpause("p1").run is Run.QUEUED


def test_terminate_takes_back_what_is_pending(still: World) -> None:
    """Terminate ends the flow from any state, voids callbacks, takes the grant back, and may be repeated."""
    still.signaling.prepare(still.caller, still.message())
    flow = still.flow()
    with still.store.transaction() as tx:
        tx.outbox.add(flow, "prepared")
    answer = still.signaling.terminate(still.caller, "p1", "enough")
    assert (answer.flow.state, answer.flow.reason) == (State.TERMINATED, "enough")
    assert still.signaling.terminate(still.caller, "p1").flow.version == answer.flow.version
    assert still.outbox_kinds() == [("prepared", "void")]
    assert until(lambda: still.share.revoked) == [flow.outgoing_address]


def test_a_strict_control_plane_may_not_repeat(still: World) -> None:
    """A second prepare or start for a process is refused, whatever it says."""
    still.signaling.prepare(still.caller, still.message())
    with pytest.raises(DuplicateProcessError, match="exists already"):
        still.signaling.prepare(still.caller, still.message())


def test_a_replaying_control_plane_gets_the_first_answer(make_world: Callable[..., World]) -> None:
    """The same content is answered alike; another content is refused."""
    world = make_world(working=False, plane=REPLAY)
    first = world.signaling.prepare(world.caller, world.message())
    again = world.signaling.prepare(world.caller, world.message())
    assert (first.flow.id, first.data_address) == (again.flow.id, again.data_address)
    with pytest.raises(DuplicateProcessError):
        world.signaling.prepare(world.caller, world.message(digest="another"))


def test_flows_of_others_are_not_there(make_world: Callable[..., World]) -> None:
    """Another control plane's id finds nothing."""
    world = make_world(working=False)
    world.signaling.prepare(world.caller, world.message())
    with pytest.raises(NotFoundError):
        world.signaling.status(Caller(control_plane_id="other"), "p1")
    assert world.signaling.status(world.caller, "p1").flow.state is State.PREPARED
