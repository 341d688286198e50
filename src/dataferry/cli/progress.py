"""The progress bar of ``copy``: on stderr, and only where a person watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dataferry.domain.progress import Progress
from dataferry.engine.transfer import Observer


class Silent:
    """Watches without a word."""

    def progressed(self, progress: Progress) -> None:
        """Nothing to show."""

    def noted(self, kind: str, message: str) -> None:
        """Nothing to show."""


class Terse(Silent):
    """Says only why nothing moves for hours: for logs of jobs that run at night."""

    def noted(self, kind: str, message: str) -> None:
        """Show what is waited for."""
        if kind == "waiting":
            sys.stderr.write(f"dataferry: {message}\n")


@contextmanager
def watcher(*, quiet: bool) -> Iterator[Observer]:
    """Return who watches a transfer: a bar on a terminal, else one that hardly speaks."""
    if quiet or not sys.stderr.isatty():
        yield Silent() if quiet else Terse()
        return
    from dataferry.cli.bar import Bar

    with Bar() as bar:
        yield bar
