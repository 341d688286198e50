"""Who wins, who may change what, and what is never shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.flows.world import PULL, PUSH, World

from dataferry.domain.errors import ForbiddenError, InputError, NotFoundError
from dataferry.domain.location import ControlPlane, Dataset, Landing, LandingZone, Location
from dataferry.flows.catalogue import Catalogue
from dataferry.flows.entries import HIDDEN
from dataferry.flows.matching import matches
from dataferry.secrets.redaction import MASK, SecretValues


def place(still: World, name: str = "new", **settings: str) -> Location:
    return Location(name=name, mechanism="share", settings={"root": str(still.ours), **settings})


def test_secrets_are_write_only(still: World) -> None:
    """They are shown as stars, and stars sent back keep what is stored."""
    still.catalogue.locations.put(place(still, password="hunter22"))
    shown = still.catalogue.locations.shown(still.catalogue.locations.get("new"))
    assert {"name": "new", "type": "share", "root": str(still.ours), "password": HIDDEN} == shown
    still.catalogue.locations.put(place(still, password=HIDDEN))
    assert still.catalogue.locations.get("new").settings["password"] == "hunter22"
    with pytest.raises(InputError, match="there is none"):
        still.catalogue.locations.put(place(still, "other", password=HIDDEN))


def test_wrong_settings_are_refused_without_their_values(still: World) -> None:
    """The message names the setting, never what was in it."""
    wrong = Location(name="x", mechanism="share", settings={"root": 7, "password": "hunter22"})
    with pytest.raises(InputError, match="root") as caught:
        still.catalogue.locations.put(wrong)
    assert "hunter22" not in str(caught.value)
    with pytest.raises(InputError, match="passwort"):
        still.catalogue.locations.put(place(still, passwort="hunter22"))
    with pytest.raises(InputError, match="root"):
        still.catalogue.locations.put(Location(name="x", mechanism="share", settings={}))
    with pytest.raises(InputError, match="no mechanism"):
        still.catalogue.locations.put(Location(name="x", mechanism="tape", settings={}))
    with pytest.raises(InputError, match="not a name"):
        still.catalogue.locations.put(place(still, "a:b"))


def test_what_is_configured_is_read_only(still: World) -> None:
    """Nothing that stands in the configuration can be changed over the API."""
    changes: tuple[Callable[[], object], ...] = (
        lambda: still.catalogue.locations.put(place(still, "here")),
        lambda: still.catalogue.delete_location("here"),
        lambda: still.catalogue.datasets.put(Dataset(match="*", source="here:x")),
        lambda: still.catalogue.datasets.delete("*"),
        lambda: still.catalogue.landing_zones.put(LandingZone(name="in", sink="here:x")),
        lambda: still.catalogue.landing_zones.delete("in"),
        lambda: still.catalogue.control_planes.put(ControlPlane(id="cp")),
        lambda: still.catalogue.control_planes.delete("cp"),
    )
    for change in changes:
        with pytest.raises(ForbiddenError, match="configuration file"):
            change()


def test_entries_come_and_go(still: World) -> None:
    """What was put is listed and can be deleted once; a location in use can't."""
    catalogue = still.catalogue
    catalogue.locations.put(place(still))
    catalogue.datasets.put(Dataset(match="d", source="new:x"))
    catalogue.landing_zones.put(LandingZone(name="z", sink="new:y"))
    assert [(e.value.match, e.configured) for e in catalogue.datasets.all()] == [("*", True), ("d", False)]
    assert [e.value.name for e in catalogue.landing_zones.all()] == ["in", "z"]
    assert [e.value.name for e in catalogue.locations.all()] == ["here", "new"]
    with pytest.raises(InputError, match="used by d, z"):
        catalogue.delete_location("new")
    catalogue.datasets.delete("d")
    catalogue.landing_zones.delete("z")
    catalogue.delete_location("new")
    missing: tuple[Callable[[], object], ...] = (
        lambda: catalogue.datasets.delete("d"),
        lambda: catalogue.landing_zones.delete("z"),
        lambda: catalogue.delete_location("new"),
        lambda: catalogue.locations.get("new"),
        lambda: catalogue.control_planes.delete("x"),
    )
    for call in missing:
        with pytest.raises(NotFoundError):
            call()
    with pytest.raises(InputError, match="no location 'gone'"):
        catalogue.datasets.put(Dataset(match="d", source="gone:x"))


def test_the_most_specific_dataset_wins(still: World) -> None:
    """An exact id before a pattern, a longer pattern before a shorter one."""
    for match in ("plant-*", "plant-a-*", "plant-a-1"):
        still.catalogue.datasets.put(Dataset(match=match, source="here:x"))
    chosen = {
        given: still.catalogue.datasets.serving(given, still.caller).match
        for given in ("plant-a-1", "plant-a-2", "plant-b", "q")
    }
    assert chosen == {"plant-a-1": "plant-a-1", "plant-a-2": "plant-a-*", "plant-b": "plant-*", "q": "*"}


def test_the_most_demanding_landing_zone_wins(still: World) -> None:
    """All that a zone asks for must match: profile (aliases too), labels, dataset."""
    for zone in (
        LandingZone(name="pull", sink="here:x", profiles=("Share-PULL",)),
        LandingZone(name="gold", sink="here:x", labels=("gold",)),
        LandingZone(name="exact", sink="here:x", datasets=("d",)),
        LandingZone(name="never", sink="here:x", datasets=("d",), labels=("silver",)),
    ):
        still.catalogue.landing_zones.put(zone)

    def chosen(dataset_id: str, profile: str, *labels: str) -> str:
        _, found = still.registry.by_profile(profile)
        return still.catalogue.landing_zones.receiving(
            still.caller,
            direction=found.direction,
            profile_names=found.names,
            labels=labels,
            dataset_id=dataset_id,
        ).name

    assert chosen("q", PUSH) == "in"
    assert chosen("q", PULL) == "pull"
    assert chosen("q", PULL, "gold", "blue") == "gold"
    assert chosen("d", PULL, "gold") == "exact"


def test_a_zone_that_copies_nothing_is_for_pulls(still: World) -> None:
    """What is pushed goes to the zone that has a place, however much the other one matches."""
    still.catalogue.landing_zones.put(LandingZone(name="keep", mode=Landing.NONE, datasets=("d",)))

    def chosen(profile: str) -> str:
        _, found = still.registry.by_profile(profile)
        return still.catalogue.landing_zones.receiving(
            still.caller, direction=found.direction, profile_names=found.names, labels=(), dataset_id="d"
        ).name

    assert (chosen(PULL), chosen(PUSH)) == ("keep", "in")


@pytest.mark.parametrize(
    "zone",
    [
        LandingZone(name="z"),
        LandingZone(name="z", mode=Landing.NONE, sink="here:x"),
        LandingZone(name="z", mode=Landing.NONE, source="here:x"),
        LandingZone(name="z", mode=Landing.NONE, manifest=True),
        LandingZone(name="z", mode=Landing.NONE, bandwidth_bytes_per_s=1),
    ],
)
def test_a_zone_has_a_place_or_copies_nothing(still: World, zone: LandingZone) -> None:
    """Keys that would do nothing are refused; what is right comes back as it was written."""
    with pytest.raises(InputError, match="mode"):
        still.catalogue.landing_zones.put(zone)
    kept = LandingZone(name="z", mode=Landing.NONE, require_token_renewal=True)
    still.catalogue.landing_zones.put(kept)
    assert kept in [entry.value for entry in still.catalogue.landing_zones.all()]


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("a*", "a", True),
        ("a*c", "abbc", True),
        ("a.c", "abc", False),
        ("*", "", True),
        ("a[bc]", "ab", False),
    ],
)
def test_only_the_star_is_special(pattern: str, text: str, expected: bool) -> None:
    """Dots and brackets of an id are themselves."""
    assert expected is matches(pattern, text)


def test_secrets_of_locations_are_left_out_of_logs(still: World) -> None:
    """When they are written over the API, and when a process that did not write them reads them."""
    writing, reading = SecretValues(), SecretValues()
    Catalogue(still.store, still.registry, secrets=writing).locations.put(place(still, password="hunter22"))
    assert writing.redact("hunter22") == MASK
    Catalogue(still.store, still.registry, secrets=reading).locations.get("new")
    assert reading.redact("hunter22") == MASK
