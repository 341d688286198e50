"""One plane for two participants, each with a control plane, places, an API key and a DID of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from joserfc import jwt
from tests.servers.did_documents import KEY, DidDocuments, Partner
from tests.servers.plane import s3_location
from tests.servers.s3_client import S3Server

from dataferry.demo.control_plane import PlaneAddress, Reply, ScriptedControlPlane, message
from dataferry.demo.planes import PlaneProcess

PULL = "HttpData-PULL"
SLOW_BYTES = 20 * 1024 * 1024
SLOW_RATE = 50_000


@dataclass(frozen=True)
class Tokens:
    """A pull's data address, as its consumer holds it."""

    process_id: str
    url: str
    access: str
    refresh: str


class Tenant:
    """One of the participants.

    Args:
        name: It stands in whatever is this one's, so that it is found where it should not be.
        did: Its own DID.
        partner: Whom it makes contracts with.
    """

    def __init__(self, name: str, did: Partner, partner: Partner) -> None:
        self.name = name
        self.did = did
        self.partner = partner
        self.token = f"token-of-{name}s-control-plane-0123456789"
        self.control_plane = ScriptedControlPlane()
        self.key = ""
        self._plane: PlaneProcess | None = None

    def on(self, plane: PlaneProcess) -> None:
        """Make its API key on a plane: all that a bound key can do."""
        self._plane = plane
        scopes = ["read", "operate", "data-address"]
        options = [word for scope in scopes for word in ("--scope", scope)]
        options += ["--config", str(plane.config), "--participant", self.name, "--json"]
        options += [f"key-of-{self.name}"]
        made = subprocess.run(
            [sys.executable, "-m", "dataferry.cli.main", "api-keys", "create", *options],
            capture_output=True, text=True, check=True, timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(plane.directory)},
        )  # fmt: skip
        self.key = json.loads(made.stdout)["key"]

    @property
    def plane(self) -> PlaneProcess:
        """The plane."""
        assert self._plane is not None
        return self._plane

    @property
    def address(self) -> PlaneAddress:
        """The plane, as its control plane calls it."""
        return self.plane.address(self.token)

    def start(self, dataset_id: str, process_id: str | None = None, **fields: Any) -> Reply:
        """Start a provider's pull."""
        process_id = process_id or f"{self.name}-{uuid.uuid4().hex[:12]}"
        said = message(process_id, dataset_id, PULL, counterPartyId=self.partner.did, **fields)
        return self.control_plane.start_flow(self.address, said)

    def offer(self, process_id: str | None = None) -> Tokens:
        """Start a pull of its own data, and return what the consumer gets."""
        process_id = process_id or f"{self.name}-{uuid.uuid4().hex[:12]}"
        reply = self.start(f"{self.name}-data", process_id)
        assert reply.status == 200, reply.body
        address = reply.body["dataAddress"]
        properties = {entry["name"]: entry["value"] for entry in address["endpointProperties"]}
        return Tokens(
            process_id, address["endpoint"], properties["authorization"], properties["refreshToken"]
        )

    def receive(self, dataset_id: str, process_id: str) -> Reply:
        """Prepare a consumer's pull, and have it begin from the landing zone's own source."""
        reply = self.control_plane.prepare(self.address, message(process_id, dataset_id, PULL))
        assert reply.status == 200, reply.body
        return self.control_plane.notify(self.address, process_id, "started")

    def signal(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Call the signaling API."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.request(
            method, f"{self.address.url}{path}", json=body, headers=headers, trust_env=False, timeout=30
        )

    def manage(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call the management API with its key."""
        headers = {"X-Api-Key": self.key}
        return httpx.request(
            method,
            f"{self.plane.url}/management{path}",
            headers=headers,
            trust_env=False,
            timeout=30,
            **options,
        )

    def flow(self, process_id: str) -> dict[str, Any]:
        """One of its flows, as its key shows it."""
        answer = self.manage("GET", f"/dataflows/{quote(process_id, safe='')}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def client_token(self, access: str, *, audience: str | None = None) -> str:
        """What its partner signs to have a token renewed."""
        now = int(time.time())
        said = {
            "iss": self.partner.did,
            "sub": self.partner.did,
            "aud": audience or self.did.did,
            "token": access,
            "iat": now,
            "exp": now + 60,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode({"alg": "ES256", "kid": f"{self.partner.did}{KEY}"}, said, self.partner.key)


def renew(url: str, refresh: str, client_token: str) -> httpx.Response:
    """Send a refresh request to a flow's endpoint."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    headers = {"Authorization": f"Bearer {client_token}"}
    return httpx.post(f"{url}/token", data=form, headers=headers, trust_env=False, timeout=30)


def tenants(documents: DidDocuments) -> tuple[Tenant, Tenant]:
    """The two participants, with partners that have DIDs."""
    anna, bert = (
        Tenant(name, documents.partner(name), documents.partner(f"partner-of-{name}"))
        for name in ("anna", "bert")
    )
    return anna, bert


def plane_of(
    directory: Path, anna: Tenant, bert: Tenant, store: S3Server, *, bucket: str, silent_port: int
) -> PlaneProcess:
    """A plane for both; ``bucket`` of the S3 server is Anna's, and so is a store that never answers."""
    for tenant in (anna, bert):
        root = directory / tenant.name
        root.mkdir(parents=True)
        (root / "data").write_text(f"secret of {tenant.name}")
        (root / "slow").write_bytes(bytes(SLOW_BYTES))
    settings = _settings(directory, anna, bert, store, bucket)
    silent = s3_location(store, endpoint_url=f"http://127.0.0.1:{silent_port}", participants=["anna"])
    settings["locations"]["silent-of-anna"] = silent
    dataset = {"match": "silent-*", "source": "silent-of-anna:bucket/key", "participants": ["anna"]}
    settings["datasets"].append(dataset)
    return PlaneProcess("shared", directory / "plane", settings)


def _settings(directory: Path, anna: Tenant, bert: Tenant, store: S3Server, bucket: str) -> dict[str, Any]:
    both = (anna, bert)
    files = {
        f"place-of-{t.name}": {"type": "file", "root": str(directory / t.name), "participants": [t.name]}
        for t in both
    }
    return {
        "server": {"allow_http_on_loopback": True},
        "participants": [{"id": t.name, "did": t.did.did} for t in both],
        "control_planes": [
            {
                "id": f"cp-of-{t.name}",
                "endpoint": t.control_plane.endpoint_url,
                "token": t.token,
                "participant_context_id": t.name,
                "may_name_locations": True,
            }
            for t in both
        ],
        "locations": {**files, "bucket-of-anna": s3_location(store, participants=["anna"])},
        "datasets": [
            *(
                {"match": f"{t.name}-*", "source": f"place-of-{t.name}:data", "participants": [t.name]}
                for t in both
            ),
            # For all by its own words, and in a location that is not.
            {"match": "trap-*", "source": "place-of-anna:data"},
            {"match": "object-*", "source": f"bucket-of-anna:{bucket}/secret", "participants": ["anna"]},
        ],
        "landing_zones": [
            zone
            for t in both
            for zone in (
                {
                    "name": f"zone-of-{t.name}",
                    "sink": f"place-of-{t.name}:in/{{processId}}",
                    "source": f"place-of-{t.name}:data",
                    "participants": [t.name],
                },
                {
                    "name": f"slow-zone-of-{t.name}",
                    "sink": f"place-of-{t.name}:slow-in/{{processId}}",
                    "source": f"place-of-{t.name}:slow",
                    "datasets": ["slow"],
                    "bandwidth_bytes_per_s": SLOW_RATE,
                    "participants": [t.name],
                },
            )
        ],
        "egress": {"allow_private_networks": True},
    }
