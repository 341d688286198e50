"""From names to places: patterns, placeholders, metadata; and what must not lead anywhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.flows.world import PULL, World, until

from dataferry.domain.dataflow import Run, State
from dataferry.domain.errors import AddressError, InputError, UnsupportedError
from dataferry.domain.location import ControlPlane, Dataset, LandingZone, Location
from dataferry.flows.catalogue import Catalogue, Configured
from dataferry.flows.resolution import dataset_source, filled, safe_segment
from dataferry.flows.retries import Destinations, overlap

NAMING = ControlPlane(
    id="cp", endpoint="http://control.example", may_name_locations=True, metadata_location="here"
)


@pytest.mark.parametrize(
    "dataset_id",
    [
        "../x",
        "a/../b",
        "/etc",
        "a//b",
        ".",
        "..",
        "",
        "a\\..\\b",
        "%2e%2e/x",
        "a\nb",
        "a\0b",
        "a?versionId=b",
    ],
)
def test_a_dataset_id_does_not_lead_out(dataset_id: str) -> None:
    """Ids that climb, name another version by a query, or have characters of no name are refused."""
    with pytest.raises(AddressError, match="can't be part of a path"):
        dataset_source("here:base/{datasetId}", dataset_id)


def test_a_dataset_id_fills_the_path() -> None:
    """Also with levels of its own; a source without placeholder takes any id."""
    assert dataset_source("here:base/{datasetId}", "a/b:c.csv") == "here:base/a/b:c.csv"
    assert dataset_source("here:base", "../x") == "here:base"


@given(st.text(min_size=1, max_size=60))
def test_a_value_becomes_one_segment(value: str) -> None:
    """Whatever a message says is one name: no separator, no climbing, no control character."""
    try:
        segment = safe_segment(value)
    except AddressError:
        return
    assert segment not in {"", ".", ".."}
    assert not set(segment) & set("/\\\0\n%") - {"%"}
    assert segment.isprintable()


@given(st.lists(st.text(alphabet="./%2Ea", min_size=1, max_size=6), unique=True, max_size=30))
def test_different_values_stay_different(values: list[str]) -> None:
    """Two processes never share a landing place by escaping."""
    assert len(values) == len({safe_segment(value) for value in values})


def test_placeholders_are_filled_or_refused() -> None:
    """All known ones, each as one segment; an unknown one is said."""
    values = {"datasetId": "a/b", "processId": "..", "agreementId": "x", "counterPartyId": "did:web:y"}
    template = "here:{datasetId}/{processId}/{agreementId}/{counterPartyId}"
    assert filled(template, values) == "here:a%2Fb/%2E%2E/x/did:web:y"
    with pytest.raises(InputError, match="nonsense"):
        filled("here:{nonsense}", values)


def test_metadata_counts_only_where_it_is_allowed(make_world: Callable[..., World]) -> None:
    """The same message reads another place, or the dataset's, as the registration says."""
    allowed, plain = make_world(plane=NAMING, working=False), make_world(working=False)
    for world in (allowed, plain):
        world.write("out/data")
        world.write("elsewhere/x")
    metadata = {"sourcePath": "elsewhere/x"}
    for world, path in ((allowed, "elsewhere/x"), (plain, "out/data")):
        answer = world.signaling.start(world.caller, world.message(profile=PULL, metadata=metadata))
        assert answer.data_address is not None
        assert path == answer.data_address.get("path")


def test_metadata_may_name_both_ends_of_a_push(make_world: Callable[..., World]) -> None:
    """Without a dataAddress the destination of the metadata is where the bytes go."""
    world = make_world(plane=NAMING)
    world.write("elsewhere/x", b"named")
    metadata = {"sourcePath": "elsewhere/x", "destinationPath": "copied/"}
    answer = world.signaling.start(world.caller, world.message(metadata=metadata))
    assert State.STARTED is answer.flow.state
    until(lambda: world.flow().run is Run.DONE)
    assert (world.ours / "copied/x").read_bytes() == b"named"


def test_an_address_of_another_mechanism_can_not_be_given(make_world: Callable[..., World]) -> None:
    """A profile's addresses are of its mechanism: a place in another location is refused with advice."""
    world = make_world(
        working=False,
        datasets=(Dataset(match="*", source="files:data"),),
        zones=(LandingZone(name="z", sink="files:in/"),),
    )
    from dataferry.mechanisms.file import MECHANISM

    world.registry._entries["file"] = world.registry._entries["share"]
    world.registry._loaded["file"] = MECHANISM
    location = Location(name="files", mechanism="file", settings={"root": str(world.ours)})
    configured = Configured(
        locations=(location,),
        datasets=world.configured.datasets,
        landing_zones=world.configured.landing_zones,
        control_planes=world.configured.control_planes,
    )
    world.catalogue.__dict__.update(Catalogue(world.store, world.registry, configured).__dict__)
    with pytest.raises(UnsupportedError, match="use a location of type share"):
        world.signaling.start(world.caller, world.message(profile=PULL))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("s3://e/b/x", "s3://e/b/x", True),
        ("s3://e/b/x/", "s3://e/b/x/y", True),
        ("s3://e/b", "s3://e/b/x", True),
        ("s3://e/b/x", "s3://e/b/xy", False),
        ("s3://e/b", "s3://e/b2", False),
    ],
)
def test_destinations_overlap_by_whole_names(one: str, other: str, expected: bool) -> None:
    """Equal, or one within the other; a common beginning of a name is no overlap."""
    assert expected is overlap(one, other) is overlap(other, one)


def test_a_destination_is_given_back() -> None:
    """Who waits learns for whom, once; after the release it is free."""
    from uuid import uuid4

    destinations, first, second = Destinations(), uuid4(), uuid4()
    assert destinations.take(first, "s3://b/x") is None
    assert first == destinations.take(second, "s3://b")
    assert destinations.is_news(second, first)
    assert not destinations.is_news(second, first)
    destinations.release(first)
    assert destinations.take(second, "s3://b") is None
