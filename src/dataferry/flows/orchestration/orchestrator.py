"""What clients of the orchestrator may do: ask for a list of assets, look how it goes, and call it off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

from dataferry.domain.asks import Asks
from dataferry.domain.clock import Clock
from dataferry.domain.errors import ConfigError, ConflictError, DataFerryError, InputError
from dataferry.domain.location import LocationRef
from dataferry.domain.orchestration import Ask, Connector, Entry, Notice, Orchestration, Standing
from dataferry.domain.profile import Direction, Profile
from dataferry.domain.progress import Progress
from dataferry.flows.matching import matches
from dataferry.flows.orchestration.acceptance import SETTING, Acceptance
from dataferry.flows.orchestration.connectors import Connectors
from dataferry.flows.orchestration.faults import is_outage
from dataferry.flows.orchestration.intake import Intake
from dataferry.flows.orchestration.named_files import NamedFiles, written_twice
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.orchestration.ports import EdcClient, Negotiator
from dataferry.flows.orchestration.work import Retry
from dataferry.flows.resolution import Resolver
from dataferry.net.connections import Network
from dataferry.store.records import FlowEvent
from dataferry.store.store import Store

# A rehearsal asks for the offers of so many assets: it is one request of a client that waits.
REHEARSED_OFFERS = 8
# What a download's flow is told of each try that failed for a passing reason.
RETRY = "retry"
# Of a request that is wrong throughout, the first so many faults are told.
MAX_FAULTS = 50

# By the names of an entry's fields.
Faults = dict[str, list[str]]


class RequestError(InputError):
    """A request that is wrong.

    Args:
        details: What is wrong with which field: ``{field: [sentence, ...]}``, nested as the request is.
    """

    def __init__(self, details: Mapping[str, Any]) -> None:
        super().__init__("Invalid request format")
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks for.

    Attributes:
        idempotency_key: Repeating it with the same content gets the first answer again.
    """

    connector_address: str
    asks: Asks
    properties: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None

    @property
    def digest(self) -> str:
        """Tells one request from another."""
        content = [self.connector_address, [_content(ask) for ask in self.asks], dict(self.properties)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _content(ask: Ask) -> list[str | None]:
    """Return what tells an entry; as it was before there were asset ids, so that keys outlive an upgrade."""
    return list(ask[:-1] if ask.asset_id is None else ask)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationView:
    """An orchestration, its entries in order, and how far the downloads of those are.

    Attributes:
        progress: By flow.
        retries: By position: what was tried again last.
    """

    orchestration: Orchestration
    entries: Sequence[Entry]
    progress: Mapping[UUID, Progress]
    retries: Mapping[int, Retry] = field(default_factory=dict)


def _retry_of(event: FlowEvent | None) -> Retry | None:
    return None if event is None else Retry(reason=event.reason, at=event.at)


class Orchestrator:
    """The use cases of clients, one transaction each.

    Args:
        store: Where orchestrations are.
        resolver: Knows transfer types and places.
        connectors: Which may be named.
        policy: Bounds.
        clock: Time.
        wake: Tells the runner that there is something to do, and which orchestration was called off.
        edc: Asks connectors, for a rehearsal; None asks none.
        negotiator: As ``edc``, for offers.
        network: How a rehearsal reaches destinations.
        retry: Tells why an entry's step is being tried again.
    """

    def __init__(
        self,
        store: Store,
        resolver: Resolver,
        connectors: Connectors,
        policy: OrchestratorPolicy,
        clock: Clock,
        *,
        wake: Callable[[UUID | None], None] = lambda _: None,
        edc: EdcClient | None = None,
        negotiator: Negotiator | None = None,
        network: Network | None = None,
        retry: Callable[[tuple[UUID, int]], Retry | None] = lambda _: None,
    ) -> None:
        self._store = store
        self._intake = Intake(store)
        self._resolver = resolver
        self._files = NamedFiles(resolver, policy)
        self._connectors = connectors
        self._policy = policy
        self._clock = clock
        self._wake = wake
        self._edc = edc
        self._negotiator = negotiator
        self._acceptance = Acceptance(policy.accepted)
        self._network = network or Network()
        self._retry = retry

    def accept(self, request: Request) -> Future[Orchestration]:
        """Take a request in; everything else happens later. Blocks only if the request ``needs_look_up``.

        Returns:
            What was made of it, or of the same request before, once that is written for good. It fails with
            ``ConflictError`` if its idempotency key belongs to another request.

        Raises:
            RequestError: It can't be carried out.
            DataFerryError: The database fails.
        """
        self.check(request)
        now = self._clock.now()
        made = Orchestration(
            id=uuid4(),
            connector_address=request.connector_address,
            properties=dict(request.properties),
            idempotency_key=request.idempotency_key,
            digest=request.digest if request.idempotency_key else "",
            entries=len(request.asks),
            notice=Notice() if self._policy.notifies else None,
            created_at=now,
            updated_at=now,
        )
        accepted = self._intake.submit(made, request.asks)
        accepted.add_done_callback(lambda _: self._wake(None))
        return accepted

    def close(self) -> None:
        """Write what was taken in, and end."""
        self._intake.close()

    def needs_look_up(self, request: Request) -> bool:
        """Return whether a request is checked in the database: it names a destination, or wants a push."""
        return request.asks.distinct("destination") != {None} or any(
            not self._transfer_type(name) and self._profile(name).direction is Direction.PUSH
            for name in request.asks.distinct("transfer_type")
        )

    def check(self, request: Request) -> None:
        """Refuse a request that can't be carried out, before anything is kept of it.

        Raises:
            RequestError: Names each field that is wrong.
            DataFerryError: The database fails: nobody can say.
        """
        wrong: dict[str, Any] = {}
        connector = None
        try:
            connector = self._connectors.of(request.connector_address)
        except InputError as exc:
            wrong["connectorAddress"] = [exc.message]
        if len(request.asks) > self._policy.max_entries:
            wrong["data"] = [f"Longer than maximum length {self._policy.max_entries}."]
            raise RequestError(wrong)
        found = {value: self._transfer_type(value) for value in request.asks.distinct("transfer_type")}
        places, files = self._destinations(request.asks)
        pairs = request.asks.distinct("transfer_type", "destination")
        refused = {
            (type_, place): found[type_] | places.get(place, {}) or self._push(type_, place)
            for type_, place in pairs
        }
        twice = _named_twice(request.asks, files) if files else {}

        def of(position: int, ask: Ask) -> Faults:
            negotiable = self._negotiable(ask, connector) if ask.negotiates else {}
            return refused[ask.transfer_type, ask.destination] | twice.get(position, {}) | negotiable

        if request.asks.lack("contract_id") or twice or any(refused.values()):
            entries = _first_faults(of(position, ask) for position, ask in enumerate(request.asks))
            wrong |= {"data": entries} if entries else {}
        if wrong:
            raise RequestError(wrong)

    def rehearse(self, request: Request) -> None:
        """Check a request, and ask its connector and its destinations whether they are there.

        Raises:
            RequestError: It can't be carried out.
            ConfigError: A destination can't be written to.
            DataFerryError: A connector of ours does not answer, or does not take our credentials.
        """
        self.check(request)
        connector = self._connectors.of(request.connector_address)
        if connector.is_configured and self._edc is not None:
            self._edc.probe(connector)
        self._try_offers(connector, request)
        for ref in {ask.destination or self._policy.destination for ask in request.asks}:
            self._try_destination(ref)

    def _try_offers(self, connector: Connector, request: Request) -> None:
        """Look if the first assets that have no contract are offered under what may be agreed to."""
        if self._negotiator is None:
            return
        asks = list(dict.fromkeys(ask for ask in request.asks if ask.negotiates))
        for ask in asks[:REHEARSED_OFFERS]:
            self._acceptance.choose(ask.provider_id, self._negotiator.offered(connector, ask))

    def _try_destination(self, ref: str) -> None:
        """Look if a destination can be written to; that it can is our side's business, whatever it is.

        Raises:
            ConfigError: It can't be.
        """
        try:
            place = self._resolver.at_ref(ref, self._policy.participant)
            with closing(place.mechanism.open_sink(place.endpoint, self._network)) as sink:
                sink.probe()
        except DataFerryError as exc:
            if is_outage(exc):
                raise
            raise ConfigError(f"the destination {ref}: {exc}") from exc

    def _negotiable(self, ask: Ask, connector: Connector | None) -> Faults:
        """Say why nothing may be negotiated for an entry that has no contract."""
        if connector is not None and not connector.is_configured:
            return {"assetId": ["Only a configured connector is asked to negotiate: give a contractId."]}
        if not self._acceptance.may_agree_with(ask.provider_id):
            return {"assetId": [f"Nothing may be agreed with this provider ({SETTING}): give a contractId."]}
        return {}

    def _transfer_type(self, name: str | None) -> Faults:
        """Say what is wrong with a transfer type."""
        return _faults("transferType", lambda: self._profile(name))

    def _push(self, name: str | None, ref: str | None) -> Faults:
        """Say what keeps a push from being received where it is to go; nothing of a pull."""
        if self._profile(name).direction is Direction.PULL:
            return {}
        transfer_type, place = name or self._policy.transfer_type, ref or self._policy.destination
        return _faults(
            "transferType", lambda: self._resolver.receives(transfer_type, place, self._policy.participant)
        )

    def _profile(self, name: str | None) -> Profile:
        return self._resolver.profile(name or self._policy.transfer_type)[1]

    def _destinations(self, asks: Asks) -> tuple[dict[str, Faults], dict[str, Sequence[str]]]:
        """Look at the destinations that entries name: which are wrong, and which are files, written where."""
        wrong: dict[str, Faults] = {}
        files: dict[str, Sequence[str]] = {}
        for ref in asks.distinct("destination") - {None}:
            try:
                written = self._nameable(ref)
            except DataFerryError as exc:
                wrong[ref] = _told("destination", exc)
            else:
                files |= {ref: written} if written else {}
        return wrong, files

    def _nameable(self, ref: str) -> Sequence[str]:
        """Return which files are written, if requests may name a destination and it is there."""
        location = LocationRef.parse(ref).location
        if not any(matches(pattern, location) for pattern in self._policy.destinations):
            raise InputError("Not a destination that requests may name.")
        return self._files.of(ref)

    def list(
        self, *, after: str | None = None, limit: int | None = None, is_active: bool | None = None
    ) -> tuple[Sequence[Orchestration], str | None]:
        """Return orchestrations, newest first, and the cursor of the next page."""
        bounds = {} if limit is None else {"limit": limit}
        with self._store.snapshot() as tx:
            return tx.orchestrations.list(after=after, is_active=is_active, **bounds)

    def view(self, id: UUID) -> OrchestrationView:
        """Return one orchestration with its entries.

        Raises:
            NotFoundError: There is none.
        """
        with self._store.snapshot() as tx:
            orchestration = tx.orchestrations.get(id)
            entries = tx.orchestrations.entries_of(id)
            flows = [entry.flow_id for entry in entries if entry.flow_id and not entry.step.is_final]
            progress = tx.progress.get_many(flows) if flows else {}
            events = tx.events.latest(flows, RETRY) if flows else {}
        retries = {
            entry.position: retry
            for entry in entries
            if (retry := self._retry(entry.key) or _retry_of(events.get(entry.flow_id or id)))
        }
        return OrchestrationView(
            orchestration=orchestration, entries=entries, progress=progress, retries=retries
        )

    def cancel(self, id: UUID) -> Orchestration:
        """Call an orchestration off: what waits is not begun, what runs is taken back. Safe to repeat.

        Raises:
            NotFoundError: There is none.
            ConflictError: It is over.
        """
        with self._store.transaction() as tx:
            before = tx.orchestrations.get(id)
            if before.standing.is_final and before.standing is not Standing.CANCELLED:
                raise ConflictError(f"orchestration {id} is over: {before.standing}")
            after = before if before.is_cancelled else tx.orchestrations.cancel(id)
        self._wake(id)
        return after


def _faults(field: str, look: Callable[[], object]) -> Faults:
    """Say what is wrong with a field: why a look at it fails."""
    try:
        look()
    except DataFerryError as exc:
        return _told(field, exc)
    return {}


def _told(field: str, error: DataFerryError) -> Faults:
    """Say of a field why a look at it failed, unless the database is the cause."""
    if is_outage(error):
        raise error
    return {field: [error.message]}


def _named_twice(asks: Asks, files: Mapping[str, Sequence[str]]) -> dict[int, Faults]:
    """Say which entries would write over what another one stores."""
    written = (
        (place, position)
        for position, ask in enumerate(asks)
        for place in files.get(ask.destination or "", ())
    )
    advice = "Name another file, or a directory (`…/`), in which each entry gets a name of its own."
    return {
        position: {"destination": [f"Entry {other} writes there too. {advice}"]}
        for position, other in written_twice(written).items()
    }


def _first_faults(found: Iterable[Faults]) -> dict[str, Faults]:
    """Return what is wrong with entries, by their positions; of very many the first."""
    each = ((str(at), field, told) for at, faults in enumerate(found) for field, told in faults.items())
    entries: dict[str, Faults] = {}
    for position, field_, sentences in islice(each, MAX_FAULTS):
        entries.setdefault(position, {})[field_] = sentences
    return entries
