"""What proofs cost: reading back, and MD5s where stores keep nothing better.

Usage: python bench/verification.py [--times N]

Prints a table of medians. The processor time is the engine's own; the wall time is shared with the servers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest import mock

import botocore.session
from botocore.config import Config

from dataferry.domain.location import Location
from dataferry.domain.progress import Progress
from dataferry.engine.proofs import etags
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Overwrite, Transfer, Verify
from dataferry.mechanisms.base import Endpoint, Mechanism
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network
from dataferry.store.local import open_local_ledger
from servers import Server, pair

KIB, GIB = 1024, 1024**3
SMALL, SMALL_BYTES = 3000, 16 * KIB
Place = tuple[Mechanism, Endpoint]


class Silent:
    """Watches nothing."""

    def progressed(self, progress: Progress) -> None:
        """Nothing."""

    def noted(self, kind: str, message: str) -> None:
        """Nothing."""


def measure(source_at: Place, sink_at: Place, verify: Verify) -> tuple[float, float, str]:
    """Move everything once; return seconds of wall and of processor time, and the level."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_local_ledger(Path(folder) / "ledger.db")) as ledger,
        closing(source_at[0].open_source(source_at[1], Network())) as source,
        closing(sink_at[0].open_sink(sink_at[1], Network())) as sink,
    ):
        transfer = Transfer(
            id="bench",
            epoch=ledger.begin("bench").epoch,
            source=source,
            sink=sink,
            limits=EngineLimits(),
            overwrite=Overwrite.ALWAYS,
            verify=verify,
        )
        before = time.process_time()
        result = run(transfer, ledger, stop=Stop(), observer=Silent())
        if result.first_error is not None:
            raise SystemExit(str(result.first_error))
        return result.seconds, time.process_time() - before, result.verification.word


def s3(server: Server, path: str) -> Place:
    """A place on a server."""
    settings = {
        "endpoint_url": server.plain_url,
        "access_key_id": server.access_key_id,
        "secret_access_key": server.secret_access_key,
    }
    mechanism = Registry().get("s3")
    return mechanism, mechanism.at_location(Location(name="bench", mechanism="s3", settings=settings), path)


def files(path: Path) -> Place:
    """A directory."""
    mechanism = Registry().get("file")
    return mechanism, mechanism.at_url(f"file://{path}/")


def make_buckets(server: Server) -> None:
    """Make the bucket that everything is in."""
    client = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=server.plain_url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket="bench")


@contextmanager
def without_md5() -> Iterator[None]:
    """No body is summed up."""
    with mock.patch.object(etags, "EACH_BYTES", -1), mock.patch.object(etags, "SAMPLE_BYTES", -1):
        yield


def compare(what: str, source: Place, sink: Place, times: int) -> None:
    """Measure a pair in turn, without MD5s, as it is, and with reading back; print a line each."""
    found: dict[str, list[tuple[float, float, str]]] = {"no MD5": [], "best": [], "readback": []}
    for _ in range(times):
        with without_md5():
            found["no MD5"].append(measure(source, sink, Verify.BEST))
        for verify in Verify:
            found[verify.value].append(measure(source, sink, verify))
    for name, runs in found.items():
        wall, cpu = (statistics.median(run[column] for run in runs) for column in (0, 1))
        print(f"| {what} | {name} | {wall:.2f} | {cpu:.2f} | `{runs[0][2]}` |", flush=True)


def main() -> None:
    """Make the data, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        small, large = root / "small", root / "large"
        small.mkdir()
        large.mkdir()
        for number in range(SMALL):
            (small / f"{number:05}").write_bytes(os.urandom(SMALL_BYTES))
        with (large / "one").open("wb") as file:
            for _ in range(64):
                file.write(os.urandom(GIB // 64))
        print("| pair | how | wall s | CPU s | level |\n|---|---|---|---|---|", flush=True)
        for kind in ("lean", "juicefs"):
            with pair(kind, root / kind) as servers:
                for server in (servers.source, servers.sink):
                    make_buckets(server)
                one, other = servers.source, servers.sink
                for local, name in ((large, "1 GiB"), (small, f"{SMALL:,} x 16 KiB")):
                    measure(files(local), s3(one, f"bench/{local.name}/"), Verify.BEST)
                    ends = s3(one, f"bench/{local.name}/"), s3(other, f"bench/{local.name}/")
                    compare(f"{kind}, {name}", *ends, times)
                compare(f"files to {kind}, {SMALL:,} x 16 KiB", files(small), s3(other, "bench/f/"), times)


if __name__ == "__main__":
    main()
