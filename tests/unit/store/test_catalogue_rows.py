"""Rows of the catalogue, control planes, API keys, events and progress."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.store.sample_rows import flow

from dataferry.domain.errors import ConfigError, ConflictError
from dataferry.domain.location import (
    ControlPlane,
    Dataset,
    LandingZone,
    Location,
    OnFailure,
    Provenance,
    RegistrationStyle,
    Retries,
)
from dataferry.domain.progress import Progress
from dataferry.domain.purview import EVERYTHING, Purview, Scope
from dataferry.secrets.sealing import Sealer
from dataferry.store.records import ApiKey, Registration
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import NOON, StillClock


def test_locations(store: Store) -> None:
    """A location is written over, listed by name, and deleted once."""
    with store.transaction() as transaction:
        catalogue = transaction.catalogue
        assert catalogue.location("b") is None
        for settings in ({"x": 1}, {"x": [1, {"y": None}]}):
            catalogue.put_location(Location(name="b", mechanism="s3", settings=settings))
        catalogue.put_location(Location(name="a", mechanism="file", settings={}))
        found = catalogue.location("b")
        assert found is not None
        assert dict(found.settings) == {"x": [1, {"y": None}]}
        assert [each.name for each in catalogue.locations()] == ["a", "b"]
        assert catalogue.delete_location("b")
        assert not catalogue.delete_location("b")


def test_datasets_and_landing_zones(store: Store) -> None:
    """Datasets and landing zones come back as they were."""
    dataset = Dataset(
        match="plant-*", source="a:x/{datasetId}", labels=("l",), prepare_wait_s=1.5, control_planes=("a*",)
    )
    zone = LandingZone(name="z", sink="a:y", profiles=("p",), labels=("l", "m"), source="b:c")
    with store.transaction() as transaction:
        catalogue = transaction.catalogue
        catalogue.put_dataset(replace(dataset, source="old:"))
        catalogue.put_dataset(dataset)
        catalogue.put_landing_zone(zone)
        assert (catalogue.datasets(), catalogue.landing_zones()) == ([dataset], [zone])
        assert catalogue.delete_dataset("plant-*")
        assert catalogue.delete_landing_zone("z")
        assert (catalogue.datasets(), catalogue.landing_zones()) == ([], [])


def test_control_planes(store: Store) -> None:
    """Every field of a control plane comes back, tokens and enumerations included."""
    made = ControlPlane(
        id="cp",
        endpoint="http://cp",
        token="t" * 9,
        callback_token="c" * 9,
        provenance=Provenance.EXTERNAL,
        register=True,
        registration=RegistrationStyle.EDC,
        retries=Retries.REPLAY,
        on_failure=OnFailure.TERMINATE,
        management_url="http://m",
        management_key="m" * 9,
    )
    with store.transaction() as transaction:
        planes = transaction.control_planes
        planes.put(ControlPlane(id="cp"))
        planes.put(made)
        found = planes.get("cp")
        assert found == made
        assert found.registration is RegistrationStyle.EDC
        assert planes.list() == [made]
        assert planes.get("x") is None
        assert planes.delete("cp")
        assert not planes.delete("cp")


def test_registrations(store: Store, clock: StillClock) -> None:
    """Failed attempts are counted until one works, for control planes without a row too."""
    with store.transaction() as transaction:
        planes = transaction.control_planes
        assert planes.registration("cp") == Registration()
        planes.registration_failed("cp", "refused")
        planes.registration_failed("cp", "refused again")
        assert planes.registration("cp") == Registration(attempts=2, last_error="refused again")
        planes.registered("cp")
        assert planes.registration("cp") == Registration(registered_at=clock.moment)


def test_another_key_is_the_operators_fault(store: Store, tmp_path: object) -> None:
    """With another sealing key sealed rows are refused with advice, not shown as nonsense."""
    made = flow()
    with store.transaction() as transaction:
        transaction.flows.insert(made)
    other = Store(store._database, sealer=Sealer(b"k" * 32), clock=StillClock())
    with other.snapshot() as transaction, pytest.raises(ConfigError, match="put the key file back"):
        transaction.flows.get(made.id)


def test_api_keys(store: Store) -> None:
    """A key is found by its digest only; of those in force a name means one, and none is ever gone."""
    purview = Purview.of(["p"], ["cp"])
    key = ApiKey(
        id="k1",
        name="ops",
        digest="d" * 64,
        scopes=frozenset({Scope.READ, Scope.OPERATE}),
        purview=purview,
        created_at=NOON,
        expires_at=NOON,
    )
    again = replace(key, id="k2", digest="e" * 64, purview=EVERYTHING)
    with store.transaction() as transaction:
        keys = transaction.api_keys
        assert not keys.exist()
        keys.insert(key)
        for taken in (replace(key, id="k2", digest="e" * 64), replace(key, id="k2", name="other")):
            with pytest.raises(ConflictError):
                keys.insert(taken)
        assert keys.by_digest("d" * 64) == key
        assert keys.by_digest("e" * 64) is None
        keys.used("k1", NOON)
        assert keys.revoke("ops", NOON)
        assert not keys.revoke("ops", NOON)
        keys.insert(again)
        assert keys.list() == [replace(key, last_used_at=NOON, revoked_at=NOON), again]
        assert keys.revoke("k2", NOON)
        assert keys.exist()


def test_events(store: Store, clock: StillClock) -> None:
    """Events come in order, of one flow or of all, after the one that was seen last."""
    first, second = flow("p1"), flow("p2")
    with store.transaction() as transaction:
        transaction.flows.insert(first)
        transaction.flows.insert(second)
        assert transaction.events.last_id() == 0
        ids = [
            transaction.events.add(each.id, kind, "why", actor="ops")
            for each, kind in ((first, "a"), (second, "b"), (first, "c"))
        ]
        events = transaction.events
        assert [event.kind for event in events.list(first.id, after=0, limit=10)] == ["a", "c"]
        assert [event.kind for event in events.list(first.id, after=ids[0], limit=10)] == ["c"]
        assert [event.id for event in events.since(ids[0], limit=1)] == [ids[1]]
        assert events.last_id() == ids[2]
        again = events.add(first.id, "a", "again")
        latest = events.latest([first.id, second.id], "a")
        assert {flow_id: found.id for flow_id, found in latest.items()} == {first.id: again}
        event = events.since(0, limit=1)[0]
    assert (event.flow_id, event.reason, event.actor, event.at) == (first.id, "why", "ops", clock.moment)


def test_progress(store: Store, clock: StillClock) -> None:
    """The last moment of each flow is kept."""
    first, second = flow("p1"), flow("p2")
    moment = Progress(bytes_total=2**50, bytes_transferred=3, eta_s=1.5, plan_complete=True)
    clock.moment += timedelta(seconds=1)
    with store.transaction() as transaction:
        transaction.flows.insert(first)
        transaction.flows.insert(second)
        transaction.progress.put(first.id, Progress())
        transaction.progress.put(first.id, moment)
        assert transaction.progress.get(first.id) == moment
        assert transaction.progress.get(second.id) is None
        assert transaction.progress.get_many([first.id, second.id]) == {first.id: moment}
        assert transaction.progress.get_many([]) == {}
