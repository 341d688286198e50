"""Connections to the stores of pulls, which the gateway keeps from one request of a flow to the next."""

from __future__ import annotations

from dataclasses import dataclass

from dataferry.flows.gateway import Served
from dataferry.flows.kept import Kept
from dataferry.mechanisms.abilities import Abortable
from dataferry.mechanisms.base import Reader, Source
from dataferry.net.connections import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A connection to read from a store, for one request."""

    source: Source
    reader: Reader

    def abort(self) -> None:
        """Make a blocked call fail at once, and later ones too. Any thread."""
        self.reader.abort()
        if isinstance(self.source, Abortable):
            self.source.abort()

    def close(self) -> None:
        """Close it; never waits for the store."""
        self.abort()
        self.reader.close()
        self.source.close()


class Readers:
    """Lends connections to stores. Thread-safe.

    Args:
        network: Dials.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._kept: Kept[Reading] = Kept(Reading.close)

    def lend(self, served: Served) -> Reading:
        """Return a connection to a flow's store, one that was used before where there is one; asks nobody."""
        kept = self._kept.take(served.flow_id, served.place)
        if kept is not None:
            return kept
        source = served.place.mechanism.open_source(served.place.endpoint, self._network)
        return Reading(source=source, reader=source.reader())

    def take_back(self, served: Served, reading: Reading) -> None:
        """Keep a connection, of which nothing is left to be read, for the flow's next request."""
        self._kept.keep(served.flow_id, served.place, reading)

    def tick(self) -> None:
        """Close connections that idle; called every moment."""
        self._kept.tick()

    def close(self) -> None:
        """Close every connection that is kept."""
        self._kept.close()
