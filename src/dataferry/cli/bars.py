"""Bars for a terminal: one for all entries, and one for each download that runs."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from dataferry.cli.output import entry_name, printable

MOST_BARS = 8


class Bars:
    """Shows how an orchestration is; nothing where nobody watches.

    Args:
        shown: Whether somebody does.
    """

    def __init__(self, *, shown: bool) -> None:
        console = Console(stderr=True)
        text = TextColumn("{task.description}", markup=False, table_column=Column(max_width=40, no_wrap=True))
        self._entries = Progress(text, BarColumn(), MofNCompleteColumn(), console=console, disable=not shown)
        self._bytes = Progress(
            text, BarColumn(), DownloadColumn(binary_units=True), console=console, disable=not shown
        )
        self._all = self._entries.add_task("entries", total=None)
        self._tasks: dict[int, Any] = {}
        self._shown = shown
        self._live: Any = None

    def __enter__(self) -> Self:
        if self._shown:
            from rich.console import Group
            from rich.live import Live

            self._live = Live(Group(self._entries, self._bytes), console=self._entries.console)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, view: dict[str, Any]) -> None:
        """Move the bars to where an orchestration is now."""
        ended = view["progress"]["entries_ended"]
        self._entries.update(
            self._all, description=_standing(view), completed=ended, total=view["entries_total"]
        )
        running = {path["position"]: path for path in view["storage_paths"] if path.get("progress")}
        for position in list(self._tasks):
            if position not in running:
                self._bytes.remove_task(self._tasks.pop(position))
        for position, path in running.items():
            if position not in self._tasks and len(self._tasks) < MOST_BARS:
                self._tasks[position] = self._bytes.add_task(printable(entry_name(path)), total=None)
            if position in self._tasks:
                progress = path["progress"]
                self._bytes.update(
                    self._tasks[position],
                    completed=progress["bytes_transferred"],
                    total=progress["bytes_total"],
                )


def _standing(view: dict[str, Any]) -> str:
    """Say how far an orchestration is, and how many of its entries wait for a contract."""
    negotiated = sum(
        path["status"] == "PROCESSING" and path["contract_id"] is None for path in view["storage_paths"]
    )
    return f"{view['process_status']}, {negotiated} negotiated" if negotiated else str(view["process_status"])
