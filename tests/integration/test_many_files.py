"""Many small objects: memory does not grow with their number."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from dataferry.demo.processes import ChildProcess, free_port

ENDLESS = Path(__file__).parents[2] / "bench" / "endless_s3.py"
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


def copied(directory: Path, source: str, target: str, *options: str) -> tuple[int, int, int]:
    """Copy in a process of its own: objects, bytes and the most memory that it had."""
    out = directory / "out.json"
    command = [sys.executable, "-m", "dataferry.cli.main", "copy", source, target, "--json", *options]
    with out.open("wb") as file:
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=file)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    result = json.loads(out.read_text().splitlines()[-1])
    return result["objects"], result["bytes"], usage.ru_maxrss * 1024


@contextmanager
def endless(role: str, objects: int, directory: Path) -> Iterator[str]:
    """Start a server that makes so many objects of a hundred bytes up, or counts them; yield its URL."""
    port = free_port()
    command = [sys.executable, str(ENDLESS), role, str(port), str(objects), "100"]
    with ChildProcess(f"the {role}", command, log=directory / f"{role}.log", environment={}) as process:
        process.wait_until_http(port, "/count")
        yield f"http://127.0.0.1:{port}"


def copied_between_servers(directory: Path, objects: int) -> tuple[int, int, int]:
    """Copy so many objects from one S3 server to another."""
    with endless("source", objects, directory) as source, endless("sink", objects, directory) as sink:
        config = directory / "dataferry.toml"
        config.write_text(
            "".join(
                f'[locations.{name}]\ntype = "s3"\nendpoint_url = "{url}"\n'
                'access_key_id = "AKIAENDLESSENDLESS01"\nsecret_access_key = "nobody checks it"\n'
                for name, url in (("from", source), ("to", sink))
            )
        )
        found = copied(
            directory, "from:many/", "to:many/", "--config", str(config), "--workers", "4", "--quiet"
        )
        with urlopen(f"{sink}/count", timeout=10) as reply:  # noqa: S310 - loopback
            assert int(reply.read()) == objects
    return found


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    """Ten times as many files take no more than a few MiB more, and all arrive as they are."""
    few, many = made(tmp_path / "few", 500), made(tmp_path / "many", 5000)
    small = copied(tmp_path, "few/", "few-copy/")
    large = copied(tmp_path, "many/", "many-copy/")
    assert (small[:2], large[:2]) == ((500, few), (5000, many))
    assert large[2] - small[2] < 8 * MIB
    for file in (tmp_path / "many").rglob("*.bin"):
        copy = tmp_path / "many-copy" / file.relative_to(tmp_path / "many")
        assert copy.read_bytes() == file.read_bytes()


def test_memory_does_not_grow_with_the_number_of_listed_objects(tmp_path: Path) -> None:
    """Six pages of a server's listing take no more than a few MiB more than half a page, and all arrive."""
    small = copied_between_servers(tmp_path, 500)
    large = copied_between_servers(tmp_path, 6000)
    assert (small[:2], large[:2]) == ((500, 50_000), (6000, 600_000))
    assert large[2] - small[2] < 12 * MIB
