"""API keys of operators, kept as digests: who reads the database cannot use them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from dataferry.domain.errors import ConflictError
from dataferry.domain.purview import Purview, Scope
from dataferry.store.records import ApiKey
from dataferry.store.schema import api_keys

# Columns that stand in the row as they stand in the key.
_PLAIN = ("id", "name", "digest", "created_at", "expires_at", "last_used_at", "revoked_at")


class ApiKeyRepository:
    """One row a key. None is ever deleted: where there was one, the doors stay locked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, key: ApiKey) -> None:
        """Add a key.

        Raises:
            ConflictError: One in force has its name.
        """
        row = {
            **{name: getattr(key, name) for name in _PLAIN},
            "scopes": sorted(key.scopes),
            "participants": _listed(key.purview.participants),
            "control_planes": _listed(key.purview.control_planes),
        }
        try:
            with self._connection.begin_nested():
                self._connection.execute(insert(api_keys).values(row))
        except IntegrityError as exc:
            raise ConflictError(f"there is an API key {key.name!r} already") from exc

    def by_digest(self, digest: str) -> ApiKey | None:
        """Return the key with this digest, in force or not; None if there is none."""
        query = select(api_keys).where(api_keys.c.digest == digest)
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else _key(row)

    def exist(self) -> bool:
        """Return whether there ever was one."""
        return self._connection.execute(select(api_keys.c.id).limit(1)).first() is not None

    def list(self) -> list[ApiKey]:
        """Return all keys, oldest first."""
        query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        return [_key(row) for row in self._connection.execute(query).mappings()]

    def revoke(self, name_or_id: str, now: datetime) -> bool:
        """Revoke the key of that name, else of that id; False if there is none that is not revoked yet."""
        revoking = update(api_keys).where(api_keys.c.revoked_at.is_(None)).values(revoked_at=now)
        return any(
            self._connection.execute(revoking.where(column == name_or_id)).rowcount == 1
            for column in (api_keys.c.name, api_keys.c.id)
        )

    def used(self, id: str, now: datetime) -> None:
        """Write that a key was used."""
        self._connection.execute(update(api_keys).where(api_keys.c.id == id).values(last_used_at=now))


def _listed(ids: frozenset[str] | None) -> Any:
    return None if ids is None else sorted(ids)


def _ids(stored: Any) -> frozenset[str] | None:
    return None if stored is None else frozenset(stored)


def _key(row: Mapping[Any, Any]) -> ApiKey:
    """Read a row; a scope of another version is passed over: it opens nothing here."""
    known = {scope.value for scope in Scope}
    return ApiKey(
        **{name: row[name] for name in _PLAIN},
        scopes=frozenset(Scope(name) for name in row["scopes"] if name in known),
        purview=Purview(participants=_ids(row["participants"]), control_planes=_ids(row["control_planes"])),
    )
