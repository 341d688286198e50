"""What stands on the stage: two S3 servers, two control planes and two data planes, wired to each other."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataferry.demo.cargo import FULL, SMALL, CargoSize
from dataferry.demo.control_plane import PlaneAddress, ScriptedControlPlane
from dataferry.demo.planes import PlaneProcess
from dataferry.demo.servers import JuiceFs
from dataferry.demo.witness import Witness

MIB = 1024 * 1024
BUCKET = "measurements"
RECEIVED = "received"
PULLED = "pulled"
LARGE_DATASET = "volume-0001"
WORKERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How large and how fast the show is.

    Attributes:
        bandwidth_bytes_per_s: Bound of the push: it would be over before anybody had seen it.
        part_size_bytes: Of the planes' engines.
    """

    cargo: CargoSize
    bandwidth_bytes_per_s: int
    part_size_bytes: int

    @property
    def kill_cost_bytes(self) -> int:
        """The most that a kill may cost: the parts in flight."""
        return WORKERS * self.part_size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One participant: its storage, its control plane, its data plane.

    Attributes:
        token: What its control plane calls its data plane with.
    """

    storage: JuiceFs
    control_plane: ScriptedControlPlane
    plane: PlaneProcess
    token: str

    @property
    def address(self) -> PlaneAddress:
        """Its data plane, as its control plane calls it."""
        return self.plane.address(self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Both participants."""

    provider: Side
    consumer: Side


def servers(stack: ExitStack, directory: Path) -> tuple[JuiceFs, JuiceFs]:
    """Start the provider's and the consumer's S3 server; the consumer's has its two buckets."""
    ours = stack.enter_context(JuiceFs(directory / "provider-storage"))
    theirs = stack.enter_context(JuiceFs(directory / "consumer-storage"))
    with Witness(theirs) as witness:
        witness.make_bucket(RECEIVED)
        witness.make_bucket(PULLED)
    return ours, theirs


def set_up(stack: ExitStack, directory: Path, storages: tuple[JuiceFs, JuiceFs], pace: Pace) -> Stage:
    """Start both control planes and both data planes; planes are up but perhaps not registered yet."""
    provider = _side(stack, "provider", directory, storages[0], pace)
    consumer = _side(stack, "consumer", directory, storages[1], pace)
    for side in (provider, consumer):
        stack.callback(side.plane.stop)
        side.plane.start(wait=False)
    for side in (provider, consumer):
        side.plane.wait_until_ready()
    return Stage(provider=provider, consumer=consumer)


def _side(stack: ExitStack, name: str, directory: Path, storage: JuiceFs, pace: Pace) -> Side:
    """Make one side; its control plane listens, its plane is not started."""
    token, callback_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    control_plane = stack.enter_context(ScriptedControlPlane(callback_token=callback_token))
    settings: dict[str, Any] = {
        "control_planes": [
            {
                "id": f"{name}-control-plane",
                "endpoint": control_plane.endpoint_url,
                "token": token,
                "callback_token": callback_token,
                "register": True,
            }
        ],
        "locations": {"storage": s3_location(storage)},
        "engine": {"workers": WORKERS, "part_size_bytes": pace.part_size_bytes},
        # Both sides stand on this machine; between organisations this stays off.
        "egress": {"allow_private_networks": True},
        **(_offers(pace) if name == "provider" else _landing_zones()),
    }
    plane = PlaneProcess(f"{name}-plane", directory / f"{name}-plane", settings)
    return Side(storage=storage, control_plane=control_plane, plane=plane, token=token)


def s3_location(storage: JuiceFs) -> dict[str, Any]:
    """A location's settings for an S3 server.

    What grants hand out is named apart. These servers have one user only; a real one would have another user
    for sharing, who may do no more than the other side should.
    """
    return {
        "type": "s3",
        "endpoint_url": storage.endpoint_url,
        "region": "us-east-1",
        "access_key_id": storage.access_key_id,
        "secret_access_key": storage.secret_access_key,
        "share_access_key_id": storage.access_key_id,
        "share_secret_access_key": storage.secret_access_key,
        "exclusive": True,
    }


def _offers(pace: Pace) -> dict[str, Any]:
    """What the provider offers: the bucket, slowly, and its large object, as fast as it goes."""
    return {
        "datasets": [
            {
                "id": BUCKET,
                "source": f"storage:{BUCKET}/",
                "bandwidth_bytes_per_s": pace.bandwidth_bytes_per_s,
            },
            {"id": LARGE_DATASET, "source": f"storage:{BUCKET}/scans/volume-0001.raw"},
        ]
    }


def _landing_zones() -> dict[str, Any]:
    """Where the consumer receives."""
    return {
        "landing_zones": [
            {"name": PULLED, "profiles": ["*-pull"], "sink": f"storage:{PULLED}/{{processId}}/"},
            {"name": RECEIVED, "sink": f"storage:{RECEIVED}/{{processId}}/"},
        ]
    }


FULL_PACE = Pace(cargo=FULL, bandwidth_bytes_per_s=48 * MIB, part_size_bytes=16 * MIB)
SMALL_PACE = Pace(cargo=SMALL, bandwidth_bytes_per_s=10 * MIB, part_size_bytes=5 * MIB)
