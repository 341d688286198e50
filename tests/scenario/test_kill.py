"""SIGKILL in the middle: what was moved stays moved, and nothing is left behind."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.servers.plane import MIB, PART_BYTES, PULL, WORKERS, Rig, running, s3_address, s3_location
from tests.servers.proxy import Proxy
from tests.servers.s3_client import digest, open_uploads

from dataferry.demo.control_plane import message
from dataferry.demo.planes import toml
from dataferry.demo.processes import ChildProcess
from dataferry.demo.servers import JuiceFs

KEY = "deep/large.bin"
KILLS = 5
RATE = 24 * MIB
IN_FLIGHT = WORKERS * PART_BYTES
# Headers, signatures, listings: what the proxy counts beside the bytes of parts.
OVERHEAD = 1 * MIB


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A large object at one S3 server, and another one to take it.

    Attributes:
        expected: The object's SHA-256.
        sink: The other server's S3, with the bucket.
    """

    pair: tuple[JuiceFs, JuiceFs]
    bucket: str
    expected: str
    sink: Any
    seeded: random.Random
    directory: Path

    def wait_random_moment(self, proxy: Proxy, is_over: Callable[[], bool]) -> None:
        """Wait until data moves again, or the transfer is over, and then a little."""
        before = proxy.bytes_up
        deadline = time.monotonic() + 30
        while proxy.bytes_up < before + MIB and not is_over():
            assert time.monotonic() < deadline, "nothing moves"
            time.sleep(0.01)
        time.sleep(self.seeded.uniform(0.0, 0.8))

    def assert_arrived(self) -> None:
        """It is there whole, and no upload was left."""
        assert digest(self.sink, self.bucket, "in/large.bin") == self.expected
        assert open_uploads(self.sink, self.bucket, "in/large.bin") == []


@pytest.fixture
def stage(
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    source: Any,
    sink: Any,
    bucket: str,
    seeded: random.Random,
    tmp_path: Path,
) -> Stage:
    """The object is at the first server."""
    body = seeded.randbytes(80 * MIB)
    source.put_object(Bucket=bucket, Key=KEY, Body=body)
    expected = hashlib.sha256(body).hexdigest()
    return Stage(
        pair=juicefs_pair, bucket=bucket, expected=expected, sink=sink, seeded=seeded, directory=tmp_path
    )


@pytest.mark.parametrize("attempt", range(2))
def test_a_killed_plane_goes_on_where_it_was(attempt: int, stage: Stage) -> None:
    """Five kills at random moments cost at most the parts in flight each, and leave no upload behind."""
    rig = Rig(
        stage.directory,
        locations={"here": s3_location(stage.pair[0])},
        datasets=[{"id": "large", "source": f"here:{stage.bucket}/{KEY}", "bandwidth_bytes_per_s": RATE}],
    )
    with Proxy(stage.pair[1].port) as proxy, running(rig):
        address = s3_address(stage.pair[1], stage.bucket, "in/", endpoint_url=proxy.endpoint_url)
        process_id = rig.start_push("large", address)
        middle = 0
        for _ in range(KILLS):
            stage.wait_random_moment(proxy, lambda: bool(rig.kinds(process_id)))
            middle += rig.kinds(process_id) == []
            rig.plane.kill()
            rig.plane.start()
        view = rig.wait_finished(process_id)
        rig.control_plane.wait_for("completed", process_id)
        sent = proxy.bytes_up

    stage.assert_arrived()
    assert middle >= 3
    assert view["bytesResumed"] > 0
    assert view["bytesRetransferred"] <= KILLS * IN_FLIGHT
    assert sent <= 80 * MIB + KILLS * IN_FLIGHT + OVERHEAD
    assert rig.kinds(process_id) == ["completed"]


def test_a_killed_plane_goes_on_pulling(stage: Stage) -> None:
    """The consumer of a pull survives kills as the provider of a push does, in a location of its own."""
    with Proxy(stage.pair[1].port) as proxy:
        location = s3_location(stage.pair[1], endpoint_url=proxy.endpoint_url, exclusive=True)
        zone = {"name": "in", "sink": f"there:{stage.bucket}/in/", "bandwidth_bytes_per_s": RATE}
        rig = Rig(stage.directory, locations={"there": location}, more={"landing_zones": [zone]})
        with running(rig):
            process_id = "pulled"
            assert rig.control_plane.prepare(rig.address, message(process_id, "large", PULL)).status == 200
            rig.notify(process_id, "started", dataAddress=s3_address(stage.pair[0], stage.bucket, KEY))
            for _ in range(2):
                stage.wait_random_moment(proxy, lambda: bool(rig.kinds(process_id)))
                rig.plane.kill()
                rig.plane.start()
            view = rig.wait_finished(process_id)
            rig.control_plane.wait_for("completed", process_id)
            sent = proxy.bytes_up

    stage.assert_arrived()
    assert view["bytesResumed"] > 0
    assert sent <= 80 * MIB + 2 * IN_FLIGHT + OVERHEAD
    assert rig.kinds(process_id) == ["completed"]


@pytest.mark.parametrize("attempt", range(2))
def test_a_killed_copy_goes_on_where_it_was(attempt: int, stage: Stage) -> None:
    """The same copy, killed five times and run again, resumes: parts in flight are all that a kill costs."""
    with Proxy(stage.pair[1].port) as proxy:
        copy = _copy(stage, proxy)
        middle = 0
        for _ in range(KILLS):
            copy.start()
            stage.wait_random_moment(proxy, lambda: not copy.is_running)
            middle += copy.is_running
            copy.kill()
        copy.log.write_bytes(b"")
        copy.start()
        exit_code = copy.wait(timeout_s=60)
        sent = proxy.bytes_up

    result = json.loads(copy.log.read_text().splitlines()[-1])
    assert (exit_code, result["state"]) == (0, "completed")
    stage.assert_arrived()
    assert middle >= 3
    assert result["bytes_resumed"] > 0
    assert result["bytes_retransferred"] <= KILLS * IN_FLIGHT
    assert sent <= 80 * MIB + KILLS * IN_FLIGHT + OVERHEAD


def _copy(stage: Stage, proxy: Proxy) -> ChildProcess:
    """``dataferry copy`` of the large object, rate-limited, not started yet."""
    directory = stage.directory
    config = directory / "dataferry.toml"
    settings = {
        "locations": {
            "here": s3_location(stage.pair[0]),
            "there": s3_location(stage.pair[1], endpoint_url=proxy.endpoint_url, exclusive=True),
        },
        "engine": {
            "workers": WORKERS,
            "part_size_bytes": PART_BYTES,
            "multipart_threshold_bytes": PART_BYTES,
            "bandwidth_bytes_per_s": RATE,
        },
    }
    config.write_text(toml(settings))
    config.chmod(0o600)
    command = [
        sys.executable,
        "-m",
        "dataferry.cli.main",
        "copy",
        f"here:{stage.bucket}/{KEY}",
        f"there:{stage.bucket}/in/",
    ]
    command += ["--json", "--config", str(config), "--ledger", str(directory / "ledger.db")]
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    return ChildProcess("copy", command, log=directory / "copy.log", environment=environment)
