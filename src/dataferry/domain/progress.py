"""How far a running transfer is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A moment of a transfer.

    Attributes:
        objects_unsized: Objects whose length is not known (yet).
        bytes_total: Known so far, without those objects; final once ``plan_complete`` and there are none.
        bytes_transferred: At the destination or on the way there; resumed and skipped ones included.
        bytes_resumed: That earlier attempts had moved and this one did not need to.
        bytes_retransferred: Moved again though an attempt had moved them before.
        bytes_verified: Read back from the destination by this attempt, and compared; 0 where nothing is.
        throughput_bytes_per_s: Over the last seconds.
        eta_s: None until the total is final and bytes move.
        workers: How many may work now.
        waiting: What it waits for while nothing may flow, and until when; None while it may.
    """

    objects_total: int = 0
    objects_done: int = 0
    objects_skipped: int = 0
    objects_failed: int = 0
    objects_unsized: int = 0
    bytes_total: int = 0
    bytes_transferred: int = 0
    bytes_resumed: int = 0
    bytes_retransferred: int = 0
    bytes_verified: int = 0
    throughput_bytes_per_s: float = 0.0
    eta_s: float | None = None
    plan_complete: bool = False
    workers: int = 0
    waiting: str | None = None

    @property
    def is_total_final(self) -> bool:
        """True once every object is known, and how long it is."""
        return self.plan_complete and not self.objects_unsized

    @property
    def percent_complete(self) -> float | None:
        """0 to 100; None until the total is final."""
        if not self.is_total_final:
            return None
        return 100.0 if self.bytes_total == 0 else round(100 * self.bytes_transferred / self.bytes_total, 2)
