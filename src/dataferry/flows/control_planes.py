"""Control planes in force: who may ask, where they are, and by whose word that is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dataferry.domain.dataflow import OWN_FLOWS
from dataferry.domain.errors import ForbiddenError, InputError, NotFoundError
from dataferry.domain.location import ControlPlane, Provenance
from dataferry.flows.entries import Entry, merged, refuse_configured
from dataferry.flows.locations import Locations
from dataferry.store.records import Registration
from dataferry.store.store import Store


class ControlPlanes:
    """Control planes as they are in force now.

    Args:
        store: Where those made over the API, and those that registered, are kept.
        configured: Those of the configuration file.
        locations: The places that their messages may name.

    Raises:
        ForbiddenError: A configured one has the id under which this service's own flows are.
    """

    def __init__(self, store: Store, configured: Iterable[ControlPlane], locations: Locations) -> None:
        self._store = store
        self._configured = {entry.id: entry for entry in configured}
        self._locations = locations
        for name in self._configured:
            _refuse_our_own(name)

    def all(self) -> list[Entry[ControlPlane]]:
        """Return all control planes, by id."""
        with self._store.snapshot() as tx:
            rows = tx.control_planes.list()
        known = {row.id: row for row in rows}
        configured = {name: _located(plane, known.get(name)) for name, plane in self._configured.items()}
        return merged(configured, rows, lambda entry: entry.id)

    def get(self, id: str) -> ControlPlane:
        """Return one control plane.

        Raises:
            NotFoundError: It is not known here.
        """
        configured = self._configured.get(id)
        if configured is not None and configured.endpoint is not None:
            return configured
        with self._store.snapshot() as tx:
            found = tx.control_planes.get(id)
        if configured is not None:
            return _located(configured, found)
        if found is None:
            raise NotFoundError(f"no control plane {id[:200]!r} is registered here")
        return found

    def register(self, plane: ControlPlane) -> ControlPlane:
        """Take in a control plane that introduced itself in a message; it gets no trust by that.

        An endpoint that the operator gave stays: repeating it is answered as done, another one is refused.

        Raises:
            ForbiddenError: The operator gave another endpoint.
        """
        _refuse_our_own(plane.id)
        taken = replace(
            plane,
            provenance=Provenance.EXTERNAL,
            may_name_locations=False,
            metadata_location=None,
            register=False,
            management_url=None,
            management_key=None,
        )
        with self._store.transaction() as tx:
            row = tx.control_planes.get(plane.id)
            present = self._configured.get(plane.id, row)
            if present is not None and present.provenance is Provenance.OPERATOR and present.endpoint:
                if plane.endpoint == present.endpoint:
                    return present
                raise ForbiddenError(f"control plane {plane.id} has an endpoint by its operator's word")
            if row is not None:
                # What the operator decided beyond the endpoint stays; its own keys it may change.
                rules = row.authorization
                is_operators = rules is not None and rules.provenance is Provenance.OPERATOR
                kept = rules if is_operators else taken.authorization
                taken = replace(_located(row, taken), authorization=kept)
            tx.control_planes.put(taken)
        return self.get(plane.id)

    def put(self, plane: ControlPlane) -> None:
        """Create or replace a control plane on the operator's word.

        Raises:
            ForbiddenError: It stands in the configuration.
            InputError: There is no such ``metadata_location`` for its participant.
        """
        refuse_configured(plane.id, self._configured, "control plane")
        _refuse_our_own(plane.id)
        if plane.metadata_location is not None:
            try:
                self._locations.for_participant(plane.metadata_location, plane.participant_context_id)
            except NotFoundError as exc:
                raise InputError(f"metadata_location: {exc.message}") from exc
        with self._store.transaction() as tx:
            tx.control_planes.put(plane)

    def delete(self, id: str) -> None:
        """Forget a control plane; its flows stay.

        Raises:
            NotFoundError: It is not known here.
            ForbiddenError: It stands in the configuration.
        """
        refuse_configured(id, self._configured, "control plane")
        with self._store.transaction() as tx:
            if not tx.control_planes.delete(id):
                raise NotFoundError(f"no control plane {id[:200]!r} is registered here")

    def registration(self, id: str) -> Registration:
        """Return how our own registration at a control plane goes."""
        with self._store.snapshot() as tx:
            return tx.control_planes.registration(id)


def _refuse_our_own(id: str) -> None:
    """Refuse a control plane that would own the flows that this service makes for itself."""
    if id == OWN_FLOWS:
        raise ForbiddenError(f"{id} is no control plane's id: this service uses it itself")


def _located(plane: ControlPlane, registered: ControlPlane | None) -> ControlPlane:
    """Fill in where a control plane says that it is; the place is then its word, not the operator's.

    So only the token that it named goes there, never the operator's.
    """
    if registered is None or registered.endpoint is None:
        return plane
    return replace(
        plane,
        endpoint=registered.endpoint,
        callback_token=registered.callback_token,
        callback_authorization=registered.callback_authorization,
        provenance=Provenance.EXTERNAL,
    )
