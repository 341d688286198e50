"""The composition root: builds the service from settings, starts its threads and ends them in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from fastapi import FastAPI

from dataferry.api.api_keys import ApiKey, ApiKeys, StoredKeys
from dataferry.api.application import create_application
from dataferry.api.services import Services
from dataferry.api.signaling.client import HttpControlPlaneClient
from dataferry.app.configuration import without_authorization
from dataferry.app.egress import DiscreetGuard
from dataferry.app.locks import FileLock
from dataferry.app.orchestration import (
    Asking,
    client_key,
    is_used,
    orchestration,
    own_location,
    warn_of_default_key,
)
from dataferry.app.settings import Settings
from dataferry.app.wiring import (
    Locations,
    api_keys,
    control_planes,
    database_file,
    datasets,
    engine_limits,
    key_file,
    landing_zones,
    network_of,
    participants,
    proxy_password,
    total_bandwidth,
)
from dataferry.domain.clock import Clock, SystemClock
from dataferry.domain.errors import ConfigError, InputError
from dataferry.domain.location import ControlPlane
from dataferry.domain.participant import Participant
from dataferry.engine.bandwidth import Bandwidths
from dataferry.execution.embedded import EmbeddedExecutor
from dataferry.flows.agreements import Agreements
from dataferry.flows.attempts import Attempts
from dataferry.flows.catalogue import Catalogue, Configured
from dataferry.flows.gateway import GatewayAccess, GatewayDoor
from dataferry.flows.grants import Grants
from dataferry.flows.identities import Identities
from dataferry.flows.journal import Journal
from dataferry.flows.location_settings import check_settings, secrets_of
from dataferry.flows.management import Management
from dataferry.flows.outbox import OutboxSender
from dataferry.flows.policy import FlowPolicy
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
from dataferry.secrets.redaction import SecretValues
from dataferry.secrets.sealing import Sealer, load_or_create_key
from dataferry.store.store import Store

# Without any control plane configured, this is who calls from this machine.
ANONYMOUS = "default"


def configured(settings: Settings, registry: Registry) -> Configured:
    """Return what the configuration holds, checked against the mechanisms, with references resolved.

    Raises:
        ConfigError: A location's settings do not fit its mechanism, or a reference leads nowhere.
    """
    locations = Locations(settings, registry)
    found = (*(locations.get(name) for name in locations.names), *own_location(settings))
    for location in found:
        try:
            check_settings(registry.get(location.mechanism), location)
        except InputError as error:
            raise ConfigError(str(error)) from error
    planes = control_planes(settings) or (ControlPlane(id=ANONYMOUS),)
    return Configured(
        locations=found,
        datasets=datasets(settings),
        landing_zones=landing_zones(settings),
        control_planes=planes,
    )


def flow_policy(settings: Settings) -> FlowPolicy:
    """Return the bounds of the use cases."""
    engine = settings.engine
    return FlowPolicy(
        prepare_wait_s=engine.prepare_wait_s,
        run_retries=engine.flow_retries,
        sweep_interval_s=engine.sweep_interval_s,
        bandwidth=total_bandwidth(settings),
        max_part_size_bytes=engine.max_part_size_bytes,
        limits=engine_limits(settings),
        overwrite=engine.overwrite,
        verify=engine.verify,
    )


def most_of_one(settings: Settings, control_planes: int) -> int:
    """Return how many flows of one control plane may be at work, when there are so many control planes."""
    engine = settings.engine
    if engine.flow_concurrency_per_control_plane is not None:
        return engine.flow_concurrency_per_control_plane
    if control_planes > 1:
        return max(1, engine.flow_concurrency - 1)
    return engine.flow_concurrency


def secret_values(settings: Settings, given: Configured, registry: Registry) -> SecretValues:
    """Return every secret of the configuration, for the logs to leave out."""
    values = SecretValues(key for _, key in api_keys(settings))
    values.add(proxy_password(settings))
    for plane in given.control_planes:
        values.add(plane.token, plane.callback_token, plane.management_key)
    for location in given.locations:
        values.add(*secrets_of(location, registry.get(location.mechanism)))
    return values


def operators(settings: Settings) -> Iterator[ApiKey]:
    """The operators' keys that are configured, those of which only the hash is known included."""
    known = {key.name: key for key in settings.auth.api_keys}
    for name, key in api_keys(settings):
        yield ApiKey.of(name, key, scopes=known[name].granted, purview=known[name].purview)
    for hashed in settings.auth.api_keys:
        if hashed.sha256 is not None:
            yield ApiKey.of_sha256(hashed.name, hashed.sha256, scopes=hashed.granted, purview=hashed.purview)


class Service:
    """Everything that ``dataferry serve`` runs, wired; ``build`` makes it.

    Attributes:
        application: The HTTP application; it works between ``start`` and ``close``.
        secrets: What logs must not show.
    """

    def __init__(self, settings: Settings, *, port: int, clock: Clock) -> None:
        self._open = ExitStack()
        try:
            self._wire(settings, port, clock)
        except BaseException:
            self._open.close()
            raise

    def _wire(self, settings: Settings, port: int, clock: Clock) -> None:
        """Build every room from the lowest up; what must be closed is closed in the opposite order."""
        registry = Registry()
        given = configured(settings, registry)
        self.secrets = secret_values(settings, given, registry)
        policy = flow_policy(settings)
        network = network_of(settings, DiscreetGuard)
        self._lock_database(settings)
        store = Store.open(
            settings.store.url,
            sealer=Sealer(load_or_create_key(key_file(settings))),
            clock=clock,
            secrets=self.secrets,
        )
        self._open.callback(store.close)
        keys = ApiKeys(operators(settings), StoredKeys(store, clock))
        _refuse_without_keys(settings, keys)
        catalogue = Catalogue(store, registry, given, secrets=self.secrets)
        for zone in given.landing_zones:
            catalogue.refuse_mixing(zone)
        resolver = Resolver(catalogue, registry)
        ours = {participant.id: participant for participant in participants(settings)}
        self.secrets.add(*(participant.signing_key for participant in ours.values()))
        identities = Identities(network, may_be_plain=settings.server.may_ask_plain_http)
        self._open.callback(identities.close)
        lifetime_s = settings.server.access_token_ttl_s
        grants = _grants(settings, port, resolver, network, ours)
        self._preparations = preparations = Preparations(resolver, grants, network)
        self._open.callback(preparations.close)
        client = _client(settings, port, network, registry)
        self._open.callback(client.close)
        renewals = Renewals(store, network, ours, clock, may_be_plain=settings.server.may_ask_plain_http)
        self._open.callback(renewals.close)
        shared = Shared(
            store=store,
            catalogue=catalogue,
            resolver=resolver,
            preparations=preparations,
            network=network,
            renewals=renewals,
            schedule=RetrySchedule(clock, most=policy.run_retries, backoff=policy.run_backoff),
            bandwidths=Bandwidths(clock),
            policy=policy,
            clock=clock,
        )
        asking = Asking(settings, network, self.secrets)
        self._open.callback(asking.edc.close)
        attempts = Attempts(shared, asking.tokens(store, resolver))
        self._executor = EmbeddedExecutor(
            attempts,
            concurrency=settings.engine.flow_concurrency,
            owner_of=attempts.owner,
            most_of_one=lambda: most_of_one(settings, len(catalogue.control_planes()) + is_used(settings)),
        )
        management = Management(shared, self._executor)
        orchestrated = orchestration(settings, shared, self._executor, management, asking)
        self._runner = orchestrated.runner
        self._client_key = client_key(settings, self.secrets)
        self._settings = settings
        self._outbox = OutboxSender(shared, client)
        self._registrar = Registrar(shared, client)
        self._journal = Journal(store)
        self._retention = Retention(store, clock, days=settings.store.retention_days)
        self._sweep = Sweep(shared, self._executor, attempts)
        self._closing = threading.Event()
        self._started = threading.Event()
        self.application: FastAPI = create_application(
            Services(
                signaling=Signaling(shared, self._executor),
                management=management,
                orchestrator=orchestrated.orchestrator,
                agreements=Agreements(shared, client),
                gateway=GatewayAccess(store, resolver, clock),
                renewals=TokenRenewals(store, identities, ours, lifetime_s=lifetime_s, clock=clock),
                catalogue=catalogue,
                registry=registry,
                store=store,
                network=network,
                is_executor_alive=lambda: self._started.is_set() and not self._closing.is_set(),
                data_plane_id=settings.server.dataplane_id,
                signaling_path=settings.server.signaling_path,
                public_path=urlsplit(settings.server.public_url or "").path,
                anonymous_control_plane_id=_anonymous(given),
                api_keys=keys,
                client_key=self._client_key,
                max_body_bytes=settings.server.max_body_bytes,
                gateway_threads=settings.server.gateway_threads,
                max_requests_per_caller=max(1, settings.server.request_threads // 4),
                max_data_requests=settings.server.max_connections // 2,
                closing=self._closing,
            )
        )

    def _lock_database(self, settings: Settings) -> None:
        """Let nobody else serve the same SQLite database: there would be two of everything."""
        database = database_file(settings)
        if database is None:
            return
        path = database.with_name(f"{database.name}.lock")
        refusal = (
            f"another `dataferry serve` works on {database}: two would run every flow twice."
            " Stop it, or give this one another store.url"
        )
        self._open.enter_context(FileLock(Path(path), refusal=refusal))

    def start(self) -> None:
        """Start the threads: what was running when the last process ended is queued again first.

        The order is that of ``close`` turned round: callbacks outlast the flows that cause them.
        """
        warn_of_default_key(self._settings, self._client_key)
        parts = (
            self._journal,
            self._outbox,
            self._executor,
            self._sweep,
            self._registrar,
            self._retention,
            self._runner,
        )
        for part in parts:
            part.start()
            self._open.callback(part.close)
        self._started.set()

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


def build(settings: Settings, *, port: int | None = None, clock: Clock | None = None) -> Service:
    """Wire the service; no thread runs yet.

    Args:
        settings: As read.
        port: The port that was really bound; that of the settings if None.
        clock: Where time comes from; the machine's if None.

    Raises:
        ConfigError: Something configured does not fit.
        ConflictError: Another process serves the same database.
    """
    return Service(
        settings, port=settings.server.port if port is None else port, clock=clock or SystemClock()
    )


def base_url(settings: Settings, port: int) -> str:
    """Where the service is reached: ``public_url``, else as it listens."""
    if settings.server.public_url is not None:
        return settings.server.public_url
    scheme = "http" if settings.server.tls_cert is None else "https"
    host = settings.server.host
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _client(settings: Settings, port: int, network: Network, registry: Registry) -> HttpControlPlaneClient:
    """What tells control planes: of flows, and of this plane by the base of its signaling API."""
    return HttpControlPlaneClient(
        network,
        data_plane_id=settings.server.dataplane_id,
        endpoint=base_url(settings, port) + settings.server.signaling_path,
        profiles=lambda: registry.profile_names,
    )


def _grants(
    settings: Settings, port: int, resolver: Resolver, network: Network, ours: Mapping[str, Participant]
) -> Grants:
    """What hands out addresses, those of the gateway included."""
    door = GatewayDoor(
        base_url=base_url(settings, port),
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


def _anonymous(given: Configured) -> str | None:
    """The one control plane that calls without a token; None if each has one."""
    planes = given.control_planes
    return planes[0].id if len(planes) == 1 and planes[0].token is None else None
