"""Locations in force: named places with a mechanism and its credentials, which nobody is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dataferry.domain.errors import ConfigError, InputError, NotFoundError
from dataferry.domain.location import Dataset, LandingZone, Location, LocationRef
from dataferry.flows.entries import HIDDEN, Entry, check_name, merged, refuse_configured
from dataferry.flows.location_settings import check_settings, moved_settings, secret_names, secrets_of
from dataferry.flows.matching import is_for, is_for_participant
from dataferry.flows.messages import Caller
from dataferry.mechanisms.base import Mechanism
from dataferry.mechanisms.registry import Registry
from dataferry.secrets.redaction import SecretValues
from dataferry.store.store import Store


class Locations:
    """Locations as they are in force now.

    Args:
        store: Where those made over the API are kept.
        registry: The mechanisms, whose schemas decide what a location may hold.
        configured: Those of the configuration file.
        secrets: Told of the secrets of locations that are read and written, for the logs to leave out.
    """

    def __init__(
        self, store: Store, registry: Registry, configured: Iterable[Location], secrets: SecretValues
    ) -> None:
        self._store = store
        self._registry = registry
        self._configured = {entry.name: entry for entry in configured}
        self._secrets = secrets

    def all(self) -> list[Entry[Location]]:
        """Return all locations, by name."""
        with self._store.snapshot() as tx:
            rows = tx.catalogue.locations()
        return merged(self._configured, rows, lambda entry: entry.name)

    def get(self, name: str) -> Location:
        """Return one location.

        Raises:
            NotFoundError: There is none of that name.
        """
        if name in self._configured:
            return self._configured[name]
        with self._store.snapshot() as tx:
            found = tx.catalogue.location(name)
        if found is None:
            raise _no_location(name)
        self._remember(found)
        return found

    def for_participant(self, name: str, participant_context_id: str) -> Location:
        """Return one location that a participant's flows may use.

        Raises:
            NotFoundError: There is none of that name for it.
        """
        found = self.get(name)
        if not is_for_participant(found, participant_context_id):
            raise _no_location(name)
        return found

    def serve(self, entry: Dataset | LandingZone, owner: Caller) -> bool:
        """Return whether an entry is there for somebody, and so are the locations that it names.

        One that names a location which is gone is there: its flows tell what is wrong with it.
        """
        if not is_for(entry, owner):
            return False
        for name in sorted(locations_of(entry)):
            try:
                location = self.get(name)
            except NotFoundError:
                continue
            if not is_for_participant(location, owner.participant_context_id):
                return False
        return True

    def check_ref(self, text: str) -> None:
        """Refuse a place in a location that does not exist.

        Raises:
            InputError: It does not, or the text is no ``location:path``.
        """
        ref = LocationRef.parse(text)
        try:
            self.get(ref.location)
        except NotFoundError as exc:
            raise InputError(f"{text!r}: there is no location {ref.location!r}") from exc

    def shown(self, location: Location) -> dict[str, Any]:
        """Return a location as it may be shown: secrets are ``***``."""
        secret = secret_names(self._registry.get(location.mechanism))
        shown = {name: HIDDEN if name in secret else value for name, value in location.settings.items()}
        told = {"name": location.name, "type": location.mechanism, **shown, **location.limits.as_settings()}
        return told | ({"participants": list(location.participants)} if location.participants else {})

    def put(self, location: Location) -> None:
        """Create or replace a location; a secret given as ``***`` keeps its present value.

        Raises:
            InputError: Its name or settings are wrong, or a kept secret would go to another place.
            ForbiddenError: It stands in the configuration.
        """
        check_name(location.name)
        refuse_configured(location.name, self._configured, "location")
        try:
            mechanism = self._registry.get(location.mechanism)
        except ConfigError as exc:
            raise InputError(str(exc)) from exc
        kept = replace(location, settings=self._with_kept_secrets(location, mechanism))
        self._remember(kept)
        check_settings(mechanism, kept)
        with self._store.transaction() as tx:
            tx.catalogue.put_location(kept)

    def delete(self, name: str, *, used_by: Sequence[str]) -> None:
        """Delete a location.

        Args:
            name: Its name.
            used_by: What names it.

        Raises:
            NotFoundError: There is none.
            ForbiddenError: It stands in the configuration.
            InputError: Something names it.
        """
        refuse_configured(name, self._configured, "location")
        if used_by:
            raise InputError(f"location {name} is used by {', '.join(used_by[:5])}")
        with self._store.transaction() as tx:
            if not tx.catalogue.delete_location(name):
                raise _no_location(name)

    def _with_kept_secrets(self, location: Location, mechanism: Mechanism) -> Mapping[str, Any]:
        """Fill in the secrets that the caller was shown as ``***`` and sends back."""
        hidden = [name for name in secret_names(mechanism) if location.settings.get(name) == HIDDEN]
        if not hidden:
            return location.settings
        present = next((e.value for e in self.all() if e.value.name == location.name), None)
        if present is None or present.mechanism != location.mechanism:
            raise InputError(f"{', '.join(hidden)}: {HIDDEN} stands for a stored value, and there is none")
        moved = moved_settings(mechanism, present, location)
        if moved:
            raise InputError(f"{', '.join(hidden)}: give it again, as {', '.join(moved)} has changed")
        return {**location.settings, **{name: present.settings.get(name) for name in hidden}}

    def _remember(self, location: Location) -> None:
        """Have the logs leave out a location's secrets."""
        if location.mechanism in self._registry.names:
            self._secrets.remember(*secrets_of(location, self._registry.get(location.mechanism)))


def locations_of(entry: Dataset | LandingZone) -> frozenset[str]:
    """Return which locations a dataset or landing zone uses."""
    refs = (entry.source,) if isinstance(entry, Dataset) else (entry.sink, entry.source)
    return frozenset(LocationRef.parse(ref).location for ref in refs if ref)


def _no_location(name: str) -> NotFoundError:
    """There is none, or none for who asks: which, is not told."""
    return NotFoundError(f"there is no location {name[:100]!r}")
