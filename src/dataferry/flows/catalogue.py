"""What the operator configured, from the configuration file and over the API, as one catalogue.

The configuration wins over a row of the same name, and can't be changed over the API: the file would bring it
back with the next start, and the answer would have been a lie.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from dataferry.domain.dataflow import OWN_FLOWS
from dataferry.domain.errors import ConfigError, ForbiddenError, InputError, NotFoundError
from dataferry.domain.location import ControlPlane, Dataset, LandingZone, Location, LocationRef, Provenance
from dataferry.domain.profile import Direction
from dataferry.flows.location_settings import check_settings, moved_settings, secret_names, secrets_of
from dataferry.flows.matching import (
    is_for,
    is_for_participant,
    matches,
    specificity,
    zone_rank,
    zone_serves,
)
from dataferry.flows.messages import Caller
from dataferry.mechanisms.base import Mechanism
from dataferry.mechanisms.registry import Registry
from dataferry.secrets.redaction import SecretValues
from dataferry.store.records import Registration
from dataferry.store.store import Store

HIDDEN = "***"
# What in a landing zone's sink keeps participants apart.
_APART = ("{participantContextId}", "{controlPlaneId}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What the configuration file holds; references to secrets are resolved."""

    locations: tuple[Location, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    landing_zones: tuple[LandingZone, ...] = ()
    control_planes: tuple[ControlPlane, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Generic[T]):
    """One entry of the catalogue; ``configured`` ones are read-only over the API."""

    value: T
    configured: bool


class Catalogue:
    """Locations, datasets, landing zones and control planes as they are in force now.

    Args:
        store: Where entries made over the API are kept.
        registry: The mechanisms, whose schemas decide what a location may hold.
        configured: What the configuration file holds.
        secrets: Told of the secrets of locations that are read and written, for the logs to leave out.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        configured: Configured | None = None,
        *,
        secrets: SecretValues | None = None,
    ) -> None:
        self._store = store
        self._secrets = secrets or SecretValues()
        self._registry = registry
        given = configured or Configured()
        for plane in given.control_planes:
            _refuse_our_own(plane.id)
        self._locations = {entry.name: entry for entry in given.locations}
        self._datasets = {entry.match: entry for entry in given.datasets}
        self._zones = {entry.name: entry for entry in given.landing_zones}
        self._planes = {entry.id: entry for entry in given.control_planes}

    # -- locations

    def locations(self) -> list[Entry[Location]]:
        """Return all locations, by name."""
        with self._store.snapshot() as tx:
            rows = tx.catalogue.locations()
        return _merged(self._locations, rows, lambda entry: entry.name)

    def location(self, name: str) -> Location:
        """Return one location.

        Raises:
            NotFoundError: There is none of that name.
        """
        if name in self._locations:
            return self._locations[name]
        with self._store.snapshot() as tx:
            found = tx.catalogue.location(name)
        if found is None:
            raise _no_location(name)
        self._remember(found)
        return found

    def location_for(self, name: str, participant_context_id: str) -> Location:
        """Return one location that a participant's flows may use.

        Raises:
            NotFoundError: There is none of that name for it.
        """
        found = self.location(name)
        if not is_for_participant(found, participant_context_id):
            raise _no_location(name)
        return found

    def serves(self, entry: Dataset | LandingZone, owner: Caller) -> bool:
        """Return whether an entry is there for somebody, and so are the locations that it names.

        One that names a location which is gone is there: its flows tell what is wrong with it.
        """
        if not is_for(entry, owner):
            return False
        for name in sorted(_locations_of(entry)):
            try:
                location = self.location(name)
            except NotFoundError:
                continue
            if not is_for_participant(location, owner.participant_context_id):
                return False
        return True

    def _remember(self, location: Location) -> None:
        """Have the logs leave out a location's secrets."""
        if location.mechanism in self._registry.names:
            self._secrets.remember(*secrets_of(location, self._registry.get(location.mechanism)))

    def location_view(self, location: Location) -> dict[str, Any]:
        """Return a location as it may be shown: secrets are ``***``."""
        secret = secret_names(self._registry.get(location.mechanism))
        shown = {name: HIDDEN if name in secret else value for name, value in location.settings.items()}
        told = {"name": location.name, "type": location.mechanism, **shown, **location.limits.as_settings()}
        return told | ({"participants": list(location.participants)} if location.participants else {})

    def put_location(self, location: Location) -> None:
        """Create or replace a location; a secret given as ``***`` keeps its present value.

        Raises:
            InputError: Its name or settings are wrong, or a kept secret would go to another place.
            ForbiddenError: It stands in the configuration.
        """
        _check_name(location.name)
        self._refuse_configured(location.name, self._locations, "location")
        try:
            mechanism = self._registry.get(location.mechanism)
        except ConfigError as exc:
            raise InputError(str(exc)) from exc
        kept = replace(location, settings=self._with_kept_secrets(location, mechanism))
        self._remember(kept)
        check_settings(mechanism, kept)
        with self._store.transaction() as tx:
            tx.catalogue.put_location(kept)

    def _with_kept_secrets(self, location: Location, mechanism: Mechanism) -> Mapping[str, Any]:
        """Fill in the secrets that the caller was shown as ``***`` and sends back."""
        hidden = [name for name in secret_names(mechanism) if location.settings.get(name) == HIDDEN]
        if not hidden:
            return location.settings
        present = next((e.value for e in self.locations() if e.value.name == location.name), None)
        if present is None or present.mechanism != location.mechanism:
            raise InputError(f"{', '.join(hidden)}: {HIDDEN} stands for a stored value, and there is none")
        moved = moved_settings(mechanism, present, location)
        if moved:
            raise InputError(f"{', '.join(hidden)}: give it again, as {', '.join(moved)} has changed")
        return {**location.settings, **{name: present.settings.get(name) for name in hidden}}

    def delete_location(self, name: str) -> None:
        """Delete a location.

        Raises:
            NotFoundError: There is none.
            ForbiddenError: It stands in the configuration.
            InputError: A dataset or landing zone uses it.
        """
        self._refuse_configured(name, self._locations, "location")
        used = [e.value.match for e in self.datasets() if name in _locations_of(e.value)]
        used += [e.value.name for e in self.landing_zones() if name in _locations_of(e.value)]
        if used:
            raise InputError(f"location {name} is used by {', '.join(used[:5])}")
        with self._store.transaction() as tx:
            if not tx.catalogue.delete_location(name):
                raise _no_location(name)

    # -- datasets

    def datasets(self) -> list[Entry[Dataset]]:
        """Return all datasets, by id or pattern."""
        with self._store.snapshot() as tx:
            rows = tx.catalogue.datasets()
        return _merged(self._datasets, rows, lambda entry: entry.match)

    def dataset_for(self, dataset_id: str, owner: Caller) -> Dataset:
        """Return the dataset that serves an id: of those for who asks, the most specific.

        Raises:
            NotFoundError: None does.
        """
        found = [e.value for e in self.datasets() if matches(e.value.match, dataset_id)]
        found.sort(key=lambda entry: specificity(entry.match), reverse=True)
        for dataset in found:
            if self.serves(dataset, owner):
                return dataset
        raise NotFoundError(f"no dataset matches {dataset_id[:200]!r}")

    def put_dataset(self, dataset: Dataset) -> None:
        """Create or replace a dataset.

        Raises:
            InputError: It is malformed, or names no location of ours.
            ForbiddenError: It stands in the configuration.
        """
        if not dataset.match:
            raise InputError("a dataset needs an id or a pattern")
        self._refuse_configured(dataset.match, self._datasets, "dataset")
        self.check_ref(dataset.source)
        with self._store.transaction() as tx:
            tx.catalogue.put_dataset(dataset)

    def delete_dataset(self, match: str) -> None:
        """Delete a dataset.

        Raises:
            NotFoundError: There is none.
            ForbiddenError: It stands in the configuration.
        """
        self._refuse_configured(match, self._datasets, "dataset")
        with self._store.transaction() as tx:
            if not tx.catalogue.delete_dataset(match):
                raise NotFoundError(f"there is no dataset {match[:100]!r}")

    # -- landing zones

    def landing_zones(self) -> list[Entry[LandingZone]]:
        """Return all landing zones, by name."""
        with self._store.snapshot() as tx:
            rows = tx.catalogue.landing_zones()
        return _merged(self._zones, rows, lambda entry: entry.name)

    def landing_zone_for(
        self,
        owner: Caller,
        *,
        direction: Direction,
        profile_names: Sequence[str],
        labels: Sequence[str],
        dataset_id: str,
    ) -> LandingZone:
        """Return the landing zone of somebody's flow: of those that serve it, the most demanding one.

        Raises:
            NotFoundError: None matches.
        """
        found = [
            e.value
            for e in self.landing_zones()
            if zone_serves(
                e.value,
                direction=direction,
                profile_names=profile_names,
                labels=labels,
                dataset_id=dataset_id,
            )
        ]
        found.sort(key=lambda zone: zone_rank(zone, dataset_id), reverse=True)
        for zone in found:
            if self.serves(zone, owner):
                return zone
        raise NotFoundError(f"no landing zone receives {dataset_id[:200]!r} by {profile_names[0][:200]}")

    def refuse_mixing(self, zone: LandingZone) -> None:
        """Return if participants that share a landing zone are kept apart there, whatever they call things.

        A process is named by who makes it, so ``{processId}`` alone keeps nobody out of another's place.

        Raises:
            ConfigError: They are not.
        """
        if zone.sink is None or any(placeholder in zone.sink for placeholder in _APART):
            return
        served: set[str] = set()
        for plane in (entry.value for entry in self.control_planes()):
            owner = Caller.for_plane(plane)
            if owner.participant_context_id not in served and self.serves(zone, owner):
                served.add(owner.participant_context_id)
            if len(served) > 1:
                raise ConfigError(
                    f"landing zone {zone.name} is for several participants: put {' or '.join(_APART)} into"
                    " its sink, or name in `participants` whom it is for"
                )

    def put_landing_zone(self, zone: LandingZone) -> None:
        """Create or replace a landing zone.

        Raises:
            InputError: It is malformed, names no location of ours, or does not keep participants apart.
            ForbiddenError: It stands in the configuration.
        """
        _check_name(zone.name)
        self._refuse_configured(zone.name, self._zones, "landing zone")
        if zone.fault:
            raise InputError(zone.fault)
        for ref in filter(None, (zone.sink, zone.source)):
            self.check_ref(ref)
        try:
            self.refuse_mixing(zone)
        except ConfigError as exc:
            raise InputError(exc.message) from exc
        with self._store.transaction() as tx:
            tx.catalogue.put_landing_zone(zone)

    def delete_landing_zone(self, name: str) -> None:
        """Delete a landing zone.

        Raises:
            NotFoundError: There is none.
            ForbiddenError: It stands in the configuration.
        """
        self._refuse_configured(name, self._zones, "landing zone")
        with self._store.transaction() as tx:
            if not tx.catalogue.delete_landing_zone(name):
                raise NotFoundError(f"there is no landing zone {name[:100]!r}")

    # -- control planes

    def control_planes(self) -> list[Entry[ControlPlane]]:
        """Return all control planes, by id."""
        with self._store.snapshot() as tx:
            rows = tx.control_planes.list()
        known = {row.id: row for row in rows}
        configured = {name: _located(plane, known.get(name)) for name, plane in self._planes.items()}
        return _merged(configured, rows, lambda entry: entry.id)

    def control_plane(self, id: str) -> ControlPlane:
        """Return one control plane.

        Raises:
            NotFoundError: It is not known here.
        """
        configured = self._planes.get(id)
        if configured is not None and configured.endpoint is not None:
            return configured
        with self._store.snapshot() as tx:
            found = tx.control_planes.get(id)
        if configured is not None:
            return _located(configured, found)
        if found is None:
            raise NotFoundError(f"no control plane {id[:200]!r} is registered here")
        return found

    def register_control_plane(self, plane: ControlPlane) -> ControlPlane:
        """Take in a control plane that introduced itself in a message; it gets no trust by that.

        An endpoint that the operator gave stays: repeating it is answered as done, another one is refused.

        Raises:
            ForbiddenError: The operator gave another endpoint.
        """
        _refuse_our_own(plane.id)
        taken = replace(
            plane,
            provenance=Provenance.EXTERNAL,
            may_name_locations=False,
            metadata_location=None,
            register=False,
            management_url=None,
            management_key=None,
        )
        with self._store.transaction() as tx:
            row = tx.control_planes.get(plane.id)
            present = self._planes.get(plane.id, row)
            if present is not None and present.provenance is Provenance.OPERATOR and present.endpoint:
                if plane.endpoint == present.endpoint:
                    return present
                raise ForbiddenError(f"control plane {plane.id} has an endpoint by its operator's word")
            if row is not None:
                # What the operator decided beyond the endpoint stays.
                taken = _located(row, taken)
            tx.control_planes.put(taken)
        return self.control_plane(plane.id)

    def put_control_plane(self, plane: ControlPlane) -> None:
        """Create or replace a control plane on the operator's word.

        Raises:
            ForbiddenError: It stands in the configuration.
            InputError: There is no such ``metadata_location`` for its participant.
        """
        self._refuse_configured(plane.id, self._planes, "control plane")
        _refuse_our_own(plane.id)
        if plane.metadata_location is not None:
            try:
                self.location_for(plane.metadata_location, plane.participant_context_id)
            except NotFoundError as exc:
                raise InputError(f"metadata_location: {exc.message}") from exc
        with self._store.transaction() as tx:
            tx.control_planes.put(plane)

    def delete_control_plane(self, id: str) -> None:
        """Forget a control plane; its flows stay.

        Raises:
            NotFoundError: It is not known here.
            ForbiddenError: It stands in the configuration.
        """
        self._refuse_configured(id, self._planes, "control plane")
        with self._store.transaction() as tx:
            if not tx.control_planes.delete(id):
                raise NotFoundError(f"no control plane {id[:200]!r} is registered here")

    def registration(self, id: str) -> Registration:
        """Return how our own registration at a control plane goes."""
        with self._store.snapshot() as tx:
            return tx.control_planes.registration(id)

    # -- checks

    def _refuse_configured(self, name: str, configured: Mapping[str, object], what: str) -> None:
        """Refuse to change over the API what the configuration file decides."""
        if name in configured:
            raise ForbiddenError(f"{what} {name} stands in the configuration file: change it there")

    def check_ref(self, text: str) -> None:
        """Refuse a place in a location that does not exist.

        Raises:
            InputError: It does not, or the text is no ``location:path``.
        """
        ref = LocationRef.parse(text)
        try:
            self.location(ref.location)
        except NotFoundError as exc:
            raise InputError(f"{text!r}: there is no location {ref.location!r}") from exc


def _no_location(name: str) -> NotFoundError:
    """There is none, or none for who asks: which, is not told."""
    return NotFoundError(f"there is no location {name[:100]!r}")


def _refuse_our_own(id: str) -> None:
    """Refuse a control plane that would own the flows that this service makes for itself."""
    if id == OWN_FLOWS:
        raise ForbiddenError(f"{id} is no control plane's id: this service uses it itself")


def _check_name(name: str) -> None:
    """Refuse names that can't stand before the colon of ``name:path``."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{name[:100]!r} is not a name: letters, digits, '.', '_' and '-', at most 100")


def _merged(configured: Mapping[str, T], rows: Sequence[T], key: Callable[[T], str]) -> list[Entry[T]]:
    """Lay the configuration over the rows."""
    entries = {key(row): Entry(value=row, configured=False) for row in rows}
    entries.update({name: Entry(value=entry, configured=True) for name, entry in configured.items()})
    return [entries[name] for name in sorted(entries)]


def _located(plane: ControlPlane, registered: ControlPlane | None) -> ControlPlane:
    """Fill in where a control plane says that it is; the place is then its word, not the operator's.

    So only the token that it named goes there, never the operator's.
    """
    if registered is None or registered.endpoint is None:
        return plane
    return replace(
        plane,
        endpoint=registered.endpoint,
        callback_token=registered.callback_token,
        provenance=Provenance.EXTERNAL,
    )


def _locations_of(entry: Dataset | LandingZone) -> frozenset[str]:
    """Return which locations a dataset or landing zone uses."""
    refs = (entry.source,) if isinstance(entry, Dataset) else (entry.sink, entry.source)
    return frozenset(LocationRef.parse(ref).location for ref in refs if ref)
