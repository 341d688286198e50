"""What prepare and start have to find out before they may say yes: are both ends there, and what is granted.

It asks stores over the network, so it runs in a few threads of its own: a verb waits for it only as long as
it may, and the flow then goes on asynchronously.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow, Role
from dataferry.domain.errors import DataFerryError
from dataferry.engine.stop import Stop
from dataferry.flows.fair_pool import FairPool
from dataferry.flows.grants import Grants
from dataferry.flows.resolution import Place, Resolver
from dataferry.mechanisms.abilities import Abortable
from dataferry.mechanisms.base import Sink, Source
from dataferry.net.connections import Network
from dataferry.telemetry.logs import get_logger

THREADS = 10
# So that a store of one control plane that does not answer leaves threads to the others.
THREADS_OF_ONE = 8
# Many control planes take one refused resume for the end, so a fresh grant is asked for again; prepare and
# start are done again later, durably.
GRANT_TRIES = 3
GRANT_PAUSE_S = 0.5
MAX_GRANT_PAUSE_S = 5.0
MOMENT = "%Y-%m-%d %H:%M:%S UTC"
_log = get_logger("flows.preparation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What preparation achieved: the address to hand out, on the side that owns it."""

    address: DataAddress | None = None


class Preparations:
    """Prepares flows, in threads that it owns.

    Args:
        resolver: Finds the places.
        grants: Makes the addresses.
        network: How stores are reached.
    """

    def __init__(self, resolver: Resolver, grants: Grants, network: Network) -> None:
        self._resolver = resolver
        self._grants = grants
        self._network = network
        # More than that wait, and their verbs answer 202.
        self._pool = FairPool(THREADS, most_of_one=THREADS_OF_ONE, name="preparation")
        self._lock = Lock()
        self._asked: set[Source | Sink] = set()
        self._stop = Stop()

    def begin(self, flow: DataFlow) -> Future[Prepared]:
        """Begin to prepare a flow."""
        return self._pool.submit(flow.control_plane_id, lambda: self.run(flow))

    def begin_grant(self, flow: DataFlow) -> Future[DataAddress]:
        """Begin to make a fresh grant for a flow; what may pass is tried again a few times."""
        return self._pool.submit(flow.control_plane_id, lambda: self._fresh(flow))

    def granted_until(self, flow: DataFlow) -> datetime | None:
        """Return when what was granted for a flow ends by itself, UTC; None if nothing is known."""
        return self._grants.until(flow)

    def begin_revoke(self, flow: DataFlow, told: Callable[[str], None]) -> None:
        """Begin to take a flow's grant back; nobody need wait for it.

        Args:
            flow: Whose.
            told: Called in a thread of ours with what became of it, if the grant stays good.
        """
        self._pool.submit(flow.control_plane_id, lambda: self._revoke(flow, told))

    def _fresh(self, flow: DataFlow) -> DataAddress:
        for tries_left in reversed(range(GRANT_TRIES)):
            try:
                return self._grants.make(flow)
            except DataFerryError as exc:
                if not exc.is_temporary or not tries_left:
                    raise
                if self._stop.wait(min(exc.retry_after_s or GRANT_PAUSE_S, MAX_GRANT_PAUSE_S)):
                    raise
        raise AssertionError("unreachable")  # pragma: no cover

    def _revoke(self, flow: DataFlow, told: Callable[[str], None]) -> None:
        """Take a grant back, or say that it stays, and until when."""
        try:
            if self._grants.revoke(flow):
                return
            why = "it can't be taken back"
        except DataFerryError as exc:
            why = f"taking it back failed ({exc})"
        except Exception as exc:  # noqa: BLE001 - a task's boundary
            _log.exception("revoke failed", flow_id=str(flow.id))
            why = f"taking it back failed ({type(exc).__name__}; see the log)"
        until = self._grants.until(flow)
        when = f"until {until:{MOMENT}}" if until else "as long as its credentials are"
        told(f"the address that was handed out stays good {when}: {why}")

    def run(self, flow: DataFlow) -> Prepared:
        """Prepare a flow in the calling thread.

        Raises:
            DataFerryError: An end is not there, or access to it can't be had or given.
        """
        if flow.owns_address:
            granted = self._resolver.granted(flow)
            if flow.role is Role.PROVIDER:
                self._probe_source(granted)
            else:
                self._probe_sink(granted)
            return Prepared(address=self._grants.make(flow))
        ends = self._resolver.ends(flow)
        if flow.role is Role.PROVIDER and ends.source is not None:
            self._probe_source(ends.source)
        if ends.sink is not None:
            self._probe_sink(ends.sink)
        return Prepared()

    def _probe_source(self, place: Place) -> None:
        self._probe(place.mechanism.open_source(place.endpoint, self._network))

    def _probe_sink(self, place: Place) -> None:
        self._probe(place.mechanism.open_sink(place.endpoint, self._network))

    def _probe(self, end: Source | Sink) -> None:
        """Ask whether a place is there; ``let_go`` ends the asking."""
        with self._lock:
            self._asked.add(end)
            if self._stop.is_set:
                _let_go(end)
        try:
            end.probe()
        finally:
            with self._lock:
                self._asked.discard(end)
            end.close()

    def let_go(self) -> None:
        """Ask no store any more; verbs and attempts that wait for one go on at once. Never blocks.

        To them it is a store that did not answer: what they prepare is done again later, durably.
        """
        self._stop.set()
        self._grants.let_go()
        with self._lock:
            for end in self._asked:
                _let_go(end)

    def close(self) -> None:
        """Let go, drop what waits, and join the threads."""
        self.let_go()
        self._pool.close()


def _let_go(end: Source | Sink) -> None:
    """Make the blocked call of a source or sink fail at once, if it can be told to."""
    if isinstance(end, Abortable):
        end.abort()
