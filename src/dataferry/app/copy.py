"""One transfer in this process, with the engine of the service and a ledger in a local file.

Running the same copy again goes on where it was: the ledger is found by the identity of both ends. Once
everything has arrived, the next run looks at the source anew, and skips what has not changed since.
"""

from __future__ import annotations

import threading
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from dataferry.app.copy_ledger import LedgerFile, turns
from dataferry.app.ends import Ends, open_ends
from dataferry.app.error_report import refuse_unwritable, write_errors
from dataferry.app.interrupts import interrupts
from dataferry.app.locks import FileLock
from dataferry.app.outcome import CopyOptions, Outcome
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import DataFerryError, StoppedError
from dataferry.domain.ledger import Cleanup, ObjectState
from dataferry.domain.objects import Totals
from dataferry.engine.cleanup import abort_due
from dataferry.engine.preview import Preview, preview
from dataferry.engine.run import run
from dataferry.engine.selection import Selection
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Observer, Result, Transfer
from dataferry.mechanisms.base import Sink, Source
from dataferry.store.local import LocalLedger

SIGNAL_CHECK_S = 0.1
MAX_FAILURES = 20
MAX_CLEANUPS = 1000
LOCKS = "destinations.lock"


def copy(source: str, destination: str, options: CopyOptions, observer: Observer) -> Outcome:
    """Copy ``source`` to ``destination``; call it from the main thread, it listens to signals.

    Raises:
        ConfigError, InputError: What was asked for can't be.
        ConflictError: The same copy is running already.
        DataFerryError: It can't go on as a whole, e.g. a bucket is missing.
    """
    refuse_unwritable(options.errors)
    ends, limits = open_ends(source, destination, options)
    file = LedgerFile(ends.identity, options.ledger)
    path = file.path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(
        path.with_name(f"{path.name}.lock"),
        refusal=f"this copy is running already (its ledger {path} is in use); wait for it, or stop it",
    )
    lock.acquire()
    try:
        # A named ledger stays alone in its directory: who writes where is then the user's to see to.
        with ends.sole_writer(path.with_name(LOCKS)) if options.ledger is None else nullcontext():
            return _Copy(ends, file, limits, options, observer).run()
    finally:
        lock.release(remove=True)


def plan(source: str, destination: str, options: CopyOptions, observer: Observer) -> Preview:
    """Look at both places, and tell what ``copy`` would do; nothing is written but a ledger for the moment.

    Raises:
        DataFerryError: As ``copy`` would.
    """
    ends, limits = open_ends(source, destination, options)
    with TemporaryDirectory(prefix="dataferry-") as directory:
        snapshot = LedgerFile(ends.identity, options.ledger).snapshot(Path(directory))
        with closing(snapshot.open()) as ledger, ends.opened() as opened:
            transfer, _ = _transfer(ledger, ends, opened, limits, options)
            return preview(transfer, ledger, observer)


def _transfer(
    ledger: LocalLedger, ends: Ends, opened: tuple[Source, Sink], limits: EngineLimits, options: CopyOptions
) -> tuple[Transfer, str | None]:
    """Begin the next attempt, and name the finished transfer that it learns from."""
    name, earlier = turns(ledger, ends.identity)
    attempt = ledger.begin(name)
    transfer = Transfer(
        id=name,
        epoch=attempt.epoch,
        source=opened[0],
        sink=opened[1],
        limits=limits,
        verify=ends.verify,
        overwrite=options.overwrite,
        manifest=options.manifest,
        earlier=earlier,
        selection=ends.selection,
        bandwidths=ends.bandwidths,
    )
    return transfer, earlier


class _Copy:
    """One run of a copy over an open ledger."""

    def __init__(
        self, ends: Ends, file: LedgerFile, limits: EngineLimits, options: CopyOptions, observer: Observer
    ) -> None:
        self._ends = ends
        self._file = file
        self._limits = limits
        self._options = options
        self._observer = observer
        self._stop = Stop()

    def run(self) -> Outcome:
        """Move what is left, clean up, and put the ledger away if nothing is left to do."""
        ledger = self._file.open()
        settled = is_empty = False
        try:
            outcome, left = self._with(ledger)
            settled = outcome.state == "completed" and not left
        except DataFerryError:
            settled, is_empty = self._is_settled(ledger)
            raise
        finally:
            ledger.close()
            if is_empty:
                self._file.remove()
            elif settled:
                self._file.finish()
        return outcome

    def _is_settled(self, ledger: LocalLedger) -> tuple[bool, bool]:
        """After an error: is nothing left to do, and is nothing known either?"""
        name, earlier = turns(ledger, self._ends.identity)
        settled = ledger.totals(name).objects_total == 0 and not ledger.cleanups(limit=1)
        return settled, settled and earlier is None

    def _with(self, ledger: LocalLedger) -> tuple[Outcome, int]:
        """Run the engine; return the outcome and how many clean-ups remain."""
        with self._ends.opened() as opened:
            transfer, earlier = _transfer(ledger, self._ends, opened, self._limits, self._options)
            work = _Work(transfer, ledger, self._stop, self._observer)
            with interrupts() as interrupted:
                work.start()
                while not work.finished.wait(SIGNAL_CHECK_S):
                    if interrupted:
                        self._stop.set()
                work.join()
                outcome = self._outcome(work, ledger)
                left = self._clean_up(ledger) if outcome.state != "interrupted" else 0
                write_errors(ledger, transfer.id, self._options.errors)
                if outcome.state == "completed" and earlier is not None:
                    ledger.forget(earlier)
        return outcome, left

    def _outcome(self, work: _Work, ledger: LocalLedger) -> Outcome:
        """What to tell.

        Raises:
            DataFerryError: The engine's, where it could not even begin.
        """
        if isinstance(work.error, StoppedError):
            advice = "interrupted; run the same command again to resume"
            return _cut_short("interrupted", ledger.totals(work.transfer.id), work.seconds, advice)
        if (
            isinstance(work.error, DataFerryError)
            and (totals := ledger.totals(work.transfer.id)).objects_total
        ):
            return _cut_short("failed", totals, work.seconds, str(work.error))
        if work.error is not None:
            raise work.error
        if work.result is None:
            raise RuntimeError("the engine ended without a result")
        result = work.result
        rows = ledger.objects(work.transfer.id, limit=MAX_FAILURES, state=ObjectState.FAILED)
        return Outcome(
            state="completed" if result.is_complete else "failed",
            objects=result.objects,
            bytes=result.bytes,
            seconds=result.seconds,
            objects_skipped=result.objects_skipped,
            bytes_moved=result.bytes_moved,
            bytes_copied=result.bytes_copied,
            bytes_resumed=result.bytes_resumed,
            bytes_retransferred=result.bytes_retransferred,
            strategy=result.strategy,
            verification=result.verification.word,
            failures=tuple((row.source.name, row.error_kind or "error", row.error or "") for row in rows),
            failed=result.objects_failed,
            advice=_advice(result, self._ends.selection),
        )

    def _clean_up(self, ledger: LocalLedger) -> int:
        """Abort uploads that are of no more use; return how many could not be aborted now."""

        def sink_of(cleanup: Cleanup) -> Sink | None:
            sink = self._ends.open_sink()
            if sink.identity == cleanup.target_identity:
                return sink
            sink.close()
            return None

        def given_up(_cleanup: Cleanup, error: str) -> None:
            self._observer.noted("upload_left_open", error)

        abort_due(ledger, sink_of, SystemClock(), MAX_CLEANUPS, given_up=given_up)
        return len(ledger.cleanups(limit=MAX_CLEANUPS))


def _cut_short(state: str, totals: Totals, seconds: float, advice: str) -> Outcome:
    """What to tell of a run that did not come to its end: what is committed."""
    return Outcome(
        state=state,
        objects=totals.objects_done + totals.objects_skipped,
        bytes=totals.bytes_done,
        seconds=seconds,
        advice=advice,
    )


def _advice(result: Result, selection: Selection) -> str | None:
    """What to do next, where there is something."""
    if result.objects_failed:
        what = "1 object" if result.objects_failed == 1 else f"{result.objects_failed} objects"
        return f"{what} failed; run the same command again to try again"
    if not result.objects and selection:
        return "the patterns select nothing of what is at the source"
    if not result.objects:
        return "there is nothing at the source"
    return None


@dataclass(slots=True)
class _Work:
    """The engine in a thread of its own: the main thread stays free for signals."""

    transfer: Transfer
    ledger: LocalLedger
    stop: Stop
    observer: Observer
    result: Result | None = None
    error: BaseException | None = None
    seconds: float = 0.0
    finished: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="copy")
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread's last line."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        clock = SystemClock()
        begun = clock.monotonic()
        try:
            self.result = run(self.transfer, self.ledger, stop=self.stop, observer=self.observer, clock=clock)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
            self.error = error
        finally:
            self.seconds = clock.monotonic() - begun
            self.finished.set()
