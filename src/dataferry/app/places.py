"""Places as people write them: ``LOCATION:PATH``, a URL, or a path on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from dataferry.domain.errors import ConfigError
from dataferry.domain.location import Location, LocationRef
from dataferry.mechanisms.base import Endpoint, Mechanism
from dataferry.mechanisms.registry import Registry

_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}:")


class KnownLocations(Protocol):
    """The configured locations."""

    @property
    def names(self) -> Sequence[str]:
        """Their names."""
        ...

    def get(self, name: str) -> Location:
        """Return one that is among ``names``."""
        ...


def find_place(
    text: str, *, locations: KnownLocations | None, registry: Registry
) -> tuple[Mechanism, Endpoint]:
    """Return the mechanism and place that ``text`` means.

    Args:
        text: As the user wrote it.
        locations: The configured ones; None if there is no configuration.
        registry: The mechanisms.

    Raises:
        ConfigError: It names a location that is not configured.
        AddressError: It is no place.
    """
    if "://" in text:
        mechanism = _by_scheme(text, registry)
        return mechanism, mechanism.at_url(text)
    if _NAMED.match(text) and not Path(text).exists():
        ref = LocationRef.parse(text)
        location = _location(ref.location, text, locations)
        mechanism = registry.get(location.mechanism)
        return mechanism, mechanism.at_location(location, ref.path)
    url = _local_url(text)
    mechanism = _by_scheme(url, registry)
    return mechanism, mechanism.at_url(url)


def location_of(text: str, locations: KnownLocations | None) -> Location | None:
    """Return the configured location that ``text`` names for ``find_place``; None if it names none."""
    if locations is None or "://" in text or not _NAMED.match(text) or Path(text).exists():
        return None
    name = LocationRef.parse(text).location
    return locations.get(name) if name in locations.names else None


def _location(name: str, text: str, locations: KnownLocations | None) -> Location:
    """Return a configured location, or say what to do."""
    names = locations.names if locations is not None else ()
    if locations is not None and name in names:
        return locations.get(name)
    known = f"configured are: {', '.join(sorted(names))}" if names else "none is configured"
    raise ConfigError(
        f"there is no location {name!r}; {known}."
        f" Add [locations.{name}] to the configuration, or write ./{text} for a file of that name"
    )


def _by_scheme(url: str, registry: Registry) -> Mechanism:
    """The mechanism of a URL; one named like the scheme is tried first, so that the others are not loaded."""
    scheme = url.partition("://")[0].lower()
    if scheme in registry.names:
        mechanism = registry.get(scheme)
        if scheme in mechanism.url_schemes:
            return mechanism
    return registry.by_url(url)


def _local_url(path: str) -> str:
    """``data/x/`` → ``file:///here/data/x/``; the last slash is kept, it means a directory."""
    absolute = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - pathlib drops the last slash
    is_directory = path in {".", ".."} or path.endswith(("/", "/.", "/.."))
    slash = "/" if is_directory and not absolute.endswith("/") else ""
    return f"file://{quote(absolute)}{slash}"
