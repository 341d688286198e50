"""A bar for a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import (
    Progress as RichProgress,
)

from dataferry.cli.output import as_size
from dataferry.domain.progress import Progress


class Bar:
    """Shows bytes, rate, objects and time left; called from the engine's threads."""

    def __init__(self) -> None:
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("listing", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def progressed(self, progress: Progress) -> None:
        """Move the bar."""
        finished = progress.objects_done + progress.objects_skipped
        checked = f", {as_size(progress.bytes_verified)} read back" if progress.bytes_verified else ""
        total = f"{progress.objects_total}{'' if progress.plan_complete else '+'}"
        self._bar.update(
            self._task,
            description=progress.waiting or f"{finished}/{total} objects{checked}",
            completed=progress.bytes_transferred,
            total=None if progress.objects_unsized else progress.bytes_total,
        )

    def noted(self, kind: str, message: str) -> None:
        """Events are for services; a terminal shows the bar."""
