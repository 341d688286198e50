"""A million objects of 1 KiB, listed and copied by one ``dataferry copy``: how fast, and is memory flat?

Run: ``.venv/bin/python bench/million.py [--objects 1000000] [--bytes 1024] [--quick]``. The source makes its
objects up and the sink only counts them, so that nothing but the copy has to remember a million things.
Results go to ``bench/results``. It ends with 1 if memory was not flat.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from contestants import FERRY, environment
from dataferry.demo.processes import ChildProcess, free_port
from report import machine, stamp, write
from servers import Pair, Server

SAMPLE_S = 0.5
# Memory of the rest by that of the first tenth: more would be growth with the number of objects.
FLAT = 1.2
FIRST_PART = 0.1
CURVE_POINTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A moment of the copy, with all its processes."""

    seconds: float
    objects: int
    rss_mib: float
    ledger_mib: float


def server(role: str, objects: int, object_bytes: int, directory: Path) -> tuple[ChildProcess, Server]:
    """Make one of the two servers, and how it is reached."""
    port = free_port()
    program = str(Path(__file__).with_name("endless_s3.py"))
    command = [sys.executable, program, role, str(port), str(objects), str(object_bytes)]
    process = ChildProcess(f"the {role}", command, log=directory / f"{role}.log", environment={})
    process.start()
    process.wait_until_http(port, "/count")
    url = f"http://127.0.0.1:{port}"
    return process, Server(
        endpoint_url=url,
        plain_url=url,
        access_key_id="AKIABENCHBENCHBENCH1",
        secret_access_key="a secret that is not checked",  # noqa: S106 - the server checks none
    )


def rss_mib(pid: int) -> float:
    """Return the memory of a process and of those that it started."""
    total = 0.0
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            total += sum(rss_mib(int(child)) for child in children)
    return total


def copied(pair: Pair, directory: Path) -> tuple[list[Sample], dict[str, object]]:
    """Copy everything; return what was seen meanwhile, and the result line.

    Raises:
        SystemExit: It failed.
    """
    config = directory / "dataferry.toml"
    config.write_text(
        "".join(
            f'[locations.{name}]\ntype = "s3"\nendpoint_url = "{end.endpoint_url}"\n'
            f'access_key_id = "{end.access_key_id}"\nsecret_access_key = "{end.secret_access_key}"\n'
            for name, end in (("from", pair.source), ("to", pair.sink))
        )
    )
    command = [FERRY, "copy", "from:million/", "to:million/", "--config", str(config), "--quiet", "--json"]
    with (directory / "out").open("w+") as out:
        begun = time.monotonic()
        process = subprocess.Popen(command, env=environment(pair, directory), stdout=out)
        try:
            samples = _watched(process, pair, directory, begun)
        finally:
            process.kill()
            process.wait()
        return samples, _result(process.returncode, out)


def _watched(process: subprocess.Popen[bytes], pair: Pair, directory: Path, begun: float) -> list[Sample]:
    samples: list[Sample] = []
    while process.poll() is None:
        with urlopen(f"{pair.sink.plain_url}/count", timeout=30) as reply:  # noqa: S310 - loopback
            objects = int(reply.read())
        ledger = sum(file.stat().st_size for file in (directory / "state").rglob("*") if file.is_file())
        samples.append(
            Sample(
                seconds=round(time.monotonic() - begun, 2),
                objects=objects,
                rss_mib=round(rss_mib(process.pid), 1),
                ledger_mib=round(ledger / 1024**2, 1),
            )
        )
        time.sleep(SAMPLE_S)
    return samples


def _result(code: int, out: IO[str]) -> dict[str, object]:
    out.seek(0)
    text = out.read()
    if code:
        raise SystemExit(f"the copy ended with {code}: {text[-2000:]}")
    result: dict[str, object] = json.loads(text.splitlines()[-1])
    return result


def growth(samples: list[Sample], objects: int) -> float:
    """Return the most memory after the first tenth of the objects, by the most before."""
    early = max((it.rss_mib for it in samples if it.objects <= objects * FIRST_PART), default=0.0)
    late = max((it.rss_mib for it in samples if it.objects > objects * FIRST_PART), default=0.0)
    return late / early if early else 0.0


def report(samples: list[Sample], result: dict[str, object], objects: int) -> list[str]:
    """Write lines for people."""
    seconds = samples[-1].seconds
    step = -(-len(samples) // CURVE_POINTS)
    return [
        f"{objects:,} objects in {seconds:.0f} s: {objects / seconds:,.0f} a second, start and end included;",
        f"verified: {result['verification']}. Most memory {max(it.rss_mib for it in samples):.0f} MiB,",
        f"{growth(samples, objects):.2f} times that of the first tenth (flat: at most {FLAT}).",
        f"The ledger took {max(it.ledger_mib for it in samples):.0f} MiB.",
        "",
        "| seconds | objects | memory MiB | ledger MiB |",
        "|---|---|---|---|",
        *(
            f"| {it.seconds:.0f} | {it.objects:,} | {it.rss_mib:.0f} | {it.ledger_mib:.0f} |"
            for it in [*samples[::step], samples[-1]]
        ),
    ]


def main() -> None:
    """Copy, print the curve, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=1024, help="of each object")
    parser.add_argument("--directory", help="where the ledger is kept; the system's temporary place")
    parser.add_argument("--quick", action="store_true", help="20,000 objects, not written")
    asked = parser.parse_args()
    if asked.quick:
        asked.objects = 20_000
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was made is removed
    where, begun = machine(), stamp()
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=asked.directory))
    started: list[ChildProcess] = []
    try:
        ends: list[Server] = []
        for role in ("source", "sink"):
            process, end = server(role, asked.objects, asked.bytes, directory)
            started.append(process)
            ends.append(end)
        pair = Pair(kind="endless", source=ends[0], sink=ends[1], ca_file=None, md5_etags=False)
        samples, result = copied(pair, directory)
    finally:
        for process in started:
            process.stop()
        shutil.rmtree(directory, ignore_errors=True)
    text = report(samples, result, asked.objects)
    print("\n".join(text))
    if not asked.quick:
        data = {"objects": asked.objects, "object_bytes": asked.bytes, "result": result, "samples": samples}
        path = write(
            "million",
            "A great many objects",
            where,
            text,
            data,
            tools=["dataferry"],
            measured={"": begun},
        )
        print(f"\nwritten: {path}")
    if result["objects"] != asked.objects or growth(samples, asked.objects) > FLAT:
        raise SystemExit("not all objects arrived, or memory grew with them")


if __name__ == "__main__":
    main()
