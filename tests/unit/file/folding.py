"""A file system that folds names as APFS does, below the operating system's calls that take names.

No such one can be mounted where these tests run. Names are kept as they were first written, and found by any
spelling: before each call, a name becomes the one in its directory that differs in case or composition only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from unicodedata import normalize

import pytest

# Which calls take names, and by which arguments: (position, keyword of the directory).
CALLS = {
    "open": ((0, "dir_fd"),),
    "lstat": ((0, "dir_fd"),),
    "stat": ((0, "dir_fd"),),
    "mkdir": ((0, "dir_fd"),),
    "unlink": ((0, "dir_fd"),),
    "link": ((0, "src_dir_fd"), (1, "dst_dir_fd")),
    "replace": ((0, "src_dir_fd"), (1, "dst_dir_fd")),
    "rename": ((0, "src_dir_fd"), (1, "dst_dir_fd")),
}


def by_case_and_composition(name: str) -> str:
    """As APFS compares."""
    return normalize("NFC", normalize("NFD", name).casefold())


def by_case(name: str) -> str:
    """As vfat and case-insensitive shares compare."""
    return name.casefold()


def by_composition(name: str) -> str:
    """As the case-sensitive variant of APFS compares."""
    return normalize("NFC", name)


def fold_names(monkeypatch: pytest.MonkeyPatch, same: Callable[[str], str]) -> None:
    """Make every call that takes a name and a directory's descriptor fold the name."""
    listdir = os.listdir

    def found(name: str, directory: int | None) -> str:
        if directory is None or "/" in name:
            return name
        there = listdir(f"/proc/self/fd/{directory}")
        return next((other for other in there if same(other) == same(name)), name)

    def folding(call: Callable[..., Any], names: tuple[tuple[int, str], ...]) -> Callable[..., Any]:
        def folded(*arguments: Any, **options: Any) -> Any:
            given = list(arguments)
            for position, keyword in names:
                given[position] = found(given[position], options.get(keyword))
            return call(*given, **options)

        return folded

    for name, names in CALLS.items():
        monkeypatch.setattr(os, name, folding(getattr(os, name), names))
