"""Prints tables for people and JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataferry.app.reach import Finding

KIB = 1024
SHORT_CHARS = 12


def print_json(value: Any) -> None:
    """Print one JSON document."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    # JSON lets these stand as they are; terminals obey them.
    sys.stdout.write(re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def entry_name(path: dict[str, Any]) -> str:
    """What an entry of ``/status`` is about: the asset if its client named one, else the contract."""
    return str(path.get("asset_id") or path["contract_id"])


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Print a table; ``empty`` is said instead if there is no row."""
    from rich.console import Console

    found = [[as_text(cell) for cell in row] for row in rows]
    console = Console(highlight=False, soft_wrap=False)
    if not found:
        console.print(empty, markup=False)
        return
    console.print(table(columns, found))


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, one pair a line, with what is long folded beside its name."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in facts:
        made.add_row(Text(printable(name)), Text(printable(as_text(value))))
    Console(highlight=False, soft_wrap=False).print(made)


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print what a check found; exit with 1 if something is wrong."""
    import typer

    if as_json:
        print_json([finding.as_json() for finding in findings])
    else:
        rows = ([found.what, "ok" if found.ok else "WRONG", found.detail] for found in findings)
        print_table(("what", "", "detail"), rows, empty="nothing to check")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    """Return a rich table; cells are plain text, whatever they hold. Short words are not broken."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        is_short = all(len(row[number]) <= SHORT_CHARS for row in rows)
        made.add_column(column, overflow="fold", no_wrap=is_short)
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def printable(text: str) -> str:
    """Text without control characters: names come from elsewhere, and terminals obey escapes."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def as_text(value: Any) -> str:
    """A cell for people."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(as_text(entry) for entry in value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name}={as_text(entry)}" for name, entry in value.items()) or "-"
    return str(value)


def as_time(value: Any) -> str:
    """A moment of the API for people, to the second: ``2026-11-23 02:18:09 UTC``."""
    try:
        moment = datetime.fromisoformat(str(value)).astimezone(UTC)
    except ValueError:
        return as_text(value)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def as_size(count: float | None) -> str:
    """Bytes for people: ``1.5 MiB``."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < KIB:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= KIB
    return f"{value:.1f} TiB"
