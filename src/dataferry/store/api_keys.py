"""API keys of the management API, kept as digests: who reads the database cannot use them."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from dataferry.domain.errors import ConflictError
from dataferry.store.records import ApiKey
from dataferry.store.schema import api_keys


class ApiKeyRepository:
    """One row a key."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, key: ApiKey) -> None:
        """Add a key.

        Raises:
            ConflictError: Its id or digest is there already.
        """
        try:
            with self._connection.begin_nested():
                self._connection.execute(insert(api_keys).values({**asdict(key), "scopes": list(key.scopes)}))
        except IntegrityError as exc:
            raise ConflictError(f"API key {key.id!r} exists already") from exc

    def by_digest(self, digest: str) -> ApiKey | None:
        """Return the key with this digest, expired or not; None if there is none."""
        row = (
            self._connection.execute(select(api_keys).where(api_keys.c.digest == digest))
            .mappings()
            .one_or_none()
        )
        return None if row is None else ApiKey(**{**row, "scopes": tuple(row["scopes"])})

    def list(self) -> list[ApiKey]:
        """Return all keys, oldest first."""
        rows = self._connection.execute(
            select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        ).mappings()
        return [ApiKey(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]

    def delete(self, id: str) -> bool:
        """Delete a key; False if there was none."""
        return self._connection.execute(delete(api_keys).where(api_keys.c.id == id)).rowcount == 1
