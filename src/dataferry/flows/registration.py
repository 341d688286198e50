"""Introduces this data plane to the control planes that want it, until they have taken note.

Source: Data Plane Signaling, "Registration".
"""

from __future__ import annotations

from dataferry.domain.clock import Clock
from dataferry.domain.errors import DataFerryError
from dataferry.domain.location import ControlPlane
from dataferry.flows.catalogue import Catalogue
from dataferry.flows.messages import ControlPlaneClient
from dataferry.flows.periodic import Periodic
from dataferry.flows.policy import FlowPolicy
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.registration")

POLL_INTERVAL_S = 0.5


class Registrar:
    """Registers at every control plane with ``register = true``, at start and then again from time to time.

    Args:
        store: Remembers how it went, for operators.
        client: How control planes are called.
        catalogue: Where control planes are.
        policy: Back-off, and how often it is repeated.
        clock: Time.
    """

    def __init__(
        self,
        *,
        store: Store,
        client: ControlPlaneClient,
        catalogue: Catalogue,
        policy: FlowPolicy,
        clock: Clock,
    ) -> None:
        self._store = store
        self._client = client
        self._catalogue = catalogue
        self._policy = policy
        self._clock = clock
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
        now = self._clock.monotonic()
        planes = [entry.value for entry in self._catalogue.control_planes() if entry.value.register]
        return sum(self._register(plane) for plane in planes if self._due_at.get(plane.id, now) <= now)

    def _register(self, plane: ControlPlane) -> bool:
        try:
            self._client.register(plane)
        except DataFerryError as exc:
            failures = self._failures[plane.id] = self._failures.get(plane.id, 0) + 1
            delay_s = self._policy.registration_backoff.delay_s(failures)
            _log.warning("registration failed", control_plane=plane.id, error=str(exc), again_in_s=delay_s)
            with self._store.transaction() as tx:
                tx.control_planes.registration_failed(plane.id, str(exc))
            self._due_at[plane.id] = self._clock.monotonic() + delay_s
            return False
        self._failures.pop(plane.id, None)
        with self._store.transaction() as tx:
            tx.control_planes.registered(plane.id)
        _log.info("registered", control_plane=plane.id)
        self._due_at[plane.id] = self._clock.monotonic() + self._policy.registration_interval_s
        return True
