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


@contextmanager
def watcher(*, quiet: bool) -> Iterator[Observer]:
    """Return who watches a transfer: a bar on a terminal, else nobody."""
    if quiet or not sys.stderr.isatty():
        yield Silent()
        return
    from dataferry.cli.bar import Bar

    with Bar() as bar:
        yield bar
