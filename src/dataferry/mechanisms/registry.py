"""Finds mechanisms: built-ins and plug-ins alike, through entry points, loaded when first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points

from dataferry.domain.errors import AddressError, ConfigError, ProfileError
from dataferry.domain.profile import Profile
from dataferry.mechanisms.base import Mechanism

GROUP = "dataferry.mechanisms"


class Registry:
    """The mechanisms of this installation.

    Args:
        entries: Entry points to choose from; those of the group ``dataferry.mechanisms`` if None.
    """

    def __init__(self, entries: Iterable[EntryPoint] | None = None) -> None:
        found = entry_points(group=GROUP) if entries is None else entries
        self._entries = {entry.name: entry for entry in found}
        self._loaded: dict[str, Mechanism] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All names, loaded or not."""
        return tuple(sorted(self._entries))

    def get(self, name: str) -> Mechanism:
        """Return a mechanism by name.

        Raises:
            ConfigError: There is none of that name.
        """
        if name not in self._loaded:
            if name not in self._entries:
                raise ConfigError(
                    f"there is no mechanism {name!r}; this installation has {', '.join(self.names)}"
                )
            self._loaded[name] = self._entries[name].load()
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
        """Return the mechanism of a URL's scheme.

        Raises:
            AddressError: None has it.
        """
        scheme = url.partition("://")[0].lower()
        for mechanism in self.all():
            if scheme in mechanism.url_schemes:
                return mechanism
        raise AddressError(f"no mechanism understands URLs that begin with {scheme}://")
