"""How quickly requests of many entries are accepted when they come at once, and how their entries end.

Run: ``.venv/bin/python bench/orchestrate.py [--requests 50] [--entries 500] [--rounds 5] [--quick]``. A
real ``dataferry serve``, a stand-in for the connector and a small HTTP server share this machine. Each round
sends all requests at once to a service that has just started, by ``at_once.py``: measured is, for each
request, from its last byte handed to the system to the head of its answer, which comes when it is committed.
The last round's entries, all different contracts, are fetched to the end. Results go to ``bench/results``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
from tests.servers.edc import EdcConnector
from tests.servers.http_store import HttpStore, Kept
from tests.servers.orchestrator import CONNECTOR_KEY, KEY, entry

from dataferry.demo.planes import PlaneProcess
from flows import Meter
from report import Stamp, machine, stamp, write

CONTENT = b"x" * 100
LOOK_S = 5.0
# Until then the service has opened and loaded what it works with.
WARM_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """One round: milliseconds until so many requests were answered, and what that cost.

    Attributes:
        answered_ms: Of each request, sorted.
        all_answered_ms: From the first byte sent to the last answer.
        service_cpu_ms: Processor time of the service, the connections' set-up included.
    """

    answered_ms: Sequence[float]
    all_answered_ms: float
    service_cpu_ms: float
    client_cpu_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The service while entries are fetched."""

    seconds: float
    saved: int
    failed: int
    rss_mib: float
    service_cpu_s: float
    others_cpu_s: float


class Bench:
    """The connector, the data and the requests.

    Args:
        edc: The stand-in.
        data: Where all contracts lead.
        entries: Of a request.
    """

    def __init__(self, edc: EdcConnector, data: HttpStore, entries: int) -> None:
        data.objects["/c"] = Kept(CONTENT)
        self._edc = edc
        contracts = [f"2b9d3ab6-8325-4c0f-a1f9-{number:012}" for number in range(entries)]
        for contract in contracts:
            edc.offer(contract, f"{data.url}/c")
        self._request = self._posted(contracts)
        self._warming = self._posted(contracts[:1])

    def _posted(self, contracts: Sequence[str]) -> bytes:
        body = {"data": [entry(one) for one in contracts], "connectorAddress": self._edc.address}
        content = json.dumps(body).encode()
        head = (
            f"POST /orchestrate HTTP/1.1\r\nHost: bench\r\nX-Api-Key: {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    def plane(self, directory: Path) -> PlaneProcess:
        """A service with its own database and directory."""
        settings = {
            "egress": {"allow_private_networks": True},
            "orchestrator": {
                "api_key": KEY,
                "data_storage_path": f"{directory}/stored",
                "connectors": [{"address": self._edc.address, "api_key": CONNECTOR_KEY}],
            },
        }
        return PlaneProcess("orchestrator", directory / "plane", settings)

    def warm(self, plane: PlaneProcess) -> None:
        """Have one entry fetched: what is loaded when it is needed is there then."""
        self._send(plane, self._warming, 1)
        while not sum(ended(plane)):
            time.sleep(0.1)

    def accepted(self, plane: PlaneProcess, meter: Meter, requests: int) -> Accepted:
        """Send all requests at once."""
        before_s = meter.cpu_s()
        found = self._send(plane, self._request, requests)
        return Accepted(
            answered_ms=[round(value, 1) for value in found["answered_ms"]],
            all_answered_ms=round(found["all_answered_ms"], 1),
            service_cpu_ms=round((meter.cpu_s() - before_s) * 1000),
            client_cpu_ms=round(found["client_cpu_ms"], 1),
        )

    def _send(self, plane: PlaneProcess, request: bytes, requests: int) -> dict[str, Any]:
        sender = [sys.executable, str(Path(__file__).with_name("at_once.py")), "127.0.0.1", str(plane.port)]
        done = subprocess.run([*sender, str(requests)], input=request, stdout=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def ended(plane: PlaneProcess) -> tuple[int, int]:
    """Return how many entries are saved, and how many failed."""
    with httpx.Client(trust_env=False, timeout=60, headers={"X-Api-Key": KEY}) as client:
        found = client.get(f"{plane.url}/status").json()["response"]["orchestration_processes"].values()
    return sum(one["entries_saved"] for one in found), sum(one["entries_failed"] for one in found)


def fetched(plane: PlaneProcess, meter: Meter, total: int, most_s: float) -> list[Moment]:
    """Look now and then until all entries have ended; return what was seen."""
    began, service_s, others_s = time.monotonic(), meter.cpu_s(), time.process_time()
    seen: list[Moment] = []
    while not seen or (seen[-1].saved + seen[-1].failed < total and seen[-1].seconds < most_s):
        time.sleep(LOOK_S)
        saved, failed = ended(plane)
        moment = Moment(
            seconds=round(time.monotonic() - began, 1),
            saved=saved,
            failed=failed,
            rss_mib=round(_rss_mib(plane.process.pid), 1),
            service_cpu_s=round(meter.cpu_s() - service_s, 2),
            others_cpu_s=round(time.process_time() - others_s, 2),
        )
        seen.append(moment)
        print(
            f"{moment.seconds:5.0f} s: {saved:6} saved, {failed} failed, RSS {moment.rss_mib:.0f} MiB,"
            f" CPU of the service {moment.service_cpu_s:.0f} s, of the others {moment.others_cpu_s:.0f} s",
            flush=True,
        )
    return seen


def _rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def acceptance_table(rounds: Sequence[Accepted]) -> str:
    """Write rounds as a Markdown table; milliseconds."""
    lines = [
        "| round | least | median | 90 % | most | all answered after | CPU of the service | of the client |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number, one in enumerate(rounds, 1):
        times = one.answered_ms
        values = (
            times[0],
            statistics.median(times),
            times[int(len(times) * 0.9) - 1],
            times[-1],
            one.all_answered_ms,
            one.service_cpu_ms,
            one.client_cpu_ms,
        )
        lines.append(f"| {number} | " + " | ".join(f"{value:.0f}" for value in values) + " |")
    return "\n".join(lines)


def completion_lines(seen: Sequence[Moment], total: int) -> list[str]:
    """Say how the entries ended, and what memory did meanwhile."""
    last = seen[-1]
    done = max(1, last.saved + last.failed)
    warm = next(moment for moment in seen if moment.saved + moment.failed >= WARM_SHARE * done)
    rss = max(moment.rss_mib for moment in seen)
    service_ms, others_ms = (1000 * value / done for value in (last.service_cpu_s, last.others_cpu_s))
    return [
        f"**{last.saved:,} of {total:,} entries saved, {last.failed} failed, in {last.seconds:.0f} s:",
        f"{done / last.seconds:.0f} a second.** An entry costs {service_ms:.1f} ms of the service's",
        f"processor time, and {others_ms:.1f} ms of the stand-ins'. Resident memory:",
        f"{seen[0].rss_mib:.0f} MiB at first, {warm.rss_mib:.0f} MiB after a tenth,",
        f"{last.rss_mib:.0f} MiB at the end, {rss:.0f} MiB at most.",
    ]


def main() -> None:
    """Measure, print, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--entries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5, help="of acceptance; the last one's are fetched")
    parser.add_argument("--seconds", type=float, default=3600, help="for the entries, at most")
    parser.add_argument("--quick", action="store_true", help="two rounds, 30 seconds, not written")
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.seconds = 2, 30
    where, begun = machine(), stamp()
    rounds: list[Accepted] = []
    seen: list[Moment] = []
    total = asked.requests * asked.entries + 1  # with the one that warms up
    for number in range(asked.rounds):
        with (
            tempfile.TemporaryDirectory() as directory,
            EdcConnector(key=CONNECTOR_KEY) as edc,
            HttpStore() as data,
        ):
            bench = Bench(edc, data, asked.entries)
            with bench.plane(Path(directory)) as plane, Meter(plane.process.pid) as meter:
                bench.warm(plane)
                rounds.append(bench.accepted(plane, meter, asked.requests))
                print(acceptance_table(rounds[-1:]).splitlines()[-1], flush=True)
                if number == asked.rounds - 1:
                    seen = fetched(plane, meter, total, asked.seconds)
    print("\n".join([acceptance_table(rounds), "", *completion_lines(seen, total)]))
    if not asked.quick:
        _write(rounds, seen, where, begun, asked)


def _write(
    rounds: Sequence[Accepted],
    seen: Sequence[Moment],
    where: Mapping[str, str | int | float],
    begun: Stamp,
    asked: argparse.Namespace,
) -> None:
    total = asked.requests * asked.entries + 1
    text = [
        f"{asked.requests} requests at once, of {asked.entries} entries each with contracts of their own, to",
        "a `dataferry serve` on SQLite that has just started. Milliseconds, for each request from its last",
        "byte sent to the answer, which comes once it is committed. Connections are open beforehand; the",
        "client is one process with one thread.",
        "",
        acceptance_table(rounds),
        "",
        f"Then the last round's entries, {len(CONTENT)} bytes each. The stand-ins for connector and provider",
        "are one Python process on the same cores.",
        "",
        *completion_lines(seen, total),
    ]
    data = {"requests": asked.requests, "entries": asked.entries, "rounds": rounds, "moments": seen}
    path = write(
        "orchestrate",
        "The orchestrator under a crowd of requests",
        where,
        text,
        data,
        tools=["dataferry"],
        measured={"": begun},
    )
    print(f"written: {path}", flush=True)


if __name__ == "__main__":
    main()
