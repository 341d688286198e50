"""How fast the engine is between two places, beside a bare loop over one reader and one writer.

Usage: python bench/engine.py SRC_URL DST_URL [--workers N] [--times N] [--verify best|readback]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from dataferry.domain.location import Location
from dataferry.domain.progress import Progress
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Overwrite, Transfer, Verify
from dataferry.mechanisms.base import Endpoint, Mechanism
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network
from dataferry.store.local import open_local_ledger


class Printer:
    """Prints events, keeps quiet about progress."""

    def progressed(self, progress: Progress) -> None:
        """Nothing."""

    def noted(self, kind: str, message: str) -> None:
        """Print it."""
        print(f"  {kind}: {message}")


def place(registry: Registry, text: str) -> tuple[Mechanism, Endpoint]:
    """Read ``s3+http://key:secret@host:port/bucket/prefix``, or any URL that a mechanism understands."""
    if not text.startswith("s3+http://"):
        mechanism = registry.by_url(text)
        return mechanism, mechanism.at_url(text)
    login, _, rest = text.removeprefix("s3+http://").partition("@")
    host, _, path = rest.partition("/")
    key, _, secret = login.partition(":")
    mechanism = registry.get("s3")
    settings = {
        "endpoint_url": f"http://{host}",
        "access_key_id": key,
        "secret_access_key": secret,
        "exclusive": True,
    }
    return mechanism, mechanism.at_location(Location(name="bench", mechanism="s3", settings=settings), path)


def measure(source_text: str, sink_text: str, limits: EngineLimits, verify: Verify) -> None:
    """Move everything once and print what it took."""
    registry, network = Registry(), Network()
    from_mechanism, source_at = place(registry, source_text)
    to_mechanism, sink_at = place(registry, sink_text)
    source = from_mechanism.open_source(source_at, network)
    sink = to_mechanism.open_sink(sink_at, network)
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_local_ledger(Path(folder) / "ledger.db")
        attempt = ledger.begin("bench")
        transfer = Transfer(
            id="bench",
            epoch=attempt.epoch,
            source=source,
            sink=sink,
            limits=limits,
            overwrite=Overwrite.ALWAYS,
            verify=verify,
        )
        before = time.process_time()
        result = run(transfer, ledger, stop=Stop(), observer=Printer())
        cpu = time.process_time() - before
        ledger.close()
    source.close()
    sink.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = result.bytes / result.seconds / 2**20
    print(
        f"{result.objects} objects, {result.bytes} bytes, {result.objects_failed} failed "
        f"{result.first_error or ''}: "
        f"{result.seconds:.2f} s wall, {cpu:.2f} s CPU, {rate:.0f} MiB/s, "
        f"{result.objects / result.seconds:.0f} objects/s, peak {peak:.0f} MiB, {result.verification.word}"
    )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("sink")
    parser.add_argument("--workers", type=int, default=EngineLimits().workers)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--verify", type=Verify, choices=list(Verify), default=Verify.BEST)
    arguments = parser.parse_args()
    limits = EngineLimits(workers=arguments.workers)
    for _ in range(arguments.times):
        measure(arguments.source, arguments.sink, limits, arguments.verify)


if __name__ == "__main__":
    main()
