"""``dataferry orchestrate``: posts, follows, prints where the files are."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.servers.orchestrator import KEY, Orchestrating, orchestrating

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrating]:
    """A service with two contracts that can be had."""
    accepted = [{"name": "use", "providers": ["*"], "permission": [{"action": "use"}]}]
    with orchestrating(
        tmp_path_factory.mktemp("command"), orchestrator={"accepted_policies": accepted}
    ) as running:
        running.put("c", "/c", b'{"a": 1}')
        running.put("d", "/d", b"1,2", "text/csv")
        yield running


def _run(
    rig: Orchestrating,
    *arguments: str,
    document: Any = None,
    key: str | None = KEY,
    directory: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "DATAFERRY_URL": rig.url}
    if key is not None:
        environment["EDC_API_KEY"] = key
    return subprocess.run(
        [sys.executable, "-m", "dataferry.cli.main", "orchestrate", *arguments],
        input=None if document is None else json.dumps(document),
        capture_output=True,
        text=True,
        env=environment,
        cwd=directory,
        timeout=60,
        check=False,
    )


def test_it_prints_where_the_files_are(rig: Orchestrating, tmp_path: Path) -> None:
    """A line for each file, nothing else on stdout; exit code 0."""
    (tmp_path / "request.json").write_text(json.dumps(rig.request("c", "d")))
    done = _run(rig, str(tmp_path / "request.json"))
    assert (done.returncode, done.stderr[:14]) == (0, "orchestration "), done.stderr
    first, second = done.stdout.splitlines()
    assert Path(first.removeprefix("SAVED  ")).read_bytes() == b'{"a": 1}'
    assert second.endswith(".csv")


def test_failures_are_told_and_end_with_1(rig: Orchestrating) -> None:
    """What is there is printed all the same; why the rest is not, too."""
    done = _run(rig, "-", document=rig.request("c", "unknown"))
    assert done.returncode == 1
    saved, failed = done.stdout.splitlines()
    assert saved.startswith("SAVED  ")
    assert failed.startswith(
        "FAILED  entry 1 (unknown)  502 connector POST transferprocesses: answered with 400"
    )
    assert "PARTIALLY_COMPLETED: 1 of 2 entries failed" in done.stderr


def test_json_is_the_status(rig: Orchestrating) -> None:
    """``--json`` prints the orchestration as ``/status/{id}`` has it."""
    done = _run(rig, "-", "--json", document=rig.request("c"))
    view = json.loads(done.stdout)
    assert view == rig.status(view["orchestration_id"])


def test_it_need_not_wait(rig: Orchestrating) -> None:
    """``--no-wait`` prints the id; the same key again, the same id."""
    document = rig.request("c")
    runs = [_run(rig, "-", "--no-wait", "--idempotency-key", "order-1", document=document) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0]
    assert len({run.stdout for run in runs}) == 1
    rig.wait(runs[0].stdout.strip())


def test_a_dry_run_says_what_is_wrong(rig: Orchestrating) -> None:
    """Field by field; and of a right request that it is right."""
    assert _run(rig, "-", "--dry-run", document=rig.request("c")).stdout == (
        "the request is valid; nothing was started\n"
    )
    wrong = rig.request("c", connectorAddress="http://other")
    del wrong["data"][0]["contractId"]
    done = _run(rig, "-", "--dry-run", document=wrong)
    assert done.returncode == 1
    assert "data.0.contractId: Missing data for required field." in done.stderr


def test_a_dry_run_shows_what_is_offered(rig: Orchestrating) -> None:
    """Where that may not be agreed to: in the form in which it can be; and the entry by its asset."""
    rig.put("asset", "/asset", b"1")
    rig.edc.contracts.assets["asset"] = [
        {"permission": [{"action": "use"}], "obligation": [{"action": "pay"}]}
    ]
    wanted = rig.request("asset")
    wanted["data"][0]["assetId"] = wanted["data"][0].pop("contractId")
    for arguments, said in ((("--dry-run",), "dataferry: "), ((), "FAILED  entry 0 (asset)  502 ")):
        done = _run(rig, "-", *arguments, document=wanted)
        assert done.returncode == 1
        told = done.stderr if arguments else done.stdout
        assert told.startswith(said)
        assert (
            'is not among orchestrator.accepted_policies: {"obligation": [{"action": "pay"}], "permission": '
            '[{"action": "odrl:use"}]}' in told
        )


@pytest.mark.parametrize(("file", "words"), [("/nowhere.json", "No such file"), ("-", "not JSON")])
def test_a_file_that_is_none(rig: Orchestrating, file: str, words: str) -> None:
    """One sentence, no traceback."""
    done = _run(rig, file)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_key_is_told(rig: Orchestrating) -> None:
    """With the variable that it comes from."""
    for key in ("wrong-key", None):
        done = _run(rig, "-", document=rig.request("c"), key=key)
        assert done.returncode == 1
        assert "EDC_API_KEY" in done.stderr


@pytest.mark.parametrize("key", [None, "another-program's"])
def test_the_key_of_dot_env_goes_first(rig: Orchestrating, tmp_path: Path, key: str | None) -> None:
    """As it does for the service that is started there; what is typed goes before both."""
    dot_env = tmp_path / ".env"
    dot_env.write_text(f"EDC_API_KEY={KEY}\n")
    document = rig.request("c")
    done = _run(rig, "-", "--dry-run", document=document, key=key, directory=tmp_path)
    assert done.returncode == 0, done.stderr
    dot_env.write_text("EDC_API_KEY=an-older-one\n")
    for more, code in ((("--api-key", KEY), 0), ((), 1)):
        done = _run(rig, "-", "--dry-run", *more, document=document, directory=tmp_path)
        assert done.returncode == code, done.stderr
    assert "`.env`" in done.stderr


def test_a_terminal_sees_bars(rig: Orchestrating) -> None:
    """On a terminal bars are drawn, on stderr; stdout stays for results."""
    code, out, drawn = _watched(rig, rig.request("c", "d"))
    assert code == 0
    assert out.count(b"SAVED  ") == 2
    assert "2/2" in drawn


def test_a_terminal_sees_a_download_on_its_way(tmp_path: Path) -> None:
    """By its contract, how much of it is here, and of how much."""
    with orchestrating(tmp_path, engine={"bandwidth_bytes_per_s": MIB}) as rig:
        rig.put("the-big-one", "/big", bytes(3 * MIB), "application/octet-stream")
        code, out, drawn = _watched(rig, rig.request("the-big-one"))
        assert (code, out.count(b"SAVED  ")) == (0, 1)
        moved = re.findall(r"the-big-one [^\n]*?(\d+\.\d)/3\.0 MiB", _plain(drawn))
        assert any(0 < float(mib) < 3 for mib in moved), drawn


def _watched(rig: Orchestrating, document: Any) -> tuple[int, bytes, str]:
    """Run the command on a terminal; return its exit code, its stdout, and what was drawn."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dataferry.cli.main", "orchestrate", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={"PATH": os.environ["PATH"], "DATAFERRY_URL": rig.url, "EDC_API_KEY": KEY, "TERM": "xterm"},
    )
    os.close(theirs)
    drawn = bytearray()
    reading = threading.Thread(target=_read_all, args=(ours, drawn))
    reading.start()
    try:
        out, _ = process.communicate(json.dumps(document).encode(), timeout=60)
    finally:
        process.kill()
        reading.join(60)
        os.close(ours)
    return process.returncode, out, drawn.decode(errors="replace")


def _read_all(terminal: int, into: bytearray) -> None:
    """Read a terminal until nobody has its other side open: then Linux says EIO."""
    with suppress(OSError):
        while data := os.read(terminal, 1 << 16):
            into += data


def _plain(drawn: str) -> str:
    """Take away what moves the cursor and colours text."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
