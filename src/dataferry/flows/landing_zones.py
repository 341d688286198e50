"""Landing zones in force: where somebody's flows are received, and that nobody's land in another's place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dataferry.domain.errors import ConfigError, InputError, NotFoundError
from dataferry.domain.location import LandingZone, LocationRef
from dataferry.domain.profile import Direction
from dataferry.flows.control_planes import ControlPlanes
from dataferry.flows.entries import Entry, check_name, merged, refuse_configured
from dataferry.flows.locations import Locations
from dataferry.flows.matching import zone_rank, zone_serves
from dataferry.flows.messages import Caller
from dataferry.store.store import Store

# What in a landing zone's sink keeps participants apart, as a segment of its own: ``a-b`` with ``c`` would be
# ``a`` with ``b-c`` in one.
_APART = ("{participantContextId}", "{controlPlaneId}")


class LandingZones:
    """Landing zones as they are in force now.

    Args:
        store: Where those made over the API are kept.
        configured: Those of the configuration file.
        locations: The places that they may name.
        control_planes: Whose flows they may receive.
    """

    def __init__(
        self,
        store: Store,
        configured: Iterable[LandingZone],
        locations: Locations,
        control_planes: ControlPlanes,
    ) -> None:
        self._store = store
        self._configured = {entry.name: entry for entry in configured}
        self._locations = locations
        self._control_planes = control_planes

    def all(self) -> list[Entry[LandingZone]]:
        """Return all landing zones, by name."""
        with self._store.snapshot() as tx:
            rows = tx.catalogue.landing_zones()
        return merged(self._configured, rows, lambda entry: entry.name)

    def receiving(
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
            for e in self.all()
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
            if self._locations.serve(zone, owner):
                return zone
        raise NotFoundError(f"no landing zone receives {dataset_id[:200]!r} by {profile_names[0][:200]}")

    def refuse_mixing(self, zone: LandingZone) -> None:
        """Return if participants that share a landing zone are kept apart there, whatever they call things.

        A process is named by who makes it, so ``{processId}`` alone keeps nobody out of another's place.

        Raises:
            ConfigError: They are not.
        """
        segments = [] if zone.sink is None else LocationRef.parse(zone.sink).path.split("/")
        if zone.sink is None or any(placeholder in segments for placeholder in _APART):
            return
        served: set[str] = set()
        for plane in (entry.value for entry in self._control_planes.all()):
            owner = Caller.for_plane(plane)
            if owner.participant_context_id not in served and self._locations.serve(zone, owner):
                served.add(owner.participant_context_id)
            if len(served) > 1:
                raise ConfigError(
                    f"landing zone {zone.name} is for several participants: put {' or '.join(_APART)} into"
                    " its sink, as a segment of its own, or name in `participants` whom it is for"
                )

    def put(self, zone: LandingZone) -> None:
        """Create or replace a landing zone.

        Raises:
            InputError: It is malformed, names no location of ours, or does not keep participants apart.
            ForbiddenError: It stands in the configuration.
        """
        check_name(zone.name)
        refuse_configured(zone.name, self._configured, "landing zone")
        if zone.fault:
            raise InputError(zone.fault)
        for ref in filter(None, (zone.sink, zone.source)):
            self._locations.check_ref(ref)
        try:
            self.refuse_mixing(zone)
        except ConfigError as exc:
            raise InputError(exc.message) from exc
        with self._store.transaction() as tx:
            tx.catalogue.put_landing_zone(zone)

    def delete(self, name: str) -> None:
        """Delete a landing zone.

        Raises:
            NotFoundError: There is none.
            ForbiddenError: It stands in the configuration.
        """
        refuse_configured(name, self._configured, "landing zone")
        with self._store.transaction() as tx:
            if not tx.catalogue.delete_landing_zone(name):
                raise NotFoundError(f"there is no landing zone {name[:100]!r}")
