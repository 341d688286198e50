"""``dataferry copy`` of some of a place's objects, in whole processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.integration.test_copy_s3 import result_of, run
from tests.servers.plane import s3_location
from tests.servers.s3_client import keys, s3_client

from dataferry.demo.planes import toml
from dataferry.demo.servers import JuiceFs


def test_patterns_choose_and_other_patterns_are_another_copy(
    juicefs_pair: tuple[JuiceFs, JuiceFs], bucket: str, tmp_path: Path
) -> None:
    """A month of a bucket, then all but some of it: each run lists anew what its own patterns name."""
    source, sink = map(s3_client, juicefs_pair)
    for client in (source, sink):
        client.create_bucket(Bucket=bucket)
    for month in ("10", "11", "11-x", "12"):
        for name in ("a.csv", "b.tmp", "raw/c.csv"):
            source.put_object(Bucket=bucket, Key=f"in/2026/{month}/{name}", Body=b"1")
    locations = {"here": s3_location(juicefs_pair[0]), "there": s3_location(juicefs_pair[1])}
    (tmp_path / "dataferry.toml").write_text(toml({"locations": locations}))
    ends = (f"here:{bucket}/in/", f"there:{bucket}/out/")

    first = result_of(tmp_path, *ends, "--include", "2026/11/**", "--exclude", "*.tmp")
    assert first["objects"] == 2
    assert keys(sink, bucket) == ["out/2026/11/a.csv", "out/2026/11/raw/c.csv"]

    code, out, err = run(tmp_path, *ends, "--exclude", "raw/", "--dry-run")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["objects"], found["left_out"]) == (8, 4)
    assert (found["objects_to_move"], found["skipped"]) == (7, {"same size and MD5": 1})

    assert result_of(tmp_path, *ends, "--exclude", "raw/")["objects"] == 8
    assert len(keys(sink, bucket)) == 9


def test_patterns_that_are_wrong_are_refused_before_anything_happens(tmp_path: Path) -> None:
    """Exit 2 for a malformed one, with the position; advice for those that select nothing."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("a")

    code, _, err = run(tmp_path, "in", "out", "--include", "*.{csv,json}")
    assert code == 2
    assert "malformed at character 3" in " ".join(err.replace("│", " ").split())

    code, _, err = run(tmp_path, "in", "out", "--include", "b")
    assert (code, err) == (0, "dataferry: the patterns select nothing of what is at the source\n")


def test_a_file_whose_name_is_not_utf_8_is_left_out_by_a_pattern(tmp_path: Path) -> None:
    """It stops the copy with the way out; with an exclude the others arrive, in a run that ends well."""
    directory = tmp_path / "in"
    directory.mkdir()
    (directory / "good").write_text("good")
    Path(os.fsdecode(os.fsencode(directory) + b"/bad\xff")).write_text("bad")

    code, _, err = run(tmp_path, "in/", "out/")
    assert code == 1
    assert "'bad\\xff' can't be moved: its name is not UTF-8" in err
    assert "exclude" in err

    code, _, err = run(tmp_path, "in/", "out/", "--exclude", "bad\udcff")
    assert code == 2
    assert "not UTF-8" in " ".join(err.replace("│", " ").split())

    assert result_of(tmp_path, "in/", "out/", "--exclude", "bad?")["objects"] == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good"]
