"""Many small files: memory does not grow with their number."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

MIB = 1024 * 1024


def made(directory: Path, count: int) -> int:
    """Make so many files of up to 1 KiB; return their bytes."""
    chance = random.Random(count)
    total = 0
    for number in range(count):
        file = directory / f"{number // 500:03}" / f"{number:06}.bin"
        if number % 500 == 0:
            file.parent.mkdir(parents=True)
        total += file.write_bytes(chance.randbytes(chance.randint(0, 1024)))
    return total


def copied(directory: Path, name: str) -> tuple[int, int, int]:
    """Copy a tree in a process of its own: objects, bytes and the most memory that it had."""
    out = directory / f"{name}.json"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dataferry.cli.main", "copy", f"{name}/", f"{name}-copy/", "--json"],
            cwd=directory,
            env={"PATH": os.environ["PATH"], "HOME": str(directory)},
            stdout=file,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    result = json.loads(out.read_text().splitlines()[-1])
    return result["objects"], result["bytes"], usage.ru_maxrss * 1024


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    """Ten times as many files take no more than a few MiB more, and all arrive as they are."""
    few, many = made(tmp_path / "few", 500), made(tmp_path / "many", 5000)
    small = copied(tmp_path, "few")
    large = copied(tmp_path, "many")
    assert (small[:2], large[:2]) == ((500, few), (5000, many))
    assert large[2] - small[2] < 8 * MIB
    for file in (tmp_path / "many").rglob("*.bin"):
        copy = tmp_path / "many-copy" / file.relative_to(tmp_path / "many")
        assert copy.read_bytes() == file.read_bytes()
