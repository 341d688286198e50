"""DataFerry beside rclone and boto3's transfer manager: time, processor time and memory, in turn.

Run: ``make bench``, or ``.venv/bin/python bench/compare.py [--quick] [--large 1GiB] [--small 3000] ...``.
Results go to ``bench/results``, after each cargo what there is so far; ``--go-on`` goes on after what an
earlier run of the same day wrote there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cargo
from cargo import KIB, MIB, Cargo
from contestants import BASELINE, CONTESTANTS, Contestant, environment, used
from report import Stamp, machine, path_of, runs_in_words, stamp, write
from servers import KINDS, Pair, pair

TIMEOUT_S = 900
# What things take on two cores, for telling how long a run will be: seconds a GiB, and a thousand objects;
# all tools together, with making, checking and removing the data.
ESTIMATE = {"juicefs": (24.0, 15.0), "lean": (16.0, 9.0), "lean-tls": (18.0, 10.0)}
ESTIMATE_START_S = 60.0
# Servers free what was removed after they have answered.
SETTLE_S_PER_GIB = 1.0
# Processor time is of the process and of all that it started and waited for. Its memory is its own peak, and
# on top the most that those it started had together, each with its share of what it shares. One that is just
# being started has its parent's memory and command line for a moment: it is left out.
STARTER = """
import glob, os, sys, threading, time
begun = time.monotonic()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
peak = 0
over = threading.Event()
def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
def below(parent):
    for path in glob.glob(f"/proc/{parent}/task/*/children"):
        for child in read(path).split():
            if read(f"/proc/{child}/cmdline") != read(f"/proc/{parent}/cmdline"):
                yield child
            yield from below(child)
def watch():
    global peak
    while not over.wait(0.05):
        rolls = [read(f"/proc/{child}/smaps_rollup") for child in below(pid)]
        words = [line.split() for roll in rolls for line in roll.splitlines()]
        peak = max(peak, sum(int(word[1]) for word in words if word[0] == "Pss:"))
watching = threading.Thread(target=watch)
watching.start()
_, status, usage = os.wait4(pid, 0)
wall_s = time.monotonic() - begun
over.set()
watching.join()
os.write(int(sys.argv[1]), f"{wall_s} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss + peak}".encode())
sys.exit(os.waitstatus_to_exitcode(status))
"""
UNITS = {"": 1, "K": KIB, "M": MIB, "G": 1024 * MIB}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process took, and those that it started."""

    wall_s: float
    cpu_s: float
    rss_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table: medians; ratios say how many times better than the baseline."""

    pair: str
    cargo: str
    contestant: str
    runs: int
    wall_s: float
    cpu_s: float
    rss_mib: float
    speed_ratio: float
    cpu_ratio: float
    verification: str


def measured(command: Sequence[str], env: Mapping[str, str]) -> tuple[Usage, str]:
    """Run a command to its end; return what it took and its standard output.

    A small program starts it: what a process has in memory when it starts another counts as that one's peak.

    Raises:
        SystemExit: It failed.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading) as report:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", STARTER, str(writing), *command],
            env=dict(env),
            pass_fds=[writing],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        os.close(writing)
        if done.returncode:
            raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
        wall_s, cpu_s, rss_kib = (float(word) for word in report.read().split())
    return Usage(wall_s=wall_s, cpu_s=cpu_s, rss_mib=rss_kib / 1024), done.stdout


class Comparison:
    """Runs every contestant on every cargo, in turn, so that a busy moment hits all of them.

    Args:
        runs: Of each, whose median counts.
        contestants: Who takes part.
        directory: Of settings and state.
    """

    def __init__(self, runs: int, contestants: Sequence[Contestant], directory: Path) -> None:
        self._runs = runs
        self._contestants = contestants
        self._directory = directory
        self._number = 0

    def copies(self, servers: Pair, load: Cargo) -> list[Line]:
        """Move one cargo between one pair."""
        usages: dict[str, list[Usage]] = {it.name: [] for it in self._contestants}
        proved: dict[str, str] = {}
        for _ in range(self._runs):
            for contestant in self._contestants:
                usage, proved[contestant.name] = self._copy(contestant, servers, load)
                usages[contestant.name].append(usage)
                print(
                    f"  {servers.kind:9} {load.name:12} {contestant.name:13} {usage.wall_s:7.2f} s",
                    flush=True,
                )
        return _lines(servers.kind, load.name, usages, proved)

    def starts(self, servers: Pair, load: Cargo) -> list[Line]:
        """Measure what it takes to start, and to copy one small object."""
        env = environment(servers, self._directory)
        usages: dict[str, list[Usage]] = {it.name: [] for it in self._contestants}
        for _ in range(self._runs):
            for contestant in self._contestants:
                usages[contestant.name].append(measured(contestant.hello, env)[0])
        return [*_lines("none", "start", usages, {}), *self.copies(servers, load)]

    def _copy(self, contestant: Contestant, servers: Pair, load: Cargo) -> tuple[Usage, str]:
        self._number += 1
        bucket = f"bench-{self._number:04}"
        cargo.client(servers.sink).create_bucket(Bucket=bucket)
        command = contestant.command(servers, self._directory, load.name, bucket)
        usage, output = measured(command, environment(servers, self._directory))
        cargo.check(servers.source, servers.sink, bucket, load)
        cargo.remove(servers.sink, bucket)
        time.sleep(load.total_bytes / 1024**3 * SETTLE_S_PER_GIB)
        return usage, contestant.verification(servers, load, output)


def _lines(
    kind: str, load: str, usages: Mapping[str, Sequence[Usage]], proved: Mapping[str, str]
) -> list[Line]:
    def median(name: str, field: str) -> float:
        return statistics.median(getattr(usage, field) for usage in usages[name])

    return [
        Line(
            pair=kind,
            cargo=load,
            contestant=name,
            runs=len(found),
            wall_s=round(median(name, "wall_s"), 3),
            cpu_s=round(median(name, "cpu_s"), 3),
            rss_mib=round(median(name, "rss_mib"), 1),
            speed_ratio=round(median(BASELINE, "wall_s") / median(name, "wall_s"), 2),
            cpu_ratio=round(median(name, "cpu_s") / median(BASELINE, "cpu_s"), 2),
            verification=proved.get(name, "-"),
        )
        for name, found in usages.items()
    ]


def table(lines: Sequence[Line]) -> str:
    """Write lines as a Markdown table."""
    titles = ("pair", "cargo", "tool", "wall s", "CPU s", "peak RSS MiB", "speed", "CPU", "verified")
    rows = [
        (
            line.pair,
            line.cargo,
            line.contestant,
            f"{line.wall_s:.2f}",
            f"{line.cpu_s:.2f}",
            f"{line.rss_mib:.0f}",
            f"{line.speed_ratio:.2f}x",
            f"{line.cpu_ratio:.2f}x",
            line.verification,
        )
        for line in lines
    ]
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]

    def written(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([written(titles), rule, *(written(row) for row in rows)])


def size(text: str) -> int:
    """Read a size such as ``512MiB``."""
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size like 512MiB or 4GiB")
    return int(match[1]) * UNITS[match[2]]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--large", type=size, default=4096 * MIB, help="the one large object; 0 leaves it out"
    )
    parser.add_argument("--small", type=int, default=10_000, help="objects of 16 KiB; 0 leaves them out")
    parser.add_argument("--runs", type=int, default=3, help="of each; the median counts")
    parser.add_argument("--pairs", nargs="+", choices=KINDS, default=list(KINDS))
    names = [contestant.name for contestant in CONTESTANTS]
    parser.add_argument("--tools", nargs="+", choices=names, default=names)
    parser.add_argument("--directory", help="where servers keep their data; the system's temporary place")
    parser.add_argument("--go-on", action="store_true", help="leave out what today's results have already")
    parser.add_argument(
        "--quick", action="store_true", help="about a minute: little data, no TLS, not written"
    )
    asked = parser.parse_args()
    if asked.quick:
        asked.large, asked.small, asked.pairs = 128 * MIB, 500, ["juicefs", "lean"]
    return asked


class Report:
    """The lines of a run, written down after each cargo.

    Args:
        asked: The command line.
        where: The machine.
        tools: Names of the contestants.
        loads: All cargoes that there are.
    """

    def __init__(
        self,
        asked: argparse.Namespace,
        where: Mapping[str, str | int | float],
        tools: Sequence[str],
        loads: Sequence[Cargo],
    ) -> None:
        self._asked = asked
        self._where = where
        self._loads = loads
        self._settings = {name: getattr(asked, name) for name in ("large", "small", "runs")}
        self._settings["tools"] = list(tools)
        self._measured: dict[str, Stamp] = {}
        self.lines: list[Line] = []
        found = path_of("", where, ".json")
        if asked.go_on and found.exists():
            document = json.loads(found.read_text())
            if document.get("settings") != self._settings:
                raise SystemExit(f"{found} was measured with other settings: {document.get('settings')}")
            if "measured" not in document:
                raise SystemExit(f"{found} does not say when its lines were measured: leave out --go-on")
            self.lines = [Line(**line) for line in document["lines"]]
            self._measured = {what: Stamp(**it) for what, it in document["measured"].items()}

    def has(self, kind: str, load: str) -> bool:
        """Whether a cargo was measured."""
        return any((line.pair, line.cargo) == (kind, load) for line in self.lines)

    def add(self, lines: Sequence[Line], begun: Stamp) -> None:
        """Keep lines, and write all there are.

        Args:
            lines: Of one pair, measured together.
            begun: Before the first of them.
        """
        self.lines += lines
        self._measured[f"{lines[-1].pair}, {lines[-1].cargo}"] = begun
        if self._asked.quick:
            return
        cargoes = [f"- {load.name}: {load.words}" for load in self._loads if self._knows(load.name)]
        if self._knows("start"):
            cargoes.append("- start: the tool starts, does nothing, and ends")
        text = [
            f"{runs_in_words(self._asked.runs)}, tools in turn, whole processes; the tool and both",
            f"servers share the cores. *speed* is {BASELINE}'s wall time by the tool's (more is better),",
            f"*CPU* the tool's processor time by {BASELINE}'s (less is better).",
            "",
            *cargoes,
            "",
            table(self.lines),
        ]
        path = write(
            "",
            "Copies between two S3 servers",
            self._where,
            text,
            {"settings": self._settings, "lines": self.lines},
            tools=[*used({line.contestant for line in self.lines}), *({"juicefs"} & self._pairs)],
            measured=self._measured,
        )
        print(f"written: {path}", flush=True)

    @property
    def _pairs(self) -> set[str]:
        return {line.pair for line in self.lines}

    def _knows(self, load: str) -> bool:
        return load in {line.cargo for line in self.lines}


def _estimate_s(asked: argparse.Namespace) -> float:
    """Return about how long a run takes on two cores."""
    each = sum(
        asked.large / 1024**3 * ESTIMATE[kind][0] + asked.small / 1000 * ESTIMATE[kind][1]
        for kind in asked.pairs
    )
    return ESTIMATE_START_S * len(asked.pairs) + each * asked.runs


def main() -> None:
    """Compare, print the table, and write it down."""
    asked = _asked()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was made is removed
    contestants = [it for it in CONTESTANTS if it.name in {*asked.tools, BASELINE}]
    print(f"about {_estimate_s(asked) / 60:.0f} minutes on two cores, if nothing else runs", flush=True)
    loads = [
        Cargo(name="one-large", objects=1, object_bytes=asked.large),
        Cargo(name="many-small", objects=asked.small, object_bytes=16 * KIB),
    ]
    one = Cargo(name="one-small", objects=1, object_bytes=16 * KIB)
    report = Report(asked, machine(), [it.name for it in contestants], [*loads, one])
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=asked.directory))
    try:
        comparison = Comparison(asked.runs, contestants, directory)
        for kind in asked.pairs:
            left = [load for load in loads if load.total_bytes and not report.has(kind, load.name)]
            starts = kind == "lean" and not report.has(kind, one.name)
            if not (left or starts):
                continue
            with pair(kind, directory / kind) as servers:
                for load in left:
                    cargo.make(servers.source, load)
                    begun = stamp()
                    report.add(comparison.copies(servers, load), begun)
                    cargo.remove(servers.source, load.name)
                if starts:
                    cargo.make(servers.source, one)
                    begun = stamp()
                    report.add(comparison.starts(servers, one), begun)
            shutil.rmtree(directory / kind, ignore_errors=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("\n" + table(report.lines))


if __name__ == "__main__":
    main()
