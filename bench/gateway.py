"""The gateway as a second way for bytes: pulls from ``/data``, pushes to ``/ingest``, beside rclone servers.

Run: ``.venv/bin/python bench/gateway.py [--quick] [--large 1GiB] [--small 2000] [--runs 3]``. The data are
files on this machine, the client is the same for both servers and shares the cores with them; ``dataferry
copy`` of the same files stands beside them as what moving them costs without HTTP. Processor time and memory
are the server's.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cargo import KIB, MIB
from compare import Line, Usage, measured, size, table
from contestants import FERRY, RCLONE
from dataferry.demo.control_plane import ScriptedControlPlane, message
from dataferry.demo.planes import PlaneProcess
from dataferry.demo.processes import ChildProcess, free_port
from report import machine, runs_in_words, stamp, write

TOKEN = "token-of-the-control-plane-0123456789"  # noqa: S105 - of this bench
CONNECTIONS = 4
BUFFER_BYTES = MIB
TICKS = os.sysconf("SC_CLK_TCK")
GATEWAY, OTHER, DIRECT = "gateway", "rclone serve", "dataferry copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Some files of one size."""

    name: str
    files: int
    file_bytes: int

    def names(self) -> list[str]:
        """Their names."""
        return [f"object-{number:06}.bin" for number in range(self.files)]


@dataclass(slots=True, kw_only=True)
class Served:
    """A server under measurement.

    Attributes:
        pid: Whose time and memory count.
        url: Below which objects are.
        headers: Of each request.
        listing: Where they are listed.
    """

    pid: int
    url: str
    listing: str
    headers: dict[str, str] = field(default_factory=dict)

    def usage(self) -> tuple[float, float]:
        """Processor seconds so far, and the peak of memory in MiB."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{self.pid}/status").read_text()
        peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return (int(fields[11]) + int(fields[12])) / TICKS, int(peak) / 1024


def connection(served: Served) -> http.client.HTTPConnection:
    """Open a connection to a server."""
    parts = urlsplit(served.url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)


def fetch(served: Served, names: Sequence[str], file_bytes: int) -> None:
    """Fetch objects over one connection, to nowhere."""
    buffer, opened = memoryview(bytearray(BUFFER_BYTES)), connection(served)
    for name in names:
        opened.request("GET", urlsplit(served.url).path + name, headers=served.headers)
        answer = opened.getresponse()
        got = 0
        while count := answer.readinto(buffer):
            got += count
        if (answer.status, got) != (200, file_bytes):
            raise SystemExit(f"{name}: {answer.status}, {got} of {file_bytes} bytes")
    opened.close()


def send(served: Served, names: Sequence[str], file_bytes: int, directory: Path) -> None:
    """Send objects over one connection."""
    opened = connection(served)
    for name in names:
        with (directory / name).open("rb") as file:
            headers = {**served.headers, "Content-Length": str(file_bytes)}
            opened.request("PUT", urlsplit(served.url).path + name, body=file, headers=headers)
            answer = opened.getresponse()
            answer.read()
        if answer.status not in {201, 204}:
            raise SystemExit(f"{name}: {answer.status}")
    opened.close()


def in_parallel(work: Callable[[Sequence[str]], None], names: Sequence[str]) -> None:
    """Share names out over connections."""
    failed: list[BaseException] = []

    def run(at: int) -> None:
        try:
            work(names[at::CONNECTIONS])
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failed.append(error)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def timed(served: Served, work: Callable[[], None]) -> Usage:
    """Measure what a server takes for some work."""
    before, _ = served.usage()
    began = time.monotonic()
    work()
    wall_s = time.monotonic() - began
    after, peak_mib = served.usage()
    return Usage(wall_s=wall_s, cpu_s=after - before, rss_mib=peak_mib)


class Planes:
    """A plane on files, and the control plane that asks it for addresses.

    Args:
        directory: Of the plane.
        root: Of the files.
    """

    def __init__(self, directory: Path, root: Path) -> None:
        self._control = ScriptedControlPlane(callback_token=TOKEN)
        self._control.start()
        plane = {"id": "cp", "endpoint": self._control.endpoint_url, "token": TOKEN, "callback_token": TOKEN}
        self._plane = PlaneProcess(
            "bench",
            directory,
            {
                "control_planes": [plane],
                "locations": {"files": {"type": "file", "root": str(root)}},
                "datasets": [{"match": "*", "source": "files:out/{datasetId}/"}],
                "landing_zones": [{"name": "in", "sink": "files:in/{processId}/"}],
                "server": {"allow_http_on_loopback": True, "log_level": "warning"},
            },
        )
        self._plane.start()
        self._number = 0

    def close(self) -> None:
        """End both."""
        self._plane.stop()
        self._control.stop()

    def pull(self, dataset: str) -> Served:
        """Start a pull of a dataset."""
        told = self._told(dataset, "HttpData-PULL")
        return self._served(self._control.start_flow(self._plane.address(TOKEN), told).body)

    def push(self, dataset: str) -> Served:
        """Prepare a push."""
        told = self._told(dataset, "HttpData-PUSH")
        return self._served(self._control.prepare(self._plane.address(TOKEN), told).body)

    def _told(self, dataset: str, profile: str) -> dict[str, object]:
        self._number += 1
        return message(f"bench-{self._number}", dataset, profile)

    def _served(self, body: dict[str, dict[str, object]]) -> Served:
        address = body["dataAddress"]
        url, properties = str(address["endpoint"]), address["endpointProperties"]
        token = next(entry["value"] for entry in properties if entry["name"] == "authorization")  # type: ignore[attr-defined]
        return Served(
            pid=self._plane.process.pid, url=url, listing=url, headers={"Authorization": f"Bearer {token}"}
        )


@contextmanager
def rclone(kind: str, root: Path, directory: Path) -> Iterator[Served]:
    """Serve a directory with rclone, by ``http`` or ``webdav``."""
    port = free_port()
    command = [RCLONE, "serve", kind, str(root), "--addr", f"127.0.0.1:{port}", "--config", os.devnull]
    process = ChildProcess(
        f"rclone-{kind}",
        command,
        log=directory / f"rclone-{kind}.log",
        environment={"PATH": os.environ.get("PATH", ""), "HOME": str(directory)},
    )
    process.start()
    try:
        process.wait_until_http(port, "/", timeout_s=20, below=500)
        url = f"http://127.0.0.1:{port}/"
        yield Served(pid=process.pid, url=url, listing=url)
    finally:
        process.stop()


def lines(direction: str, load: str, usages: dict[str, list[Usage]]) -> list[Line]:
    """Medians, and how they compare with rclone's server."""

    def median(name: str, what: str) -> float:
        return statistics.median(getattr(usage, what) for usage in usages[name])

    return [
        Line(
            pair=direction,
            cargo=load,
            contestant=name,
            runs=len(found),
            wall_s=round(median(name, "wall_s"), 3),
            cpu_s=round(median(name, "cpu_s"), 3),
            rss_mib=round(median(name, "rss_mib"), 1),
            speed_ratio=round(median(OTHER, "wall_s") / median(name, "wall_s"), 2),
            cpu_ratio=round(median(name, "cpu_s") / max(median(OTHER, "cpu_s"), 0.01), 2),
            verification="crc64nvme" if (direction, name) == ("push", GATEWAY) else "-",
        )
        for name, found in usages.items()
    ]


class Bench:
    """Runs both servers in turn on the same files.

    Args:
        runs: Of each.
        directory: Of everything.
    """

    def __init__(self, runs: int, directory: Path) -> None:
        self._runs = runs
        self._directory = directory
        self._root = directory / "files"

    def run(self, loads: Sequence[Load]) -> list[Line]:
        """Make the files, and measure."""
        for load in loads:
            made = self._root / "out" / load.name
            made.mkdir(parents=True)
            piece = os.urandom(min(load.file_bytes, 16 * MIB))
            for name in load.names():
                with (made / name).open("wb") as file:
                    for _ in range(load.file_bytes // len(piece)):
                        file.write(piece)
        (self._root / "in").mkdir()
        found: list[Line] = []
        with ExitStack() as open_:
            planes = Planes(self._directory / "plane", self._root)
            open_.callback(planes.close)
            for load in loads:
                found += self._pulls(planes, load)
                found += self._pushes(planes, load)
        return found

    def _pulls(self, planes: Planes, load: Load) -> list[Line]:
        fetched: dict[str, list[Usage]] = {GATEWAY: [], OTHER: [], DIRECT: []}
        listed: dict[str, list[Usage]] = {GATEWAY: [], OTHER: []}
        with rclone("http", self._root / "out" / load.name, self._directory) as other:
            for _ in range(self._runs):
                for name, served in ((GATEWAY, planes.pull(load.name)), (OTHER, other)):
                    listed[name].append(timed(served, lambda served=served: self._list(served)))  # type: ignore[misc]
                    fetched[name].append(timed(served, lambda served=served: self._fetch(served, load)))  # type: ignore[misc]
                fetched[DIRECT].append(self._copy(load))
        found = lines("pull", load.name, fetched)
        return found + (lines("listing", load.name, listed) if load.files > CONNECTIONS else [])

    def _fetch(self, served: Served, load: Load) -> None:
        in_parallel(lambda names: fetch(served, names, load.file_bytes), load.names())

    @staticmethod
    def _list(served: Served) -> None:
        opened = connection(served)
        opened.request("GET", urlsplit(served.listing).path, headers=served.headers)
        opened.getresponse().read()
        opened.close()

    def _pushes(self, planes: Planes, load: Load) -> list[Line]:
        sent: dict[str, list[Usage]] = {GATEWAY: [], OTHER: []}
        made = self._root / "out" / load.name
        with rclone("webdav", self._root / "in", self._directory) as other:
            for _ in range(self._runs):
                for name, served in ((GATEWAY, planes.push(load.name)), (OTHER, other)):
                    work = lambda served=served: in_parallel(  # noqa: E731
                        lambda names: send(served, names, load.file_bytes, made), load.names()
                    )
                    sent[name].append(timed(served, work))  # type: ignore[arg-type]
                    for path in (self._root / "in").iterdir():
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return lines("push", load.name, sent)

    def _copy(self, load: Load) -> Usage:
        target = self._directory / "copied"
        target.mkdir()
        command = [FERRY, "copy", f"{self._root / 'out' / load.name}/", f"{target}/", "--quiet", "--json"]
        env = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._directory)}
        usage, output = measured(command, env)
        if json.loads(output.splitlines()[-1])["objects"] != load.files:
            raise SystemExit("not all were copied")
        shutil.rmtree(target)
        return usage


def main() -> None:
    """Measure, print the table, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--large", type=size, default=1024 * MIB, help="four large files together")
    parser.add_argument("--small", type=int, default=2_000, help="files of 16 KiB")
    parser.add_argument("--runs", type=int, default=3, help="of each; the median counts")
    parser.add_argument("--quick", action="store_true", help="half a minute: little data, not written")
    asked = parser.parse_args()
    if asked.quick:
        asked.large, asked.small, asked.runs = 256 * MIB, 400, 1
    loads = [
        Load(name="four-large", files=CONNECTIONS, file_bytes=asked.large // CONNECTIONS),
        Load(name="many-small", files=asked.small, file_bytes=16 * KIB),
    ]
    where, begun = machine(), stamp()
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        found = Bench(asked.runs, directory).run(loads)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("\n" + table(found))
    if not asked.quick:
        text = [
            f"{runs_in_words(asked.runs)}, servers in turn, {CONNECTIONS} connections of one client that",
            f"shares the cores. *speed* is {OTHER}'s wall time by the server's, *CPU* the server's processor",
            f"time by {OTHER}'s. {DIRECT} is a whole process that copies the same files.",
            "",
            table(found),
        ]
        settings = {name: getattr(asked, name) for name in ("large", "small", "runs")}
        path = write(
            "gateway",
            "The gateway",
            where,
            text,
            {"settings": settings, "lines": found},
            tools=["dataferry", "rclone"],
            measured={"": begun},
        )
        print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(main())
