"""``dataferry copy`` as people run it: whole processes, from directory to directory."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

MIB = 1024 * 1024
KEYS = [
    "state",
    "objects",
    "bytes",
    "seconds",
    "bytes_resumed",
    "bytes_retransferred",
    "strategy",
    "verification",
]
SLOW = ["--bandwidth", "16M", "--part-size", "1M", "--workers", "2"]


@dataclass
class Desk:
    """A working directory with a state directory of its own; ends what it started.

    Attributes:
        path: Where commands run.
    """

    path: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def ledgers(self) -> list[Path]:
        """Ledgers with something to resume, and locks."""
        return sorted((self.path / "state" / "dataferry").glob("*.db*"))

    @property
    def finished(self) -> list[Path]:
        """Ledgers of copies that are complete."""
        return sorted((self.path / "state").rglob("finished/*"))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start ``dataferry`` with these arguments."""
        process = subprocess.Popen(
            [sys.executable, "-m", "dataferry.cli.main", *arguments],
            cwd=self.path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.path),
                "XDG_STATE_HOME": str(self.path / "state"),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run it to its end: exit code, stdout, stderr."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def copy(self, *arguments: str) -> dict[str, Any]:
        """Run a copy that must end well; return its result."""
        code, out, err = self.run("copy", *arguments, "--json")
        assert (code, err) == (0, "")
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
        return result


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk to work at."""
    made = Desk(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def large(desk: Desk) -> Path:
    """A file that takes two seconds to copy slowly."""
    path = desk.path / "large.bin"
    path.write_bytes(os.urandom(40 * MIB))
    return path


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Poll until something is so, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in time"
        time.sleep(0.01)


def parts_committed(desk: Desk) -> int:
    """How many parts the ledger holds now."""
    for path in desk.ledgers:
        if path.suffix == ".db":
            try:
                with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as database:
                    row: tuple[int] = database.execute("SELECT count(*) FROM parts").fetchone()
                    return row[0]
            except sqlite3.OperationalError:
                return 0
    return 0


def test_the_result_line_is_a_contract(desk: Desk) -> None:
    """Exactly these keys, in this order, on the last line of stdout."""
    (desk.path / "a.txt").write_text("hello")
    result = desk.copy("a.txt", "b.txt")
    assert list(result) == KEYS
    assert (result["state"], result["objects"], result["bytes"]) == ("completed", 1, 5)
    assert (desk.path / "b.txt").read_text() == "hello"


def test_what_has_not_changed_is_not_copied_again(desk: Desk) -> None:
    """New objects, and those that changed at either end, move; the others do not."""
    (desk.path / "in" / "deep").mkdir(parents=True)
    for number in range(5):
        (desk.path / "in" / "deep" / f"{number}.txt").write_text(str(number))
    assert desk.copy("in/", "out/")["objects"] == 5
    assert desk.ledgers == []
    assert len(desk.finished) == 1
    (desk.path / "in" / "new.txt").write_text("new")
    (desk.path / "in" / "deep" / "1.txt").write_text("I")
    (desk.path / "out" / "deep" / "2.txt").write_text("Z")
    code, out, _ = desk.run("copy", "in/", "out/")
    assert code == 0
    assert out.startswith("completed: 6 objects, 8 B (3 already there); 5 B moved in ")
    assert (desk.path / "out" / "deep" / "1.txt").read_text() == "I"
    assert (desk.path / "out" / "deep" / "2.txt").read_text() == "2"
    code, out, _ = desk.run("copy", "in/", "out/")
    assert out.startswith("completed: 6 objects, 8 B (6 already there); 0 B moved in ")
    assert out.endswith("verified: transport\n")
    assert len(desk.finished) == 1


def test_a_dry_run_tells_and_moves_nothing(desk: Desk) -> None:
    """What would be moved and skipped, and why; neither an object nor a ledger is made by it."""
    (desk.path / "in").mkdir()
    for number in range(3):
        (desk.path / "in" / f"{number}.txt").write_text("hello")
    code, out, err = desk.run("copy", "in/", "out/", "--dry-run", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["state"], told["objects_to_move"], told["bytes_to_move"]) == ("planned", 3, 15)
    assert not (desk.path / "out").exists()
    assert not (desk.path / "state").exists()

    desk.copy("in/", "out/")
    (desk.path / "in" / "1.txt").write_text("other")
    before = desk.finished[0].stat().st_mtime_ns
    for _ in range(2):
        code, out, err = desk.run("copy", "in/", "out/", "--dry-run")
        assert (code, err) == (0, "")
        assert out.splitlines()[:3] == [
            "would move 1 of 3 objects, 5 B of 15 B",
            "  1.txt",
            "would skip 2: unchanged at both ends since it was copied",
        ]
    assert (desk.path / "out" / "1.txt").read_text() == "hello"
    assert [path.stat().st_mtime_ns for path in desk.finished] == [before]


def test_a_finished_ledger_of_another_version_is_no_obstacle(desk: Desk) -> None:
    """It only saved time: the objects are copied again."""
    (desk.path / "a.txt").write_text("hello")
    desk.copy("a.txt", "b.txt")
    with closing(sqlite3.connect(desk.finished[0])) as database:
        database.execute("PRAGMA user_version = 999")
    code, out, _ = desk.run("copy", "a.txt", "b.txt")
    assert (code, out.split(" in ")[0]) == (0, "completed: 1 object, 5 B; 5 B moved")
    assert len(desk.finished) == 1


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        ("in/", "in/", "the same place"),
        ("in/a.txt", "in/", "the same place"),
        ("in/", "in/deeper/", "lies in the source"),
    ],
)
def test_a_place_is_not_copied_onto_or_into_itself(
    desk: Desk, source: str, destination: str, reason: str
) -> None:
    """Such a copy would do nothing, or never end."""
    (desk.path / "in").mkdir()
    (desk.path / "in" / "a.txt").write_text("hello")
    code, out, err = desk.run("copy", source, destination)
    assert (code, out) == (1, "")
    assert reason in err
    assert [path.name for path in (desk.path / "in").iterdir()] == ["a.txt"]


def test_people_get_a_sentence(desk: Desk) -> None:
    """Without ``--json`` the result is for reading; ``--quiet`` says nothing."""
    (desk.path / "a.txt").write_text("hello")
    code, out, err = desk.run("copy", "a.txt", "b.txt")
    assert (code, err) == (0, "")
    assert out.startswith("completed: 1 object, 5 B; 5 B moved in ")
    assert desk.run("copy", "a.txt", "c.txt", "--quiet") == (0, "", "")


def test_ctrl_c_stops_cleanly_and_the_next_run_resumes(desk: Desk, large: Path) -> None:
    """Exit 130 with the advice to run it again; what was moved is not moved again."""
    process = desk.start("copy", large.name, "copy.bin", "--json", *SLOW)
    wait_for(lambda: parts_committed(desk) >= 3, "three parts")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert json.loads(out)["state"] == "interrupted"
    assert "run the same command again to resume" in err
    assert "Traceback" not in err
    assert not (desk.path / "copy.bin").exists()

    result = desk.copy(large.name, "copy.bin", "--part-size", "1M", "--workers", "2")
    assert result["bytes_resumed"] >= 3 * MIB
    assert (desk.path / "copy.bin").read_bytes() == large.read_bytes()
    assert desk.ledgers == []


def test_a_killed_copy_resumes(desk: Desk, large: Path) -> None:
    """After ``kill -9`` the same command goes on; at most the parts in flight are sent twice."""
    process = desk.start("copy", large.name, "copy.bin", "--json", *SLOW)
    wait_for(lambda: parts_committed(desk) >= 3, "three parts")
    process.kill()
    process.communicate()

    result = desk.copy(large.name, "copy.bin", "--part-size", "1M", "--workers", "2")
    assert result["bytes_resumed"] >= 3 * MIB
    assert result["bytes_retransferred"] <= 2 * MIB
    assert (desk.path / "copy.bin").read_bytes() == large.read_bytes()
    assert sorted(entry.name for entry in desk.path.iterdir()) == ["copy.bin", "large.bin", "state"]


def test_two_copies_of_the_same_pair_are_refused(desk: Desk, large: Path) -> None:
    """The second says that the first is running; another destination is another copy."""
    first = desk.start("copy", large.name, "copy.bin", "--json", *SLOW)
    wait_for(lambda: parts_committed(desk) >= 1, "the first part")
    code, out, err = desk.run("copy", large.name, "copy.bin", "--json")
    assert (code, json.loads(out)["state"]) == (1, "failed")
    assert "this copy is running already" in err
    assert desk.copy(large.name, "other.bin")["state"] == "completed"
    first.communicate(timeout=30)
    assert first.returncode == 0


def test_two_copies_to_overlapping_destinations_are_refused(desk: Desk, large: Path) -> None:
    """From another source too: they would overwrite each other's objects; a place beside is fine."""
    sources = desk.path / "sources"
    sources.mkdir()
    large.rename(sources / "large.bin")
    (desk.path / "more").mkdir()
    (desk.path / "more" / "large.bin").write_bytes(b"another")
    first = desk.start("copy", "sources/", "in/", "--json", *SLOW, "--bandwidth", "1M")
    wait_for(lambda: parts_committed(desk) >= 1, "the first part")
    for destination in ("in/", "in/deeper/", "./in"):
        code, _, err = desk.run("copy", "more/", destination, "--json")
        assert (code, "another copy is writing to this destination" in err) == (1, True), err
    assert desk.copy("more/", "in2/")["state"] == "completed"
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)
    assert first.returncode == 130
    assert desk.copy("sources/", "in/")["state"] == "completed"
    assert (desk.path / "in" / "large.bin").stat().st_size == (sources / "large.bin").stat().st_size


def test_what_was_written_is_read_back_when_asked(desk: Desk, large: Path) -> None:
    """By option or by configuration; the result says what that proves, and the option comes first."""
    assert desk.copy(large.name, "one.bin", "--verify", "readback")["verification"] == "destination"
    (desk.path / "dataferry.toml").write_text('[engine]\nverify = "readback"\n')
    assert desk.copy(large.name, "two.bin")["verification"] == "destination"
    assert desk.copy(large.name, "three.bin", "--verify", "best")["verification"] == "transport"


def test_a_copy_that_cannot_begin_leaves_nothing(desk: Desk) -> None:
    """A missing source is one line, a result for programs and exit 1, and no ledger remembers it."""
    code, out, err = desk.run("copy", "nowhere", "b", "--json")
    assert (code, list(json.loads(out)), json.loads(out)["state"]) == (1, KEYS, "failed")
    assert len(err.splitlines()) == 1
    assert "nowhere" in err
    assert desk.ledgers == []


def test_objects_that_fail_are_listed_and_tried_again_next_time(desk: Desk) -> None:
    """Exit 1 with a line for each object that failed; the next run needs only those."""
    (desk.path / "in").mkdir()
    (desk.path / "in" / "good.txt").write_text("good")
    (desk.path / "in" / "bad.txt").write_text("bad")
    (desk.path / "out" / "bad.txt").mkdir(parents=True)
    code, out, err = desk.run("copy", "in/", "out/", "--json")
    result = json.loads(out.splitlines()[-1])
    assert (code, result["state"], result["objects"]) == (1, "failed", 1)
    assert "dataferry: bad.txt: " in err
    assert "1 object failed; run the same command again" in err

    (desk.path / "out" / "bad.txt").rmdir()
    assert desk.copy("in/", "out/")["objects"] == 2
    assert (desk.path / "out" / "bad.txt").read_text() == "bad"


def test_a_location_of_the_configuration_can_be_named(desk: Desk) -> None:
    """``dataferry.toml`` here is read without being asked for, and its mistakes stop the copy."""
    (desk.path / "lake").mkdir()
    (desk.path / "a.txt").write_text("hello")
    config = desk.path / "dataferry.toml"
    config.write_text(f'[locations.lake]\ntype = "file"\nroot = "{desk.path}/lake"\n')
    assert desk.copy("a.txt", "lake:in/")["state"] == "completed"
    assert (desk.path / "lake" / "in" / "a.txt").read_text() == "hello"

    config.write_text('[locations.lake]\ntype = "file"\nrot = "/"\n')
    code, _, err = desk.run("copy", "a.txt", "lake:in/")
    assert code == 1
    assert "unknown key locations.lake.rot; did you mean 'root'?" in err
    assert "there is no location 'lak'" in desk.run("copy", "a.txt", "lak:in/")[2]


def test_the_ledger_can_be_put_elsewhere(desk: Desk) -> None:
    """``--ledger`` names the file; nothing is written to the state directory."""
    (desk.path / "a.txt").write_text("hello")
    desk.copy("a.txt", "b.txt", "--ledger", "elsewhere/my.db")
    assert desk.ledgers == []
    assert not (desk.path / "state").exists()
    assert [path.name for path in (desk.path / "elsewhere").iterdir()] == ["my.db"]


def test_starting_is_quick(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither ``--version`` nor a small copy loads what only the service needs; times are printed."""
    (desk.path / "a.txt").write_text("hello")
    probe = (
        "import sys; from dataferry.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'sqlalchemy', 'alembic', 'fastapi', 'starlette', 'uvicorn', 'httpx', 'botocore'};"
        "sys.exit(f'loaded: {heavy & set(sys.modules)}' if heavy & set(sys.modules) else code)"
    )
    for arguments in (["--version"], ["copy", "a.txt", "b.txt", "--quiet"]):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", probe, *arguments],
            cwd=desk.path,
            env={"PATH": os.environ["PATH"], "HOME": str(desk.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        took_s = time.monotonic() - began
        assert (done.returncode, done.stderr) == (0, "")
        with capsys.disabled():
            sys.stdout.write(f"\n{' '.join(arguments)}: {took_s:.2f} s ")
        assert took_s < 5
