"""Two participants of a dataspace: connectors, data planes and S3 servers, all real, all on loopback."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from tests.interop.edc.connector import PROTOCOL, Connector, ConnectorError
from tests.servers.did_documents import KEY, DidDocuments
from tests.servers.plane import MIB, s3_location
from tests.servers.s3_client import digests, s3_client

from dataferry.demo.planes import PlaneProcess
from dataferry.demo.servers import JuiceFs

SOURCE, LANDING = "provider-data", "consumer-data"
# Assets, each a dataset of that id at the provider's plane.
QUICK, SLOW, DEFERRED, MISSING = "quick", "slow", "deferred", "missing"
# Single objects; of the first two the consumer's plane copies nothing.
LIVE, LASTING, LARGE = "live", "lasting", "large"
# Their contracts are negotiated by the orchestrator; the first one's id is no segment of a path.
NEGOTIATED, UNACCEPTABLE = "readings/2026 ä?#%", "unacceptable"
ASSETS = (QUICK, SLOW, DEFERRED, MISSING, LIVE, LASTING, LARGE, NEGOTIATED, UNACCEPTABLE)
UNTIL = {
    "leftOperand": "https://w3id.org/edc/v0.0.1/ns/inForceDate",
    "operator": "lteq",
    "rightOperand": "2099-01-01T00:00:00Z",
}
POLICIES: dict[str, dict[str, Any]] = {
    NEGOTIATED: {"permission": [{"action": "use", "constraint": [UNTIL]}]},
    UNACCEPTABLE: {
        "permission": [{"action": "use", "constraint": [UNTIL]}],
        "prohibition": [{"action": "use"}],
    },
}
ACCEPTED = {
    "name": "until the end of the century",
    "providers": ["did:web:localhost%3A*:*"],
    **POLICIES[NEGOTIATED],
}
LARGE_BYTES = 1024 * MIB
_LARGE_PART_BYTES = 64 * MIB
OBJECTS = 24
OBJECT_BYTES = 1 * MIB
# A quarter of a minute is cut into parts small enough to be suspended and killed in.
BYTES_PER_S = 4 * MIB
# One object lasts for three lives of an access token; each is long enough for an application's steps.
LASTING_BYTES, LASTING_BYTES_PER_S = 24 * MIB, 1 * MIB
TOKEN_LIFETIME_S = 8
STEP_TIMEOUT_S = 60.0
NEGOTIATIONS = 3
SEED = 2026


class Dataspace:
    """A provider and a consumer, as a context manager; nothing of it is left afterwards.

    Args:
        directory: For configurations, databases and logs.
        classpath: Of the connector.
    """

    def __init__(self, directory: Path, classpath: Sequence[Path]) -> None:
        self.directory = self._directory = directory
        self._stack = ExitStack()
        self._documents = DidDocuments()
        self.offering, self.asking = (self._documents.partner(name) for name in ("provider", "consumer"))
        self.provider = Connector("provider", self.offering.did, directory / "provider", classpath)
        self.consumer = Connector("consumer", self.asking.did, directory / "consumer", classpath)
        self._agreements: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self._stack.enter_context(self._documents)
            self._source = self._stack.enter_context(JuiceFs(self._directory / "provider-s3"))
            self._landing = self._stack.enter_context(JuiceFs(self._directory / "consumer-s3"))
            self.expected = _fill(self._source)
            self.expected_singles = {
                "object 00": self.expected["object 00"],
                LASTING: _fill_large(self._source, LASTING, LASTING_BYTES),
                LARGE: _fill_large(self._source, LARGE, LARGE_BYTES),
            }
            s3_client(self._landing).create_bucket(Bucket=LANDING)
            for connector in (self.provider, self.consumer):
                self._stack.callback(connector.stop)
                connector.start()
            self.provider_plane = self._plane("provider-plane", self.provider, **self._provider_settings())
            self.consumer_plane = self._plane(
                "consumer-plane",
                self.consumer,
                environment=self.consumer_key,
                participants=[self.consumer_settings],
                **_consumer_settings(self._orchestrator()),
            )
            self._stack.callback(self._stop_provider_plane)
            self._stack.callback(self.consumer_plane.stop)
            for asset in ASSETS:
                self.provider.offer(asset, policy=POLICIES.get(asset))
            self._wait_until_offered("AmazonS3-PUSH")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _plane(
        self,
        name: str,
        connector: Connector,
        *,
        on_failure: str = "hold",
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> PlaneProcess:
        """Start a data plane as an operator of this connector would configure it."""
        server = self._source if connector is self.provider else self._landing
        control_plane = {
            "id": connector.name,
            "endpoint": connector.signaling_url,
            "register": True,
            "registration": "edc",
            "registration_url": f"{connector.management_url}/v4/dataplanes",
            "retries": "replay",
            "on_failure": on_failure,
            "management_url": connector.management_url,
        }
        plane = PlaneProcess(
            name,
            self._directory / name,
            {
                "server": {"allow_http_on_loopback": True, "access_token_ttl_s": TOKEN_LIFETIME_S},
                "control_planes": [control_plane],
                "locations": {
                    "store": s3_location(
                        server,
                        exclusive=True,
                        share_access_key_id=server.access_key_id,
                        share_secret_access_key=server.secret_access_key,
                    )
                },
                "engine": {"workers": 2, "flow_retries": 0, "attempts": 2},
                "egress": {"allow_private_networks": True},
                **settings,
            },
            environment=environment,
        )
        plane.start()
        return plane

    @property
    def consumer_settings(self) -> dict[str, str]:
        """The consumer as ``[[participants]]`` has it: who it is, and what it signs with."""
        return {"id": "default", "did": self.asking.did, "signing_key": "env:KEY", "kid": KEY}

    @property
    def consumer_key(self) -> dict[str, str]:
        """What that key is read from."""
        return {"KEY": self.asking.pem}

    def _provider_settings(self) -> dict[str, Any]:
        source = f"store:{SOURCE}/data/"
        lasting = {"id": LASTING, "source": f"store:{SOURCE}/{LASTING}"}
        return {
            "participants": [{"id": "default", "did": self.offering.did}],
            "datasets": [
                {"id": QUICK, "source": source},
                {"id": SLOW, "source": source, "bandwidth_bytes_per_s": BYTES_PER_S},
                {"id": DEFERRED, "source": source, "prepare_wait_s": 0},
                {"id": NEGOTIATED, "source": f"store:{SOURCE}/data/object 00"},
                {"id": LIVE, "source": f"store:{SOURCE}/data/object 00"},
                {**lasting, "bandwidth_bytes_per_s": LASTING_BYTES_PER_S},
                {"id": LARGE, "source": f"store:{SOURCE}/{LARGE}"},
                {"id": MISSING, "source": f"store:{SOURCE}-missing/", "prepare_wait_s": 0},
            ],
        }

    def _orchestrator(self) -> dict[str, Any]:
        """The consumer's plane is also the orchestrator of its connector."""
        connector = {
            "address": self.consumer.management_url,
            "management_path": "",
            "protocol": PROTOCOL,
            "api_version": "v4",
        }
        return {
            "api_key": "the-key-of-the-orchestrators-clients",
            "data_storage_path": str(self._directory / "orchestrated"),
            "connectors": [connector],
            "accepted_policies": [ACCEPTED],
        }

    def agreement(self, asset: str) -> str:
        """Return the contract agreement about an asset, negotiated once."""
        if asset not in self._agreements:
            self._agreements[asset] = self._negotiated(asset)
        return self._agreements[asset]

    def _stop_provider_plane(self) -> None:
        """Whichever it is by then."""
        self.provider_plane.stop()

    def fail_as(self, on_failure: str) -> None:
        """Restart the provider's plane, to react to a failed run in another way."""
        self.provider_plane.stop()
        self.provider_plane = self._plane(
            "provider-plane", self.provider, on_failure=on_failure, **self._provider_settings()
        )
        self.wait_for(
            lambda: "registered" in self.provider_plane.process.log_tail(), "the plane to register again"
        )

    def _wait_until_offered(self, transfer_type: str) -> None:
        """Both planes have registered once the provider's catalog names what its plane can do."""

        def offered() -> bool:
            found = self.consumer.catalog(self.provider)
            formats = {
                entry["format"] for dataset in found for entry in _listed(dataset.get("distribution", []))
            }
            return len(found) == len(ASSETS) and transfer_type in formats

        self.wait_for(offered, f"the catalog to offer {transfer_type}")
        self.wait_for(
            lambda: "registered" in self.consumer_plane.process.log_tail(), "the consumer's plane to register"
        )

    def begin(self, asset: str, transfer_type: str) -> str:
        """Start a transfer of an asset, its contract negotiated once; return the consumer's process id."""
        return self.consumer.transfer(self.provider, self.agreement(asset), transfer_type)

    def _negotiated(self, asset: str) -> str:
        """Negotiate; again where the connectors lose one between them, which is not what is tried here."""
        for _ in range(NEGOTIATIONS - 1):
            try:
                return self.consumer.negotiate(self.provider, asset)
            except ConnectorError:
                continue
        return self.consumer.negotiate(self.provider, asset)

    def begun(self, asset: str, transfer_type: str) -> tuple[str, str]:
        """Start a transfer, and wait until both connectors see it started.

        Returns:
            The ids of the consumer's and of the provider's process.
        """
        process_id = self.begin(asset, transfer_type)
        self.consumer.wait(process_id, "STARTED")
        counterpart = self.provider.counterpart(process_id)
        self.provider.wait(counterpart, "STARTED")
        return process_id, counterpart

    def wait_completed(self, process_id: str, counterpart: str) -> None:
        """Wait until both connectors see it completed, and hold the bytes that arrived against the source."""
        self.consumer.wait(process_id, "COMPLETED")
        self.provider.wait(counterpart, "COMPLETED")
        arrived = self.arrived(process_id)
        if arrived != self.expected:
            raise ConnectorError(
                f"{len(arrived)} objects arrived of {len(self.expected)}, or not the same bytes"
            )

    def arrived(self, process_id: str) -> dict[str, str]:
        """Return the SHA-256 of each object that a process brought, by name; read by another S3 client."""
        found = digests(s3_client(self._landing), LANDING)
        prefix = f"{process_id}/"
        return {key.removeprefix(prefix): digest for key, digest in found.items() if key.startswith(prefix)}

    def data_address(self, process_id: str) -> tuple[str, str]:
        """Ask the consumer's plane for a flow's data address, as an application; its endpoint and token."""
        path = f"/dataflows/{process_id}/data-address?control_plane={self.consumer.name}"
        address = self.consumer_plane.manage("GET", path)["dataAddress"]
        values = {entry["name"]: entry["value"] for entry in address["endpointProperties"]}
        return address["endpoint"], values["authorization"]

    def refused_address(self, process_id: str) -> int:
        """Return the status that the consumer's plane refuses a data address with; 0 if it gives it."""
        try:
            self.data_address(process_id)
        except httpx.HTTPStatusError as refusal:
            return refusal.response.status_code
        return 0

    @staticmethod
    def fetched(endpoint: str, token: str) -> tuple[int, str]:
        """Read data by an address, as an application; the status, and the SHA-256 of what came."""
        with httpx.Client(trust_env=False, timeout=20) as client:
            answer = client.get(endpoint, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, hashlib.sha256(answer.content).hexdigest()

    def wait_moving(self, plane: PlaneProcess, process_id: str, *, at_least_bytes: int = 2 * MIB) -> None:
        """Wait until a plane has moved something, and not yet all."""

        def moved() -> bool:
            view = plane.flow(process_id)
            if view["finished"]:
                raise ConnectorError("the transfer ended before it could be interrupted")
            return (view["bytesTransferred"] or 0) >= at_least_bytes

        self.wait_for(moved, "bytes to move")

    @staticmethod
    def wait_for(condition: Any, what: str, *, timeout_s: float = STEP_TIMEOUT_S) -> None:
        """Wait until something is so.

        Raises:
            ConnectorError: It is not in time.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise ConnectorError(f"waited {timeout_s:.0f} s for {what}")
            time.sleep(0.1)


def _consumer_settings(orchestrator: dict[str, Any]) -> dict[str, Any]:
    sink = f"store:{LANDING}/{{processId}}/"
    return {
        "landing_zones": [
            {"name": "slow", "datasets": [SLOW], "sink": sink, "bandwidth_bytes_per_s": BYTES_PER_S},
            {"name": "deferred", "datasets": [DEFERRED], "sink": sink, "prepare_wait_s": 0},
            {"name": "applications", "datasets": [LIVE, LASTING], "mode": "none"},
            {"name": "all", "sink": sink},
        ],
        "orchestrator": orchestrator,
    }


def _fill(server: JuiceFs) -> dict[str, str]:
    """Make the provider's data; return the SHA-256 of each object by name."""
    client, chance = s3_client(server), random.Random(SEED)
    client.create_bucket(Bucket=SOURCE)
    made = {}
    for number in range(OBJECTS):
        body = chance.randbytes(OBJECT_BYTES)
        client.put_object(Bucket=SOURCE, Key=f"data/object {number:02}", Body=body)
        made[f"object {number:02}"] = hashlib.sha256(body).hexdigest()
    return made


def _fill_large(server: JuiceFs, key: str, size_bytes: int) -> str:
    """Make one of the provider's large objects; return its SHA-256."""
    client, digest = s3_client(server), hashlib.sha256()
    block = random.Random(SEED).randbytes(min(_LARGE_PART_BYTES, size_bytes))
    upload = client.create_multipart_upload(Bucket=SOURCE, Key=key)["UploadId"]
    parts = []
    for number in range(1, size_bytes // len(block) + 1):
        body = number.to_bytes(8, "big") + block[8:]
        digest.update(body)
        sent = client.upload_part(Bucket=SOURCE, Key=key, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    client.complete_multipart_upload(
        Bucket=SOURCE, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
    )
    return digest.hexdigest()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
