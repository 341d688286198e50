"""A source that changes on the way is never copied as a mixture."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pytest
from tests.servers.plane import MIB, PART_BYTES, Rig, s3_address
from tests.servers.s3_client import keys, open_uploads

from dataferry.demo.servers import JuiceFs

KEY = "large.bin"
SIZE_BYTES = 40 * MIB


@pytest.fixture
def bucket() -> str:
    """A bucket whose dataset is slow."""
    return f"slow-{uuid.uuid4().hex[:16]}"


@pytest.mark.parametrize("suspended", [True, False], ids=["while suspended", "while running"])
def test_a_replaced_source_fails_the_object(
    suspended: bool,
    rig: Rig,
    juicefs_b: JuiceFs,
    source: Any,
    sink: Any,
    bucket: str,
    seeded: random.Random,
) -> None:
    """Other bytes of the same size: the flow fails with the reason, and nothing is under the final key."""
    source.put_object(Bucket=bucket, Key=KEY, Body=seeded.randbytes(SIZE_BYTES))
    replacement = seeded.randbytes(SIZE_BYTES)
    process_id = rig.start_push(bucket, s3_address(juicefs_b, bucket))
    rig.wait_moved(process_id, 2 * PART_BYTES)
    if suspended:
        rig.notify(process_id, "suspend", reason="maintenance")
    source.put_object(Bucket=bucket, Key=KEY, Body=replacement)
    if suspended:
        rig.notify(process_id, "resume")

    errored = rig.control_plane.wait_for("errored", process_id)
    view = rig.view(process_id)
    assert view is not None
    assert (view["run"], view["state"], view["lastErrorKind"]) == ("failed", "STARTED", "source_changed")
    assert "large.bin" in errored.body["error"]
    assert keys(sink, bucket) == []
    rig.notify(process_id, "terminate")
    rig.wait_for(lambda: open_uploads(sink, bucket, KEY) == [], what="no upload left")
