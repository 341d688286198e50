"""Whole lives of flows in each dialect: each kind of message passes, as the specification has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.dps.dialects import DIALECTS, Dialect
from tests.servers.plane import PULL, PUSH, Rig, running, s3_address, s3_location

from dataferry.demo.control_plane import message
from dataferry.demo.servers import JuiceFs

VERBS = ("prepare", "start", "started", "suspend", "resume", "terminate", "completed", "status")
CALLBACKS = ("prepared", "started", "completed", "errored")


@pytest.fixture(scope="module")
def rig(juicefs: JuiceFs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A plane of both sides: it offers and receives, at once and later."""
    sharing = s3_location(
        juicefs, share_access_key_id="AKIASHARING000000001", share_secret_access_key="s" * 30
    )
    rig = Rig(
        tmp_path_factory.mktemp("plane"),
        locations={"here": sharing},
        datasets=[
            {"match": "*", "source": "here:{datasetId}/"},
            {"match": "later-*", "source": "here:{datasetId}/", "prepare_wait_s": 0},
        ],
        engine={"attempts": 1, "flow_retries": 0},
        more={
            "landing_zones": [
                {"name": "in", "sink": "here:landing-of-dialects/{processId}/"},
                {
                    "name": "later",
                    "sink": "here:landing-of-dialects/{processId}/",
                    "datasets": ["later-*"],
                    "prepare_wait_s": 0,
                },
            ]
        },
    )
    with running(rig):
        yield rig


def said(dialect: Dialect, process_id: str, dataset_id: str, transfer: str, **changes: Any) -> dict[str, Any]:
    """A prepare or start message in a dialect's words."""
    told = message(process_id, dataset_id, transfer, **changes)
    told[dialect.transfer] = told.pop("profile")
    return told | ({"callbackAddress": "http://127.0.0.1:9/unused"} if dialect.has_callback_address else {})


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_flows_live_in_their_dialect(
    rig: Rig, dialect: Dialect, source: Any, sink: Any, bucket: str, juicefs: JuiceFs, juicefs_b: JuiceFs
) -> None:
    """Push and pull, both sides, at once and later, to each end; the inspector has seen all of it."""
    cp, plane, name = rig.control_plane, rig.address, dialect.name
    source.put_object(Bucket=bucket, Key="one", Body=b"1" * 1000)
    _bucket(source, "landing-of-dialects")
    address = s3_address(juicefs_b, bucket)

    cp.start_flow(plane, said(dialect, f"{name}-push", bucket, PUSH, dataAddress=address))
    cp.wait_for("completed", f"{name}-push")
    granted = cp.start_flow(plane, said(dialect, f"{name}-offer", bucket, PULL))
    assert granted.status == 200
    for verb in ("suspend", "resume", "completed"):
        rig.notify(f"{name}-offer", verb)
    assert cp.start_flow(plane, said(dialect, f"{name}-later", "later-none", PULL)).status == 202
    cp.wait_for("errored", f"{name}-later")
    rig.notify(f"{name}-later", "terminate", reason="no such bucket")

    assert cp.prepare(plane, said(dialect, f"{name}-sent", bucket, PUSH)).body["dataAddress"]
    assert cp.prepare(plane, said(dialect, f"{name}-fetch", "later-x", PULL)).status == 202
    cp.wait_for("prepared", f"{name}-fetch")
    rig.notify(f"{name}-fetch", "started", dataAddress=s3_address(juicefs, bucket))
    cp.wait_for("completed", f"{name}-fetch")
    assert cp.status(plane, f"{name}-fetch").state == "COMPLETED"
    _bucket(source, "later-there")
    assert cp.start_flow(plane, said(dialect, f"{name}-there", "later-there", PULL)).status == 202
    cp.wait_for("started", f"{name}-there")

    inspector = cp.inspector
    assert inspector.faults == []
    kinds = [
        *VERBS[:-1],
        *(f"answer to {verb}" for verb in VERBS),
        *(f"callback {kind}" for kind in CALLBACKS),
    ]
    assert [kind for kind in kinds if not inspector.seen[name, kind]] == []


def _bucket(client: Any, name: str) -> None:
    if name not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=name)


def test_the_rig_does_not_pass_what_differs(tmp_path: Path) -> None:
    """A message that is not as the specification has it fails whatever test it came up in."""
    rig = Rig(tmp_path, locations={"files": {"type": "file", "root": str(tmp_path)}})
    rig.plane.start()
    rig.control_plane.wait_for("registration")
    rig.control_plane.inspector.faults.append("prepare (head): $.claims: is missing")
    with pytest.raises(AssertionError, match="claims"):
        rig.close()
