"""What is not for a control plane is, for it, as if it were not there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.flows.world import PULL, PUSH, World

from dataferry.domain.errors import NotFoundError
from dataferry.domain.location import ControlPlane, Dataset, LandingZone
from dataferry.flows.messages import Caller

OTHER = Caller(control_plane_id="other")


@pytest.fixture
def shared(make_world: Callable[..., World]) -> World:
    """A plane with two control planes; a dataset and a landing zone are for one of them."""
    world = make_world(
        working=False,
        datasets=(
            Dataset(match="da*", source="here:general"),
            Dataset(match="data", source="here:private", control_planes=("c*",)),
            Dataset(match="secret", source="here:private", control_planes=("cp", "third")),
        ),
        zones=(LandingZone(name="z", sink="here:in/", source="here:x", control_planes=("cp",)),),
    )
    world.write("private")
    world.write("general")
    world.catalogue.control_planes.put(ControlPlane(id="other", endpoint="http://other.example"))
    return world


def test_a_dataset_for_others_does_not_exist(shared: World) -> None:
    """The refusal is word by word that of a dataset which is not there, and no flow is made."""
    shared.signaling.start(shared.caller, shared.message("p1", PULL, dataset_id="secret"))
    assert shared.flow("p1").source_ref == "here:private"
    for dataset_id in ("secret", "absent"):
        with pytest.raises(NotFoundError) as refused:
            shared.signaling.start(OTHER, shared.message("p2", PULL, dataset_id=dataset_id))
        assert str(refused.value) == f"no dataset matches {dataset_id!r}"
    assert shared.rows() == 1


def test_what_is_for_others_hides_nothing(shared: World) -> None:
    """Where the most specific dataset is not for the caller, the next one that is for it serves."""
    shared.signaling.start(shared.caller, shared.message("p1", PULL))
    shared.signaling.start(OTHER, shared.message("p2", PULL))
    assert (shared.flow("p1").source_ref, shared.flow("p2").source_ref) == ("here:private", "here:general")


def test_a_landing_zone_for_others_does_not_exist(shared: World) -> None:
    """Neither its sink nor its source can be had by the control plane that it is not for."""
    shared.signaling.prepare(shared.caller, shared.message("p1", PUSH))
    assert shared.flow("p1").sink_ref == "here:in/"
    with pytest.raises(NotFoundError, match="no landing zone receives 'data'"):
        shared.signaling.prepare(OTHER, shared.message("p2", PUSH))
    assert shared.rows() == 1


def test_a_running_flow_keeps_its_place_and_its_own_bound(shared: World) -> None:
    """The bandwidth is that of the caller's dataset, never of one that is for others."""
    shared.catalogue.datasets._configured["data"] = Dataset(
        match="data", source="here:private", control_planes=("cp",), bandwidth_bytes_per_s=7
    )
    shared.signaling.start(shared.caller, shared.message("p1", PULL))
    shared.signaling.start(OTHER, shared.message("p2", PULL))
    bounds = [shared.resolver.ends(shared.flow(p)).bandwidth_bytes_per_s for p in ("p1", "p2")]
    assert bounds == [7, None]
