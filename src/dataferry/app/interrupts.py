"""Signals of a command that can be stopped: noted where it is safe to act on them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODE = 130


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list; a second one ends the process at once.

    The handler touches nothing that has a lock: it may interrupt whoever holds it.
    """
    seen: list[int] = []
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: object) -> None:
        if seen:
            os._exit(EXIT_CODE)
        seen.append(number)

    for number in kept:
        signal.signal(number, note)
    try:
        yield seen
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
