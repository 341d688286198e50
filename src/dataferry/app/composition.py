"""The composition root: builds the service from settings, starts its threads and ends them in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Protocol, Self
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import FastAPI

from dataferry.api.api_keys import ApiKeys, StoredKeys
from dataferry.api.application import create_application
from dataferry.api.services import Services
from dataferry.api.signaling.client import HttpControlPlaneClient
from dataferry.app.configuration import without_authorization
from dataferry.app.database import open_database
from dataferry.app.egress import DiscreetGuard
from dataferry.app.gateway_wiring import doors, gateway_parts
from dataferry.app.keeper import Keeper
from dataferry.app.mqtt import announcers
from dataferry.app.orchestration import (
    Asking,
    Orchestration,
    client_key,
    is_used,
    orchestration,
    warn_of_default_key,
    webhook_of,
)
from dataferry.app.proving import Proving, tell_what_is_relaxed
from dataferry.app.roles import ALL_ROLES, Role
from dataferry.app.settings import Settings
from dataferry.app.values import (
    anonymous,
    base_url,
    configured,
    flow_policy,
    most_of_one,
    operators,
    secret_values,
)
from dataferry.app.wiring import (
    network_of,
    participants,
)
from dataferry.domain.clock import Clock, SystemClock
from dataferry.domain.errors import ConfigError
from dataferry.domain.participant import Participant
from dataferry.engine.rates.bandwidth import Bandwidths
from dataferry.execution.embedded import EmbeddedExecutor
from dataferry.flows.agreements import Agreements
from dataferry.flows.attempts import Attempts
from dataferry.flows.callback_tokens import CallbackTokenSource
from dataferry.flows.catalogue import Catalogue
from dataferry.flows.gateway import GatewayDoor
from dataferry.flows.grants import Grants
from dataferry.flows.identities import Identities
from dataferry.flows.journal import Journal
from dataferry.flows.management import Management
from dataferry.flows.orchestration.orchestrator import Orchestrator
from dataferry.flows.outbox import OutboxSender
from dataferry.flows.preparation import Preparations
from dataferry.flows.registration import Registrar
from dataferry.flows.renewal import Renewals
from dataferry.flows.resolution import Resolver
from dataferry.flows.retention import Retention
from dataferry.flows.retries import RetrySchedule
from dataferry.flows.shared import Shared
from dataferry.flows.signaling import Signaling
from dataferry.flows.sweep import Sweep
from dataferry.flows.token_renewal import TokenRenewals
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network
from dataferry.store.store import Store


class _Part(Protocol):
    """What the service starts and ends."""

    def start(self) -> object:
        """Start its threads."""

    def close(self) -> object:
        """Join them."""


class Service:
    """Everything that ``dataferry serve`` runs, wired; ``build`` makes it.

    Attributes:
        application: The HTTP application; it works between ``start`` and ``close``.
        secrets: What logs must not show.
        replaced_by: Why this process has to end: another one works on the database. None: it need not.
    """

    def __init__(self, settings: Settings, *, port: int, clock: Clock, roles: frozenset[Role]) -> None:
        self._open = ExitStack()
        self._settings = settings
        self._clock = clock
        self._roles = roles
        self.replaced_by: str | None = None
        self._end: Callable[[], None] = lambda: None
        self._closing = threading.Event()
        self._started = threading.Event()
        try:
            self._wire(port)
        except BaseException:
            self._open.close()
            raise

    def _wire(self, port: int) -> None:
        """Build every room from the lowest up; what must be closed is closed in the opposite order."""
        registry = Registry()
        self._configured = configured(self._settings, registry)
        self.secrets = secret_values(self._settings, self._configured, registry)
        self._client_key = client_key(self._settings, self.secrets)
        network = network_of(self._settings, DiscreetGuard)
        store = self._open_store()
        shared = self._share(store, registry, network, port)
        client = _client(self._settings, port, network, registry, self._proving.tokens)
        self._open.callback(client.close)
        self._gateway = gateway_parts(shared)
        self._open.callback(self._gateway.ingest.close)
        self._open.callback(self._gateway.readers.close)
        management, orchestrated = self._employ(shared)
        self._open.callback(orchestrated.orchestrator.close)
        self._runner, self._awaited = orchestrated.runner, orchestrated.awaited
        self._parts: tuple[_Part, ...] = (
            Journal(store),
            # Gateways write down what becomes of flows; the one process that may, tells it.
            *(
                announcers(self._settings, store, network, self._clock, self.secrets.redact)
                if self.has_control
                else ()
            ),
            OutboxSender(shared, client),
            *((orchestrated.notices,) if orchestrated.notices else ()),
            self._executor,
            Sweep(shared, self._executor, self._attempts),
            Registrar(shared, client),
            Retention(store, self._clock, days=self._settings.store.retention_days),
            self._runner,
        )
        self.application = self._application(shared, registry, client, management, orchestrated.orchestrator)

    def _open_store(self) -> Store:
        """Open the database, alone with it but for gateways; find the operators' keys."""
        store, tenure = open_database(
            self._settings,
            self._open,
            clock=self._clock,
            secrets=self.secrets,
            is_alone=self.has_control,
        )
        self._keeper = None if tenure is None else Keeper(tenure, store, self._replaced)
        self._keys = ApiKeys(operators(self._settings), StoredKeys(store, self._clock))
        _refuse_without_keys(self._settings, self._keys)
        return store

    def _share(self, store: Store, registry: Registry, network: Network, port: int) -> Shared:
        """Make what all use cases work with, and what the plane proves itself with."""
        settings, clock = self._settings, self._clock
        catalogue = Catalogue(store, registry, self._configured, secrets=self.secrets)
        for zone in self._configured.landing_zones:
            catalogue.landing_zones.refuse_mixing(zone)
        resolver = Resolver(catalogue, registry)
        self._participants = {participant.id: participant for participant in participants(settings)}
        self._proving = Proving(
            settings,
            store=store,
            control_planes=catalogue.control_planes,
            network=network,
            participants=self._participants,
            clock=clock,
            secrets=self.secrets,
        )
        self._open.callback(self._proving.close)
        grants = _grants(settings, port, resolver, network, self._participants, self._roles)
        self._preparations = Preparations(resolver, grants, network)
        self._open.callback(self._preparations.close)
        may_be_plain = settings.server.may_ask_plain_http
        renewals = Renewals(store, network, self._proving.signers, clock, may_be_plain=may_be_plain)
        self._open.callback(renewals.close)
        policy = flow_policy(settings)
        return Shared(
            store=store,
            catalogue=catalogue,
            resolver=resolver,
            preparations=self._preparations,
            network=network,
            renewals=renewals,
            schedule=RetrySchedule(clock, most=policy.run_retries, backoff=policy.run_backoff),
            bandwidths=Bandwidths(clock),
            policy=policy,
            clock=clock,
        )

    def _employ(self, shared: Shared) -> tuple[Management, Orchestration]:
        """Make who runs attempts, and who asks for them beside control planes."""
        settings = self._settings
        asking = Asking(settings, shared.network, self.secrets)
        self._open.callback(asking.edc.close)
        attempts = self._attempts = Attempts(shared, asking.tokens(shared))
        self._executor = EmbeddedExecutor(
            attempts,
            concurrency=settings.engine.flow_concurrency,
            owner_of=attempts.owner,
            most_of_one=lambda: most_of_one(
                settings, len(shared.catalogue.control_planes.all()) + is_used(settings)
            ),
            ended=self._flow_ended,
        )
        management = Management(shared, self._executor)
        webhook = webhook_of(settings, shared.network, self.secrets, shared.clock)
        if webhook is not None:
            self._open.callback(webhook.close)
        return management, orchestration(settings, shared, self._executor, management, asking, webhook)

    def _flow_ended(self, flow_id: UUID) -> None:
        """Tell who may wait for a flow's attempt."""
        self._runner.flow_ended(flow_id)

    def _application(
        self,
        shared: Shared,
        registry: Registry,
        client: HttpControlPlaneClient,
        management: Management,
        orchestrator: Orchestrator,
    ) -> FastAPI:
        """Make the doors."""
        server = self._settings.server
        identities = Identities(shared.network, may_be_plain=server.may_ask_plain_http)
        self._open.callback(identities.close)
        renewals = TokenRenewals(
            shared.store,
            identities,
            self._participants,
            lifetime_s=server.access_token_ttl_s,
            clock=self._clock,
        )
        return create_application(
            Services(
                signaling=Signaling(shared, self._executor, self._awaited),
                management=management,
                orchestrator=orchestrator,
                agreements=Agreements(shared, client),
                gateway=self._gateway.access,
                readers=self._gateway.readers,
                ingest=self._gateway.ingest,
                ingest_progress=self._gateway.progress,
                shares=self._gateway.shares,
                renewals=renewals,
                callers=self._proving.callers,
                issuer=self._proving.issuer,
                signers=self._proving.signers,
                may_ask_plain_http=server.may_ask_plain_http,
                catalogue=shared.catalogue,
                registry=registry,
                store=shared.store,
                network=shared.network,
                is_executor_alive=lambda: self._started.is_set() and not self._closing.is_set(),
                data_plane_id=server.dataplane_id,
                serves=doors(self._roles),
                signaling_path=server.signaling_path,
                public_path=urlsplit(server.public_url or "").path,
                anonymous_control_plane_id=anonymous(self._configured),
                api_keys=self._keys,
                client_key=self._client_key,
                max_body_bytes=server.max_body_bytes,
                gateway_threads=server.gateway_threads,
                max_requests_per_caller=max(1, server.request_threads // 4),
                max_data_requests=server.max_connections // 2,
                closing=self._closing,
            )
        )

    def when_replaced(self, end: Callable[[], None]) -> None:
        """Have ``end`` called once another process works on the database; at once if one does already."""
        self._end = end
        if self.replaced_by is not None:
            end()

    def _replaced(self, reason: str) -> None:
        self.replaced_by = reason
        self._end()

    def start(self) -> None:
        """Start the threads: what was running when the last process ended is queued again first.

        The order is that of ``close`` turned round: callbacks outlast the flows that cause them.
        """
        tell_what_is_relaxed(self._configured.control_planes)
        warn_of_default_key(self._settings, self._client_key)
        if self._keeper is not None:
            self._keeper.start()
            self._open.callback(self._keeper.close)
        for part in self._parts if self.has_control else ():
            part.start()
            self._open.callback(part.close)
        for tick in self._gateway.ticks if Role.GATEWAY in self._roles else ():
            tick.start()
            self._open.callback(tick.close)
        self._started.set()

    @property
    def has_control(self) -> bool:
        """True if this process answers control planes and operators, and runs the transfers."""
        return Role.API in self._roles

    def closing(self) -> None:
        """Tell what waits, be it event streams or verbs at a silent store, that the service ends."""
        self._closing.set()
        self._preparations.let_go()

    def close(self) -> None:
        """End in order: no new work, running flows stopped and queued again, callbacks, then the store."""
        self.closing()
        self._open.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def build(
    settings: Settings,
    *,
    port: int | None = None,
    clock: Clock | None = None,
    roles: frozenset[Role] = ALL_ROLES,
) -> Service:
    """Wire the service; no thread runs yet.

    Args:
        settings: As read.
        port: The port that was really bound; that of the settings if None.
        clock: Where time comes from; the machine's if None.
        roles: What the process is for.

    Raises:
        ConfigError: Something configured does not fit.
        ConflictError: Another process serves the same database.
    """
    return Service(
        settings,
        port=settings.server.port if port is None else port,
        clock=clock or SystemClock(),
        roles=roles,
    )


def _client(
    settings: Settings, port: int, network: Network, registry: Registry, tokens: CallbackTokenSource
) -> HttpControlPlaneClient:
    """What tells control planes: of flows, and of this plane by the base of its signaling API."""
    return HttpControlPlaneClient(
        network,
        data_plane_id=settings.server.dataplane_id,
        base_url=base_url(settings, port),
        signaling_path=settings.server.signaling_path,
        tokens=tokens,
        profiles=lambda: registry.profile_names,
    )


def _grants(
    settings: Settings,
    port: int,
    resolver: Resolver,
    network: Network,
    ours: Mapping[str, Participant],
    roles: frozenset[Role],
) -> Grants:
    """What hands out addresses, those of the gateway included."""
    here = base_url(settings, port) if Role.GATEWAY in roles else None
    door = GatewayDoor(
        base_url=settings.server.gateway_url or here,
        may_be_plain=settings.server.may_serve_plain_http,
        participants=ours,
        token_lifetime_s=settings.server.access_token_ttl_s,
    )
    return Grants(resolver, door, network, ttl_s=settings.engine.grant_ttl_s)


def _refuse_without_keys(settings: Settings, keys: ApiKeys) -> None:
    """Refuse to listen beyond loopback where nobody has a key: nobody elsewhere could come in anyway.

    Raises:
        ConfigError: That is so.
    """
    if not settings.server.is_loopback and not keys.are_configured:
        raise ConfigError(without_authorization(settings.server.host, ["an API key"]))
