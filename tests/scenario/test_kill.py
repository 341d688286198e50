"""SIGKILL in the middle: what was moved stays moved, and nothing is left behind."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Callable
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


def _large(client: Any, bucket: str, seeded: random.Random) -> str:
    """Put a large object; return its SHA-256."""
    body = seeded.randbytes(80 * MIB)
    client.put_object(Bucket=bucket, Key=KEY, Body=body)
    return hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("attempt", range(2))
def test_a_killed_plane_goes_on_where_it_was(
    attempt: int,
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    source: Any,
    sink: Any,
    bucket: str,
    seeded: random.Random,
    tmp_path: Path,
) -> None:
    """Five kills at random moments cost at most the parts in flight each, and leave no upload behind."""
    expected = _large(source, bucket, seeded)
    rig = Rig(
        tmp_path,
        locations={"here": s3_location(juicefs_pair[0])},
        datasets=[{"id": "large", "source": f"here:{bucket}/{KEY}", "bandwidth_bytes_per_s": RATE}],
    )
    with Proxy(juicefs_pair[1].port) as proxy, running(rig):
        address = s3_address(juicefs_pair[1], bucket, "in/", endpoint_url=proxy.endpoint_url)
        process_id = rig.start_push("large", address)
        middle = 0
        for _ in range(KILLS):
            _wait_sending(proxy, lambda: bool(rig.kinds(process_id)))
            time.sleep(seeded.uniform(0.0, 0.8))
            middle += rig.kinds(process_id) == []
            rig.plane.kill()
            rig.plane.start()
        view = rig.wait_finished(process_id)
        rig.control_plane.wait_for("completed", process_id)
        sent = proxy.bytes_up

    assert digest(sink, bucket, "in/large.bin") == expected
    assert open_uploads(sink, bucket, "in/large.bin") == []
    assert middle >= 3
    assert view["bytesResumed"] > 0
    assert view["bytesRetransferred"] <= KILLS * IN_FLIGHT
    assert sent <= 80 * MIB + KILLS * IN_FLIGHT + OVERHEAD
    assert rig.kinds(process_id) == ["completed"]


def test_a_killed_plane_goes_on_pulling(
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    source: Any,
    sink: Any,
    bucket: str,
    seeded: random.Random,
    tmp_path: Path,
) -> None:
    """The consumer of a pull survives kills as the provider of a push does, in a location of its own."""
    expected = _large(source, bucket, seeded)
    with Proxy(juicefs_pair[1].port) as proxy:
        location = s3_location(juicefs_pair[1], endpoint_url=proxy.endpoint_url, exclusive=True)
        zone = {"name": "in", "sink": f"there:{bucket}/in/", "bandwidth_bytes_per_s": RATE}
        rig = Rig(tmp_path, locations={"there": location}, more={"landing_zones": [zone]})
        with running(rig):
            process_id = "pulled"
            assert rig.control_plane.prepare(rig.address, message(process_id, "large", PULL)).status == 200
            rig.notify(process_id, "started", dataAddress=s3_address(juicefs_pair[0], bucket, KEY))
            for _ in range(2):
                _wait_sending(proxy, lambda: bool(rig.kinds(process_id)))
                time.sleep(seeded.uniform(0.0, 0.8))
                rig.plane.kill()
                rig.plane.start()
            view = rig.wait_finished(process_id)
            rig.control_plane.wait_for("completed", process_id)
            sent = proxy.bytes_up

    assert digest(sink, bucket, "in/large.bin") == expected
    assert open_uploads(sink, bucket, "in/large.bin") == []
    assert view["bytesResumed"] > 0
    assert sent <= 80 * MIB + 2 * IN_FLIGHT + OVERHEAD
    assert rig.kinds(process_id) == ["completed"]


@pytest.mark.parametrize("attempt", range(2))
def test_a_killed_copy_goes_on_where_it_was(
    attempt: int,
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    source: Any,
    sink: Any,
    bucket: str,
    seeded: random.Random,
    tmp_path: Path,
) -> None:
    """The same copy, killed five times and run again, resumes: parts in flight are all that a kill costs."""
    expected = _large(source, bucket, seeded)
    with Proxy(juicefs_pair[1].port) as proxy:
        copy = _copy(tmp_path, juicefs_pair, proxy, bucket)
        middle = 0
        for _ in range(KILLS):
            copy.start()
            _wait_sending(proxy, lambda: not copy.is_running)
            time.sleep(seeded.uniform(0.0, 0.8))
            middle += copy.is_running
            copy.kill()
        copy.log.write_bytes(b"")
        copy.start()
        exit_code = copy.wait(timeout_s=60)
        sent = proxy.bytes_up

    result = json.loads(copy.log.read_text().splitlines()[-1])
    assert (exit_code, result["state"]) == (0, "completed")
    assert digest(sink, bucket, "in/large.bin") == expected
    assert open_uploads(sink, bucket, "in/large.bin") == []
    assert middle >= 3
    assert result["bytes_resumed"] > 0
    assert result["bytes_retransferred"] <= KILLS * IN_FLIGHT
    assert sent <= 80 * MIB + KILLS * IN_FLIGHT + OVERHEAD


def _wait_sending(proxy: Proxy, is_over: Callable[[], bool]) -> None:
    """Wait until data moves again, or the transfer is over: a random moment counts from here."""
    before = proxy.bytes_up
    deadline = time.monotonic() + 30
    while proxy.bytes_up < before + MIB and not is_over():
        assert time.monotonic() < deadline, "nothing moves"
        time.sleep(0.01)


def _copy(directory: Path, pair: tuple[JuiceFs, JuiceFs], proxy: Proxy, bucket: str) -> ChildProcess:
    """``dataferry copy`` of the large object, rate-limited, not started yet."""
    config = directory / "dataferry.toml"
    settings = {
        "locations": {
            "here": s3_location(pair[0]),
            "there": s3_location(pair[1], endpoint_url=proxy.endpoint_url, exclusive=True),
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
        f"here:{bucket}/{KEY}",
        f"there:{bucket}/in/",
    ]
    command += ["--json", "--config", str(config), "--ledger", str(directory / "ledger.db")]
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    return ChildProcess("copy", command, log=directory / "copy.log", environment=environment)
