"""No secret shows where it does not belong: in files, logs, answers, callbacks or events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.plane import (
    CALLBACK_TOKEN,
    PULL,
    PUSH,
    TOKEN,
    Rig,
    running,
    s3_address,
    s3_location,
)

from dataferry.demo.control_plane import Reply, message
from dataferry.demo.servers import JuiceFs

SHARED = "secret-of-the-sharing-user-0123456789"
BROKEN = "secret-that-opens-nothing-0123456789ab"
MANAGEMENT = ("/dataflows", "/callbacks", "/locations", "/datasets", "/landing-zones", "/control-planes")


@pytest.fixture
def rig(juicefs: JuiceFs, source: Any, sink: Any, bucket: str, tmp_path: Path) -> Iterator[Rig]:
    """A plane that logs all it can, with a good, a broken and a sharing location."""
    source.put_object(Bucket=bucket, Key="one", Body=b"1")
    rig = Rig(
        tmp_path,
        locations={
            "here": s3_location(juicefs),
            "broken": {**s3_location(juicefs), "secret_access_key": BROKEN},
            "sharing": s3_location(
                juicefs, share_access_key_id="AKIASHARING000000001", share_secret_access_key=SHARED
            ),
        },
        datasets=[
            {"id": "good", "source": f"here:{bucket}/"},
            {"id": "bad", "source": f"broken:{bucket}/"},
            {"id": "later", "source": f"broken:{bucket}/", "prepare_wait_s": 0},
            {"id": "shared", "source": f"sharing:{bucket}/"},
        ],
        engine={"attempts": 1, "flow_retries": 0},
        more={"server": {"log_level": "debug"}},
    )
    with running(rig):
        yield rig


def test_secrets_stay_where_they_belong(rig: Rig, juicefs: JuiceFs, juicefs_b: JuiceFs, bucket: str) -> None:
    """After flows that worked, failed and were refused, no secret is found outside of the configuration."""
    cp, address = rig.control_plane, s3_address(juicefs_b, bucket)
    replies: list[Reply] = []
    for process_id, dataset in (("works", "good"), ("refused", "bad"), ("fails", "later")):
        body = message(process_id, dataset, PUSH, dataAddress=address)
        replies.append(cp.start_flow(rig.address, body))
    cp.wait_for("completed", "works")
    cp.wait_for("errored", "fails")
    replies += [cp.status(rig.address, "works"), cp.notify(rig.address, "fails", "terminate")]
    granted = cp.start_flow(rig.address, message("pull", "shared", PULL))
    shown = [rig.plane.manage("GET", path) for path in MANAGEMENT]
    shown += [rig.plane.manage("GET", f"/dataflows/{one}/events") for one in ("works", "fails", "pull")]
    rig.plane.stop()

    secrets = [juicefs.secret_access_key, juicefs_b.secret_access_key, BROKEN, TOKEN, CALLBACK_TOKEN]
    secrets.append(rig.plane.api_key)
    places = {
        "answers": json.dumps([dict(reply.body) for reply in replies]),
        "management": json.dumps(shown),
        # A registration tells a control plane the token that is its own.
        "callbacks": json.dumps([dict(one.body) for one in cp.received if one.kind != "registration"]),
        **{file.name: file.read_bytes().decode("latin-1") for file in _files(rig)},
    }
    found = [
        (name, secret) for name, text in places.items() for secret in [*secrets, SHARED] if secret in text
    ]
    assert found == []
    assert {"dataferry.db", "plane.log"} <= places.keys()
    assert [reply.status for reply in replies[:3]] == [200, 422, 202]
    # What is named for sharing goes to the control plane that asked, and there only.
    assert SHARED in json.dumps(dict(granted.body))
    assert not any(secret in json.dumps(dict(granted.body)) for secret in secrets)


def _files(rig: Rig) -> list[Path]:
    """What the plane has written: everything in its directory but the configuration that was given to it."""
    return [file for file in rig.plane.directory.rglob("*") if file.is_file() and file != rig.plane.config]
