"""SIGKILL exactly before or after the store did what a copy asked for: the next run mends it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.faulty_s3 import FaultyS3, HungUpError

from dataferry.demo.planes import toml

MIB = 1024 * 1024
PART = 5 * MIB
TOTAL = 2 * PART + 11 + 3000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyS3]:
    """A server with a large, a small and an empty object in one bucket, and another bucket to copy to."""
    chance = random.Random(7)
    with FaultyS3() as server:
        for bucket in ("source", "target"):
            server.make_bucket(bucket)
        for name, size in (("big", 2 * PART + 11), ("empty", 0), ("small", 3000)):
            server.put("source", name, chance.randbytes(size))
        place = {
            "type": "s3",
            "endpoint_url": server.endpoint_url,
            "access_key_id": server.access_key_id,
            "secret_access_key": server.secret_access_key,
            "exclusive": True,
        }
        locations = {"it": place, "streams": place | {"server_side_copy": False}}
        engine = {"part_size_bytes": PART, "multipart_threshold_bytes": PART, "workers": 1}
        (tmp_path / "dataferry.toml").write_text(toml({"locations": locations, "engine": engine}))
        yield server


class Killer:
    """Kills a process at the n-th call of a name, before or after it is done."""

    def __init__(self, call: str, number: int, moment: str) -> None:
        self._call, self._left, self._moment = call, number, moment
        self.pid: int | None = None
        self.killed = False

    def __call__(self, call: str, moment: str) -> None:
        """Be told of a call."""
        if call != self._call or moment != self._moment or self.killed:
            return
        self._left -= 1
        if self._left == 0 and self.pid is not None:
            self.killed = True
            os.kill(self.pid, signal.SIGKILL)
            raise HungUpError


def copy(
    directory: Path, killer: Killer | None = None, *, by: str = "streams", more: str = ""
) -> tuple[int, str]:
    """Run a copy; ``it`` as the source lets the store copy. Return the exit code and what it wrote."""
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "dataferry.cli.main",
            "copy",
            f"{by}:source/",
            "it:target/in/",
            "--json",
            *more.split(),
        ],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        if killer is not None:
            killer.pid = process.pid
        out, _ = process.communicate(timeout=60)
    return process.returncode, out


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("CreateMultipartUpload", 1),
        ("UploadPart", 2),
        ("CompleteMultipartUpload", 1),
        ("PutObject", 1),
    ],
)
def test_a_copy_killed_at_a_call_ends_whole_when_run_again(
    server: FaultyS3, tmp_path: Path, call: str, number: int, moment: str
) -> None:
    """Identical bytes, no upload left open, and nothing counted twice."""
    server.watch = killer = Killer(call, number, moment)
    code, _ = copy(tmp_path, killer)
    assert (code, killer.killed) == (-signal.SIGKILL, True)

    code, out = copy(tmp_path)

    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert (code, result["state"], result["objects"], result["bytes"]) == (0, "completed", 3, TOTAL)
    for name in ("big", "empty", "small"):
        assert server.body("target", f"in/{name}") == server.body("source", name)
    assert server.open_uploads("target") == []
    assert result["bytes_resumed"] + result["bytes_retransferred"] <= TOTAL


@pytest.mark.parametrize(
    ("call", "number", "moment", "more"),
    [
        ("CopyObject", 2, "before", ""),
        ("CopyObject", 2, "after", ""),
        ("UploadPartCopy", 2, "after", "--overwrite never"),
        ("CompleteMultipartUpload", 1, "after", "--overwrite never"),
    ],
)
def test_a_copy_by_the_store_killed_at_a_call_ends_whole_when_run_again(
    server: FaultyS3, tmp_path: Path, call: str, number: int, moment: str, more: str
) -> None:
    """What the store copies by itself survives as what is streamed does; parts that are there are kept."""
    server.watch = killer = Killer(call, number, moment)
    code, _ = copy(tmp_path, killer, by="it", more=more)
    assert (code, killer.killed) == (-signal.SIGKILL, True)

    code, out = copy(tmp_path, by="it", more=more)

    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert (code, result["state"], result["objects"], result["bytes"]) == (0, "completed", 3, TOTAL)
    for name in ("big", "empty", "small"):
        assert server.body("target", f"in/{name}") == server.body("source", name)
    assert server.open_uploads("target") == []
    assert server.count("GetObject") == (2 if more else 0)
    if call == "UploadPartCopy":
        assert result["bytes_resumed"] >= PART


def test_an_upload_lost_in_a_kill_is_aborted_though_its_object_is_gone(
    server: FaultyS3, tmp_path: Path
) -> None:
    """Killed before it could write down the upload, and the source deleted: the upload is still found."""
    server.watch = killer = Killer("CreateMultipartUpload", 1, "after")
    copy(tmp_path, killer)
    assert server.open_uploads("target") == ["in/big"]
    del server.buckets["source"]["big"]

    code, out = copy(tmp_path)

    assert (code, json.loads(out.splitlines()[-1])["state"]) == (1, "failed")
    assert server.open_uploads("target") == []
