"""What the resources of the catalogue have in common: names in paths, bodies, and how entries are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from fastapi import Path, Request
from pydantic import BaseModel, ConfigDict, Field

from dataferry.api.keys import FITS
from dataferry.api.services import services_of
from dataferry.domain.errors import NotFoundError
from dataferry.domain.keys import MAX_KEY_BYTES
from dataferry.domain.purview import Operator
from dataferry.flows.catalogue_view import CatalogueView
from dataferry.flows.entries import Entry

MAX_NAME_CHARS = 1024
Name = Annotated[str, Path(max_length=MAX_NAME_CHARS)]
Key = Annotated[str, Path(max_length=MAX_KEY_BYTES), FITS]
Text = Annotated[str, Field(min_length=1, max_length=4096)]
T = TypeVar("T")
PARTICIPANTS = "Ids of participants; empty: for all."


class Body(BaseModel):
    """What all bodies here have in common: types are not guessed, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)


def seen(request: Request, operator: Operator) -> CatalogueView:
    """Return what of the catalogue an operator sees."""
    return CatalogueView(services_of(request).catalogue, operator.purview)


def page(items: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Catalogues are short: one page."""
    return {"items": list(items), "next": None}


def one(entries: Sequence[Entry[T]], key: str, name: str, what: str) -> Entry[T]:
    """Return the entry of that name.

    Raises:
        NotFoundError: There is none.
    """
    for entry in entries:
        if getattr(entry.value, key) == name:
            return entry
    raise NotFoundError(f"there is no {what} {name[:200]!r}")


def plain(entry: Entry[Any]) -> dict[str, Any]:
    """Show an entry that holds no secret."""
    return {**asdict(entry.value), "configured": entry.configured}
