"""Column types that are the same on every database: times, JSON and ids as text."""
# ruff: noqa: ARG002 - SQLAlchemy hands over its dialect, and these types do not depend on it

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Dialect, String, Text, TypeDecorator

from dataferry.store.times import TIME_CHARS, from_text, to_text


class Time(TypeDecorator[datetime]):
    """An aware time in UTC, as text: SQLite has no time type, and the ledger's plain SQL reads text."""

    impl = String(TIME_CHARS)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Write it as text."""
        return None if value is None else to_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read it as an aware time."""
        return None if value is None else from_text(value)


class Json(TypeDecorator[Any]):
    """Any JSON value as compact text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write it as text."""
        return None if value is None else json.dumps(value, separators=(",", ":"), sort_keys=True)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read it back."""
        return None if value is None else json.loads(value)


class Uuid(TypeDecorator[UUID]):
    """A UUID in its usual 36 characters."""

    impl = String(36)
    cache_ok = True

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> str | None:
        """Write it as text."""
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        """Read it as a UUID."""
        return None if value is None else UUID(value)
