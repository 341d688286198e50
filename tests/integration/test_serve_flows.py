"""``dataferry flows`` steers real flows of a real service; SIGTERM lets them go on later."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.plane import MIB, Rig, running, s3_address, s3_location
from tests.servers.s3_client import digest, s3_client

from dataferry.cli.main import main
from dataferry.demo.servers import JuiceFs

SIZE = 40 * MIB


@pytest.fixture
def rig(
    juicefs_pair: tuple[JuiceFs, JuiceFs], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rig]:
    """A provider's plane with one slow dataset, and the commands' environment set to it."""
    for server in juicefs_pair:
        s3_client(server).create_bucket(Bucket=bucket)
    s3_client(juicefs_pair[0]).put_object(Bucket=bucket, Key="large.bin", Body=os.urandom(SIZE))
    made = Rig(
        tmp_path,
        locations={"here": s3_location(juicefs_pair[0])},
        datasets=[{"id": "large", "source": f"here:{bucket}/large.bin", "bandwidth_bytes_per_s": 16 * MIB}],
    )
    with running(made):
        monkeypatch.setenv("DATAFERRY_URL", made.plane.url)
        monkeypatch.setenv("DATAFERRY_API_KEY", made.plane.api_key)
        yield made


@pytest.fixture
def started(rig: Rig, juicefs_pair: tuple[JuiceFs, JuiceFs], bucket: str) -> str:
    """The process id of a push that has moved some bytes."""
    process_id = rig.start_push("large", s3_address(juicefs_pair[1], bucket, "in/"))
    rig.wait_moved(process_id, 1)
    return process_id


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command that must end well; return what it prints as JSON."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_flow_is_paused_and_goes_on(
    rig: Rig,
    started: str,
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    bucket: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pause holds the bytes and not the state; unpause lets them go; watch ends with the flow."""
    held = shown(capsys, "flows", "pause", started)
    assert (held["state"], held["run"]) == ("STARTED", "held")
    assert [flow["processId"] for flow in shown(capsys, "flows", "list", "--run", "held")] == [started]
    assert shown(capsys, "flows", "unpause", started)["run"] in {"queued", "running"}
    assert main(["flows", "watch", started]) == 0
    finished = rig.wait_finished(started)
    assert finished["bytesTransferred"] == SIZE
    assert (finished["verification"], finished["bytesVerified"]) == ("transport", 0)
    capsys.readouterr()
    actors = {event["actor"] for event in shown(capsys, "flows", "show", started)["events"]}
    assert "operator" in actors
    source, sink = map(s3_client, juicefs_pair)
    assert digest(sink, bucket, "in/large.bin") == digest(source, bucket, "large.bin")


def test_a_flow_is_terminated(rig: Rig, started: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For good, with a reason that is kept; its control plane is told."""
    ended = shown(capsys, "flows", "terminate", started, "--reason", "the contract has ended")
    assert ended["state"] == "TERMINATED"
    events = shown(capsys, "flows", "show", started)["events"]
    assert any("the contract has ended" in event["reason"] for event in events)
    rig.control_plane.wait_for("errored", started)
    assert main(["flows", "unpause", started]) == 1
    assert "dataferry: " in capsys.readouterr().err


def test_sigterm_lets_a_flow_go_on_later(
    rig: Rig, started: str, juicefs_pair: tuple[JuiceFs, JuiceFs], bucket: str
) -> None:
    """It ends with 0 in the middle of a flow, and the next start takes the flow up by itself."""
    rig.plane.stop()
    assert rig.plane.process.exit_code == 0
    rig.plane.start()
    finished = rig.wait_finished(started)
    assert finished["bytesRetransferred"] < SIZE
    source, sink = map(s3_client, juicefs_pair)
    assert digest(sink, bucket, "in/large.bin") == digest(source, bucket, "large.bin")
    rig.control_plane.wait_for("completed", started)
