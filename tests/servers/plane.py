"""A data plane under test: a real ``dataferry serve``, and the control plane that drives it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.interop.dps.observed import InspectingControlPlane
from tests.servers.s3_client import S3Server

from dataferry.demo.control_plane import PlaneAddress, Reply, message
from dataferry.demo.planes import PlaneProcess

PUSH = "https://w3id.org/dspace-sig/profile/s3-push"
PULL = "https://w3id.org/dspace-sig/profile/s3-pull"
TOKEN = "token-of-the-control-plane-0123456789"
CALLBACK_TOKEN = "token-of-callbacks-0123456789abcdef"
MIB = 1024 * 1024
PART_BYTES = 5 * MIB
WORKERS = 2

View = dict[str, Any]


def s3_location(server: S3Server, *, endpoint_url: str | None = None, **settings: Any) -> dict[str, Any]:
    """Return a location's settings for an S3 server, optionally by way of a proxy."""
    return {
        "type": "s3",
        "endpoint_url": endpoint_url or server.endpoint_url,
        "region": "us-east-1",
        "access_key_id": server.access_key_id,
        "secret_access_key": server.secret_access_key,
        **settings,
    }


def s3_address(
    server: S3Server, bucket: str, path: str = "", *, endpoint_url: str | None = None, **properties: str
) -> dict[str, Any]:
    """Return the DataAddress that a consumer's plane would grant, optionally by way of a proxy."""
    values = {
        "region": "us-east-1",
        "endpointOverride": endpoint_url or server.endpoint_url,
        "accessKeyId": server.access_key_id,
        "secretAccessKey": server.secret_access_key,
        "exclusive": "true",
        **properties,
    }
    return {
        "@type": "DataAddress",
        "endpointType": PUSH,
        "endpoint": f"s3://{bucket}/{path}",
        "endpointProperties": [
            {"@type": "EndpointProperty", "name": name, "value": value} for name, value in values.items()
        ],
    }


class Rig:
    """A control plane and the data plane that it drives.

    Args:
        directory: Of the plane.
        locations: Its ``[locations]``.
        datasets: Its ``[[datasets]]``.
        control_plane: Changes to its only ``[[control_planes]]`` entry.
        engine: Changes to its ``[engine]``: small parts and two workers, so that little is much.
        more: Further sections.
        environment: Variables of its process.
    """

    def __init__(
        self,
        directory: Path,
        *,
        locations: Mapping[str, Any],
        datasets: list[dict[str, Any]] | None = None,
        control_plane: Mapping[str, Any] | None = None,
        engine: Mapping[str, Any] | None = None,
        more: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.control_plane = InspectingControlPlane(callback_token=CALLBACK_TOKEN)
        self.control_plane.start()
        entry = {
            "id": "control-plane",
            "endpoint": self.control_plane.endpoint_url,
            "token": TOKEN,
            "callback_token": CALLBACK_TOKEN,
            "register": True,
            **(control_plane or {}),
        }
        settings = {
            "control_planes": [entry],
            "locations": dict(locations),
            "datasets": datasets or [],
            "engine": {
                "workers": WORKERS,
                "part_size_bytes": PART_BYTES,
                "multipart_threshold_bytes": PART_BYTES,
                "sweep_interval_s": 1.0,
                **(engine or {}),
            },
            "egress": {"allow_private_networks": True},
            **(more or {}),
        }
        self.plane = PlaneProcess("plane-under-test", directory, settings, environment=environment)

    def close(self) -> None:
        """End both; a fault that the plane did not expect fails the test, as does a message that differs."""
        self.plane.stop()
        self.control_plane.stop()
        log = self.plane.process.log.read_text(errors="replace")
        assert "Traceback" not in log, log[-8000:]
        faults = self.control_plane.inspector.faults
        assert not faults, "\n".join(faults)

    @property
    def address(self) -> PlaneAddress:
        """The plane, as its control plane calls it."""
        return self.plane.address(TOKEN)

    def start_push(
        self,
        dataset_id: str,
        data_address: Mapping[str, Any],
        *,
        process_id: str | None = None,
        **fields: Any,
    ) -> str:
        """Start a push; return its process id."""
        process_id = process_id or f"process-{uuid.uuid4().hex[:12]}"
        reply = self.control_plane.start_flow(
            self.address, message(process_id, dataset_id, PUSH, dataAddress=data_address, **fields)
        )
        assert reply.status in {200, 202}, reply.body
        return process_id

    def notify(self, process_id: str, verb: str, **fields: Any) -> Reply:
        """Send a verb that must be accepted."""
        reply = self.control_plane.notify(self.address, process_id, verb, **fields)
        assert reply.status == 200, reply.body
        return reply

    def view(self, process_id: str) -> View | None:
        """Return the flow as operators see it; None while the plane does not answer."""
        try:
            return self.plane.flow(process_id)
        except httpx.TransportError:
            return None

    def wait_until(
        self, process_id: str, until: Callable[[View], bool], *, what: str, timeout_s: float = 60
    ) -> View:
        """Return the flow's view once it is so; fails with the last view and the plane's log."""
        deadline = time.monotonic() + timeout_s
        view: View | None = None
        while time.monotonic() < deadline:
            view = self.view(process_id)
            if view is not None and until(view):
                return view
            time.sleep(0.05)
        detail = f"not {what} within {timeout_s} s: {view}\n{self.plane.process.log_tail()}"
        raise AssertionError(detail)

    def wait_finished(self, process_id: str, *, timeout_s: float = 60) -> View:
        """Wait until everything is at the destination."""
        return self.wait_until(
            process_id, lambda v: bool(v["finished"]), what="finished", timeout_s=timeout_s
        )

    def wait_moved(self, process_id: str, size_bytes: int, *, timeout_s: float = 60) -> View:
        """Wait until so many bytes are moved."""
        return self.wait_until(
            process_id,
            lambda v: (v["bytesTransferred"] or 0) >= size_bytes,
            what=f"at {size_bytes} bytes",
            timeout_s=timeout_s,
        )

    @staticmethod
    def wait_for(condition: Callable[[], bool], *, what: str, timeout_s: float = 20) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not {what} within {timeout_s} s"
            time.sleep(0.05)

    def kinds(self, process_id: str) -> list[str]:
        """Which callbacks of a process arrived and were accepted, in order."""
        return [one.kind for one in self.control_plane.accepted(process_id)]


@contextmanager
def running(rig: Rig) -> Iterator[Rig]:
    """Run a rig's plane; afterwards nothing of it is left."""
    try:
        rig.plane.start()
        yield rig
    finally:
        rig.close()
