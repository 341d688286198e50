"""What is not for a participant is, for its flows, as if it were not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.flows.world import PULL, PUSH, World

from dataferry.domain.errors import AddressError, ConfigError, InputError, NotFoundError
from dataferry.domain.location import ControlPlane, Dataset, LandingZone, Location
from dataferry.domain.purview import Purview
from dataferry.flows.catalogue_view import CatalogueView
from dataferry.flows.messages import Caller

B = Caller(control_plane_id="cp-b", participant_context_id="b")


@pytest.fixture
def shared(make_world: Callable[..., World]) -> World:
    """A plane for two participants: ``a``, who has control plane ``cp``, and ``b``, who has ``cp-b``."""
    world = make_world(
        working=False,
        plane=ControlPlane(id="cp", endpoint="http://a.example", participant_context_id="a"),
        datasets=(
            Dataset(match="of-a", source="here:data", participants=("a",)),
            Dataset(match="of-b", source="here:data", participants=("b",)),
            Dataset(match="da*", source="here:data"),
            Dataset(match="data", source="there:data"),
        ),
        zones=(
            LandingZone(name="a", sink="here:a/{processId}/", participants=("a",)),
            LandingZone(name="b", sink="here:b/{processId}/", participants=("b",)),
        ),
    )
    world.caller = Caller(control_plane_id="cp", participant_context_id="a")
    world.write("data")
    world.catalogue.locations.put(
        Location(name="there", mechanism="share", settings={"root": str(world.ours)}, participants=("a",))
    )
    plane = ControlPlane(id="cp-b", endpoint="http://b.example", participant_context_id="b")
    world.catalogue.control_planes.put(plane)
    return world


def test_a_dataset_of_another_participant_does_not_exist(shared: World) -> None:
    """The refusal is word by word that of a dataset which is not there."""
    shared.signaling.start(shared.caller, shared.message("p1", PULL, dataset_id="of-a"))
    shared.signaling.start(B, shared.message("p2", PULL, dataset_id="of-b"))
    for caller, dataset_id in ((shared.caller, "of-b"), (B, "of-a"), (B, "absent")):
        with pytest.raises(NotFoundError) as refused:
            shared.signaling.start(caller, shared.message("p3", PULL, dataset_id=dataset_id))
        assert str(refused.value) == f"no dataset matches {dataset_id!r}"
    assert shared.rows() == 2


def test_a_dataset_in_anothers_location_does_not_exist(shared: World) -> None:
    """It is for all, and names a location that is not: for the other the next dataset serves."""
    shared.signaling.start(shared.caller, shared.message("p1", PULL))
    shared.signaling.start(B, shared.message("p2", PULL))
    assert (shared.flow("p1").source_ref, shared.flow("p2").source_ref) == ("there:data", "here:data")


def test_a_landing_zone_is_its_participants(shared: World) -> None:
    """Each receives in its own, also under the same process id."""
    for caller in (shared.caller, B):
        shared.signaling.prepare(caller, shared.message("same", PUSH))
    with shared.store.snapshot() as tx:
        sinks = {flow.participant_context_id: flow.sink_ref for flow in tx.flows.list()[0]}
    assert sinks == {"a": "here:a/same/", "b": "here:b/same/"}


def test_a_location_that_is_taken_away_ends_the_flow(shared: World) -> None:
    """A flow that was accepted finds its place no more, once the place is for another participant."""
    shared.signaling.start(shared.caller, shared.message("p1", PULL))
    shared.catalogue.locations.put(replace(shared.catalogue.locations.get("there"), participants=("b",)))
    with pytest.raises(NotFoundError, match="no location 'there'"):
        shared.resolver.ends(shared.flow("p1"))


@pytest.mark.parametrize(
    "sink",
    [
        "here:in/{processId}/",
        "here:in/{datasetId}/",
        "here:in/{participantContextId}-{processId}/",
        "here:{controlPlaneId}{datasetId}",
    ],
)
def test_a_zone_that_mixes_participants_is_refused(shared: World, sink: str) -> None:
    """A process is called what its control plane likes: two would write to one place."""
    with pytest.raises(InputError, match=r"for several participants: put \{participantContextId\}"):
        shared.catalogue.landing_zones.put(LandingZone(name="both", sink=sink))
    # One that was there before the second participant came serves neither.
    shared.catalogue.landing_zones._configured["both"] = LandingZone(
        name="both", sink=sink, datasets=("data",)
    )
    with pytest.raises(ConfigError, match="for several participants"):
        shared.signaling.prepare(B, shared.message("p1", PUSH))
    assert shared.rows() == 0


@pytest.mark.parametrize("apart", ["participantContextId", "controlPlaneId"])
def test_a_shared_zone_keeps_them_apart(shared: World, apart: str) -> None:
    """With one of two placeholders the same process id leads to two places."""
    zone = LandingZone(name="both", sink=f"here:in/{{{apart}}}/{{processId}}/", datasets=("data",))
    shared.catalogue.landing_zones.put(zone)
    for caller in (shared.caller, B):
        shared.signaling.prepare(caller, shared.message("same", PUSH))
    with shared.store.snapshot() as tx:
        sinks = {flow.sink_ref for flow in tx.flows.list()[0]}
    names = {"participantContextId": ("a", "b"), "controlPlaneId": ("cp", "cp-b")}[apart]
    assert sinks == {f"here:in/{name}/same/" for name in names}


def test_metadata_uses_no_location_of_another_participant(shared: World) -> None:
    """A control plane is not given one, and loses one that was given to another participant since."""
    plane = ControlPlane(
        id="cp-b", endpoint="http://b.example", participant_context_id="b", may_name_locations=True
    )
    with pytest.raises(InputError, match="metadata_location: there is no location 'there'"):
        shared.catalogue.control_planes.put(replace(plane, metadata_location="there"))
    shared.catalogue.control_planes.put(replace(plane, metadata_location="here"))
    named = {"sourcePath": "data"}
    taken = shared.message("p1", PULL, dataset_id="absent", metadata=named)
    shared.signaling.start(B, taken)
    shared.catalogue.locations._configured["here"] = replace(
        shared.catalogue.locations.get("here"), participants=("a",)
    )
    with pytest.raises(AddressError, match="no location serves"):
        shared.signaling.start(B, replace(taken, process_id="p2"))


@pytest.mark.parametrize(
    "purview", [Purview.of(["a"]), Purview.of((), ["cp"]), Purview.of(["a"], ["cp"])], ids=str
)
def test_somebody_bound_sees_what_serves_them(shared: World, purview: Purview) -> None:
    """Datasets, zones and control planes of theirs, without whom else they are for; no location."""
    shared.catalogue.datasets._configured["both"] = Dataset(
        match="both", source="here:x", participants=("a", "b"), control_planes=("cp", "cp-b")
    )
    seen = CatalogueView(shared.catalogue, purview)
    assert [entry.value.match for entry in seen.datasets()] == ["both", "da*", "data", "of-a"]
    assert [entry.value.name for entry in seen.landing_zones()] == ["a"]
    assert [entry.value.id for entry in seen.control_planes()] == ["cp"]
    assert seen.locations() == []
    both = seen.datasets()[0].value
    assert (both.participants, both.control_planes) == (("a",), ("cp",))
    other = CatalogueView(shared.catalogue, Purview.of(["b"]))
    assert [entry.value.match for entry in other.datasets()] == ["both", "da*", "of-b"]
    assert CatalogueView(shared.catalogue, Purview.of(["a"], ["cp-b"])).datasets() == []
