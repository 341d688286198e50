"""File places: a root that nothing leaves, and a path below it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from dataferry.domain.errors import AddressError, ConfigError, DataFerryError
from dataferry.domain.location import Location, Provenance
from dataferry.mechanisms.file.tree import directory, segments

LOCATION_SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "file location",
    "type": "object",
    "properties": {
        "root": {
            "type": "string",
            "pattern": "^/",
            "description": "Absolute path of the directory that nothing leaves.",
        },
    },
    "required": ["root"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEndpoint:
    """A file or directory of this machine; always the operator's word.

    Attributes:
        root: An absolute directory, links resolved; nothing outside is read or written.
        steps: From the root to the place; empty is the root itself.
        is_directory: It was written with a trailing slash: a directory, also where there is none yet.
        name: The file name as it was written, which may be that of a link.
    """

    root: str
    steps: tuple[str, ...]
    is_directory: bool
    name: str
    mechanism: str = field(default="file", init=False)
    provenance: Provenance = field(default=Provenance.OPERATOR, init=False)
    # Temporary files carry our suffix: those of our keys are ours, whoever else writes to the directory.
    exclusive: bool = field(default=True, init=False)

    @property
    def path(self) -> str:
        """The place relative to the root, ``/`` between steps."""
        return "/".join(self.steps)

    @property
    def identity(self) -> str:
        """The place as a URL."""
        return "file://" + quote("/".join((self.root.rstrip("/"), *self.steps)) or "/")

    @property
    def is_single(self) -> bool:
        """True unless it was written as a directory, or is one."""
        if self.is_directory or not self.steps:
            return False
        try:
            with directory(self.root, self.steps[:-1]) as above:
                return not stat.S_ISDIR(os.lstat(self.steps[-1], dir_fd=above).st_mode)
        except (OSError, DataFerryError):
            return True


def at_location(location: Location, path: str) -> FileEndpoint:
    """Return the place ``location:path``; the path is relative, a trailing slash makes it a directory.

    Raises:
        ConfigError: ``root`` is missing, not absolute, or accompanied by unknown settings.
        AddressError: The path has ``..``, an empty step or something else that is no file name.
    """
    root = location.settings.get("root")
    if not isinstance(root, str) or not root.startswith("/") or "\0" in root:
        raise ConfigError(f"location {location.name!r}: root must be the absolute path of a directory")
    unknown = sorted(set(location.settings) - set(LOCATION_SCHEMA["properties"]) - {"type"})
    if unknown:
        raise ConfigError(f"location {location.name!r}: a file location has no setting {', '.join(unknown)}")
    bare = path.removesuffix("/")
    if path and not bare:
        raise AddressError(
            f"{path!r} is not a path below the location's root: write it without a first slash"
        )
    steps = segments(bare) if bare else ()
    return FileEndpoint(
        root=os.path.realpath(root),
        steps=steps,
        is_directory=bare != path or not steps,
        name=steps[-1] if steps else "",
    )


def at_url(url: str) -> FileEndpoint:
    """Return the place of ``file:///path`` or of a plain path, which may be relative and lead through links.

    Raises:
        AddressError: The URL has a host, a query or a fragment, or the path can't be one.
    """
    path = _path_of(url) if url[:6].lower() == "file:/" else url
    if not path or "\0" in path:
        raise AddressError("a file path must not be empty or hold NUL")
    written = os.path.abspath(path)  # noqa: PTH100 - as written: links are not followed yet
    steps = tuple(step for step in os.path.realpath(written).split("/") if step)
    if steps:
        segments("/".join(steps))
    return FileEndpoint(
        root="/",
        steps=steps,
        is_directory=path.endswith(("/", "/.", "/..")) or path in (".", ".."),
        name=os.path.basename(written),  # noqa: PTH119 - names are strings here, never pathlib's normal form
    )


def _path_of(url: str) -> str:
    """Take the path out of a ``file`` URL.

    Source: RFC 8089, section 2.
    """
    try:
        parts = urlsplit(url)
        path = unquote(parts.path, errors="strict")
    except ValueError as exc:
        raise AddressError("this is not a file URL: write it as file:///path") from exc
    if parts.netloc.lower() not in ("", "localhost"):
        raise AddressError("a file URL names this machine only: write it as file:///path, with three slashes")
    if parts.query or parts.fragment or not path.startswith("/"):
        raise AddressError("a file URL has a path only; write ? as %3F and # as %23")
    return path
