"""Alembic's steps from one schema to the next; they run from ``store.upgrading``, without any ini file."""

from __future__ import annotations

HEAD = "0012"
