"""``dataferry copy --manifest`` in whole processes, against servers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

from awscrt.checksums import crc64nvme
from tests.integration.test_copy_s3 import result_of, run
from tests.servers.faulty_s3 import Fault, FaultyS3
from tests.servers.plane import s3_location
from tests.servers.s3_client import s3_client

from dataferry.demo.planes import toml
from dataferry.demo.servers import JuiceFs


def parsed(text: bytes) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A manifest's objects and its summary."""
    *objects, last = map(json.loads, text.splitlines())
    return objects, last["summary"]


def test_a_manifest_stands_beside_what_it_lists(juicefs: JuiceFs, bucket: str, tmp_path: Path) -> None:
    """From files to a real S3 server and back to files; a second run writes the same lines again."""
    client = s3_client(juicefs)
    client.create_bucket(Bucket=bucket)
    config = {
        "locations": {"there": s3_location(juicefs)},
        "engine": {"part_size_bytes": 5 * 2**20, "multipart_threshold_bytes": 5 * 2**20},
    }
    (tmp_path / "dataferry.toml").write_text(toml(config))
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_bytes(b"hello")
    (tmp_path / "in" / "deep" / "b.bin").write_bytes(bytes(range(256)) * 2**15)

    first = result_of(tmp_path, "in/", f"there:{bucket}/x/", "--manifest")
    text = client.get_object(Bucket=bucket, Key="x/objects.jsonl")["Body"].read()
    objects, summary = parsed(text)
    assert [entry["key"] for entry in objects] == ["x/a.txt", "x/deep/b.bin"]
    assert summary["verification"] == first["verification"]
    assert first["verification"] in {entry["verification"] for entry in objects}
    for entry in objects:
        data = (tmp_path / "in" / entry["name"]).read_bytes()
        assert b64decode(entry["checksum"]["crc64nvme"]) == crc64nvme(data).to_bytes(8, "big")
        assert client.head_object(Bucket=bucket, Key=entry["key"])["ETag"] == f'"{entry["etag"]}"'
    assert (summary["objects"], summary["bytes"]) == (2, 5 + 2**23)

    again = result_of(tmp_path, "in/", f"there:{bucket}/x/", "--manifest")
    assert again["objects"] == 2
    assert client.get_object(Bucket=bucket, Key="x/objects.jsonl")["Body"].read() == text

    code, _, err = run(tmp_path, f"there:{bucket}/x/", "back/", "--manifest")
    assert (code, "--exclude" in err or "exclude 'objects.jsonl'" in err) == (1, True)
    assert not (tmp_path / "back").exists()

    result_of(tmp_path, f"there:{bucket}/x/", "back/", "--manifest", "--exclude", "/objects.jsonl")
    objects, _ = parsed((tmp_path / "back" / "objects.jsonl").read_bytes())
    assert [entry["name"] for entry in objects] == ["a.txt", "deep/b.bin"]


def test_a_kill_while_the_manifest_is_written_is_mended_by_the_next_run(tmp_path: Path) -> None:
    """Killed inside its request: nothing is visible of it; the next run moves nothing and writes it."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.txt").write_text(str(number))
    with FaultyS3() as server:
        server.make_bucket("data")
        server.inject("PutObject", Fault.HANG, key="objects.jsonl")
        (tmp_path / "dataferry.toml").write_text(toml({"locations": {"there": s3_location(server)}}))
        command = [sys.executable, "-m", "dataferry.cli.main", "copy", "in/", "there:data/", "--manifest"]
        environment = {"PATH": "", "HOME": str(tmp_path)}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment)
        deadline = time.monotonic() + 60
        while server.count("PutObject") < 4:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.wait()
        server.release()
        assert server.body("data", "objects.jsonl") is None

        assert result_of(tmp_path, "in/", "there:data/", "--manifest")["objects"] == 3
        assert server.count("PutObject") == 5
        objects, _ = parsed(server.body("data", "objects.jsonl") or b"")
        assert [entry["verification"] for entry in objects] == ["destination"] * 3


def test_a_manifest_that_is_refused_fails_the_copy(tmp_path: Path) -> None:
    """Exit 1 with the reason, though all objects are there; a destination of one object has no room."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("a")
    with FaultyS3() as server:
        server.make_bucket("data")
        server.inject("PutObject", Fault.ERROR, key="objects.jsonl", status=403, code="AccessDenied")
        (tmp_path / "dataferry.toml").write_text(toml({"locations": {"there": s3_location(server)}}))

        code, out, err = run(tmp_path, "in/", "there:data/", "--manifest")
        assert (code, json.loads(out)["state"]) == (1, "failed")
        assert "objects.jsonl" in err

        code, _, err = run(tmp_path, "in/a", "there:data/b", "--manifest")
        assert code == 1
        assert "end it with /" in err
        assert server.body("data", "b") is None


def test_a_manifest_has_room_beside_directories_of_any_name(tmp_path: Path) -> None:
    """Only a destination that names one object has none, and is told so."""
    for name in ("a/one", "b/two"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).write_bytes(b"hello")
    assert result_of(tmp_path, "in/", "out/", "--manifest")["objects"] == 2
    objects, _ = parsed((tmp_path / "out" / "objects.jsonl").read_bytes())
    assert [entry["name"] for entry in objects] == ["a/one", "b/two"]
    code, _, err = run(tmp_path, "in/a/one", "single", "--manifest")
    assert (code, "has no room for objects.jsonl" in err) == (1, True)
