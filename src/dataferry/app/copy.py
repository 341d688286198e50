"""One transfer in this process, with the engine of the service and a ledger in a local file.

Running the same copy again goes on where it was: the ledger is found by the identity of both ends. Once
everything has arrived it is removed, so that the next run looks at the source anew.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dataferry.app.interrupts import interrupts
from dataferry.app.locks import FileLock
from dataferry.app.outcome import CopyOptions, Outcome
from dataferry.app.places import KnownLocations, find_place
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import ConfigError, DataFerryError, StoppedError
from dataferry.domain.ledger import Attempt, Cleanup, ObjectState
from dataferry.engine.cleanup import abort_due
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Observer, Overwrite, Result, Transfer
from dataferry.mechanisms.base import Endpoint, Mechanism, Sink, Source
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network
from dataferry.store.local import LocalLedger, open_local_ledger

if TYPE_CHECKING:
    from dataferry.app.settings import Settings

SIGNAL_CHECK_S = 0.1
MAX_FAILURES = 20
MAX_CLEANUPS = 1000
DEFAULT_FILE = "dataferry.toml"


def copy(source: str, destination: str, options: CopyOptions, observer: Observer) -> Outcome:
    """Copy ``source`` to ``destination``; call it from the main thread, it listens to signals.

    Raises:
        ConfigError, InputError: What was asked for can't be.
        ConflictError: The same copy is running already.
        DataFerryError: It can't go on as a whole, e.g. a bucket is missing.
    """
    settings = _settings(options.config)
    registry = Registry()
    locations: KnownLocations | None = None
    limits = EngineLimits()
    network = Network(stall_timeout_s=limits.stall_timeout_s)
    if settings is not None:
        from dataferry.app.wiring import Locations, engine_limits, network_of

        locations = Locations(settings, registry)
        network = network_of(settings)
        limits = engine_limits(settings)
    ends = _Ends(
        source=find_place(source, locations=locations, registry=registry),
        destination=find_place(destination, locations=locations, registry=registry),
        network=network,
    )
    path = options.ledger or _ledger_path(ends)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(
        path.with_name(f"{path.name}.lock"),
        refusal=f"this copy is running already (its ledger {path} is in use); wait for it, or stop it",
    )
    lock.acquire()
    try:
        return _Copy(ends, path, options.limits(limits), options.overwrite, observer).run()
    finally:
        # Without a ledger there is nothing left that two could work on.
        lock.release(remove=not path.exists())


def _settings(config: str | None) -> Settings | None:
    """The settings, if there is a file; without one nothing is imported for them."""
    if config is None and "DATAFERRY_CONFIG" not in os.environ and not Path(DEFAULT_FILE).is_file():
        return None
    from dataferry.app.configuration import load

    return load(config)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """Both places of a copy."""

    source: tuple[Mechanism, Endpoint]
    destination: tuple[Mechanism, Endpoint]
    network: Network

    @property
    def identity(self) -> str:
        """Equal for the same pair of places, without credentials."""
        places = (self.source, self.destination)
        ends = (f"{mechanism.name} {endpoint.identity}" for mechanism, endpoint in places)
        return hashlib.sha256("\n".join(ends).encode()).hexdigest()[:32]

    def open_source(self) -> Source:
        mechanism, endpoint = self.source
        return mechanism.open_source(endpoint, self.network)

    def open_sink(self) -> Sink:
        mechanism, endpoint = self.destination
        return mechanism.open_sink(endpoint, self.network)


def _ledger_path(ends: _Ends) -> Path:
    """``$XDG_STATE_HOME/dataferry/<pair>.db``.

    Source: XDG Base Directory Specification, "Environment variables": a relative path is ignored.
    """
    home = os.environ.get("XDG_STATE_HOME", "")
    state = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    return state / "dataferry" / f"{ends.identity}.db"


class _Copy:
    """One run of a copy over an open ledger."""

    def __init__(
        self, ends: _Ends, path: Path, limits: EngineLimits, overwrite: Overwrite, observer: Observer
    ) -> None:
        self._ends = ends
        self._path = path
        self._limits = limits
        self._overwrite = overwrite
        self._observer = observer
        self._stop = Stop()

    def run(self) -> Outcome:
        """Move what is left, clean up, and remove the ledger if nothing is left to remember."""
        ledger = self._open()
        worthless = False
        try:
            outcome, left = self._with(ledger)
            worthless = outcome.state == "completed" and not left
        except DataFerryError:
            worthless = self._is_empty(ledger)
            raise
        finally:
            ledger.close()
            if worthless:
                for suffix in ("", "-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return outcome

    def _is_empty(self, ledger: LocalLedger) -> bool:
        """True if nothing was planned, and nothing is left to clean up."""
        name = self._transfer_id(ledger)
        return ledger.totals(name).objects_total == 0 and not ledger.cleanups(limit=1)

    def _open(self) -> LocalLedger:
        try:
            return open_local_ledger(self._path)
        except OSError as error:
            raise ConfigError(f"the ledger {self._path} can't be opened: {error}") from error

    def _with(self, ledger: LocalLedger) -> tuple[Outcome, int]:
        """Run the engine; return the outcome and how many clean-ups remain."""
        attempt = ledger.begin(self._transfer_id(ledger))
        source, sink = self._ends.open_source(), self._ends.open_sink()
        try:
            _probe(source)
            _probe(sink)
            transfer = Transfer(
                id=attempt.transfer_id,
                epoch=attempt.epoch,
                source=source,
                sink=sink,
                limits=self._limits,
                overwrite=self._overwrite,
            )
            work = _Work(transfer, ledger, self._stop, self._observer)
            with interrupts() as interrupted:
                work.start()
                while not work.finished.wait(SIGNAL_CHECK_S):
                    if interrupted:
                        self._stop.set()
                work.join()
                outcome = self._outcome(work, ledger, attempt)
                left = self._clean_up(ledger) if outcome.state != "interrupted" else 0
        finally:
            source.close()
            sink.close()
        return outcome, left

    def _transfer_id(self, ledger: LocalLedger) -> str:
        """The pair's transfer: a new one if the last is finished and only kept for its clean-ups."""
        number = 1
        while True:
            name = f"{self._ends.identity}-{number}"
            totals = ledger.totals(name)
            finished = totals.objects_done + totals.objects_skipped
            if not totals.plan_complete or finished < totals.objects_total:
                return name
            number += 1

    def _outcome(self, work: _Work, ledger: LocalLedger, attempt: Attempt) -> Outcome:
        """What to tell.

        Raises:
            DataFerryError: The engine's, where it could not go on.
        """
        if isinstance(work.error, StoppedError):
            totals = ledger.totals(attempt.transfer_id)
            return Outcome(
                state="interrupted",
                objects=totals.objects_done + totals.objects_skipped,
                bytes=totals.bytes_done,
                seconds=work.seconds,
                advice="interrupted; run the same command again to resume",
            )
        if work.error is not None:
            raise work.error
        if work.result is None:
            raise RuntimeError("the engine ended without a result")
        result = work.result
        rows = ledger.objects(attempt.transfer_id, limit=MAX_FAILURES, state=ObjectState.FAILED)
        return Outcome(
            state="completed" if result.is_complete else "failed",
            objects=result.objects,
            bytes=result.bytes,
            seconds=result.seconds,
            bytes_resumed=result.bytes_resumed,
            bytes_retransferred=result.bytes_retransferred,
            strategy=result.strategy,
            verification=result.verification.word,
            failures=tuple((row.source.name, row.error_kind or "error", row.error or "") for row in rows),
            failed=result.objects_failed,
            advice=None
            if result.is_complete
            else f"{result.objects_failed} objects failed; run the same command again to try them again",
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


def _probe(end: Source | Sink) -> None:
    """Refuse what can't work before a byte moves; what may pass is left to the engine, which tries again."""
    try:
        end.probe()
    except DataFerryError as error:
        if not error.is_temporary:
            raise


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
