"""What the API needs from the rest of the service; the composition root fills it in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from fastapi import Request

from dataferry.api.api_keys import ApiKeys
from dataferry.api.bodies import MAX_BODY_BYTES
from dataferry.api.client_key import ClientKey
from dataferry.flows.agreements import Agreements
from dataferry.flows.callers import Callers
from dataferry.flows.catalogue import Catalogue
from dataferry.flows.gateway import GatewayAccess
from dataferry.flows.gateway_shares import GatewayShares
from dataferry.flows.ingest import Ingest
from dataferry.flows.ingest_progress import IngestProgress
from dataferry.flows.issuing import TokenIssuer
from dataferry.flows.management import Management
from dataferry.flows.orchestration.orchestrator import Orchestrator
from dataferry.flows.readers import Readers
from dataferry.flows.signaling import Signaling
from dataferry.flows.signers import Signers
from dataferry.flows.token_renewal import TokenRenewals
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network
from dataferry.store.store import Store


class Door(StrEnum):
    """What the API serves: control planes and operators, or data."""

    CONTROL = "control"
    DATA = "data"


ALL_DOORS = frozenset(Door)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The use cases and settings that the routes work with.

    Attributes:
        signaling: The control planes' verbs.
        management: The operators' verbs.
        orchestrator: The verbs of the orchestrator's clients.
        agreements: The contracts that flows are under.
        gateway: Who may have which data.
        readers: Lends connections to the stores that data is read from.
        ingest: Who may send data, and where it goes.
        ingest_progress: How far that is.
        shares: What flows have of the bandwidth that they share, here.
        renewals: New tokens for it.
        callers: Which control plane calls with a JWT.
        issuer: Our own token endpoint.
        signers: Whose public keys are published.
        catalogue: Locations, datasets, landing zones and control planes.
        registry: The mechanisms.
        store: For readiness, and for what needs no use case: a row of the outbox.
        is_executor_alive: Whether work is being done; for readiness.
        network: How the API itself reaches a location that an operator wants tried.
        data_plane_id: What we call ourselves.
        serves: Which doors are open: those of the role.
        signaling_path: Where the signaling API stands, e.g. ``/api/v1``.
        public_path: What a proxy in front puts before every path, e.g. ``/ferry``; empty if nothing.
        anonymous_control_plane_id: Who calls without a token; only from this machine, and only while no
            control plane has a token or another authorization.
        api_keys: Of operators; none configured: only this machine may call.
        may_ask_plain_http: Whether places on this machine that a registration names may be plain http: for
            development.
        client_key: Of the orchestrator's clients; the default one is for this machine only.
        max_body_bytes: Bound of a request's body.
        gateway_threads: How many pieces of data are read from their stores at once.
        max_requests_per_caller: How many requests of one caller are worked on at once; the others wait.
        max_data_requests: How many requests for data are there at once, those that wait included; others
            are told to come back, so that there are connections left for control planes.
        max_event_streams: How many clients may follow ``/management/events`` at once.
        event_interval_s: How often a stream looks for news: what a person sees as live.
        keep_alive_s: A silent stream says something this often, so that proxies keep it open.
        closing: Set when the service ends, so that open streams end too.
    """

    signaling: Signaling
    management: Management
    orchestrator: Orchestrator
    agreements: Agreements
    gateway: GatewayAccess
    readers: Readers
    ingest: Ingest
    ingest_progress: IngestProgress
    shares: GatewayShares
    renewals: TokenRenewals
    callers: Callers
    issuer: TokenIssuer
    signers: Signers
    catalogue: Catalogue
    registry: Registry
    store: Store
    is_executor_alive: Callable[[], bool]
    network: Network = field(default_factory=Network)
    data_plane_id: str = "dataferry"
    serves: frozenset[Door] = ALL_DOORS
    signaling_path: str = "/api/v1"
    public_path: str = ""
    anonymous_control_plane_id: str | None = None
    api_keys: ApiKeys = field(default_factory=ApiKeys)
    may_ask_plain_http: bool = False
    client_key: ClientKey = field(default_factory=ClientKey)
    max_body_bytes: int = MAX_BODY_BYTES
    gateway_threads: int = 32
    max_requests_per_caller: int = 40
    max_data_requests: int = 256
    max_event_streams: int = 32
    event_interval_s: float = 0.5
    keep_alive_s: float = 15.0
    closing: threading.Event = field(default_factory=threading.Event)


def services_of(request: Request) -> Services:
    """Return the services of the application that a request came to."""
    services = request.app.state.services
    assert isinstance(services, Services)  # noqa: S101  create_application put it there
    return services
