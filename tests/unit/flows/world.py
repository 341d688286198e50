"""A data plane without its HTTP door: real store, real threads, a control plane that takes notes."""

# ruff: noqa: D102, ARG002 - what the methods are for stands with the protocols, or in their names

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID

from tests.unit.flows.shares import PULL, PUSH, Share

from dataferry.domain.address import DataAddress
from dataferry.domain.clock import SystemClock
from dataferry.domain.dataflow import DataFlow, Dialect
from dataferry.domain.errors import DataFerryError
from dataferry.domain.limits import LocationLimits
from dataferry.domain.location import ControlPlane, Dataset, LandingZone, Location
from dataferry.engine.rates.bandwidth import Bandwidths
from dataferry.execution.embedded import EmbeddedExecutor
from dataferry.flows.attempts import Attempts
from dataferry.flows.catalogue import Catalogue, Configured
from dataferry.flows.gateway import GatewayDoor
from dataferry.flows.grants import Grants
from dataferry.flows.management import Management
from dataferry.flows.messages import Callback, Caller, FlowRequest
from dataferry.flows.outbox import OutboxSender
from dataferry.flows.policy import Backoff, FlowPolicy
from dataferry.flows.preparation import Preparations
from dataferry.flows.registration import Registrar
from dataferry.flows.renewal import Renewals
from dataferry.flows.resolution import Resolver
from dataferry.flows.retries import RetrySchedule
from dataferry.flows.shared import Shared
from dataferry.flows.signaling import Signaling
from dataferry.flows.signers import Signers
from dataferry.flows.sweep import Sweep
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network
from dataferry.secrets.sealing import Sealer
from dataferry.store.records import FlowEvent
from dataferry.store.store import Store

DOOR = GatewayDoor(base_url="https://plane.example")
QUICK = FlowPolicy(
    run_retries=2,
    run_backoff=Backoff(first_s=0.05, most_s=0.1),
    callback_backoff=Backoff(first_s=0.02, most_s=0.1),
    registration_backoff=Backoff(first_s=0.02, most_s=0.1),
    sweep_interval_s=0.05,
    progress_interval_s=0.01,
)


@dataclass
class Notebook:
    """A control plane as the client sees it: it notes what it is told; ``refusals`` are raised first."""

    callbacks: list[Callback] = field(default_factory=list)
    registered: list[str] = field(default_factory=list)
    terminated: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[DataFerryError] = field(default_factory=list)
    tries: int = 0
    _lock: Lock = field(default_factory=Lock)

    def _refuse(self) -> None:
        with self._lock:
            self.tries += 1
            if self.refusals:
                raise self.refusals.pop(0)

    def send(self, control_plane: ControlPlane, callback: Callback) -> None:
        self._refuse()
        with self._lock:
            self.callbacks.append(callback)

    def register(self, control_plane: ControlPlane) -> None:
        self._refuse()
        self.registered.append(control_plane.id)

    def agreement(self, control_plane: ControlPlane, agreement_id: str) -> dict[str, Any]:
        self._refuse()
        return {"policy": {}, "assetId": agreement_id}

    def terminate_transfer(self, control_plane: ControlPlane, process_id: str, reason: str) -> None:
        self._refuse()
        self.terminated.append((process_id, reason))

    def kinds(self, process_id: str) -> list[str]:
        with self._lock:
            return [callback.kind for callback in self.callbacks if callback.process_id == process_id]


def until(condition: Callable[[], Any], *, timeout_s: float = 20.0) -> Any:
    """Poll until it holds, or fail."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.005)
    return value


class Idle:
    """An executor that never works: the verbs alone are looked at."""

    def __init__(self) -> None:
        self.submitted: list[UUID] = []
        self.stopped: list[UUID] = []

    def submit(self, flow_id: UUID) -> None:
        self.submitted.append(flow_id)

    def stop(self, flow_id: UUID, *, timeout_s: float = 10.0) -> bool:
        self.stopped.append(flow_id)
        return True

    def running(self) -> frozenset[UUID]:
        return frozenset()


class World:
    """The rooms, wired as the composition root wires them.

    Args:
        directory: For the database and the data.
        plane: The control plane, with its settings.
        policy: Bounds.
        working: False: nothing runs by itself, no bytes move.
        url: Of its database; None: SQLite in ``directory``.
    """

    def __init__(
        self,
        directory: Path,
        *,
        plane: ControlPlane | None = None,
        policy: FlowPolicy = QUICK,
        working: bool = True,
        datasets: tuple[Dataset, ...] | None = None,
        zones: tuple[LandingZone, ...] | None = None,
        location_limits: LocationLimits | None = None,
        url: str | None = None,
    ) -> None:
        for name in ("ours", "theirs"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self.ours, self.theirs = directory / "ours", directory / "theirs"
        self.share = Share()
        self.clock = SystemClock()
        self.policy = policy
        self.plane = plane or ControlPlane(id="cp", endpoint="http://control.example")
        self.caller = Caller(control_plane_id=self.plane.id)
        self.notebook = Notebook()
        self.network = Network()
        url = f"sqlite:///{directory / 'flows.db'}" if url is None else url
        self.store = Store.open(url, sealer=Sealer(b"k" * 32), clock=self.clock)
        entry = EntryPoint(name="share", value="tests.unit.flows.shares:Share", group="dataferry.mechanisms")
        self.registry = Registry([entry])
        self.registry._loaded["share"] = self.share
        root = {"root": str(self.ours)}
        limits = location_limits or LocationLimits()
        here = Location(name="here", mechanism="share", settings=root, limits=limits)
        self.configured = Configured(
            locations=(here,),
            datasets=(Dataset(match="*", source="here:out/{datasetId}"),) if datasets is None else datasets,
            landing_zones=(LandingZone(name="in", sink="here:in/{processId}/"),) if zones is None else zones,
            control_planes=(self.plane,),
        )
        self.catalogue = Catalogue(self.store, self.registry, self.configured)
        self.resolver = Resolver(self.catalogue, self.registry)
        self.preparations = Preparations(
            self.resolver, Grants(self.resolver, DOOR, self.network, ttl_s=60), self.network
        )
        self.renewals = Renewals(self.store, self.network, Signers((), self.network), self.clock)
        self.schedule = RetrySchedule(self.clock, most=policy.run_retries, backoff=policy.run_backoff)
        self.shared = Shared(
            store=self.store,
            catalogue=self.catalogue,
            resolver=self.resolver,
            preparations=self.preparations,
            network=self.network,
            renewals=self.renewals,
            schedule=self.schedule,
            bandwidths=Bandwidths(self.clock),
            policy=policy,
            clock=self.clock,
        )
        self.attempts = Attempts(self.shared)
        self.working = working
        self.embedded = EmbeddedExecutor(self.attempts, concurrency=2)
        self.idle = Idle()
        self.executor = self.embedded if working else self.idle
        self.signaling = Signaling(self.shared, self.executor)
        self.management = Management(self.shared, self.executor)
        self.outbox = OutboxSender(self.shared, self.notebook)
        self.registrar = Registrar(self.shared, self.notebook)
        self.sweep = Sweep(self.shared, self.executor, self.attempts)
        if working:
            self.embedded.start()
            self.sweep.start()
            self.outbox.start()

    def close(self) -> None:
        self.share.gate.set()
        self.sweep.close()
        self.registrar.close()
        assert self.embedded.close()
        self.outbox.close()
        self.preparations.close()
        self.renewals.close()
        self.store.close()

    def message(self, process: str = "p1", profile: str = PUSH, **changes: Any) -> FlowRequest:
        """A message as a control plane sends it."""
        content = f"{process} {profile} {sorted(changes.items())!r}"
        request = FlowRequest(
            message_id="m",
            participant_id="did:web:us",
            counter_party_id="did:web:them",
            dataspace_context="space",
            process_id=process,
            agreement_id="agreement",
            dataset_id="data",
            profile=profile,
            dialect=Dialect.HEAD,
            digest=hashlib.sha256(content.encode()).hexdigest(),
        )
        return replace(request, **changes)

    def their_address(self, path: str = "", root: Path | None = None) -> DataAddress:
        """An address of the other side, as a message carries it."""
        properties = (("root", str(root or self.theirs)), ("path", path))
        return DataAddress(endpoint_type=PUSH, endpoint="share://", properties=properties)

    def write(self, path: str, content: bytes = b"bytes") -> Path:
        """A file of ours."""
        file = self.ours / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def flow(self, process: str = "p1") -> DataFlow:
        """The row as it is now."""
        return self.management.get(process)

    def events(self, process: str = "p1") -> list[FlowEvent]:
        return list(self.management.events(process))

    def rows(self) -> int:
        with self.store.snapshot() as tx:
            return len(tx.flows.list()[0])

    def outbox_kinds(self) -> list[tuple[str, str]]:
        """Kind and state of every message, oldest first."""
        return [(m.kind, m.state.value) for m in reversed(self.management.outbox())]


__all__ = ["PULL", "PUSH", "Idle", "Notebook", "World", "until"]
