"""Results of measurements on disk: one JSON document and one Markdown page each, named by day and machine."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contestants import versions

RESULTS = Path(__file__).with_name("results")


def machine() -> dict[str, str | int | float]:
    """Describe where this ran, without its name."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(int(memory[1]) / 1024**2) if memory else 0,
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
    }


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
) -> Path:
    """Write results over those of the same day; return the path of the page.

    Args:
        name: Of the kind of measurement, for the file's name.
        title: Of the page.
        where: As ``machine`` tells.
        text: The page's lines, after what the machine is.
        data: What the document has beside date, machine and versions.
    """
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    used = versions()
    document = {"at": now.isoformat(timespec="seconds"), "machine": where, "versions": used, **data}
    _replace(path_of(name, where, ".json"), json.dumps(document, indent=2, default=_plain) + "\n")
    page = [
        f"# {title}, {now:%Y-%m-%d}",
        "",
        f"{where['processor']}, {where['memory_gib']} GiB, {where['cores']} cores shared by all that runs;",
        f"load before {where['load_before']}.",
        *text,
        "",
        *(f"- {tool} {text}" for tool, text in used.items()),
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
