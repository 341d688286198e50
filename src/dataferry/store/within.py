"""Purviews in SQL: whose flows a query is about."""

from __future__ import annotations

from sqlalchemy import and_, true
from sqlalchemy.sql import ColumnElement

from dataferry.domain.purview import Purview
from dataferry.store.schema import flows


def within(purview: Purview) -> ColumnElement[bool]:
    """Return the condition under which a row of ``flows`` is within a purview."""
    conditions: list[ColumnElement[bool]] = [true()]
    if purview.participants is not None:
        conditions.append(flows.c.participant_context_id.in_(sorted(purview.participants)))
    if purview.control_planes is not None:
        conditions.append(flows.c.control_plane_id.in_(sorted(purview.control_planes)))
    return and_(*conditions)
