"""What the gateway takes for a push: whose it is, where it goes, and how it may move.

The other side plans and sends; this side writes down what has come in the ledger of transfers, under the
flow's id, so that a kill costs no more than what was on its way.

Source: Data Plane Signaling, "HTTP Transfer Profile", section "Push".
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import ConfigError
from dataferry.domain.ledger import Attempt
from dataferry.domain.profile import Direction
from dataferry.engine.rates.bandwidth import Bandwidth
from dataferry.flows.gateway import GatewayAccess
from dataferry.flows.kept import Kept
from dataferry.flows.recent import Recent
from dataferry.flows.resolution import Place, safe_segment
from dataferry.flows.shared import Shared
from dataferry.flows.transfer_options import TransferOptions
from dataferry.mechanisms.abilities import NamesToLearn
from dataferry.mechanisms.base import Sink, Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiving:
    """A flow's data on its way in, open to who showed its token.

    Attributes:
        flow_id: Whose.
        attempt: Under which what comes is written down.
        place: Where it goes.
        options: How it may move.
        bounds: What it shares with others.
        default_name: What an object is called that is sent to the address itself.
    """

    flow_id: UUID
    attempt: Attempt
    place: Place
    options: TransferOptions
    bounds: tuple[Bandwidth, ...]
    default_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """A connection to a store, for one request."""

    sink: Sink
    writer: Writer

    def close(self) -> None:
        """Close it; never waits for the store."""
        self.writer.abort()
        self.writer.close()
        self.sink.close()


class Ingest:
    """Lets pushes in, and keeps their connections to stores from one request to the next. Thread-safe.

    Args:
        shared: The parts of this data plane.
        access: Decides who may send.
    """

    def __init__(self, shared: Shared, access: GatewayAccess) -> None:
        self.shared = shared
        self.access = access
        self._recent: Recent[Receiving] = Recent()
        self._kept: Kept[Lent] = Kept(Lent.close)

    def open(self, flow_id: str, token: str | None) -> Receiving:
        """Let somebody send who shows the flow's token.

        Raises:
            UnauthorizedError, ForbiddenError, GoneError: As of ``GatewayAccess``.
            DataFerryError: The flow's place can't be found any more.
        """
        standing = self.access.standing(flow_id, token, Direction.PUSH)
        receiving = self._recent.of(
            (standing.id, standing.version), lambda: self._receiving(self.access.flow(standing.id))
        )
        self.access.places.of(flow_id, lambda: receiving.place)
        return receiving

    def _receiving(self, flow: DataFlow) -> Receiving:
        """Find where a flow's data goes."""
        ends = self.shared.resolver.ends(flow)
        if ends.sink is None:
            raise ConfigError(f"flow {flow.data_flow_id} does not say where its data goes")
        return Receiving(
            flow_id=flow.id,
            attempt=Attempt(transfer_id=str(flow.id), epoch=flow.epoch),
            place=ends.sink,
            options=self.access.bounds.options(flow, ends),
            bounds=self.access.bounds.shared(ends),
            default_name=safe_segment(flow.dataset_id),
        )

    def lend(self, receiving: Receiving) -> Lent:
        """Return a connection to a flow's store: one that was used before, where there is one."""
        place = receiving.place
        kept = self._kept.take(receiving.flow_id, place)
        if kept is not None:
            return kept
        sink = place.mechanism.open_sink(place.endpoint, self.shared.network)
        if isinstance(sink, NamesToLearn):
            sink.learn_names()
        return Lent(sink=sink, writer=sink.writer())

    def take_back(self, receiving: Receiving, lent: Lent) -> None:
        """Keep a connection for the next request of the flow."""
        self._kept.keep(receiving.flow_id, receiving.place, lent)

    def tick(self) -> None:
        """Close connections that idle; called every moment."""
        self._kept.tick()
        self.access.bounds.renew()

    def close(self) -> None:
        """Close every connection that is kept."""
        self._kept.close()
