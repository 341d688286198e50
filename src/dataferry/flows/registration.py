"""Introduces this data plane to the control planes that want it, until they have taken note.

Source: Data Plane Signaling, "Registration".
"""

from __future__ import annotations

from dataferry.domain.errors import DataFerryError
from dataferry.domain.location import ControlPlane
from dataferry.flows.messages import ControlPlaneClient
from dataferry.flows.periodic import Periodic
from dataferry.flows.shared import Shared
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.registration")

POLL_INTERVAL_S = 0.5


class Registrar:
    """Registers at every control plane with ``register = true``, at start and then again from time to time.

    Args:
        shared: The parts of this data plane.
        client: How control planes are called.
    """

    def __init__(self, shared: Shared, client: ControlPlaneClient) -> None:
        self._shared = shared
        self._client = client
        self._due_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._periodic = Periodic("registrar", self.tick, POLL_INTERVAL_S)

    def start(self) -> None:
        """Start registering."""
        self._periodic.start()

    def close(self) -> None:
        """Stop, and join the thread."""
        self._periodic.close()

    def tick(self) -> int:
        """Register where it is due once; return how many control planes took note."""
        now = self._shared.clock.monotonic()
        planes = [
            entry.value for entry in self._shared.catalogue.control_planes.all() if entry.value.register
        ]
        return sum(self._register(plane) for plane in planes if self._due_at.get(plane.id, now) <= now)

    def _register(self, plane: ControlPlane) -> bool:
        try:
            self._client.register(plane)
        except DataFerryError as exc:
            failures = self._failures[plane.id] = self._failures.get(plane.id, 0) + 1
            delay_s = self._shared.policy.registration_backoff.delay_s(failures)
            _log.warning("registration failed", control_plane=plane.id, error=str(exc), again_in_s=delay_s)
            with self._shared.store.transaction() as tx:
                tx.control_planes.registration_failed(plane.id, str(exc))
            self._due_at[plane.id] = self._shared.clock.monotonic() + delay_s
            return False
        self._failures.pop(plane.id, None)
        with self._shared.store.transaction() as tx:
            tx.control_planes.registered(plane.id)
        _log.info("registered", control_plane=plane.id)
        self._due_at[plane.id] = self._shared.clock.monotonic() + self._shared.policy.registration_interval_s
        return True
