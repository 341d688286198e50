"""One of each: file locks."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataferry.app.locks import FileLock
from dataferry.domain.errors import ConfigError, ConflictError


def test_the_second_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    """The refusal says what was given to say."""
    path = tmp_path / "x.lock"
    with FileLock(path, refusal="busy"), pytest.raises(ConflictError, match="busy"):
        FileLock(path, refusal="busy").acquire()
    with FileLock(path, refusal="busy"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_removed_lock_file_locks_nobody_out(tmp_path: Path) -> None:
    """Whoever removed the file lets the next one make a new one, and that one holds."""
    path = tmp_path / "x.lock"
    first = FileLock(path, refusal="busy")
    first.acquire()
    first.release(remove=True)
    assert not path.exists()
    with FileLock(path, refusal="busy"), pytest.raises(ConflictError):
        FileLock(path, refusal="busy").acquire()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(ConfigError, match=r"missing/x\.lock"):
        FileLock(tmp_path / "missing" / "x.lock", refusal="busy").acquire()
