"""A connection to PostgreSQL that does not wait for ever. Imported only where the driver is installed.

libpq bounds how long what was sent is not acknowledged. But a server or a proxy may take every byte and say
nothing: a process that stands still, a disk that hangs. Nothing below us ends that wait.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg


class BoundedConnection(psycopg.Connection[Any]):
    """A driver's connection; one that is silent for too long is closed, and is of no more use.

    Attributes:
        silence_s: How long the server may say nothing while it is waited for; None is no bound.
    """

    silence_s: float | None = None

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """Consume a generator of the driver's.

        Raises:
            psycopg.OperationalError: The server has fallen silent.
        """
        if self.silence_s is None:
            return super().wait(gen, *arguments, **options)
        try:
            return super().wait(_bounded(gen, self.silence_s), *arguments, **options)
        except _SilentError:
            self.close()
            raise


class _SilentError(psycopg.OperationalError):
    """Nothing came for too long."""


def _bounded(gen: Generator[Any, Any, Any], silence_s: float) -> Generator[Any, Any, Any]:
    """Pass on what a generator waits for. The driver sends it something each 0.1 s, and nothing is falsy."""
    heard_at = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            now = time.monotonic()
            if ready:
                heard_at = now
            elif now - heard_at >= silence_s:
                raise _SilentError(f"nothing came within {silence_s:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value
