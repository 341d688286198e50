"""Finds mechanisms: built-ins and plug-ins alike, through entry points, loaded when first asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points

from dataferry.domain.errors import AddressError, ConfigError, ProfileError
from dataferry.domain.profile import Profile
from dataferry.mechanisms.base import Mechanism

GROUP = "dataferry.mechanisms"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")


class Registry:
    """The mechanisms of this installation.

    Args:
        entries: Entry points to choose from; those of the group ``dataferry.mechanisms`` if None.
    """

    def __init__(self, entries: Iterable[EntryPoint] | None = None) -> None:
        found = entry_points(group=GROUP) if entries is None else entries
        self._entries = _by_name(found)
        self._loaded: dict[str, Mechanism] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All names, loaded or not."""
        return tuple(sorted(self._entries))

    def get(self, name: str) -> Mechanism:
        """Return a mechanism by name.

        Raises:
            ConfigError: There is none of that name, or it can't be loaded.
        """
        if name not in self._loaded:
            if name not in self._entries:
                raise ConfigError(
                    f"there is no mechanism {name!r}; this installation has {', '.join(self.names)}"
                )
            self._loaded[name] = _load(self._entries[name])
        return self._loaded[name]

    def all(self) -> tuple[Mechanism, ...]:
        """Return every mechanism, loaded."""
        return tuple(self.get(name) for name in self.names)

    @cached_property
    def _by_profile(self) -> dict[str, tuple[Mechanism, Profile]]:
        """Profile names and aliases; two mechanisms may not claim the same one."""
        table: dict[str, tuple[Mechanism, Profile]] = {}
        for mechanism in self.all():
            for profile in mechanism.profiles:
                for name in profile.names:
                    if name in table:
                        raise ConfigError(
                            f"{mechanism.name} and {table[name][0].name} both claim profile {name}"
                        )
                    table[name] = (mechanism, profile)
        return table

    @property
    def profile_names(self) -> tuple[str, ...]:
        """What a control plane is told: every profile URL and alias."""
        return tuple(self._by_profile)

    def by_profile(self, name: str) -> tuple[Mechanism, Profile]:
        """Return the mechanism and profile of a message's ``profile`` (or ``transferType``).

        Raises:
            ProfileError: No mechanism offers it.
        """
        try:
            return self._by_profile[name]
        except KeyError:
            raise ProfileError(
                f"no mechanism offers the profile {name[:200]!r}; offered: {', '.join(self._by_profile)}"
            ) from None

    def by_url(self, url: str) -> Mechanism:
        """Return the mechanism of a URL's scheme; a plain path has the empty scheme.

        Raises:
            AddressError: None has it.
        """
        match = _SCHEME.match(url)
        scheme = match[1].lower() if match else ""
        for mechanism in self.all():
            if scheme in mechanism.url_schemes:
                return mechanism
        what = f"URLs that begin with {scheme[:50]}:" if scheme else "plain paths"
        raise AddressError(f"no mechanism understands {what}")


def _by_name(entries: Iterable[EntryPoint]) -> dict[str, EntryPoint]:
    """Index entry points by name.

    Raises:
        ConfigError: Two packages offer different mechanisms under one name.
    """
    table: dict[str, EntryPoint] = {}
    for entry in entries:
        other = table.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ConfigError(
                f"two packages offer a mechanism {entry.name!r}: {other.value} and {entry.value}; remove one"
            )
    return table


def _load(entry: EntryPoint) -> Mechanism:
    """Load one mechanism.

    Raises:
        ConfigError: Its package can't be imported, or it calls itself otherwise.
    """
    try:
        loaded = entry.load()
    except (ImportError, AttributeError) as exc:
        raise ConfigError(
            f"the mechanism {entry.name!r} can't be loaded from {entry.value}: {type(exc).__name__}: {exc}"
        ) from exc
    if getattr(loaded, "name", None) != entry.name:
        raise ConfigError(
            f"{entry.value} is registered as the mechanism {entry.name!r}, "
            f"but calls itself {getattr(loaded, 'name', None)!r}"
        )
    mechanism: Mechanism = loaded
    return mechanism
