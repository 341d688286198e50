"""Bandwidth that flows of a real service share, and windows in which they, or a copy, wait."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from tests.integration.test_copy_process import Desk
from tests.servers.plane import MIB, Rig, running, s3_address, s3_location
from tests.servers.s3_client import digest, s3_client

from dataferry.cli.main import main
from dataferry.demo.servers import JuiceFs

SIZE = 6 * MIB
BOUND = 6 * MIB
ALWAYS = {"from": "00:00", "to": "24:00", "timezone": "Europe/Berlin", "bandwidth_bytes_per_s": 0}
TOLD = "waiting for the bandwidth window of location shut until its windows are changed"


def test_flows_share_a_locations_bandwidth_and_wait_for_a_shut_one(
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two flows together are no faster than their location allows; those behind a shut window only wait."""
    for server in juicefs_pair:
        s3_client(server).create_bucket(Bucket=bucket)
    s3_client(juicefs_pair[0]).put_object(Bucket=bucket, Key="data.bin", Body=os.urandom(SIZE))
    here = s3_location(juicefs_pair[0])
    rig = Rig(
        tmp_path,
        locations={
            "here": here | {"bandwidth_bytes_per_s": BOUND},
            "shut": here | {"bandwidth_windows": [ALWAYS]},
        },
        datasets=[
            {"id": "data", "source": f"here:{bucket}/data.bin"},
            {"id": "shut", "source": f"shut:{bucket}/data.bin"},
        ],
        engine={"flow_concurrency": 2},
    )
    with running(rig):
        waiting = [rig.start_push("shut", s3_address(juicefs_pair[1], bucket, f"w{n}/")) for n in range(3)]
        for process in waiting:
            rig.wait_until(process, lambda view: view["waitingFor"] == TOLD, what="waiting")
        began = time.monotonic()
        flows = [rig.start_push("data", s3_address(juicefs_pair[1], bucket, f"f{n}/")) for n in range(2)]
        for process in flows:
            assert rig.wait_finished(process)["bytesTransferred"] == SIZE
        assert 2 * SIZE / (time.monotonic() - began) <= BOUND
        monkeypatch.setenv("DATAFERRY_URL", rig.plane.url)
        monkeypatch.setenv("DATAFERRY_API_KEY", rig.plane.api_key)
        assert main(["flows", "show", waiting[0], "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["run"], shown["waitingFor"]) == ("queued", TOLD)
        assert [event["reason"] for event in shown["events"] if event["kind"] == "waiting"] == [TOLD]
    source, sink = map(s3_client, juicefs_pair)
    for number in range(2):
        assert digest(sink, bucket, f"f{number}/data.bin") == digest(source, bucket, "data.bin")


def test_a_copy_waits_for_a_window_and_says_so(tmp_path: Path) -> None:
    """It stays, says what it waits for, moves nothing, and can be interrupted at once."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_bytes(b"bytes")
    (tmp_path / "dataferry.toml").write_text(
        f'[locations.shut]\ntype = "file"\nroot = "{tmp_path}"\n[[locations.shut.bandwidth_windows]]\n'
        'from = "00:00"\nto = "24:00"\nbandwidth_bytes_per_s = 0\n'
    )
    desk = Desk(tmp_path)
    process = desk.start("copy", "shut:data/", "copy/")
    assert process.stderr is not None
    assert process.stderr.readline() == f"dataferry: {TOLD}\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out.startswith("interrupted")) == (130, True)
    assert not [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
