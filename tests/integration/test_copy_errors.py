"""``dataferry copy --errors``: what became of each object that failed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.test_copy_s3 import run
from tests.servers.faulty_s3 import Fault, FaultyS3
from tests.servers.plane import s3_location

from dataferry.demo.planes import toml


def test_failed_objects_are_reported_line_by_line(tmp_path: Path) -> None:
    """All of them, not only the first twenty; a run without failures leaves an empty file."""
    (tmp_path / "in").mkdir()
    for number in range(25):
        (tmp_path / "in" / f"{number:02}").write_text("x")
    with FaultyS3() as server:
        server.make_bucket("data")
        server.inject("PutObject", Fault.ERROR, times=99, status=400, code="InvalidRequest")
        (tmp_path / "dataferry.toml").write_text(toml({"locations": {"there": s3_location(server)}}))

        code, _, err = run(tmp_path, "in/", "there:data/", "--errors", "failed.jsonl")
        assert (code, "and 5 more" in err) == (1, True)
        lines = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
        assert [entry["name"] for entry in lines] == [f"{number:02}" for number in range(25)]
        assert {(entry["size"], entry["kind"]) for entry in lines} == {(1, lines[0]["kind"])}
        assert "InvalidRequest" in lines[0]["message"]

        code, out, _ = run(tmp_path, "in/", "there:data/", "--errors", "-")
        *lines, last = map(json.loads, out.splitlines())
        assert (code, len(lines), last["state"]) == (1, 25, "failed")

        server.clear()
        code, out, _ = run(tmp_path, "in/", "there:data/", "--errors", "failed.jsonl")
        assert (code, (tmp_path / "failed.jsonl").read_text()) == (0, "")
    assert sorted(path.name for path in tmp_path.glob("*failed*")) == ["failed.jsonl"]


def test_a_report_that_can_not_be_written_is_refused_before_a_byte_moves(tmp_path: Path) -> None:
    """Its directory is not there."""
    (tmp_path / "a").write_text("a")
    code, _, err = run(tmp_path, "a", "b", "--errors", "nowhere/failed.jsonl")
    assert (code, err) == (
        1,
        "dataferry: the report nowhere/failed.jsonl can't be written: No such file or directory\n",
    )
    assert not (tmp_path / "b").exists()
