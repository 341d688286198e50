"""Control planes that came over an API, and how our registration at each one goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from dataferry.domain.authorization import AuthorizationType, CallbackTokens, CallerTokens, Claim
from dataferry.domain.clock import Clock
from dataferry.domain.location import ControlPlane
from dataferry.secrets.redaction import SecretValues
from dataferry.secrets.sealing import Sealer
from dataferry.store.records import Registration
from dataferry.store.schema import control_planes, registrations

_TOKENS = ("token", "callback_token", "management_key")
# As wholes: they have secrets in them.
_PROFILES: dict[str, type[CallerTokens | CallbackTokens]] = {
    "authorization": CallerTokens,
    "callback_authorization": CallbackTokens,
}
MAX_ERROR_CHARS = 2_000


class ControlPlaneRepository:
    """Control planes (their tokens sealed), and registrations, which configured ones have too."""

    def __init__(self, connection: Connection, sealer: Sealer, clock: Clock, secrets: SecretValues) -> None:
        self._connection = connection
        self._secrets = secrets
        self._sealer = sealer
        self._clock = clock

    def put(self, control_plane: ControlPlane) -> None:
        """Add a control plane, or write it over the one with that id."""
        settings = asdict(control_plane)
        sealed = {name: settings.pop(name) for name in (*_TOKENS, *_PROFILES)}
        self._remember(sealed)
        values = {
            "settings": settings,
            "secrets_sealed": self._sealer.seal(json.dumps(sealed), purpose=_purpose(control_plane.id)),
            "updated_at": self._clock.now(),
        }
        table = control_planes
        changed = self._connection.execute(update(table).where(table.c.id == control_plane.id).values(values))
        if changed.rowcount == 0:
            self._connection.execute(insert(table).values(id=control_plane.id, **values))

    def get(self, id: str) -> ControlPlane | None:
        """Return a control plane; None if there is none with that id."""
        row = (
            self._connection.execute(select(control_planes).where(control_planes.c.id == id))
            .mappings()
            .one_or_none()
        )
        return None if row is None else self._control_plane(row)

    def list(self) -> list[ControlPlane]:
        """Return all control planes by id."""
        rows = self._connection.execute(select(control_planes).order_by(control_planes.c.id)).mappings()
        return [self._control_plane(row) for row in rows]

    def delete(self, id: str) -> bool:
        """Delete a control plane and its registration; False if there was none."""
        self._connection.execute(delete(registrations).where(registrations.c.control_plane_id == id))
        return self._connection.execute(delete(control_planes).where(control_planes.c.id == id)).rowcount == 1

    def registration(self, id: str) -> Registration:
        """Return how our registration there goes; an empty one if it was never tried."""
        row = self._connection.execute(
            select(registrations).where(registrations.c.control_plane_id == id)
        ).one_or_none()
        if row is None:
            return Registration()
        return Registration(registered_at=row.registered_at, attempts=row.attempts, last_error=row.last_error)

    def registered(self, id: str) -> None:
        """Write that we are registered there now."""
        self._register(id, registered_at=self._clock.now(), attempts=0, last_error=None)

    def registration_failed(self, id: str, error: str) -> None:
        """Write that an attempt to register failed."""
        known = self.registration(id)
        self._register(
            id,
            registered_at=known.registered_at,
            attempts=known.attempts + 1,
            last_error=error[:MAX_ERROR_CHARS],
        )

    def _register(self, id: str, **values: Any) -> None:
        """Write the registration's row, or add it."""
        table = registrations
        changed = self._connection.execute(
            update(table).where(table.c.control_plane_id == id).values(**values)
        )
        if changed.rowcount == 0:
            self._connection.execute(insert(table).values(control_plane_id=id, **values))

    def _control_plane(self, row: Any) -> ControlPlane:
        """Read a row with its seal opened."""
        sealed = json.loads(self._sealer.open(row["secrets_sealed"], purpose=_purpose(row["id"])))
        self._remember(sealed)
        profiles = {name: _profile(sealed.pop(name, None), made) for name, made in _PROFILES.items()}
        return ControlPlane(**_known(ControlPlane, {**row["settings"], **sealed}), **profiles)

    def _remember(self, sealed: Mapping[str, Any]) -> None:
        """Have the logs leave out what is sealed."""
        profiles = [sealed.get(name) or {} for name in _PROFILES]
        self._secrets.remember(
            *(sealed.get(name) for name in _TOKENS), *(profile.get("client_secret") for profile in profiles)
        )


def _profile(stored: Mapping[str, Any] | None, made: type[CallerTokens | CallbackTokens]) -> Any:
    """Read how one side proves itself; None if it does not."""
    if stored is None:
        return None
    values = _known(made, stored)
    values["type"] = AuthorizationType(values["type"])
    if "relaxed" in values:
        values["relaxed"] = tuple(Claim(name) for name in values["relaxed"])
    return made(**values)


def _known(made: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a class knows of what is stored: a newer version may have written more."""
    known = {field.name: field.default for field in fields(made)}
    return {name: _typed(value, known[name]) for name, value in stored.items() if name in known}


def _typed(value: Any, default: Any) -> Any:
    """Turn a stored word back into the enumeration that the field has."""
    return type(default)(value) if isinstance(default, StrEnum) else value


def _purpose(id: str) -> str:
    """Where a control plane's seal is good."""
    return f"control_planes.secrets:{id}"
