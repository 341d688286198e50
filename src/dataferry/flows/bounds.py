"""How a flow's bytes may move, and what they share with others: the same for attempts and for the gateway."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from itertools import chain

from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import NotFoundError
from dataferry.domain.limits import LocationLimits
from dataferry.engine.rates.bandwidth import Bandwidth, Bandwidths
from dataferry.flows.catalogue import Catalogue
from dataferry.flows.policy import FlowPolicy
from dataferry.flows.resolution import Ends, Place, Resolver
from dataferry.flows.transfer_options import AskedOptions, TransferOptions, least, located

_LOCATION = "location "


class Bounds:
    """Puts together what the operator, the locations and a message say about a flow.

    Args:
        catalogue: What is configured.
        resolver: Knows what a dataset offers.
        bandwidths: What the flows of this process share.
        policy: Of the use cases.
    """

    def __init__(
        self, catalogue: Catalogue, resolver: Resolver, bandwidths: Bandwidths, policy: FlowPolicy
    ) -> None:
        self._catalogue = catalogue
        self._resolver = resolver
        self._bandwidths = bandwidths
        self._policy = policy

    def options(self, flow: DataFlow, ends: Ends) -> TransferOptions:
        """How a flow's bytes are to move: as configured, within that as its message asks.

        Raises:
            NotFoundError: The dataset is gone.
            InputError: The patterns of dataset and message are too many together.
        """
        policy = self._policy
        limits = located(policy.limits, _limits(ends.source), _limits(ends.sink))
        bound = least(limits.bandwidth_bytes_per_s, ends.bandwidth_bytes_per_s)
        return TransferOptions(
            limits=replace(limits, bandwidth_bytes_per_s=bound),
            overwrite=policy.overwrite,
            verify=policy.verify,
            selection=self._resolver.offered(flow),
            manifest=ends.manifest,
        ).asked(AskedOptions.of(flow.metadata), max_part_size_bytes=policy.max_part_size_bytes)

    def shared(self, ends: Ends) -> tuple[Bandwidth, ...]:
        """Return the bounds that a flow shares with others: of its locations, each once, and of all flows."""
        places = (ends.source, ends.sink)
        locations = {place.location.name: place.limits for place in places if place and place.location}
        bounds = [
            self._bandwidths.of(_LOCATION + name, limits.bandwidth) for name, limits in locations.items()
        ]
        return tuple(chain(*bounds, self._bandwidths.of("this plane", self._policy.bandwidth)))

    def renew(self) -> None:
        """Have bounds that flows share now be as their locations are set now; called every moment."""
        for name in self._bandwidths.names:
            location = name.removeprefix(_LOCATION)
            if location != name:
                with contextlib.suppress(NotFoundError):
                    self._bandwidths.of(name, self._catalogue.locations.get(location).limits.bandwidth)


def _limits(place: Place | None) -> LocationLimits:
    """What a place's location asks of transfers."""
    return LocationLimits() if place is None else place.limits
