"""What a commit costs: the store and its ledger on SQLite and on PostgreSQL, on the disk and with its syncs.

"One" is a thread that commits alone: a verb of a control plane, or a worker by itself. Sixteen workers each
wait for the row of their part before the next, and share commits.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.sample_flow import sample_flow
from tests.servers.postgresql import PostgresServer

import report
from dataferry.domain.clock import SystemClock
from dataferry.domain.dataflow import DataFlow
from dataferry.domain.ledger import Attempt, PlannedObject
from dataferry.domain.objects import ObjectInfo, PartReceipt, Upload
from dataferry.secrets.sealing import Sealer
from dataferry.store.store import Store

WORKERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How many a second.

    Attributes:
        database: Which.
        transactions: Of the store by one thread: read a flow, write it, add an event.
        parts_of_one: Parts that one thread writes into the ledger.
        parts_of_workers: Parts that sixteen threads write into it together.
        reads: Snapshots in which one flow is read, by one thread.
    """

    database: str
    transactions: float
    parts_of_one: float
    parts_of_workers: float
    reads: float


@contextmanager
def databases(which: str, directory: Path) -> Iterator[str]:
    """Make an empty database with its tables, and give its URL."""
    if which == "SQLite":
        yield f"sqlite:///{directory}/bench.db"
        return
    with PostgresServer(durable=True) as server, server.database() as url:
        yield url


def measure(which: str, seconds: float) -> Rates:
    """Measure one kind of database."""
    with tempfile.TemporaryDirectory() as directory, databases(which, Path(directory)) as url:
        store = Store.open(url, sealer=Sealer(bytes(32)), clock=SystemClock())
        try:
            flow, attempt = begin(store)
            return Rates(
                database=which,
                transactions=rate(lambda _: save(store, flow), 1, seconds),
                parts_of_one=rate(parts(store, attempt, 1), 1, seconds),
                parts_of_workers=rate(parts(store, attempt, 2), WORKERS, seconds),
                reads=rate(lambda _: read(store, flow), 1, seconds),
            )
        finally:
            store.close()


def begin(store: Store) -> tuple[DataFlow, Attempt]:
    """Make a flow that runs, with objects that are being uploaded."""
    flow = sample_flow()
    with store.transaction() as tx:
        tx.flows.insert(flow)
        claimed = tx.flows.claim(flow.id)
    assert claimed is not None  # noqa: S101 - it was queued a moment ago
    attempt = Attempt(transfer_id=str(flow.id), epoch=claimed.epoch)
    planned = [
        PlannedObject(
            source=ObjectInfo(name=f"o{number}", key=f"o{number}", size_bytes=1),
            target_key=f"o{number}",
            target_identity="s3://bench",
        )
        for number in range(WORKERS + 1)
    ]
    store.ledger.add(attempt, planned, cursor=None)
    for ordinal in range(1, WORKERS + 2):
        store.ledger.intend(attempt, ordinal, part_size_bytes=1)
        store.ledger.open_upload(attempt, ordinal, Upload(upload_id=f"u{ordinal}", key=f"o{ordinal}"))
    return flow, attempt


def save(store: Store, flow: DataFlow) -> None:
    """Do what a verb does."""
    with store.transaction() as tx:
        before = tx.flows.get(flow.id)
        tx.flows.save(before, expected=before)
        tx.events.add(flow.id, "bench", "a verb of a control plane")


def read(store: Store, flow: DataFlow) -> None:
    """Do what a look at a flow does."""
    with store.snapshot() as tx:
        tx.flows.get(flow.id)


def parts(store: Store, attempt: Attempt, first: int) -> Callable[[int], None]:
    """Return what writes the next part of a worker's object."""
    numbers = [0] * WORKERS

    def write(worker: int) -> None:
        numbers[worker] = numbers[worker] % 10_000 + 1
        receipt = PartReceipt(number=numbers[worker], size_bytes=1, etag="e" * 32, crc64nvme=1)
        store.ledger.add_part(attempt, first + worker, receipt)

    return write


def rate(work: Callable[[int], None], threads: int, seconds: float) -> float:
    """Return how often a second threads do something, all together."""
    counts = [0] * threads
    end = time.monotonic() + seconds

    def loop(number: int) -> None:
        while time.monotonic() < end:
            work(number)
            counts[number] += 1

    began = time.monotonic()
    started = [threading.Thread(target=loop, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return sum(counts) / (time.monotonic() - began)


def main() -> None:
    """Measure in turn, A B A B, and print and write the better of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="half a second each, and nothing is written")
    quick = parser.parse_args().quick
    where, begun, rounds = report.machine(), report.stamp(), 1 if quick else 2
    found = [
        measure(which, 0.5 if quick else 3.0) for _ in range(rounds) for which in ("SQLite", "PostgreSQL")
    ]
    lines = [
        "",
        "| | transactions/s | parts/s, one | parts/s, 16 workers | reads/s |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.database} | {one.transactions:,.0f} | {one.parts_of_one:,.0f} |"
        f" {one.parts_of_workers:,.0f} | {one.reads:,.0f} |"
        for one in sorted(found, key=lambda one: one.database)
    ]
    print("\n".join(lines))
    if not quick:
        path = report.write(
            "commits",
            "What a commit costs",
            where,
            lines,
            {"rates": found},
            tools=["dataferry"],
            measured={"": begun},
        )
        print(path)


if __name__ == "__main__":
    main()
