"""Where the ledger of a copy is, and how long it is kept.

While there is something to resume or to clean up it lies beside its lock. Once everything has arrived it
moves to ``finished/``: the next run of the same copy takes it back, and skips what has not changed since.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from dataferry.domain.errors import ConfigError
from dataferry.store.local import LocalLedger, open_local_ledger

# Of all finished ledgers together, about three million objects: they only save time, so the oldest go.
KEPT_BYTES = 1024**3
SIDE_FILES = ("-wal", "-shm")


class LedgerFile:
    """The file of one pair of places.

    Args:
        identity: Of the pair.
        named: The file that the user named; None is one in the state directory.
    """

    def __init__(self, identity: str, named: Path | None) -> None:
        self._is_named = named is not None
        self.path = named or _state_directory() / f"{identity}.db"
        self._finished = self.path.parent / "finished" / self.path.name

    def open(self) -> LocalLedger:
        """Open it, or make it; a finished one is taken back first.

        Raises:
            ConfigError: It can't be opened.
        """
        try:
            if self._take_back():
                with suppress(ConfigError):
                    return open_local_ledger(self.path)
                self.remove()  # another version's: it only saved time
            return open_local_ledger(self.path)
        except OSError as error:
            raise ConfigError(f"the ledger {self.path} can't be opened: {error}") from error

    def _take_back(self) -> bool:
        """Bring a finished ledger back, unless there is one to go on with."""
        if self._is_named or self.path.exists():
            return False
        with suppress(FileNotFoundError):
            self._finished.replace(self.path)
            return True
        return False

    def snapshot(self, directory: Path) -> LedgerFile:
        """Copy what is remembered into a directory; a copy that runs is not disturbed."""
        made = LedgerFile("", directory / "ledger.db")
        for path, how in ((self.path, "mode=ro"), (self._finished, "immutable=1")):
            if path.is_file():
                with (
                    closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as source,
                    closing(sqlite3.connect(made.path)) as target,
                ):
                    source.backup(target)
                break
        try:
            made.open().close()
        except ConfigError:
            made.remove()  # another version's
        return made

    def finish(self) -> None:
        """Put the closed file away: nothing is left to resume."""
        if self._is_named or any(self._beside(suffix).exists() for suffix in SIDE_FILES):
            return  # another program reads it: where it is it does as well
        self._finished.parent.mkdir(exist_ok=True, mode=0o700)
        self.path.replace(self._finished)
        os.utime(self._finished)
        _prune(self._finished.parent)

    def remove(self) -> None:
        """Remove the closed file: it holds nothing."""
        for suffix in ("", *SIDE_FILES):
            self._beside(suffix).unlink(missing_ok=True)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)


def turns(ledger: LocalLedger, identity: str) -> tuple[str, str | None]:
    """Return the transfer to go on with, and a finished one that it can learn from, if there is one.

    Two names take turns, so that the finished one can be read while the next one is planned.
    """
    one, other = f"{identity}-1", f"{identity}-2"
    if not is_finished(ledger, one):
        return one, other if is_finished(ledger, other) else None
    if is_finished(ledger, other):
        ledger.forget(other)  # a kill came before the older one was forgotten; either will do
    return other, one


def is_finished(ledger: LocalLedger, transfer_id: str) -> bool:
    """True if every object of a transfer has arrived."""
    totals = ledger.totals(transfer_id)
    return totals.plan_complete and totals.objects_done + totals.objects_skipped >= totals.objects_total


def _state_directory() -> Path:
    """``$XDG_STATE_HOME/dataferry``.

    Source: XDG Base Directory Specification, "Environment variables": a relative path is ignored.
    """
    home = os.environ.get("XDG_STATE_HOME", "")
    state = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    return state / "dataferry"


def _prune(directory: Path) -> None:
    """Remove the oldest finished ledgers beyond ``KEPT_BYTES``; another copy may be taking one back."""
    found: list[tuple[float, int, Path]] = []
    for path in directory.glob("*.db"):
        with suppress(FileNotFoundError):
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    kept = 0
    for _, size, path in sorted(found, reverse=True):
        kept += size
        if kept > KEPT_BYTES:
            path.unlink(missing_ok=True)
