"""A whole data plane without its working threads, behind a real HTTP server on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from dataferry.api.api_keys import ApiKey, ApiKeys
from dataferry.api.application import create_application
from dataferry.api.services import Services
from dataferry.api.signaling.client import HttpControlPlaneClient
from dataferry.domain.clock import SystemClock
from dataferry.domain.location import ControlPlane, Dataset, LandingZone, Location
from dataferry.domain.participant import Participant
from dataferry.domain.purview import Scope
from dataferry.engine.rates.bandwidth import Bandwidths
from dataferry.execution.embedded import EmbeddedExecutor
from dataferry.flows.agreements import Agreements
from dataferry.flows.attempts import Attempts
from dataferry.flows.bounds import Bounds
from dataferry.flows.callback_tokens import CallbackTokenSource
from dataferry.flows.callers import Callers
from dataferry.flows.catalogue import Catalogue, Configured
from dataferry.flows.gateway import GatewayAccess, GatewayDoor
from dataferry.flows.gateway_shares import GatewayShares
from dataferry.flows.grants import Grants
from dataferry.flows.identities import Identities
from dataferry.flows.ingest import Ingest
from dataferry.flows.ingest_progress import IngestProgress
from dataferry.flows.issuing import TokenIssuer
from dataferry.flows.key_sets import KeySets
from dataferry.flows.management import Management
from dataferry.flows.orchestration.connectors import Connectors
from dataferry.flows.orchestration.orchestrator import Orchestrator
from dataferry.flows.orchestration.policy import OrchestratorPolicy
from dataferry.flows.policy import FlowPolicy
from dataferry.flows.preparation import Preparations
from dataferry.flows.readers import Readers
from dataferry.flows.renewal import Renewals
from dataferry.flows.resolution import Resolver
from dataferry.flows.retries import RetrySchedule
from dataferry.flows.shared import Shared
from dataferry.flows.signaling import Signaling
from dataferry.flows.signers import Signers
from dataferry.flows.token_renewal import TokenRenewals
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network
from dataferry.secrets.sealing import Sealer
from dataferry.store.store import Store

PUSH = "https://w3id.org/dspace-sig/profile/s3-push"
PULL = "https://w3id.org/dspace-sig/profile/s3-pull"
TOKEN_A = "token-of-control-plane-a"
TOKEN_B = "token-of-control-plane-b"
KEY = "an-operators-api-key-0123456789"


def key_for(scope: Scope) -> str:
    """The key that has this scope alone."""
    return f"a-key-that-is-good-for-{scope.value}-only"


SECRET = "location-secret-access-key-never-shown"
SHARED_SECRET = "shared-secret-for-the-other-side"
THEIR_SECRET = "their-secret-in-a-data-address"
# What these planes know, and no operator is shown.
SECRETS = (SECRET, SHARED_SECRET, THEIR_SECRET, TOKEN_A)

DOOR = GatewayDoor(base_url="https://plane.example")

TWO_PLANES = (ControlPlane(id="cp-a", token=TOKEN_A), ControlPlane(id="cp-b", token=TOKEN_B))
ANONYMOUS_PLANE = (ControlPlane(id="default"),)


def message(process_id: str = "tp-1", **changes: Any) -> dict[str, Any]:
    """A prepare or start message of the specification's head."""
    return {
        "messageId": "m-1",
        "participantId": "did:web:us",
        "counterPartyId": "did:web:them",
        "dataspaceContext": "test",
        "processId": process_id,
        "agreementId": "agreement-1",
        "datasetId": "data-1",
        "profile": PULL,
        "claims": {},
    } | changes


def address(**changes: Any) -> dict[str, Any]:
    """A DataAddress with credentials of its own, at a public place that nothing in these tests reaches."""
    properties = {"accessKeyId": "AKIATHEIRS00001", "secretAccessKey": THEIR_SECRET}
    return {
        "endpointType": PULL,
        "endpoint": "s3://their-bucket/data.bin",
        "endpointProperties": [{"name": name, "value": value} for name, value in properties.items()],
    } | changes


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A running API and what it works with."""

    url: str
    services: Services
    client: httpx.Client

    def signal(
        self, verb: str, body: Any = None, *, token: str | None = TOKEN_A, **options: Any
    ) -> httpx.Response:
        """POST a verb, e.g. ``start`` or ``tp-1/suspend``."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            options["json"] = body
        return self.client.post(f"/api/v1/dataflows/{verb}", headers=headers, **options)

    def status(self, id: str, *, token: str = TOKEN_A) -> httpx.Response:
        """GET a flow's status."""
        headers = {"Authorization": f"Bearer {token}"}
        return self.client.get(f"/api/v1/dataflows/{id}/status", headers=headers)

    def manage(self, method: str, path: str, *, key: str | None = KEY, **options: Any) -> httpx.Response:
        """Call the management API."""
        headers = {"X-Api-Key": key} if key else {}
        return self.client.request(method, f"/management{path}", headers=headers, **options)


def configuration(
    directory: Path, s3_url: str, bucket: str, control_planes: tuple[ControlPlane, ...]
) -> Configured:
    """One S3 location, one of files, datasets and landing zones in both."""
    (directory / "files").mkdir(exist_ok=True)
    return Configured(
        locations=(
            Location(
                name="store",
                mechanism="s3",
                settings={
                    "endpoint_url": s3_url,
                    "region": "us-east-1",
                    "access_key_id": "AKIAMOTOTESTKEY00001",
                    "secret_access_key": SECRET,
                    "share_access_key_id": "AKIASHARED0000001",
                    "share_secret_access_key": SHARED_SECRET,
                },
            ),
            Location(name="disk", mechanism="file", settings={"root": str(directory / "files")}),
        ),
        datasets=(
            Dataset(match="slow-*", source=f"store:{bucket}/", prepare_wait_s=0),
            Dataset(match="lost-*", source="store:no-such-bucket-here/"),
            Dataset(match="*", source=f"store:{bucket}/"),
        ),
        landing_zones=(
            LandingZone(name="files", sink="disk:{processId}/", profiles=("*-pull", "*-PULL")),
            LandingZone(name="bucket", sink=f"store:{bucket}/{{processId}}/", profiles=("*-push", "*-PUSH")),
        ),
        control_planes=control_planes,
    )


@contextmanager
def plane(
    directory: Path,
    *,
    s3_url: str = "http://127.0.0.1:9",
    bucket: str = "some-bucket",
    control_planes: tuple[ControlPlane, ...] = TWO_PLANES,
    api_keys: tuple[str, ...] = (KEY,),
    participants: tuple[Participant, ...] = (),
    network: Network | None = None,
    **changes: Any,
) -> Iterator[Plane]:
    """Serve a plane whose executor never runs, so that flows stay as the verbs leave them."""
    clock, registry, policy = SystemClock(), Registry(), FlowPolicy()
    network = network or Network()
    with ExitStack() as cleanup:
        store = Store.open(f"sqlite:///{directory}/api.db", sealer=Sealer(bytes(32)), clock=clock)
        cleanup.callback(store.close)
        catalogue = Catalogue(store, registry, configuration(directory, s3_url, bucket, control_planes))
        resolver = Resolver(catalogue, registry)
        preparations = Preparations(resolver, Grants(resolver, DOOR, network, ttl_s=60), network)
        cleanup.callback(preparations.close)
        schedule = RetrySchedule(clock, most=policy.run_retries, backoff=policy.run_backoff)
        signers = Signers(participants, network)
        cleanup.callback(signers.close)
        key_sets = KeySets(network, clock, may_be_plain=True)
        cleanup.callback(key_sets.close)
        renewals = Renewals(store, network, signers, clock)
        cleanup.callback(renewals.close)
        identities = Identities(network)
        cleanup.callback(identities.close)
        shared = Shared(
            store=store,
            catalogue=catalogue,
            resolver=resolver,
            preparations=preparations,
            network=network,
            renewals=renewals,
            schedule=schedule,
            bandwidths=Bandwidths(clock),
            policy=policy,
            clock=clock,
        )
        tokens = CallbackTokenSource(network, signers, data_plane_id="plane-1", clock=clock)
        cleanup.callback(tokens.close)
        control = HttpControlPlaneClient(
            network,
            data_plane_id="plane-1",
            base_url="https://plane.example",
            signaling_path="",
            tokens=tokens,
            profiles=lambda: registry.profile_names,
        )
        cleanup.callback(control.close)
        executor = EmbeddedExecutor(Attempts(shared))
        bounds = Bounds(catalogue, resolver, shared.bandwidths, policy)
        access = GatewayAccess(store, resolver, bounds, clock)
        ingest = Ingest(shared, access)
        cleanup.callback(ingest.close)
        readers = Readers(network)
        cleanup.callback(readers.close)
        services = Services(
            signaling=Signaling(shared, executor),
            management=Management(shared, executor),
            orchestrator=Orchestrator(
                store, resolver, Connectors(()), OrchestratorPolicy(destination="disk:"), clock
            ),
            agreements=Agreements(shared, control),
            gateway=access,
            readers=readers,
            ingest=ingest,
            ingest_progress=IngestProgress(store),
            shares=GatewayShares(clock),
            renewals=TokenRenewals(store, identities, {}, lifetime_s=300, clock=clock),
            callers=Callers(store, key_sets, signers, data_plane_id="plane-1", clock=clock),
            issuer=TokenIssuer(
                catalogue.control_planes, signers, data_plane_id="plane-1", lifetime_s=300, clock=clock
            ),
            signers=signers,
            may_ask_plain_http=True,
            catalogue=catalogue,
            registry=registry,
            store=store,
            is_executor_alive=lambda: True,
            data_plane_id="plane-1",
            anonymous_control_plane_id="default" if control_planes == ANONYMOUS_PLANE else None,
            api_keys=ApiKeys(
                [
                    *(ApiKey.of("test", key) for key in api_keys),
                    *(
                        ApiKey.of(scope.value, key_for(scope), scopes=frozenset({scope}))
                        for scope in (Scope if api_keys else ())
                    ),
                ]
            ),
            event_interval_s=0.02,
        )
        services = replace(services, **changes)
        url = cleanup.enter_context(served(create_application(services)))
        cleanup.callback(services.closing.set)
        client = cleanup.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=20))
        yield Plane(url=url, services=services, client=client)


@contextmanager
def served(application: Any) -> Iterator[str]:
    """Serve an ASGI application on a free port of loopback."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.005)  # polled with a deadline
        assert server.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
