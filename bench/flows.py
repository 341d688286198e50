"""Many flows at once in one ``dataferry serve``: throughput, and how quick its verbs are while bytes move.

Run: ``.venv/bin/python bench/flows.py [--flows 1 8 32 128] [--large 64MiB] [--small 100] [--quick]``. Each
flow pushes one large object and some small ones between two lean servers. While they run, one caller starts,
asks, suspends and terminates further flows, one after the other, and takes the time. Results go to
``bench/results``.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

import cargo
from cargo import KIB, MIB, Cargo
from compare import size
from dataferry.demo.control_plane import Received, ScriptedControlPlane, message
from dataferry.demo.planes import PlaneProcess
from report import Stamp, machine, stamp, write
from servers import Pair, Server, pair

PROFILE = "https://w3id.org/dspace-sig/profile/s3-push"
TOKEN = "token-of-the-control-plane-0123456789"  # noqa: S105 - of a plane that lives for a minute
SINK = "arrivals"
CALLERS = 16
TIMEOUT_S = 900.0
SAMPLE_S = 0.25
VERBS = ("start", "status", "suspend", "terminate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What so many flows took; milliseconds of a verb are ``(median, 99th percentile, calls)``."""

    flows: int
    seconds: float
    mib_per_s: float
    first_s: float
    last_s: float
    cpu_s: float
    rss_mib: float
    threads: int
    burst_ms: tuple[float, float, int]
    verbs_ms: dict[str, tuple[float, float, int]]


class TimedControlPlane(ScriptedControlPlane):
    """Notes when each flow completed."""

    def __init__(self) -> None:
        super().__init__()
        self.completed: dict[str, float] = {}

    def record(self, one: Received) -> None:
        """Note the time, and go on."""
        if one.kind == "completed":
            self.completed.setdefault(one.process_id, time.monotonic())
        super().record(one)


@dataclass(slots=True)
class Stopwatch:
    """Takes the time of calls; any thread."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def timing(self, verb: str) -> Iterator[None]:
        """Take the time of one call."""
        begun = time.monotonic()
        yield
        self.seconds.setdefault(verb, []).append(time.monotonic() - begun)

    def summary(self, verb: str) -> tuple[float, float, int]:
        """Return median and 99th percentile in milliseconds, and how many there were."""
        found = sorted(self.seconds.get(verb, []))
        if not found:
            return 0.0, 0.0, 0
        late = found[min(len(found) - 1, int(len(found) * 0.99))]
        return round(statistics.median(found) * 1000, 1), round(late * 1000, 1), len(found)


class Caller:
    """Sends verbs as a control plane does, over kept connections.

    Args:
        plane: To whom.
        servers: Where data comes from and goes to.
        watch: Takes the times.
    """

    def __init__(self, plane: PlaneProcess, servers: Pair, watch: Stopwatch) -> None:
        self._sink = servers.sink
        self._watch = watch
        self._http = httpx.Client(
            base_url=f"{plane.url}/api/v1/dataflows",
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
            timeout=60,
            limits=httpx.Limits(max_connections=CALLERS),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def start(self, process_id: str, *, verb: str = "start") -> str:
        """Start a push of the one dataset to a folder of its own; return the state that was answered."""
        address = _address(self._sink, f"s3://{SINK}/{process_id}/")
        reply = self._call(verb, "/start", message(process_id, "cargo", PROFILE, dataAddress=address))
        return str(reply.json().get("state"))

    def status(self, process_id: str) -> None:
        """Ask where a flow is."""
        with self._watch.timing("status"):
            self._http.get(f"/{process_id}/status").raise_for_status()

    def notify(self, process_id: str, verb: str) -> None:
        """Send a verb without content."""
        self._call(verb, f"/{process_id}/{verb}", {"messageId": str(uuid.uuid4()), "reason": "bench"})

    def _call(self, verb: str, path: str, body: Mapping[str, Any]) -> httpx.Response:
        with self._watch.timing(verb):
            reply = self._http.post(path, json=body)
        if reply.status_code >= 300:  # noqa: PLR2004 - not 2xx
            raise SystemExit(f"{path} was answered with {reply.status_code}: {reply.text[:500]}")
        return reply


class Meter:
    """Samples a process' memory and threads, in a thread of its own.

    Args:
        pid: Whose.
    """

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._stat = Path(f"/proc/{pid}/stat")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.rss_mib = 0.0
        self.threads = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def cpu_s(self) -> float:
        """Return the processor time so far."""
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            values = dict(line.split(":", 1) for line in self._status.read_text().splitlines() if ":" in line)
            self.rss_mib = max(self.rss_mib, int(values["VmRSS"].split()[0]) / 1024)
            self.threads = max(self.threads, int(values["Threads"]))


def _address(server: Server, endpoint: str) -> dict[str, Any]:
    values = {
        "region": "us-east-1",
        "endpointOverride": server.endpoint_url,
        "accessKeyId": server.access_key_id,
        "secretAccessKey": server.secret_access_key,
    }
    return {
        "@type": "DataAddress",
        "endpointType": PROFILE,
        "endpoint": endpoint,
        "endpointProperties": [{"name": name, "value": value} for name, value in values.items()],
    }


def _plane(
    control_plane: ScriptedControlPlane, servers: Pair, directory: Path, engine: Mapping[str, int]
) -> PlaneProcess:
    location = {
        "type": "s3",
        "endpoint_url": servers.source.endpoint_url,
        "access_key_id": servers.source.access_key_id,
        "secret_access_key": servers.source.secret_access_key,
    }
    entry = {"id": "bench", "endpoint": control_plane.endpoint_url, "token": TOKEN}
    settings = {
        "control_planes": [entry],
        "locations": {"depot": location},
        "datasets": [{"id": "cargo", "source": "depot:cargo/"}],
        "engine": dict(engine),
        "egress": {"allow_private_networks": True},
    }
    return PlaneProcess("bench", directory, settings)


def measured(number: int, servers: Pair, directory: Path, asked: argparse.Namespace) -> Line:
    """Run so many flows at once, in a plane of their own."""
    cargo.client(servers.sink).create_bucket(Bucket=SINK)
    watch = Stopwatch()
    engine = {"flow_concurrency": number, "workers": asked.workers}
    with ExitStack() as stack:
        control_plane = stack.enter_context(TimedControlPlane())
        plane = stack.enter_context(_plane(control_plane, servers, directory, engine))
        meter = stack.enter_context(Meter(plane.process.pid))
        caller = Caller(plane, servers, watch)
        stack.callback(caller.close)
        names = [f"flow-{it:04}" for it in range(number)]
        begun, cpu_before_s = time.monotonic(), meter.cpu_s()
        with ThreadPoolExecutor(CALLERS) as threads:
            list(threads.map(lambda name: caller.start(name, verb="burst"), names))
        _probe(caller, control_plane, names, begun + TIMEOUT_S)
        ended = [control_plane.completed[name] - begun for name in names]
        cpu_s = meter.cpu_s() - cpu_before_s
    moved = number * (asked.large + asked.small * 16 * KIB)
    return Line(
        flows=number,
        seconds=round(max(ended), 2),
        mib_per_s=round(moved / MIB / max(ended), 1),
        first_s=round(min(ended), 2),
        last_s=round(max(ended), 2),
        cpu_s=round(cpu_s, 2),
        rss_mib=round(meter.rss_mib, 1),
        threads=meter.threads,
        burst_ms=watch.summary("burst"),
        verbs_ms={verb: watch.summary(verb) for verb in VERBS},
    )


def _probe(caller: Caller, control_plane: TimedControlPlane, names: Sequence[str], deadline: float) -> None:
    """Call verbs, one after the other, until all flows have completed."""
    probes = 0
    while left := [name for name in names if name not in control_plane.completed]:
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(left)} flows did not complete within {TIMEOUT_S:.0f} s")
        probes += 1
        probe = f"probe-{probes:05}"
        state = caller.start(probe)
        caller.status(left[probes % len(left)])
        if state == "STARTED":  # else it was answered with 202, and is not to be suspended yet
            caller.notify(probe, "suspend")
        caller.notify(probe, "terminate")


def table(lines: Sequence[Line]) -> str:
    """Write lines as a Markdown table; verbs as median / 99th percentile in milliseconds."""
    titles = ("flows", "MiB/s", "first s", "last s", "CPU s", "RSS MiB", "threads", "burst of starts", *VERBS)
    rows = [
        (
            str(line.flows),
            f"{line.mib_per_s:.0f}",
            f"{line.first_s:.1f}",
            f"{line.last_s:.1f}",
            f"{line.cpu_s:.1f}",
            f"{line.rss_mib:.0f}",
            str(line.threads),
            *(f"{median:.0f} / {late:.0f}" for median, late, _ in [line.burst_ms, *line.verbs_ms.values()]),
        )
        for line in lines
    ]
    rule = "|" + "---|" * len(titles)
    return "\n".join(
        ["| " + " | ".join(titles) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows)]
    )


def main() -> None:
    """Measure each number of flows, print the table, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--flows", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--large", type=size, default=64 * MIB, help="the one large object of each flow")
    parser.add_argument("--small", type=int, default=100, help="objects of 16 KiB of each flow")
    parser.add_argument("--workers", type=int, default=4, help="threads of each flow at most")
    parser.add_argument("--directory", help="where servers keep their data; the system's temporary place")
    parser.add_argument("--quick", action="store_true", help="1 and 8 flows of little data, not written")
    asked = parser.parse_args()
    if asked.quick:
        asked.flows, asked.large, asked.small = [1, 8], 32 * MIB, 50
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was made is removed
    where, begun = machine(), stamp()
    lines: list[Line] = []
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=asked.directory))
    try:
        for number in asked.flows:
            with pair("lean", directory / str(number)) as servers:
                _load(servers, asked)
                lines.append(measured(number, servers, directory / f"plane-{number}", asked))
            shutil.rmtree(directory / str(number), ignore_errors=True)
            print(table(lines[-1:]).splitlines()[-1], flush=True)
            if not asked.quick:
                _write(lines, where, begun, asked)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("\n" + table(lines))


def _load(servers: Pair, asked: argparse.Namespace) -> None:
    """Put what every flow moves into one bucket."""
    small = Cargo(name="cargo", objects=asked.small, object_bytes=16 * KIB)
    large = Cargo(name="cargo", objects=1, object_bytes=asked.large, folder="large")
    cargo.make(servers.source, large)
    cargo.make(servers.source, small)


def _write(
    lines: Sequence[Line],
    where: Mapping[str, str | int | float],
    begun: Stamp,
    asked: argparse.Namespace,
) -> None:
    text = [
        f"Each flow pushes {asked.large // MIB} MiB in one object and {asked.small} objects of 16 KiB",
        f"between two lean servers; all at once, of {asked.workers} workers each at most.",
        f"*burst*: all flows started by {CALLERS} callers. Verbs: one caller, call after call, while",
        "bytes move; median / 99th percentile in milliseconds. A probe is a flow too, and moves what it can.",
        "",
        table(lines),
    ]
    path = write(
        "flows",
        "Flows at once in one plane",
        where,
        text,
        {"lines": lines},
        tools=["dataferry"],
        measured={"": begun},
    )
    print(f"written: {path}", flush=True)


if __name__ == "__main__":
    main()
