"""Copies over a distance: a round trip of 50 ms to either server, DataFerry beside rclone.

Run: ``.venv/bin/python bench/latency.py [--quick] [--large 1GiB] [--small 2000] [--round-trip-ms 50] ...``.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import cargo
from cargo import KIB, MIB, Cargo
from compare import Comparison, Line, size, table
from contestants import BASELINE, CONTESTANTS
from report import machine, write
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


@contextmanager
def distant(kind: str, directory: Path, round_trip_ms: float) -> Iterator[Pair]:
    """Start a pair of servers, far away for contestants and near for making and checking data."""
    with ExitStack() as stack:
        near = stack.enter_context(pair(kind, directory))

        def far(server: Server) -> Server:
            scheme, _, port = server.endpoint_url.rpartition(":")
            proxy = distance(int(port), round_trip_ms / 2)
            return replace(server, endpoint_url=f"{scheme}:{stack.enter_context(proxy)}")

        yield replace(
            near,
            kind=f"{kind}-{round_trip_ms:g}ms",
            source=far(near.source),
            sink=far(near.sink),
        )


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
    where = machine()
    contestants = [it for it in CONTESTANTS if it.name in {*asked.tools, BASELINE}]
    loads = [
        Cargo(name="one-large", objects=1, object_bytes=asked.large),
        Cargo(name="many-small", objects=asked.small, object_bytes=16 * KIB),
    ]
    lines: list[Line] = []
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=asked.directory))
    try:
        most = ceiling(asked.round_trip_ms)
        print(f"a proxy lets {most:.0f} MiB/s through", flush=True)
        with distant("lean", directory / "lean", asked.round_trip_ms) as servers:
            comparison = Comparison(asked.runs, contestants, directory)
            for load in loads:
                if load.total_bytes:
                    cargo.make(servers.source, load)
                    lines += comparison.copies(servers, load)
                    cargo.remove(servers.source, load.name)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("\n" + table(lines))
    if not asked.quick:
        text = [
            f"A round trip of {asked.round_trip_ms:g} ms to either server, half of it each way; proxies let",
            f"{most:.0f} MiB/s pass. Medians of {asked.runs} runs, tools in turn, whole processes. *speed*",
            f"is {BASELINE}'s wall time by the tool's (more is better), *CPU* the tool's processor time by",
            f"{BASELINE}'s (less is better).",
            "",
            table(lines),
        ]
        print(f"\nwritten: {write('latency', 'Copies over a distance', where, text, {'lines': lines})}")


if __name__ == "__main__":
    main()
