"""What the gateway may serve and take: a pull's data, a push's, with the token of its flow.

A pull is served while it is STARTED. A push is taken from PREPARED on: the provider may begin before this
side is told that it did (Data Plane Signaling, "Started", implementation notice).

A token is worth nothing while the flow is suspended, and ends with it. Between participants that have DIDs it
is short-lived and renewed (``gateway_tokens``, ``token_renewal``). Else it stands in the address that was
handed out, sealed in the flow's row, and nowhere else, for the flow's life: a resume hands out the same one
again, as not every control plane brings the consumer the address of a resume's answer.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from dataferry.domain.address import DataAddress
from dataferry.domain.clock import Clock
from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import (
    ConfigError,
    NotFoundError,
    UnauthorizedError,
    UnsupportedError,
)
from dataferry.domain.objects import Capability
from dataferry.domain.participant import Participant
from dataferry.domain.profile import Direction
from dataferry.engine.rates.bandwidth import Bandwidth
from dataferry.engine.selection import Selection
from dataferry.flows import gateway_tokens
from dataferry.flows.bounds import Bounds
from dataferry.flows.recent import Recent
from dataferry.flows.resolution import Place, Resolver
from dataferry.flows.standing import Standing, refuse_closed, token_of
from dataferry.mechanisms.abilities import GatewayAddresses
from dataferry.secrets.did import is_web_did
from dataferry.store.store import Store, Transaction

DATA_PATH = "/data"
INGEST_PATH = "/ingest"
TOKEN_PATH = "/token"  # noqa: S105 - a path
# Within this time of a suspend or an end no byte flows any more; each look is one short read of the store.
LOOK_INTERVAL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDoor:
    """Where this plane's gateway is found from outside.

    Attributes:
        base_url: As partners reach the gateway, without a last slash; None if there is none.
        may_be_plain: Whether tokens may travel over plain http: for development on loopback.
        participants: Ours, by their context: whose tokens are short-lived.
        token_lifetime_s: How long those are good for.
    """

    base_url: str | None
    may_be_plain: bool = False
    participants: Mapping[str, Participant] = field(default_factory=dict)
    token_lifetime_s: int = 300

    def address(self, flow: DataFlow, place: Place, resolver: Resolver) -> DataAddress:
        """Return the address of a flow's data: with a fresh token to be renewed, else with the flow's own.

        Raises:
            UnsupportedError: The profile's mechanism has no use for a gateway.
            ConfigError: No gateway runs here, or it could only be reached without TLS.
        """
        mechanism, profile = resolver.profile(flow.profile)
        if not isinstance(mechanism, GatewayAddresses):
            raise UnsupportedError(f"this plane's gateway does not serve {flow.profile}")
        if self.base_url is None:
            raise ConfigError(
                f"{flow.profile} needs the gateway, which this process does not run: start one with"
                " --role gateway, and set server.gateway_url to the URL that leads there"
            )
        if not (self.base_url.startswith("https://") or self.may_be_plain):
            raise ConfigError(
                "the gateway would hand out tokens for plain http: set server.public_url to the https URL"
                " that leads here, or, for development on loopback, server.allow_http_on_loopback"
            )
        renews = self._renews(flow)
        kept = None if renews or gateway_tokens.is_renewable(flow.outgoing_address) else token_of(flow)
        is_push = flow.direction is Direction.PUSH
        address = mechanism.gateway_address(
            profile,
            url=f"{self.base_url}{INGEST_PATH if is_push else DATA_PATH}/{flow.id}",
            token=kept or gateway_tokens.new_token(),
            is_single=place.endpoint.is_single,
            takes_parts=is_push and Capability.PARTS in place.mechanism.sink_capabilities,
        )
        if not renews:
            return address
        return gateway_tokens.renewable(
            address,
            endpoint=f"{self.base_url}{DATA_PATH}/{flow.id}{TOKEN_PATH}",
            lifetime_s=self.token_lifetime_s,
        )

    def _renews(self, flow: DataFlow) -> bool:
        """Return whether both sides can prove who they are: else nobody could renew a token."""
        us = self.participants.get(flow.participant_context_id)
        return us is not None and us.did is not None and is_web_did(flow.counter_party_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A flow's data, open to who asked.

    Attributes:
        flow_id: Whose.
        place: Where it is.
        selection: Which of its objects: dataset and control plane may offer a part of it.
        bandwidths: That its bytes share with others.
        bandwidth_bytes_per_s: Of this flow alone; None is no bound.
    """

    flow_id: UUID
    place: Place
    selection: Selection = field(default_factory=Selection)
    bandwidths: tuple[Bandwidth, ...] = ()
    bandwidth_bytes_per_s: int | None = None

    @property
    def is_bounded(self) -> bool:
        """True if its bytes may have to wait."""
        return bool(self.bandwidths) or self.bandwidth_bytes_per_s is not None


class GatewayAccess:
    """Decides who may have what.

    Args:
        store: Has the flows.
        resolver: Finds their places.
        bounds: Says how their bytes may move.
        clock: Time.
    """

    def __init__(self, store: Store, resolver: Resolver, bounds: Bounds, clock: Clock) -> None:
        self._store = store
        self._resolver = resolver
        self.bounds = bounds
        self._recent: Recent[Served] = Recent()
        self._standings: Recent[Standing] = Recent()
        self.places: Recent[Place] = Recent()
        self._clock = clock

    def open(self, flow_id: str, token: str | None) -> Served:
        """Let somebody in who shows the flow's token.

        Raises:
            UnauthorizedError: There is no such flow, or it is not its token: which, is not told.
            ForbiddenError: The flow is not STARTED now.
            GoneError: It is over.
            DataFerryError: Its data can't be found any more.
        """
        standing = self.standing(flow_id, token, Direction.PULL)
        served = self._recent.of(
            (standing.id, standing.version), lambda: self._served(self.flow(standing.id))
        )
        self.places.of(flow_id, lambda: served.place)
        return served

    def last_place(self, flow_id: str) -> Place | None:
        """Return where a flow's data was a moment ago, for who is about to ask; None if nobody did."""
        return self.places.get(flow_id)

    def _served(self, flow: DataFlow) -> Served:
        """Find a flow's data."""
        ends = self._resolver.ends(flow)
        if ends.source is None:
            raise ConfigError(f"flow {flow.data_flow_id} does not say where its data is")
        options = self.bounds.options(flow, ends)
        return Served(
            flow_id=flow.id,
            place=ends.source,
            selection=options.selection,
            bandwidths=self.bounds.shared(ends),
            bandwidth_bytes_per_s=options.limits.bandwidth_bytes_per_s,
        )

    def flow(self, flow_id: UUID) -> DataFlow:
        """Return a flow.

        Raises:
            NotFoundError: There is no such flow.
        """
        with self._store.snapshot() as tx:
            return tx.flows.get(flow_id)

    def standing(self, flow_id: str, token: str | None, direction: Direction) -> Standing:
        """Return how the flow stands whose token somebody shows, if its data may move that way now.

        Raises:
            UnauthorizedError, ForbiddenError, GoneError: As of ``open``.
        """
        refused = UnauthorizedError("send the bearer token of this flow's data address")
        now = self._clock.now()
        pair = None
        try:
            number = UUID(flow_id)
            if str(number) != flow_id:
                raise refused  # one flow has one address: requests are counted by it
            with self._store.snapshot() as tx:
                standing = self._current(tx, number)
                pairs = tx.gateway_tokens.of(number) if standing.renews else []
        except (ValueError, NotFoundError):
            raise refused from None
        if token is None:
            raise refused
        if standing.renews:
            pair = gateway_tokens.by_access_token(pairs, token, now)
            is_good = pair is not None
        else:
            is_good = _is_same(token, standing.token)
        if not is_good:
            raise refused
        refuse_closed(standing, direction)
        if pair is not None and not pair.is_used:
            with self._store.transaction() as tx:
                gateway_tokens.use(tx, pair, now)
        return standing

    def watch(self, flow_id: UUID, direction: Direction) -> Watch:
        """Return what tells, while bytes flow, whether they still may."""
        return Watch(self, flow_id, direction)

    def check(self, flow_id: UUID, direction: Direction) -> None:
        """Return if the flow's data may still move; a token that was good when it was shown need not be.

        Raises:
            ForbiddenError, GoneError: It may not.
        """
        with self._store.snapshot() as tx:
            refuse_closed(self._current(tx, flow_id), direction)

    def _current(self, tx: Transaction, flow_id: UUID) -> Standing:
        """Return how a flow stands by its row as it is now, read anew only where its version is another one.

        Raises:
            NotFoundError: There is no such flow.
        """
        version = tx.flows.version(flow_id)
        return self._standings.of((flow_id, version), lambda: Standing.of(tx.flows.get(flow_id)))


class Watch:
    """Looks at the flow again from time to time, while its bytes are in flight; belongs to one stream.

    Args:
        access: Decides.
        flow_id: Whose bytes.
        direction: Where to.
    """

    def __init__(self, access: GatewayAccess, flow_id: UUID, direction: Direction) -> None:
        self._access = access
        self._flow_id = flow_id
        self._direction = direction
        self._looked_at = time.monotonic()

    def look(self) -> None:
        """Return if the bytes may go on.

        Raises:
            DataFerryError: They may not, or nobody can tell.
        """
        now = time.monotonic()
        if now - self._looked_at < LOOK_INTERVAL_S:
            return
        self.look_now()

    def look_now(self) -> None:
        """As ``look``, however short ago the last was: before something becomes visible.

        Raises:
            DataFerryError: As of ``look``.
        """
        self._looked_at = time.monotonic()
        self._access.check(self._flow_id, self._direction)


def _is_same(one: str, other: str | None) -> bool:
    """Compare without telling by the time how much agrees."""
    if other is None:
        return False
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
