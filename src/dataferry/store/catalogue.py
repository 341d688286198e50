"""The catalogue's rows: locations, datasets and landing zones that came over the management API."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from dataferry.domain.clock import Clock
from dataferry.domain.limits import split_settings
from dataferry.domain.location import Dataset, Landing, LandingZone, Location
from dataferry.secrets.sealing import Sealer
from dataferry.store.schema import datasets, landing_zones, locations

_PARTICIPANTS = "participants"


class CatalogueRepository:
    """Locations (settings sealed whole), datasets, landing zones; ``delete_*`` tell if one was there."""

    def __init__(self, connection: Connection, sealer: Sealer, clock: Clock) -> None:
        self._connection = connection
        self._sealer = sealer
        self._clock = clock

    def put_location(self, location: Location) -> None:
        """Add a location, or write it over the one of that name."""
        settings = {
            **location.settings,
            **location.limits.as_settings(),
            _PARTICIPANTS: list(location.participants),
        }
        sealed = self._sealer.seal(json.dumps(settings), purpose=_purpose(location.name))
        self._put(locations, location.name, mechanism=location.mechanism, settings_sealed=sealed)

    def location(self, name: str) -> Location | None:
        """Return a location; None if there is none of that name."""
        row = self._get(locations, name)
        return None if row is None else self._location(row)

    def locations(self) -> list[Location]:
        """Return all locations by name."""
        return [self._location(row) for row in self._rows(locations)]

    def delete_location(self, name: str) -> bool:
        """Delete a location."""
        return self._delete(locations, name)

    def put_dataset(self, dataset: Dataset) -> None:
        """Add a dataset, or write it over the one with that ``match``."""
        self._put(datasets, dataset.match, settings=asdict(dataset))

    def datasets(self) -> list[Dataset]:
        """Return all datasets by ``match``."""
        return [_dataset(row["settings"]) for row in self._rows(datasets)]

    def delete_dataset(self, match: str) -> bool:
        """Delete a dataset."""
        return self._delete(datasets, match)

    def put_landing_zone(self, zone: LandingZone) -> None:
        """Add a landing zone, or write it over the one of that name."""
        self._put(landing_zones, zone.name, settings=asdict(zone))

    def landing_zones(self) -> list[LandingZone]:
        """Return all landing zones by name."""
        return [_landing_zone(row["settings"]) for row in self._rows(landing_zones)]

    def delete_landing_zone(self, name: str) -> bool:
        """Delete a landing zone."""
        return self._delete(landing_zones, name)

    def _location(self, row: Any) -> Location:
        """Read a row with its seal opened."""
        stored = json.loads(self._sealer.open(row["settings_sealed"], purpose=_purpose(row["name"])))
        participants = tuple(stored.pop(_PARTICIPANTS, ()))
        limits, settings = split_settings(row["name"], stored)
        return Location(
            name=row["name"],
            mechanism=row["mechanism"],
            settings=settings,
            limits=limits,
            participants=participants,
        )

    def _put(self, table: Table, name: str, **values: Any) -> None:
        """Write a row over the one of that name, or add it."""
        key = _key(table)
        values["updated_at"] = self._clock.now()
        changed = self._connection.execute(update(table).where(key == name).values(**values))
        if changed.rowcount == 0:
            self._connection.execute(insert(table).values({key.name: name, **values}))

    def _get(self, table: Table, name: str) -> Any:
        """Return a row's mapping, None if there is none."""
        return self._connection.execute(select(table).where(_key(table) == name)).mappings().one_or_none()

    def _rows(self, table: Table) -> list[Any]:
        """Return all rows' mappings by name."""
        return list(self._connection.execute(select(table).order_by(_key(table))).mappings())

    def _delete(self, table: Table, name: str) -> bool:
        """Delete a row; False if there was none."""
        return self._connection.execute(delete(table).where(_key(table) == name)).rowcount == 1


def _key(table: Table) -> Any:
    """The column that names a row."""
    return next(iter(table.primary_key.columns))


def _purpose(name: str) -> str:
    """Where a location's seal is good."""
    return f"locations.settings:{name}"


def _dataset(stored: dict[str, Any]) -> Dataset:
    """Read a stored dataset."""
    return Dataset(**_known(stored, Dataset))


def _landing_zone(stored: dict[str, Any]) -> LandingZone:
    """Read a stored landing zone."""
    known = _known(stored, LandingZone)
    return LandingZone(**{**known, "mode": Landing(known.get("mode", Landing.COPY))})


def _known(stored: dict[str, Any], kind: type[Dataset | LandingZone]) -> dict[str, Any]:
    """Turn JSON's lists back into tuples, and leave out what another version wrote."""
    names = {field.name for field in fields(kind)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in stored.items()
        if name in names
    }
