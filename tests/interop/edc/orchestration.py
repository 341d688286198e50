"""The orchestrator between two connectors, as their consumer's data plane and beside it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.interop.edc.connector import PROTOCOL, ConnectorError
from tests.interop.edc.dataspace import (
    ACCEPTED,
    LARGE,
    LARGE_BYTES,
    LASTING,
    LASTING_BYTES,
    LIVE,
    SLOW,
    Dataspace,
)
from tests.servers.plane import MIB

from dataferry.demo.planes import PlaneProcess

KEY = "the-key-of-the-orchestrators-clients"
OVER = {"COMPLETED", "PARTIALLY_COMPLETED", "FAILED", "CANCELLED"}
TIMEOUT_S = 300.0
PUSH = "HttpData-PUSH"
# What a client of version 3 needs of an address of the gateway: to read, and to renew its token.
_KEPT = {
    *("endpoint", "endpointType", "authorization", "authType"),
    *("refreshToken", "refreshEndpoint", "expiresIn"),
}


def orchestrated_by_its_own_plane(dataspace: Dataspace) -> None:
    """Two assets, one of 1 GiB, by Management API v4; killed in the middle; both processes complete."""
    plane = dataspace.consumer_plane
    id_ = _begin(dataspace, plane, LIVE, LARGE)
    wait(plane, id_, lambda view: view["progress"]["bytes_transferred"] > LARGE_BYTES // 8)
    plane.kill()
    plane.start()
    view = wait(plane, id_, lambda view: view["process_status"] in OVER)
    check(dataspace, view)
    for path in view["storage_paths"]:
        dataspace.consumer.wait(path["transfer_id"], "COMPLETED")
        dataspace.provider.wait(dataspace.provider.counterpart(path["transfer_id"]), "COMPLETED")
        if plane.flow(path["transfer_id"])["attempt"] < 1:
            raise ConnectorError("the flow that the connector opened is not the one that was downloaded")


def orchestrated_push(dataspace: Dataspace) -> None:
    """HttpData-PUSH of two assets, one of 1 GiB, to where the orchestrator stores; both complete."""
    plane = dataspace.consumer_plane
    id_ = _begin(dataspace, plane, LIVE, LARGE, transferType=PUSH)
    view = wait(plane, id_, lambda view: view["process_status"] in OVER)
    check(dataspace, view)
    for path in view["storage_paths"]:
        dataspace.consumer.wait(path["transfer_id"], "COMPLETED")
        dataspace.provider.wait(dataspace.provider.counterpart(path["transfer_id"]), "COMPLETED")
        if plane.flow(path["transfer_id"])["state"] != "COMPLETED":
            raise ConnectorError(f"the flow that brought it is not over: {path}")


def orchestrated_push_beside(dataspace: Dataspace) -> None:
    """A push by an orchestrator beside the consumer's data plane fails, and its process is terminated."""
    with alone(dataspace) as plane:
        entry = _entry(dataspace, dataspace.agreement(SLOW), transferType=PUSH)
        body = {"data": [entry], "connectorAddress": address(dataspace)}
        view = wait(plane, post(plane, body), lambda view: view["process_status"] in OVER)
        (path,) = view["storage_paths"]
        if path.get("error_kind") != "unsupported":
            raise ConnectorError(f"the entry does not say why it failed: {path}")
        dataspace.consumer.wait(path["transfer_id"], "TERMINATED")


def orchestrated_beside_its_plane(dataspace: Dataspace) -> None:
    """By v3, beside the consumer's plane: the address that the connector keeps has a token, later renewed."""
    with alone(dataspace) as plane:
        id_ = _begin(dataspace, plane, LASTING)
        view = wait(plane, id_, lambda view: view["progress"]["bytes_transferred"] > 0)
        transfer_id = view["storage_paths"][0]["transfer_id"]
        kept = dataspace.consumer.data_address(transfer_id)
        missing = _KEPT - kept.keys()
        if missing:
            raise ConnectorError(f"the connector lost {sorted(missing)} of the address")
        # What the address came with has ended before the data is whole.
        dataspace.wait_for(
            lambda: _answered(kept["endpoint"], kept["authorization"]) == httpx.codes.UNAUTHORIZED,
            "the first token to end",
        )
        wait(plane, id_, lambda view: view["process_status"] not in OVER)
        check(dataspace, wait(plane, id_, lambda view: view["process_status"] in OVER))
    dataspace.consumer.wait(transfer_id, "TERMINATED")


def orchestrated_in_vain(dataspace: Dataspace) -> None:
    """By v3, found out: a contract that the connector does not know fails, in the connector's own words."""
    with alone(dataspace) as plane:
        body = {"data": [_entry(dataspace, "no-such-agreement")], "connectorAddress": address(dataspace)}
        view = wait(plane, post(plane, body), lambda view: view["process_status"] in OVER)
        (path,) = view["storage_paths"]
        if path["status_code"] != httpx.codes.BAD_GATEWAY or "no-such-agreement" not in path["error"]:
            raise ConnectorError(f"the entry does not say why it failed: {path}")


def _begin(dataspace: Dataspace, plane: PlaneProcess, *assets: str, **changes: Any) -> str:
    entries = [_entry(dataspace, dataspace.agreement(asset), **changes) for asset in assets]
    return post(plane, {"data": entries, "connectorAddress": address(dataspace)})


def address(dataspace: Dataspace) -> str:
    """What requests name the consumer's connector by."""
    return dataspace.consumer.management_url


def _entry(dataspace: Dataspace, agreement: str, **changes: Any) -> dict[str, Any]:
    return {
        "type": "edc-asset",
        "counterPartyAddress": f"{dataspace.provider.protocol_url}/2025-1",
        "contractId": agreement,
        "connectorId": dataspace.provider.participant_id,
        **changes,
    }


def _answered(endpoint: str, token: str) -> int:
    """Return what the gateway says to a token."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.head(endpoint, headers=headers, timeout=10, trust_env=False).status_code


def post(plane: PlaneProcess, body: dict[str, Any]) -> str:
    """Ask for a list; return the orchestration's id."""
    headers = {"X-Api-Key": KEY}
    answer = httpx.post(f"{plane.url}/orchestrate", json=body, headers=headers, timeout=10, trust_env=False)
    answer.raise_for_status()
    return str(answer.json()["orchestration_id"])


def wait(plane: PlaneProcess, id_: str, until: Any) -> dict[str, Any]:
    """Return an orchestration once it is so."""
    deadline = time.monotonic() + TIMEOUT_S
    view: dict[str, Any] = {}
    while time.monotonic() < deadline:
        answer = httpx.get(
            f"{plane.url}/status/{id_}", headers={"X-Api-Key": KEY}, timeout=10, trust_env=False
        )
        view = answer.json()["response"]["orchestration_processes"][id_]
        if until(view):
            return view
        if view["process_status"] in OVER:
            break
        time.sleep(0.1)
    raise ConnectorError(f"the orchestration is {view}\n{plane.process.log_tail()}")


def check(dataspace: Dataspace, view: dict[str, Any]) -> None:
    """Compare what is stored with what the provider has."""
    for path in view["storage_paths"]:
        if path["status"] != "SAVED":
            raise ConnectorError(f"an entry failed: {path}")
        name = {LARGE_BYTES: LARGE, LASTING_BYTES: LASTING}.get(path["size"], "object 00")
        with Path(path["storage_path"]).open("rb") as stored:
            found = hashlib.file_digest(stored, "sha256").hexdigest()
        if found != dataspace.expected_singles[name]:
            raise ConnectorError(f"another content than the provider's: {path}")


@contextmanager
def alone(dataspace: Dataspace) -> Iterator[PlaneProcess]:
    """An orchestrator beside the consumer's plane."""
    connector = {"address": address(dataspace), "management_path": "", "protocol": PROTOCOL}
    directory = dataspace.directory / "orchestrator"
    plane = PlaneProcess(
        "orchestrator",
        directory,
        {
            "server": {"allow_http_on_loopback": True},
            "egress": {"allow_private_networks": True},
            "engine": {"workers": 2, "part_size_bytes": MIB, "multipart_threshold_bytes": MIB},
            "participants": [dataspace.consumer_settings],
            "orchestrator": {
                "api_key": KEY,
                "data_storage_path": str(directory / "stored"),
                "connectors": [connector],
                "accepted_policies": [ACCEPTED],
            },
        },
        environment=dataspace.consumer_key,
    )
    with plane:
        yield plane
