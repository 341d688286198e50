"""Copies within one store: what DataFerry and rclone take when the store does the work.

Run: ``.venv/bin/python bench/within.py [--large 1GiB] [--small 2000] [--runs 3]``. Nothing is written.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import cargo
from cargo import KIB, MIB, Cargo
from compare import Comparison, size, table
from contestants import BASELINE, CONTESTANTS, Contestant
from servers import Pair, pair


def _within(contestant: Contestant) -> Contestant:
    """Let a tool know both ends as one place, as rclone copies on the server only within one remote."""

    def command(servers: Pair, directory: Path, source: str, sink: str) -> list[str]:
        found = contestant.command(servers, directory, source, sink)
        return [f"from:{word[3:]}" if word.startswith("to:") else word for word in found]

    return replace(contestant, command=command)


def main() -> None:
    """Compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--large", type=size, default=1024 * MIB, help="the one large object")
    parser.add_argument("--small", type=int, default=2_000, help="objects of 16 KiB")
    parser.add_argument("--runs", type=int, default=3, help="of each; the median counts")
    asked = parser.parse_args()
    contestants = [_within(it) for it in CONTESTANTS if it.name in {"dataferry", BASELINE}]
    loads = [
        Cargo(name="one-large", objects=1, object_bytes=asked.large),
        Cargo(name="many-small", objects=asked.small, object_bytes=16 * KIB),
    ]
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        with pair("juicefs", directory / "juicefs") as servers:
            one = replace(servers, sink=servers.source)
            comparison = Comparison(asked.runs, contestants, directory)
            lines = []
            for load in loads:
                cargo.make(one.source, load)
                lines += comparison.copies(one, load)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("\n" + table(lines))


if __name__ == "__main__":
    main()
