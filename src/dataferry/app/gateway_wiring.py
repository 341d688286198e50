"""The gateway's parts, wired: who may move data through it, where it goes, and what it shares."""

from __future__ import annotations

from dataclasses import dataclass

from dataferry.api.services import Door
from dataferry.app.roles import Role
from dataferry.flows.bounds import Bounds
from dataferry.flows.gateway import GatewayAccess
from dataferry.flows.gateway_shares import GatewayShares
from dataferry.flows.ingest import Ingest
from dataferry.flows.ingest_progress import IngestProgress
from dataferry.flows.periodic import Periodic
from dataferry.flows.readers import Readers
from dataferry.flows.shared import Shared

# How often connections that idle are looked for, and bounds that were changed.
TICK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """What the gateway's routes work with, and the threads that see to it."""

    access: GatewayAccess
    readers: Readers
    ingest: Ingest
    progress: IngestProgress
    shares: GatewayShares
    ticks: tuple[Periodic, ...]


def gateway_parts(shared: Shared) -> GatewayParts:
    """Wire the gateway; no thread runs yet."""
    bounds = Bounds(shared.catalogue, shared.resolver, shared.bandwidths, shared.policy)
    access = GatewayAccess(shared.store, shared.resolver, bounds, shared.clock)
    ingest, progress = Ingest(shared, access), IngestProgress(shared.store)
    readers = Readers(shared.network)
    return GatewayParts(
        access=access,
        readers=readers,
        ingest=ingest,
        progress=progress,
        shares=GatewayShares(shared.clock),
        ticks=(
            Periodic("ingest", ingest.tick, TICK_S),
            Periodic("readers", readers.tick, TICK_S),
            Periodic("ingest-progress", progress.tick, shared.policy.progress_interval_s),
        ),
    )


def doors(roles: frozenset[Role]) -> frozenset[Door]:
    """Return which doors of the API the roles open."""
    found = {Role.API: Door.CONTROL, Role.GATEWAY: Door.DATA}
    return frozenset(door for role, door in found.items() if role in roles)
