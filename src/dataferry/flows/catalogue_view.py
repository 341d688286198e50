"""What of the catalogue somebody sees whose purview leaves something out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from dataferry.domain.location import ControlPlane, Dataset, LandingZone, Location
from dataferry.domain.purview import EVERYTHING, Purview
from dataferry.flows.catalogue import Catalogue
from dataferry.flows.entries import Entry
from dataferry.flows.matching import matches
from dataferry.flows.messages import Caller

T = TypeVar("T", Dataset, LandingZone)


class CatalogueView:
    """The entries that are there for the control planes within a purview; others are not told of.

    Args:
        catalogue: All of it.
        purview: Of who asks.
    """

    def __init__(self, catalogue: Catalogue, purview: Purview = EVERYTHING) -> None:
        self._catalogue = catalogue
        self._purview = purview

    def control_planes(self) -> list[Entry[ControlPlane]]:
        """Return the control planes that are within it, by id."""
        return [
            entry
            for entry in self._catalogue.control_planes.all()
            if self._purview.has(entry.value.id, entry.value.participant_context_id)
        ]

    def datasets(self) -> list[Entry[Dataset]]:
        """Return the datasets that serve one of them, by id or pattern."""
        return self._for_us(self._catalogue.datasets.all())

    def landing_zones(self) -> list[Entry[LandingZone]]:
        """Return the landing zones that serve one of them, by name."""
        return self._for_us(self._catalogue.landing_zones.all())

    def locations(self) -> list[Entry[Location]]:
        """Return the locations: they are the operator's, and no bound key sees one."""
        return [] if self._purview.is_bound else self._catalogue.locations.all()

    def _for_us(self, entries: Sequence[Entry[T]]) -> list[Entry[T]]:
        """Leave out what is for others, and whom else the rest is for."""
        if not self._purview.is_bound:
            return list(entries)
        ours = [Caller.for_plane(entry.value) for entry in self.control_planes()]
        return [
            Entry(value=_narrowed(entry.value, ours), configured=entry.configured)
            for entry in entries
            if any(self._catalogue.locations.serve(entry.value, owner) for owner in ours)
        ]


def _narrowed(value: T, ours: Sequence[Caller]) -> T:
    """Return an entry without the words that say whom else it is for."""
    patterns = (p for p in value.control_planes if any(matches(p, one.control_plane_id) for one in ours))
    known = {one.participant_context_id for one in ours}
    participants = (name for name in value.participants if name in known)
    return replace(value, control_planes=tuple(patterns), participants=tuple(participants))
