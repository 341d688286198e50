"""The tuner: how many workers pay, decided from what was seen, one interval at a time.

A pure function on an immutable state, so that it can be tried against simulated links. It doubles while that
pays, and goes back where it does not: over a distance workers wait for replies most of their time and more of
them make up for it; beside the store, or where the processor is the bound, more only get into each other's
way. A number that did not pay is tried again ever more rarely, since links change. A store that asks to slow
down is obeyed at once, and the way back up is taken in small steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# What an object is worth beside its bytes: the time of its requests, in bytes that could flow meanwhile.
OBJECT_WORTH_BYTES = 256 * 1024
# Some of many small objects fail on any bad line, with fewer workers as often: only more than these tell.
FAILED_SHARE = 0.1
# Of what more workers could bring at best, the part that they must bring to be kept.
GAIN_UP = 0.25
# Fewer workers must bring this much, and then they also cost less.
GAIN_DOWN = 0.05
# Below this part of workers at work there is too little work to judge by, or to need more of them.
BUSY = 0.9
# From this part of the usable processors on, they are the bound.
PROCESSOR_BOUND = 0.7
# Observations before a number is tried again that did not pay: doubled each time.
FIRST_PATIENCE = 8
MAX_PATIENCE = 512
# A rate that differs from the usual one by this factor, so often in a row, is another link than it was.
SHIFT = 1.6
SHIFTED_OFTEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What an attempt did in an interval, with a constant number of workers.

    Attributes:
        seconds: How long it was.
        objects: That arrived.
        busy: Workers at work, on the average, by workers allowed to; from 0 to 1.
        processors: In use by the process, on the average.
        usable: Processors that this kind of load can use: one where Python is the work, else all.
        throttled: Requests that the store asked us to make later.
        failed: Requests that failed otherwise, and are tried again.
    """

    seconds: float
    bytes: int
    objects: int
    busy: float = 1.0
    processors: float = 0.0
    usable: float = 1.0
    throttled: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        """How fast work is done, for large and small objects alike, in bytes a second."""
        return max(0.0, (self.bytes + self.objects * OBJECT_WORTH_BYTES) / self.seconds)

    @property
    def is_processor_bound(self) -> bool:
        """True if more workers would wait for the processor rather than for the network."""
        return self.processors >= PROCESSOR_BOUND * self.usable

    def waiting(self, workers: int) -> float:
        """Return the part of their time, from 0 to 1, that so many workers spent waiting."""
        return max(0.0, 1.0 - self.processors / workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Where the tuner stands.

    Attributes:
        most: Workers at most.
        active: Workers now.
        before: While a number is tried, the one that it is compared with.
        before_rate: What that one did.
        rest: Observations until another number is tried.
        patience: The next ``rest``.
        careful: The store has asked to slow down: small steps.
        usual_rate: What to notice a change of the link by; None until seen.
        shifted: How many observations in a row were far from it.
    """

    most: int
    active: int
    before: int | None = None
    before_rate: float = 0.0
    rest: int = 0
    patience: int = FIRST_PATIENCE
    careful: bool = False
    usual_rate: float | None = None
    shifted: int = 0


def tuned(tuning: Tuning, seen: Observation) -> tuple[Tuning, str | None]:
    """Decide about the next interval.

    Args:
        tuning: Where we stood while this was seen.
        seen: Of an interval in which ``tuning.active`` workers were allowed to work.

    Returns:
        The next state, and one sentence why, if the number of workers is another.
    """
    if seen.throttled or seen.failed >= max(2, tuning.active // 2, seen.objects * FAILED_SHARE):
        return _slower(tuning, seen)
    if seen.busy < BUSY:
        return tuning, None
    if tuning.before is not None:
        return _judged(tuning, tuning.before, seen)
    return _steady(tuning, seen)


def _slower(tuning: Tuning, seen: Observation) -> tuple[Tuning, str | None]:
    """Go back to what was borne, or halve."""
    was = tuning.active
    fewer = tuning.before if tuning.before is not None and tuning.before < was else max(1, was // 2)
    after = replace(
        tuning,
        active=fewer,
        before=None,
        rest=tuning.patience,
        patience=min(MAX_PATIENCE, 2 * tuning.patience),
        careful=True,
        usual_rate=None,
        shifted=0,
    )
    if fewer == was:
        return after, None
    why = (
        f"the store asked {seen.throttled} times to slow down"
        if seen.throttled
        else f"{seen.failed} requests failed"
    )
    return after, f"{_workers(fewer)} instead of {was}: {why}"


def _judged(tuning: Tuning, before: int, seen: Observation) -> tuple[Tuning, str | None]:
    """Keep the number that was tried if it paid; else go back."""
    was = tuning.active
    gain = seen.rate / tuning.before_rate if tuning.before_rate else 1.0
    needed = 1 + GAIN_UP * (was / before - 1) if was > before else 1 + GAIN_DOWN
    if gain < needed:
        after = replace(
            tuning,
            active=before,
            before=None,
            rest=tuning.patience,
            patience=min(MAX_PATIENCE, 2 * tuning.patience),
            usual_rate=tuning.before_rate,
            shifted=0,
        )
        return after, f"{_workers(before)} again: {was} moved {gain:.2f} times what {before} did"
    kept = replace(tuning, before=None, usual_rate=seen.rate, patience=FIRST_PATIENCE, shifted=0)
    paid = f"{was} moved {gain:.2f} times what {before} did"
    if was > before and was < tuning.most and not seen.is_processor_bound:
        return _try(kept, seen, _more(kept), paid)
    return replace(kept, rest=FIRST_PATIENCE), None


def _steady(tuning: Tuning, seen: Observation) -> tuple[Tuning, str | None]:
    """Try another number once it is time; sooner if the link has become another."""
    tuning = _noticing(tuning, seen)
    if tuning.rest > 0:
        return replace(tuning, rest=tuning.rest - 1), None
    if seen.is_processor_bound:
        fewer = max(1, tuning.active * 2 // 3)
        if fewer == tuning.active:
            return replace(tuning, rest=tuning.patience), None
        return _try(tuning, seen, fewer, "the processor is the bound")
    if tuning.active == tuning.most:
        return replace(tuning, rest=tuning.patience), None
    waiting = seen.waiting(tuning.active)
    return _try(tuning, seen, _more(tuning), f"each waits {waiting:.0%} of its time")


def _noticing(tuning: Tuning, seen: Observation) -> Tuning:
    """Compare with the usual rate; far from it for a while ends the rest."""
    usual = tuning.usual_rate
    if usual is None:
        return replace(tuning, usual_rate=seen.rate)
    if usual / SHIFT <= seen.rate <= usual * SHIFT:
        return replace(tuning, shifted=0)
    if tuning.shifted + 1 < SHIFTED_OFTEN:
        return replace(tuning, shifted=tuning.shifted + 1)
    return replace(tuning, usual_rate=seen.rate, shifted=0, rest=0)


def _try(tuning: Tuning, seen: Observation, number: int, why: str) -> tuple[Tuning, str]:
    after = replace(tuning, active=number, before=tuning.active, before_rate=seen.rate)
    return after, f"{_workers(number)} instead of {tuning.active}: {why}"


def _more(tuning: Tuning) -> int:
    step = max(1, tuning.active // 4) if tuning.careful else tuning.active
    return min(tuning.most, tuning.active + step)


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"
