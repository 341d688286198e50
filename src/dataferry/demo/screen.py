"""What the demo shows: steps with their times, and a live bar; plain lines where nobody watches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

MIB = 1024 * 1024
WIDTH = 80
PLAIN_STEP_PERCENT = 20


class Screen:
    """Writes to standard output, 80 columns wide at most.

    Args:
        console: Where to write; standard output if None.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal or self.console.width > WIDTH:
            self.console.width = WIDTH
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def title(self, text: str) -> None:
        """Begin a chapter."""
        self.console.print(f"\n[bold]{escape(text)}[/bold]", soft_wrap=True)

    def step(self, what: str, detail: str = "") -> None:
        """Tell one thing that has happened."""
        line = f"[dim]{self.seconds:6.1f} s[/dim]  {escape(what)}"
        if detail:
            line = f"[dim]{self.seconds:6.1f} s[/dim]  {escape(what):<31} [cyan]{escape(detail)}[/cyan]"
        self.console.print(line, soft_wrap=True)

    def line(self, text: str = "") -> None:
        """Write a line as it is."""
        self.console.print(escape(text), soft_wrap=True)

    def fact(self, name: str, value: str) -> None:
        """Write one row of the summary."""
        self.console.print(f"  {escape(name):<31} {escape(value)}", soft_wrap=True)

    def verdict(self, text: str, *, good: bool) -> None:
        """Say how it ended."""
        colour = "green" if good else "red"
        self.console.print(f"\n[bold {colour}]{escape(text)}[/bold {colour}]", soft_wrap=True)

    @contextmanager
    def bar(self, name: str, total_bytes: int) -> Iterator[Bar]:
        """Show a bar while the context lasts; steps told meanwhile appear above it."""
        if not self.console.is_terminal:
            yield PlainBar(self, name, total_bytes)
            return
        columns = (
            TextColumn("         {task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f}%"),
            TextColumn("{task.fields[word]}", markup=False),
        )
        with Progress(*columns, console=self.console, refresh_per_second=8) as progress:
            task = progress.add_task(name, total=total_bytes, word="")
            yield LiveBar(progress, task, total_bytes)


class Bar:
    """How far a flow is, as the management API tells it."""

    def show(self, flow: Mapping[str, Any] | None) -> None:
        """Show a flow's view; None while the plane does not answer."""
        raise NotImplementedError


class LiveBar(Bar):
    """A bar that moves in its place."""

    def __init__(self, progress: Progress, task: TaskID, total_bytes: int) -> None:
        self._progress = progress
        self._task = task
        self._total_bytes = total_bytes

    def show(self, flow: Mapping[str, Any] | None) -> None:
        """Move the bar."""
        if flow is None:
            self._progress.update(self._task, word="the plane is down")
            return
        moved = flow.get("bytesTransferred") or 0
        word = f"{moved / MIB:,.0f}/{self._total_bytes / MIB:,.0f} MiB {_doing(flow)}"
        self._progress.update(self._task, completed=moved, word=word)


class PlainBar(Bar):
    """A line now and then."""

    def __init__(self, screen: Screen, name: str, total_bytes: int) -> None:
        self._screen = screen
        self._name = name
        self._total_bytes = total_bytes
        self._next_percent: float = PLAIN_STEP_PERCENT

    def show(self, flow: Mapping[str, Any] | None) -> None:
        """Write a line each fifth of the way."""
        moved = 0 if flow is None else flow.get("bytesTransferred") or 0
        percent = 100 * moved / self._total_bytes
        if flow is None or percent < self._next_percent:
            return
        self._next_percent = percent - percent % PLAIN_STEP_PERCENT + PLAIN_STEP_PERCENT
        self._screen.step(f"{self._name} {percent:.0f}%", f"{moved / MIB:,.0f} MiB, {_doing(flow)}")


def _doing(flow: Mapping[str, Any]) -> str:
    """A word for what a flow does now."""
    if flow.get("running"):
        return f"{(flow.get('throughput') or 0) / MIB:,.0f} MiB/s"
    return str(flow.get("state", "")).lower()
