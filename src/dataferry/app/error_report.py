"""The report of a copy's failed objects: JSON lines, in a file that is whole or not there."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dataferry.domain.errors import ConfigError
from dataferry.domain.ledger import Ledger, ObjectRow, ObjectState, rows_of

STDOUT = "-"


def refuse_unwritable(target: str | None) -> None:
    """Refuse a report that could not be written at the end.

    Raises:
        ConfigError: Its directory is not there or can't be written to, or it is a directory itself.
    """
    if target in (None, STDOUT):
        return
    path = Path(target)
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a directory")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(f"the report {target} can't be written: {error.strerror or error}") from error


def write_errors(ledger: Ledger, transfer_id: str, target: str | None) -> None:
    """Write a line for each object of a transfer that failed: name, size, kind and message.

    Args:
        ledger: Knows them.
        transfer_id: Whose.
        target: A file, which is replaced; ``-`` is stdout; None writes nothing.

    Raises:
        ConfigError: The file can't be written.
    """
    if target is None:
        return
    if target == STDOUT:
        sys.stdout.writelines(_lines(ledger, transfer_id))
        return
    path = Path(target)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.writelines(_lines(ledger, transfer_id))
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"the report {target} can't be written: {error.strerror or error}") from error


def _lines(ledger: Ledger, transfer_id: str) -> Iterator[str]:
    for row in rows_of(ledger, transfer_id, state=ObjectState.FAILED):
        yield f"{json.dumps(_entry(row))}\n"


def _entry(row: ObjectRow) -> dict[str, object]:
    return {
        "name": row.source.name,
        "size": row.source.size_bytes,
        "kind": row.error_kind,
        "message": row.error,
    }
