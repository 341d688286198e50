"""Both ledgers: the service's, fenced by the flow's row, and the local one of ``copy``."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from tests.sample_flow import sample_flow

from dataferry.domain.errors import DatabaseUnavailableError, DataFerryError, NoSpaceError, NotFoundError
from dataferry.domain.ledger import Attempt, Ledger
from dataferry.secrets.sealing import Sealer
from dataferry.store import ledger_statements as sql
from dataferry.store.local import LocalLedger, open_local_ledger
from dataferry.store.store import Store
from dataferry.testing.ledger_suite import T1, LedgerRig, LedgerSuite, StillClock, in_threads, planned


class TestLocalLedger(LedgerSuite):
    """The ledger of ``copy``."""

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[LedgerRig]:
        """A fresh file."""
        clock = StillClock()
        opened = [open_local_ledger(tmp_path / "ledger.db", clock=clock)]

        def reopen() -> Ledger:
            opened[-1].close()
            opened.append(open_local_ledger(tmp_path / "ledger.db", clock=clock))
            return opened[-1]

        yield LedgerRig(
            ledger=opened[0],
            clock=clock,
            begin=lambda transfer: LocalLedger.begin(opened[-1], transfer),
            reopen=reopen,
        )
        opened[-1].close()


class TestServiceLedger(LedgerSuite):
    """The ledger of ``serve``, on each kind of database."""

    @pytest.fixture
    def rig(self, database_url: str) -> Iterator[LedgerRig]:
        """A fresh store; a transfer's attempts begin with a claim of its flow."""
        clock = StillClock()
        sealer = Sealer(bytes(32))
        opened = [Store.open(database_url, sealer=sealer, clock=clock)]

        def begin(name: str) -> Attempt:
            with opened[-1].transaction() as transaction:
                flow_id = UUID(name)
                queued = sample_flow(name, id=flow_id)
                try:
                    flow = transaction.flows.get(flow_id)
                    transaction.flows.save(queued, expected=flow)
                except NotFoundError:
                    transaction.flows.insert(queued)
                claimed = transaction.flows.claim(flow_id)
                assert claimed is not None
                return Attempt(transfer_id=str(flow_id), epoch=claimed.epoch)

        def reopen() -> Ledger:
            opened[-1].close()
            opened.append(Store.open(database_url, sealer=sealer, clock=clock))
            return opened[-1].ledger

        yield LedgerRig(ledger=opened[0].ledger, clock=clock, begin=begin, reopen=reopen)
        opened[-1].close()


WRITER = """
import sys, threading
from pathlib import Path
from dataferry.domain.objects import Upload
from dataferry.store import ledger_statements as sql
from dataferry.store import service_ledger
from dataferry.store.local import open_local_ledger
from dataferry.testing.ledger_suite import T1, part, planned
ledger = open_local_ledger(Path(sys.argv[1]))
attempt = ledger.begin(T1)
ledger.add(attempt, [planned(f"n{i}") for i in range(4)], cursor=None)
lock = threading.Lock()
def work(ordinal):
    ledger.intend(attempt, ordinal, part_size_bytes=1)
    ledger.open_upload(attempt, ordinal, Upload(upload_id=f"u{ordinal}", key="k"))
    for number in range(1, 10_001):
        ledger.add_part(attempt, ordinal, part(number, 1))
        with lock:
            print(ordinal, number, flush=True)
for ordinal in range(1, 5):
    threading.Thread(target=work, args=(ordinal,)).start()
"""


@pytest.mark.parametrize("lines", [1, 37, 400])
def test_a_killed_process_loses_no_committed_part(tmp_path: Path, lines: int) -> None:
    """After kill -9 in the middle of writing, every part that a caller was told of is there, and counted."""
    path = tmp_path / "ledger.db"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        os.kill(process.pid, signal.SIGKILL)
        told += [line for line in process.stdout if line.endswith("\n")]
    ledger: LocalLedger = open_local_ledger(path)
    try:
        there = {(ordinal, part.number) for ordinal in range(1, 5) for part in ledger.parts(T1, ordinal)}
        assert {(int(line.split()[0]), int(line.split()[1])) for line in told} <= there
        assert len(there) == ledger.totals(T1).bytes_done
        assert ledger.begin(T1).epoch == 2
    finally:
        ledger.close()


def test_a_full_disk_is_told_and_survived(tmp_path: Path) -> None:
    """On a full disk every caller is told so, nothing is half written, and with space it goes on."""
    ledger = open_local_ledger(tmp_path / "ledger.db")
    attempt = ledger.begin(T1)
    connection = ledger._database._writing  # type: ignore[attr-defined]  # to bound the file's size
    connection.execute("PRAGMA max_page_count = 60")

    def fill(index: int) -> None:
        for step in range(20):
            ledger.add(attempt, [planned(f"{index}-{step}-{row}" * 9) for row in range(50)], cursor=None)

    errors = in_threads(4, fill)
    assert [type(error) for error in errors] == [NoSpaceError] * 4
    there = ledger.objects(T1, limit=10_000)
    assert len(there) == ledger.totals(T1).objects_total
    assert len(there) % 50 == 0
    connection.execute("PRAGMA max_page_count = 100000")
    ledger.add(attempt, [planned("more")], cursor=None)
    assert ledger.totals(T1).objects_total == len(there) + 1
    ledger.close()


def test_a_ledger_that_another_process_holds_is_unavailable(tmp_path: Path) -> None:
    """Who can't write because somebody else holds the file is told so, and can try again."""
    ledger = open_local_ledger(tmp_path / "ledger.db")
    ledger._database._writing.execute("PRAGMA busy_timeout = 10")  # type: ignore[attr-defined]
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailableError, match="another process"):
        ledger.begin(T1)
    other.close()
    assert ledger.begin(T1).epoch == 1
    ledger.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_dead_writer(tmp_path: Path) -> None:
    """If the writer's thread dies, its callers and later ones get an error at once."""
    ledger = open_local_ledger(tmp_path / "ledger.db")

    def die(_: object) -> None:
        raise SystemExit

    with pytest.raises(DataFerryError):
        ledger._writer.run(die)
    with pytest.raises(DataFerryError):
        ledger.begin(T1)
    ledger.close()


@pytest.mark.parametrize("statement", [sql.ABANDON, sql.FORGET_UPLOADS])
def test_abandoning_reads_no_object_that_is_not_open(tmp_path: Path, statement: str) -> None:
    """However many objects a transfer has, a terminate looks only at those with an intent."""
    open_local_ledger(tmp_path / "ledger.db").close()
    values = {"id": T1, "now": ""}
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    assert ["ix_objects_intent" in step[3] for step in plan] == [True]


def test_a_local_transfer_must_begin(tmp_path: Path) -> None:
    """A transfer that never began is not known."""
    ledger = open_local_ledger(tmp_path / "ledger.db")
    try:
        with pytest.raises(NotFoundError):
            ledger.check(Attempt(transfer_id=T1, epoch=1))
    finally:
        ledger.close()
