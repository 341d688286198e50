"""Copies over a distance: a round trip of 50 ms to either server, DataFerry beside rclone.

Run: ``.venv/bin/python bench/latency.py [--quick] [--large 1GiB] [--small 2000] [--round-trip-ms 50] ...``.
The same copies through proxies that delay nothing stand beside them, as what concurrency has to make up for.
Results go to ``bench/results``. The proxies' own ceiling is measured first: they share the cores with all
else.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cargo
from cargo import KIB, MIB, Cargo
from compare import Comparison, Line, size, table
from contestants import BASELINE, CONTESTANTS, used
from report import machine, runs_in_words, stamp, write
from servers import Pair, Server, pair

CEILING_BYTES = 1024 * MIB
CEILING_CONNECTIONS = 8


@contextmanager
def distance(port: int, one_way_ms: float) -> Iterator[int]:
    """Put a distance before a port of loopback; yield the port that has it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    command = [
        str(Path(__file__).with_name("distance.py")),
        str(listener.fileno()),
        str(port),
        str(one_way_ms),
    ]
    # It ends when its standard input does, however we end.
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, pass_fds=[listener.fileno()]
    )
    try:
        with listener:
            near = listener.getsockname()[1]
        yield near
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """The same two servers by two ways, each through proxies of its own; data are made and checked by none.

    Attributes:
        near: By proxies that delay nothing.
        far: By proxies that put the distance in between.
    """

    near: Pair
    far: Pair


@contextmanager
def distant(kind: str, directory: Path, round_trip_ms: float) -> Iterator[Ways]:
    """Start a pair of servers, and the ways to them."""
    with ExitStack() as stack:
        servers = stack.enter_context(pair(kind, directory))

        def by(server: Server, milliseconds: float) -> Server:
            scheme, _, port = server.endpoint_url.rpartition(":")
            proxy = distance(int(port), milliseconds / 2)
            return replace(server, endpoint_url=f"{scheme}:{stack.enter_context(proxy)}")

        def way(milliseconds: float) -> Pair:
            return replace(
                servers,
                kind=f"{kind}-{milliseconds:g}ms",
                source=by(servers.source, milliseconds),
                sink=by(servers.sink, milliseconds),
            )

        yield Ways(near=way(0), far=way(round_trip_ms))


def ceiling(round_trip_ms: float) -> float:
    """Return the MiB/s that several connections together get through one such proxy."""
    listener = socket.create_server(("127.0.0.1", 0))
    each = CEILING_BYTES // CEILING_CONNECTIONS

    def give() -> None:
        block = bytes(MIB)
        for _ in range(CEILING_CONNECTIONS):
            threading.Thread(target=pour, args=(listener.accept()[0], block), daemon=True).start()

    def pour(sock: socket.socket, block: bytes) -> None:
        with sock:
            for _ in range(each // MIB):
                sock.sendall(block)

    def drink(port: int) -> None:
        buffer = bytearray(MIB)
        with socket.create_connection(("127.0.0.1", port)) as sock:
            while sock.recv_into(buffer):
                pass

    with listener, distance(listener.getsockname()[1], round_trip_ms / 2) as port:
        givers = threading.Thread(target=give, daemon=True)
        givers.start()
        drinkers = [threading.Thread(target=drink, args=(port,)) for _ in range(CEILING_CONNECTIONS)]
        begun = time.monotonic()
        for thread in drinkers:
            thread.start()
        for thread in drinkers:
            thread.join()
        return CEILING_BYTES / MIB / (time.monotonic() - begun)


def shares(near: Sequence[Line], far: Sequence[Line]) -> str:
    """Write what is left of each tool's speed over the distance, as a Markdown table."""
    rows = [
        f"| {one.cargo} | {one.contestant} | {one.wall_s:.2f} | {other.wall_s:.2f}"
        f" | {one.wall_s / other.wall_s:.0%} |"
        for one, other in zip(near, far, strict=True)
    ]
    return "\n".join(["| cargo | tool | near s | far s | far by near |", "|" + "---|" * 5, *rows])


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--large", type=size, default=1024 * MIB, help="the one large object; 0 leaves it out"
    )
    parser.add_argument("--small", type=int, default=2000, help="objects of 16 KiB; 0 leaves them out")
    parser.add_argument("--runs", type=int, default=3, help="of each; the median counts")
    parser.add_argument(
        "--round-trip-ms", type=float, default=50, help="to either server, half of it each way"
    )
    names = [contestant.name for contestant in CONTESTANTS]
    parser.add_argument("--tools", nargs="+", choices=names, default=["dataferry", "rclone", "rclone tuned"])
    parser.add_argument("--directory", help="where servers keep their data; the system's temporary place")
    parser.add_argument("--quick", action="store_true", help="little data, once each, not written")
    asked = parser.parse_args()
    if asked.quick:
        asked.large, asked.small, asked.runs = 128 * MIB, 300, 1
    return asked


def main() -> None:
    """Compare over a distance, print the table, and write it down."""
    asked = _asked()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was made is removed
    where, begun = machine(), stamp()
    contestants = [it for it in CONTESTANTS if it.name in {*asked.tools, BASELINE}]
    loads = [
        Cargo(name="one-large", objects=1, object_bytes=asked.large),
        Cargo(name="many-small", objects=asked.small, object_bytes=16 * KIB),
    ]
    near: list[Line] = []
    far: list[Line] = []
    loads = [load for load in loads if load.total_bytes]
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=asked.directory))
    try:
        most = [ceiling(round_trip_ms) for round_trip_ms in (0, asked.round_trip_ms)]
        print(f"a proxy lets {most[0]:.0f} MiB/s through near, {most[1]:.0f} far", flush=True)
        with distant("lean", directory / "lean", asked.round_trip_ms) as ways:
            comparison = Comparison(asked.runs, contestants, directory)
            for load in loads:
                cargo.make(ways.near.source, load)
                near += comparison.copies(ways.near, load)
                far += comparison.copies(ways.far, load)
                cargo.remove(ways.near.source, load.name)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("\n".join(["", table([*near, *far]), "", shares(near, far)]))
    if not asked.quick:
        text = [
            f"A round trip of {asked.round_trip_ms:g} ms to either server, half of it each way, beside the",
            f"same copies near, by proxies that delay nothing; those let {most[0]:.0f} MiB/s pass near and",
            f"{most[1]:.0f} far. {runs_in_words(asked.runs)}, tools in turn, whole processes.",
            f"*speed* is {BASELINE}'s wall time by the tool's (more is better), *CPU* the tool's processor",
            f"time by {BASELINE}'s (less is better).",
            "",
            *(f"- {load.name}: {load.words}" for load in loads),
            "",
            table([*near, *far]),
            "",
            "What is left of each tool's speed over the distance (100% would be all):",
            "",
            shares(near, far),
        ]
        path = write(
            "latency",
            "Copies over a distance",
            where,
            text,
            {"lines": [*near, *far], "ceiling_mib_per_s": most},
            tools=used({line.contestant for line in near}),
            measured={"": begun},
        )
        print(f"\nwritten: {path}")


if __name__ == "__main__":
    main()
