"""The two places of a copy: found, compared and opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from dataferry.app.environment_proxies import environment_proxies
from dataferry.app.outcome import CopyOptions
from dataferry.app.place_lock import PlaceLock
from dataferry.app.places import KnownLocations, find_place, location_of
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import DataFerryError, InputError
from dataferry.domain.limits import LocationLimits
from dataferry.domain.location import Location
from dataferry.engine.rates.bandwidth import Bandwidth, Bandwidths
from dataferry.engine.selection import Selection
from dataferry.engine.transfer import EngineLimits, Verify
from dataferry.mechanisms.base import Endpoint, Mechanism, Sink, Source
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network

if TYPE_CHECKING:
    from dataferry.app.settings import Settings

DEFAULT_FILE = "dataferry.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Both places of a copy, and which of the objects it is about.

    Attributes:
        verify: How far what is moved is proved, as the command or else the configuration says.
    """

    source: tuple[Mechanism, Endpoint]
    destination: tuple[Mechanism, Endpoint]
    network: Network
    selection: Selection = field(default_factory=Selection)
    verify: Verify = Verify.BEST
    bandwidths: tuple[Bandwidth, ...] = ()

    @property
    def identity(self) -> str:
        """Equal for the same pair of places, without credentials, and the same patterns."""
        places = (self.source, self.destination)
        ends = [f"{mechanism.name} {endpoint.identity}" for mechanism, endpoint in places]
        if self.selection:
            ends.append(f"selection {self.selection.identity}")
        return hashlib.sha256("\n".join(ends).encode()).hexdigest()[:32]

    def refuse_overlap(self) -> None:
        """Refuse to copy a place onto or into itself.

        Raises:
            InputError: Both are the same place, or the destination lies in the source.
        """
        (mechanism, source), (other, destination) = self.source, self.destination
        if mechanism.name != other.name:
            return
        begin, end = source.identity.rstrip("/"), destination.identity.rstrip("/")
        if not destination.is_single and source.is_single:
            end = f"{end}/{begin.rsplit('/', 1)[-1]}"
        if begin == end:
            raise InputError("source and destination are the same place")
        if not source.is_single and end.startswith(f"{begin}/"):
            raise InputError(
                "the destination lies in the source: the copy would copy itself; name a place beside it"
            )

    def sole_writer(self, path: Path) -> PlaceLock:
        """What keeps other copies off the destination while this one writes there."""
        mechanism, endpoint = self.destination
        return PlaceLock(
            path,
            f"{mechanism.name} {endpoint.identity}",
            refusal="another copy is writing to this destination, to a part of it or around it; wait for it",
        )

    def open_sink(self) -> Sink:
        """Open the destination."""
        mechanism, endpoint = self.destination
        return mechanism.open_sink(endpoint, self.network)

    @contextmanager
    def opened(self) -> Iterator[tuple[Source, Sink]]:
        """Open both; what can't work is refused before a byte moves."""
        mechanism, endpoint = self.source
        with (
            closing(mechanism.open_source(endpoint, self.network)) as source,
            closing(self.open_sink()) as sink,
        ):
            _probe(source)
            _probe(sink)
            yield source, sink


def open_ends(source: str, destination: str, options: CopyOptions) -> tuple[Ends, EngineLimits]:
    """Find out what both places are, and the bounds to work in."""
    settings = _settings(options.config)
    registry = Registry()
    locations: KnownLocations | None = None
    limits, verify = options.limits(EngineLimits()), Verify.BEST
    proxies = environment_proxies(os.environ)
    network = Network(stall_timeout_s=limits.stall_timeout_s, proxies=proxies)
    if settings is not None:
        from dataferry.app.wiring import Locations, engine_limits, network_of

        locations = Locations(settings, registry)
        network = network_of(settings, otherwise=proxies)
        limits = options.limits(engine_limits(settings))
        verify = settings.engine.verify
    found = tuple(location_of(text, locations) for text in (source, destination))
    ends = Ends(
        source=find_place(source, locations=locations, registry=registry),
        destination=find_place(destination, locations=locations, registry=registry),
        network=network,
        selection=options.selection,
        verify=options.verify or verify,
        bandwidths=_bandwidths(settings, found),
    )
    ends.refuse_overlap()
    return ends, _within_locations(limits, found, options)


def _within_locations(
    limits: EngineLimits, found: Sequence[Location | None], options: CopyOptions
) -> EngineLimits:
    """What both locations ask; sizes on the command line come before theirs, and bounds hold together."""
    if not any(found):
        return limits
    from dataferry.flows.transfer_options import located

    source, sink = (LocationLimits() if end is None else end.limits for end in found)
    return replace(located(limits, source, sink), **options.sizes)


def _bandwidths(settings: Settings | None, found: Sequence[Location | None]) -> tuple[Bandwidth, ...]:
    """The bounds beside that of the copy itself: of each location once, and of the process."""
    if settings is None:
        return ()
    from dataferry.app.wiring import total_bandwidth

    bandwidths = Bandwidths(SystemClock())
    named = {location.name: location.limits.bandwidth for location in found if location is not None}
    bounds = [bandwidths.of(f"location {name}", schedule) for name, schedule in named.items()]
    return tuple(chain(*bounds, bandwidths.of("this process", total_bandwidth(settings))))


def _settings(config: str | None) -> Settings | None:
    """The settings, if there is a file; without one nothing is imported for them."""
    if config is None and "DATAFERRY_CONFIG" not in os.environ and not Path(DEFAULT_FILE).is_file():
        return None
    from dataferry.app.configuration import load

    return load(config)


def _probe(end: Source | Sink) -> None:
    """Refuse what can't work before a byte moves; what may pass is left to the engine, which tries again."""
    try:
        end.probe()
    except DataFerryError as error:
        if not error.is_temporary:
            raise
