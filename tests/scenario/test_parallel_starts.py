"""Many starts of one process at the same moment make one copy."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.servers.plane import MIB, PUSH, Rig, running, s3_address, s3_location
from tests.servers.proxy import Proxy
from tests.servers.s3_client import digests

from dataferry.demo.control_plane import Reply, message
from dataferry.demo.servers import JuiceFs

STARTS = 10
SIZE_BYTES = 6 * MIB


def _start_at_once(rig: Rig, body: dict[str, Any]) -> list[Reply]:
    """Send the same start ten times in parallel, each as a message of its own."""

    def start(number: int) -> Reply:
        return rig.control_plane.start_flow(rig.address, {**body, "messageId": f"message-{number}"})

    with ThreadPoolExecutor(STARTS) as pool:
        return list(pool.map(start, range(STARTS)))


@pytest.mark.parametrize("retries", ["strict", "replay"])
def test_ten_parallel_starts_make_one_copy(
    retries: str,
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    source: Any,
    sink: Any,
    bucket: str,
    seeded: random.Random,
    tmp_path: Path,
) -> None:
    """Strict: one is accepted and nine refused. Replay: all ten get the same answer."""
    source.put_object(Bucket=bucket, Key="one", Body=seeded.randbytes(SIZE_BYTES))
    rig = Rig(
        tmp_path,
        locations={"here": s3_location(juicefs_pair[0])},
        datasets=[{"id": "data", "source": f"here:{bucket}/"}],
        control_plane={"retries": retries},
    )
    with Proxy(juicefs_pair[1].port) as proxy, running(rig):
        address = s3_address(juicefs_pair[1], bucket, endpoint_url=proxy.endpoint_url)
        replies = _start_at_once(rig, message("process-1", "data", PUSH, dataAddress=address))
        rig.wait_finished("process-1")
        rig.control_plane.wait_for("completed", "process-1")
        flows = rig.plane.manage("GET", "/dataflows")["items"]
        sent = proxy.bytes_up

    accepted = [reply for reply in replies if reply.status == 200]
    if retries == "strict":
        assert sorted(reply.status for reply in replies) == [200] + [409] * 9
    else:
        answers = [{**reply.body, "messageId": None} for reply in accepted]
        assert answers == [answers[0]] * STARTS
    assert len(flows) == 1
    assert digests(sink, bucket) == digests(source, bucket)
    assert sent < 1.2 * SIZE_BYTES
    assert rig.kinds("process-1") == ["completed"]
