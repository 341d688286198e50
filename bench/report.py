"""Results of measurements on disk: one JSON document and one Markdown page each, named by day and machine."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contestants import commit, versions

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """When something was measured, of which code, and how busy the machine was before; taken as it begins."""

    at: str
    commit: str
    load_before: float

    @property
    def words(self) -> str:
        """The same, for people."""
        return f"{self.at}, dataferry's commit {self.commit}, load before {self.load_before}"


def stamp() -> Stamp:
    """Take it."""
    return Stamp(
        at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        commit=commit(),
        load_before=round(os.getloadavg()[0], 2),
    )


def machine() -> dict[str, str | int | float]:
    """Describe where this ran, without its name."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(int(memory[1]) / 1024**2) if memory else 0,
        "kernel": platform.release(),
    }


def runs_in_words(runs: int) -> str:
    """Say what the numbers of a page are."""
    return "One run of each" if runs == 1 else f"Medians of {runs} runs"


def path_of(name: str, where: Mapping[str, str | int | float], suffix: str) -> Path:
    """Return where today's results of one kind are kept; ``name`` is empty for ``make bench``."""
    slug = re.sub(r"[^a-z0-9]+", "-", str(where["processor"]).lower().split("@")[0]).strip("-")
    parts = [f"{datetime.now(UTC):%Y-%m-%d}", *([name] if name else []), f"{where['cores']}x-{slug}"]
    return RESULTS / ("-".join(parts) + suffix)


def write(
    name: str,
    title: str,
    where: Mapping[str, str | int | float],
    text: Sequence[str],
    data: Mapping[str, Any],
    *,
    tools: Sequence[str],
    measured: Mapping[str, Stamp],
) -> Path:
    """Write results over those of the same day; return the path of the page.

    Args:
        name: Of the kind of measurement, for the file's name.
        title: Of the page.
        where: As ``machine`` tells.
        text: The page's lines, after what the machine is.
        data: What the document has beside date, machine and versions.
        tools: Those that took part, as ``versions`` calls them; Python always does.
        measured: When and of which code, by what was measured; the name is empty if it is all.
    """
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    used = {tool: text for tool, text in versions().items() if tool in {*tools, "python"}}
    document = {"machine": where, "versions": used, "measured": measured, **data}
    _replace(path_of(name, where, ".json"), json.dumps(document, indent=2, default=_plain) + "\n")
    page = [
        f"# {title}, {now:%Y-%m-%d}",
        "",
        f"{where['processor']}, {where['memory_gib']} GiB, {where['cores']} cores shared by all that runs.",
        *text,
        "",
        *(f"- {tool} {text}" for tool, text in used.items()),
        "",
        "Measured:",
        "",
        *(f"- {f'{what}: ' if what else ''}{it.words}" for what, it in measured.items()),
        "",
    ]
    path = path_of(name, where, ".md")
    _replace(path, "\n".join(page))
    return path


def _replace(path: Path, text: str) -> None:
    """Write whole or not at all: whoever stops a long run keeps what it had."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text)
    beside.replace(path)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no place in a result")
