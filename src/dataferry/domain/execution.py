"""The executor port: who runs attempts. The flow row decides; an executor only carries out."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID


class Executor(Protocol):
    """Runs the work of flows whose row says ``run = queued``. Two sides, one behaviour suite."""

    def submit(self, flow_id: UUID) -> None:
        """Wake the executor for a flow; never blocks, never raises, safe to repeat."""
        ...

    def stop(self, flow_id: UUID, *, timeout_s: float = 10.0) -> bool:
        """Stop the flow's attempt: flag, sockets shut, threads joined. True once nothing of it runs here."""
        ...

    def running(self) -> frozenset[UUID]:
        """Flows that this process is working on."""
        ...
