"""What the operator configured, from the configuration file and over the API, as one catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from dataferry.domain.location import ControlPlane, Dataset, LandingZone, Location
from dataferry.flows.control_planes import ControlPlanes
from dataferry.flows.datasets import Datasets
from dataferry.flows.landing_zones import LandingZones
from dataferry.flows.locations import Locations, locations_of
from dataferry.mechanisms.registry import Registry
from dataferry.secrets.redaction import SecretValues
from dataferry.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What the configuration file holds; references to secrets are resolved."""

    locations: tuple[Location, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    landing_zones: tuple[LandingZone, ...] = ()
    control_planes: tuple[ControlPlane, ...] = ()


class Catalogue:
    """Locations, datasets, landing zones and control planes as they are in force now.

    Args:
        store: Where entries made over the API are kept.
        registry: The mechanisms, whose schemas decide what a location may hold.
        configured: What the configuration file holds.
        secrets: Told of the secrets of locations that are read and written, for the logs to leave out.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        configured: Configured | None = None,
        *,
        secrets: SecretValues | None = None,
    ) -> None:
        given = configured or Configured()
        self.locations = Locations(store, registry, given.locations, secrets or SecretValues())
        self.datasets = Datasets(store, given.datasets, self.locations)
        self.control_planes = ControlPlanes(store, given.control_planes, self.locations)
        self.landing_zones = LandingZones(store, given.landing_zones, self.locations, self.control_planes)

    def delete_location(self, name: str) -> None:
        """Delete a location that nothing uses.

        Raises:
            NotFoundError: There is none.
            ForbiddenError: It stands in the configuration.
            InputError: A dataset or landing zone uses it.
        """
        used = [e.value.match for e in self.datasets.all() if name in locations_of(e.value)]
        used += [e.value.name for e in self.landing_zones.all() if name in locations_of(e.value)]
        self.locations.delete(name, used_by=used)
