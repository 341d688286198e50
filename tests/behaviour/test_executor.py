"""Executors under the shipped suite, and what only the embedded one promises."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest

from dataferry.execution.embedded import EmbeddedExecutor
from dataferry.testing.executor_suite import ExecutorSuite, MakeExecutor, RecordedWork, Work, until


@pytest.fixture
def make_executor() -> Iterator[MakeExecutor]:
    """Started executors, closed at the end."""
    made: list[EmbeddedExecutor] = []

    def make(work: Work, concurrency: int) -> EmbeddedExecutor:
        made.append(EmbeddedExecutor(work, concurrency=concurrency))
        made[-1].start()
        return made[-1]

    yield make
    for executor in made:
        assert executor.close()


class TestEmbedded(ExecutorSuite):
    """Threads in this process."""

    def test_close_stops_and_joins(self) -> None:
        """After close no thread is left, what waited did not begin, and a late wake-up does nothing."""
        before = set(threading.enumerate())
        work = RecordedWork()
        executor = EmbeddedExecutor(work, concurrency=2)
        executor.start()
        for _ in range(5):
            executor.submit(uuid4())
        until(lambda: len(executor.running()) == 2)
        assert executor.close()
        executor.submit(uuid4())
        assert executor.close()
        assert len(work.ran) == 2
        assert before == set(threading.enumerate())
