"""How patient and how generous the use cases are: every bound of this room, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from dataferry.domain.schedule import Schedule
from dataferry.engine.transfer import EngineLimits, Overwrite, Verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential waiting: ``first_s``, doubled each time, never more than ``most_s``."""

    first_s: float
    most_s: float

    def delay_s(self, attempt: int) -> float:
        """Return how long to wait after the ``attempt``-th failure, from 1."""
        return min(self.most_s, self.first_s * 2.0 ** min(max(attempt, 1) - 1, 30))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPolicy:
    """Bounds of the use cases.

    Attributes:
        prepare_wait_s: How long prepare and start may take before they are answered with 202. 5 s is well
            below the time-outs of control planes (EDC: 30 s) and enough for a healthy store. 0: always 202.
        duplicate_wait_s: How long a repeated message waits for the first one that is still in flight.
        stop_wait_s: How long suspend and pause wait until no byte moves; sockets are shut, so it is quick.
        terminate_wait_s: As above for terminate, which promises less: clean-up is a task of its own.
        run_retries: How often a whole attempt that failed for a passing reason is tried again.
        run_backoff: Between those tries: 5 tries make about ten minutes.
        callback_backoff: Between tries of a callback.
        callback_lifetime_s: After this long a callback is a dead letter; a day outlasts most outages.
        callback_refusals: How often an answer that trying again can't help is tried again all the same.
        registration_backoff: Between tries to register at a control plane.
        registration_interval_s: A control plane that lost its memory learns of us again within this time.
        sweep_interval_s: How long work whose wake-up was lost may lie.
        progress_interval_s: How often a running flow's progress row is written.
        bandwidth: Of all flows of this process together.
        max_part_size_bytes: The largest part that a message may ask for.
        max_received_object_bytes: The largest object that a push may bring; S3 keeps none that are larger.
        verify: How far what is moved is proved; a message may ask for more, never for less.
    """

    prepare_wait_s: float = 5.0
    duplicate_wait_s: float = 30.0
    stop_wait_s: float = 10.0
    terminate_wait_s: float = 1.0
    run_retries: int = 5
    run_backoff: Backoff = field(default_factory=lambda: Backoff(first_s=20.0, most_s=300.0))
    callback_backoff: Backoff = field(default_factory=lambda: Backoff(first_s=1.0, most_s=60.0))
    callback_lifetime_s: float = 86_400.0
    callback_refusals: int = 5
    registration_backoff: Backoff = field(default_factory=lambda: Backoff(first_s=1.0, most_s=60.0))
    registration_interval_s: float = 3600.0
    sweep_interval_s: float = 1.0
    progress_interval_s: float = 1.0
    bandwidth: Schedule = field(default_factory=Schedule)
    max_part_size_bytes: int = 64 * 1024 * 1024
    max_received_object_bytes: int = 5 * 1024**4
    limits: EngineLimits = field(default_factory=EngineLimits)
    overwrite: Overwrite = Overwrite.IF_DIFFERENT
    verify: Verify = Verify.BEST
