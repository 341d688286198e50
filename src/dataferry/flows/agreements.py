"""The contract agreement of a flow, asked for when somebody looks, and kept.

Whatever the control plane answers, or does not, is shown with the flow, and changes nothing of it.

Source: Data Plane Signaling, "Agreement retrieval", which Eclipse Dataspace Components serves by its
Management API.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import UUID

from dataferry.domain.agreement import Agreement, Standing
from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import DataFerryError, NotFoundError
from dataferry.domain.location import ControlPlane
from dataferry.flows.messages import ControlPlaneClient
from dataferry.flows.shared import Shared

# A control plane that has none, or did not answer, is asked again after so long.
ASKED_AGAIN_S = 60.0


class Agreements:
    """Looks up agreements. Thread-safe.

    Args:
        shared: The parts of this data plane.
        client: Asks control planes.
    """

    def __init__(self, shared: Shared, client: ControlPlaneClient) -> None:
        self._shared = shared
        self._client = client
        self._lock = threading.Lock()
        self._being_asked: set[UUID] = set()

    def of(self, flow: DataFlow) -> Agreement | None:
        """Return a flow's agreement; the control plane is asked if it is not known and that can be.

        While somebody else asks, what was known before is returned. None: nobody was asked yet, or its
        control plane has no ``management_url``.
        """
        with self._shared.store.snapshot() as tx:
            known = tx.agreements.get(flow.id)
        plane = self._plane(flow)
        if plane is None or plane.management_url is None or not self._is_due(known):
            return known
        with self._lock:
            if flow.id in self._being_asked:
                return known
            self._being_asked.add(flow.id)
        try:
            return self._asked(flow, plane)
        finally:
            with self._lock:
                self._being_asked.discard(flow.id)

    def _plane(self, flow: DataFlow) -> ControlPlane | None:
        try:
            return self._shared.catalogue.control_planes.get(flow.control_plane_id)
        except NotFoundError:
            return None

    def _is_due(self, known: Agreement | None) -> bool:
        """An agreement that is known does not change any more."""
        if known is None:
            return True
        age = self._shared.clock.now() - known.asked_at
        return known.standing is not Standing.KNOWN and age >= timedelta(seconds=ASKED_AGAIN_S)

    def _asked(self, flow: DataFlow, plane: ControlPlane) -> Agreement:
        """Ask, and write down what came of it, if the flow is still there."""
        now = self._shared.clock.now()
        try:
            content = self._client.agreement(plane, flow.agreement_id)
            found = Agreement(standing=Standing.KNOWN, content=content, asked_at=now)
        except NotFoundError:
            error = f"{plane.id} has no agreement {flow.agreement_id[:200]!r}"
            found = Agreement(standing=Standing.MISSING, error=error, asked_at=now)
        except DataFerryError as exc:
            found = Agreement(standing=Standing.UNAVAILABLE, error=str(exc), asked_at=now)
        with self._shared.store.transaction() as tx:
            if tx.flows.exists(flow.id):
                tx.agreements.put(flow.id, found)
        return found
