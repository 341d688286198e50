"""What the gateway keeps of flows is small, however much was said of them."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from tests.unit.api.api_rig import message, plane

from dataferry.domain.dataflow import DataFlow

WAYS = {"HttpData-PULL": ("start", "GET", 200), "HttpData-PUSH": ("prepare", "PUT", 201)}


@pytest.mark.parametrize("profile", WAYS)
def test_no_message_is_kept(tmp_path: Path, profile: str) -> None:
    """A flow may have a message of a MiB, and a control plane thousands of flows: a request leaves none."""
    verb, method, status = WAYS[profile]
    with plane(tmp_path) as api:
        (tmp_path / "files" / "out").mkdir(parents=True)
        (tmp_path / "files" / "out" / "a").write_bytes(b"a small object")
        assert api.manage("PUT", "/datasets/data-1", json={"source": "disk:out/"}).status_code == 200
        zone = {"sink": "disk:{processId}/", "profiles": [profile], "datasets": ["data-1"]}
        assert api.manage("PUT", "/landing-zones/in", json=zone).status_code == 200
        told = message("flow-1", profile=profile, metadata={"note": "n" * 100_000})
        address = api.signal(verb, told).json()["dataAddress"]
        token = next(e["value"] for e in address["endpointProperties"] if e["name"] == "authorization")
        path = "/" + address["endpoint"].split("/", 3)[3].rstrip("/") + "/a"
        for _ in range(2):
            answer = api.client.request(
                method, path, headers={"Authorization": f"Bearer {token}"}, content=b"b" * (method == "PUT")
            )
            assert answer.status_code in {status, 204}, answer.text
        gc.collect()
        kept = [found for found in gc.get_objects() if isinstance(found, DataFlow)]

    assert not [flow for flow in kept if flow.process_id == "flow-1"]
