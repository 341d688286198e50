"""``dataferry copy`` between real S3 servers: configured locations, and the machine's credentials."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers.plane import s3_location
from tests.servers.s3_client import digests, keys, open_uploads, s3_client

from dataferry.demo.planes import toml
from dataferry.demo.servers import JuiceFs

MIB = 1024 * 1024


def run(directory: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run a copy in a directory: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "dataferry.cli.main", "copy", *arguments, "--json"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return done.returncode, done.stdout, done.stderr


def result_of(directory: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """Run a copy that must end well; return its result line."""
    code, out, err = run(directory, *arguments, **environment)
    assert (code, err) == (0, "")
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def test_a_bucket_is_copied_between_configured_locations(
    juicefs_pair: tuple[JuiceFs, JuiceFs], bucket: str, tmp_path: Path
) -> None:
    """Small objects, an empty one and one in parts arrive as they are; the second run moves nothing."""
    source, sink = map(s3_client, juicefs_pair)
    for client in (source, sink):
        client.create_bucket(Bucket=bucket)
    source.put_object(Bucket=bucket, Key="large.bin", Body=os.urandom(12 * MIB))
    source.put_object(Bucket=bucket, Key="deep/empty", Body=b"")
    source.put_object(Bucket=bucket, Key="deep/odd name?#%.txt", Body=b"odd", ContentType="text/x-odd")
    config = {
        "locations": {"here": s3_location(juicefs_pair[0]), "there": s3_location(juicefs_pair[1])},
        "engine": {"part_size_bytes": 5 * MIB, "multipart_threshold_bytes": 5 * MIB},
    }
    (tmp_path / "dataferry.toml").write_text(toml(config))
    first = result_of(tmp_path, f"here:{bucket}/", f"there:{bucket}/in/")
    assert (first["state"], first["objects"], first["bytes"]) == ("completed", 3, 12 * MIB + 3)
    arrived = {key.removeprefix("in/"): digest for key, digest in digests(sink, bucket).items()}
    assert arrived == digests(source, bucket)
    head = sink.head_object(Bucket=bucket, Key="in/deep/odd name?#%.txt")
    assert head["ContentType"] == "text/x-odd"
    assert open_uploads(sink, bucket, "in/large.bin") == []


def test_urls_use_the_machines_own_credentials(juicefs: JuiceFs, bucket: str, tmp_path: Path) -> None:
    """``s3://`` takes endpoint and keys from the AWS environment, without any configuration."""
    client = s3_client(juicefs)
    client.create_bucket(Bucket=bucket)
    (tmp_path / "a.txt").write_text("hello")
    ambient = {
        "AWS_ENDPOINT_URL": juicefs.endpoint_url,
        "AWS_ACCESS_KEY_ID": juicefs.access_key_id,
        "AWS_SECRET_ACCESS_KEY": juicefs.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    assert result_of(tmp_path, "a.txt", f"s3://{bucket}/in/", **ambient)["objects"] == 1
    assert keys(client, bucket) == ["in/a.txt"]
    result_of(tmp_path, f"s3://{bucket}/in/a.txt", "b.txt", **ambient)
    assert (tmp_path / "b.txt").read_text() == "hello"


def test_a_missing_bucket_and_a_wrong_key_are_told_before_a_byte_moves(
    juicefs: JuiceFs, bucket: str, tmp_path: Path
) -> None:
    """One line each, without a secret, and nothing is left behind."""
    s3_client(juicefs).create_bucket(Bucket=bucket)
    wrong = s3_location(juicefs) | {"secret_access_key": "not-the-secret-0123456789"}
    config = {"locations": {"good": s3_location(juicefs), "wrong": wrong}}
    (tmp_path / "dataferry.toml").write_text(toml(config))
    (tmp_path / "a.txt").write_text("hello")
    for destination, said in (("good:no-such-bucket-here/", "bucket"), (f"wrong:{bucket}/", "secret")):
        code, out, err = run(tmp_path, "a.txt", destination)
        assert (code, json.loads(out)["state"]) == (1, "failed")
        assert len(err.splitlines()) == 1
        assert said in err
        assert "not-the-secret" not in err
        assert juicefs.secret_access_key not in err
    assert list((tmp_path / ".local").rglob("*.db*")) == []
