"""The tuner against simulated links: near the best in few steps, steady there, and patient with stores."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataferry.engine.workers.tuner import OBJECT_WORTH_BYTES, Observation, Tuning, tuned

KIB, MIB = 1024, 1024 * 1024
MOST = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Two stores, the way between, and a client, as far as they bound a transfer.

    Attributes:
        round_trip_s: To either end; an object, or a part, takes one to each.
        object_bytes: Of objects, or of parts.
        connection_rate: Bytes a second that one connection carries.
        capacity: Bytes a second of all together.
        processor_s: That an object takes of the one processor that there is.
        contention: By how much each further worker lengthens that, as a factor.
        bears: Workers that the store answers; more are throttled.
    """

    round_trip_s: float = 0.0
    object_bytes: int = 16 * KIB
    connection_rate: float = 200.0 * MIB
    capacity: float = 1000.0 * MIB
    processor_s: float = 0.00001
    contention: float = 0.0
    bears: int = 1000

    def objects_per_s(self, workers: int) -> float:
        """What so many workers do."""
        each_s = 2 * self.round_trip_s + self.object_bytes / self.connection_rate
        by_processor = 1 / (self.processor_s * (1 + self.contention * (workers - 1)))
        return min(workers / each_s, self.capacity / self.object_bytes, by_processor)

    def seen(self, workers: int, chance: random.Random) -> Observation:
        """A second of it, a little off as real ones are."""
        objects = self.objects_per_s(workers) * chance.uniform(0.97, 1.03)
        is_small = self.object_bytes < OBJECT_WORTH_BYTES
        cost_s = self.processor_s * (1 + self.contention * (workers - 1))
        return Observation(
            seconds=1.0,
            bytes=int(objects * self.object_bytes),
            objects=round(objects),
            processors=objects * cost_s,
            usable=1.0 if is_small else 2.0,
            throttled=workers - self.bears if workers > self.bears else 0,
        )

    @property
    def best(self) -> float:
        """The most that any allowed number of workers does without being throttled."""
        return max(self.objects_per_s(number) for number in range(1, min(MOST, self.bears) + 1))


@dataclass(slots=True)
class Course:
    """A tuner on a link: how many workers it took, and what it said."""

    tuning: Tuning = field(default_factory=lambda: Tuning(most=MOST, active=8))
    workers: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def on(self, link: Link, observations: int, seed: int = 1) -> Course:
        """Let it decide so many times."""
        chance = random.Random(seed)
        for _ in range(observations):
            self.workers.append(self.tuning.active)
            self.tuning, reason = tuned(self.tuning, link.seen(self.tuning.active, chance))
            if reason is not None:
                self.reasons.append(reason)
        return self


LAN = Link(processor_s=0.0005)
LAN_LARGE = Link(object_bytes=16 * MIB, connection_rate=400 * MIB, processor_s=0.004)
FAR = Link(round_trip_s=0.05)
VERY_FAR = Link(round_trip_s=0.2)
FAR_LARGE = Link(round_trip_s=0.05, object_bytes=16 * MIB, connection_rate=20 * MIB)
NARROW = Link(round_trip_s=0.05, object_bytes=16 * MIB, connection_rate=20 * MIB, capacity=100.0 * MIB)
CROWDED = Link(processor_s=0.0005, contention=0.1)
LINKS = {
    "lan": LAN,
    "lan, large objects": LAN_LARGE,
    "50 ms": FAR,
    "200 ms": VERY_FAR,
    "50 ms, a rate for each connection": FAR_LARGE,
    "50 ms, a narrow link": NARROW,
    "a client that more threads make slower": CROWDED,
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", LINKS)
def test_comes_near_the_best_within_few_steps(name: str, seed: int) -> None:
    """Within ten intervals it does at least 80 % of what the best number of workers does, and keeps to it."""
    link = LINKS[name]
    course = Course().on(link, 200, seed)
    late = [link.objects_per_s(number) for number in course.workers[10:]]
    assert sum(late) / len(late) >= 0.8 * link.best
    assert sorted(late)[len(late) // 10] >= 0.8 * link.best


@pytest.mark.parametrize("name", LINKS)
def test_does_not_swing(name: str) -> None:
    """What did not pay is tried again ever more rarely: few decisions, most of them at the beginning."""
    course = Course().on(LINKS[name], 1000)
    assert len(course.reasons) <= 20
    settled = Course(tuning=course.tuning).on(LINKS[name], 200, seed=2)
    assert len(settled.reasons) <= 4


def test_stays_with_eight_nearby() -> None:
    """Where large objects fill the link already, sixteen are tried, and are not kept."""
    course = Course().on(LAN_LARGE, 8)
    assert course.workers[-1] == 8
    assert set(course.workers) <= {8, 16}


def test_goes_to_the_maximum_where_only_the_distance_counts() -> None:
    """Eight, sixteen, thirty-two: two steps, each with its reason."""
    course = Course().on(FAR, 4)
    assert course.workers == [8, 16, 32, 32]
    assert course.reasons[0].startswith("16 workers instead of 8: each waits")
    assert course.reasons[1].startswith("32 workers instead of 16: 16 moved 2.0")


def test_a_store_that_throttles_is_obeyed() -> None:
    """It comes below what the store bears, stays there nearly always, and never below one."""
    link = replace(FAR, bears=5)
    course = Course().on(link, 400)
    assert course.workers[1] == 4
    assert sum(number > link.bears for number in course.workers) <= 10
    assert sum(number >= 4 for number in course.workers) >= 380
    assert "slow down" in course.reasons[0]


def test_a_store_that_throttles_everything_keeps_one_worker() -> None:
    """Less than one would be none."""
    course = Course().on(replace(FAR, bears=0), 100)
    assert set(course.workers[4:]) == {1}


def test_many_failures_count_as_too_many_workers() -> None:
    """A server that resets connections has too many of them."""
    after, reason = tuned(
        Tuning(most=MOST, active=16), Observation(seconds=1, bytes=MIB, objects=0, failed=9)
    )
    assert after.active == 8
    assert reason == "8 workers instead of 16: 9 requests failed"


@pytest.mark.parametrize(("failed", "slower"), [(29, False), (30, True)])
def test_some_failures_of_many_objects_are_no_reason_for_fewer_workers(failed: int, *, slower: bool) -> None:
    """On a bad line as many fail with one worker: it is their share that tells."""
    seen = Observation(seconds=1, bytes=MIB, objects=300, failed=failed)
    after, _ = tuned(Tuning(most=8, active=8), seen)
    assert (after.active < 8) == slower


def test_a_number_that_was_not_borne_is_taken_back() -> None:
    """Throttled while more were tried, it goes back to what was borne, not below."""
    trying = Tuning(most=MOST, active=16, before=12, before_rate=1e6, careful=True)
    after, _ = tuned(trying, Observation(seconds=1, bytes=MIB, objects=0, throttled=3))
    assert (after.active, after.before) == (12, None)


def test_a_link_that_halves_is_followed() -> None:
    """After the change it is near the best again within some intervals, and when the link comes back too."""
    wide = replace(FAR_LARGE, capacity=400.0 * MIB)
    halved = replace(wide, capacity=200.0 * MIB)
    course = Course().on(wide, 30)
    course.on(halved, 60, seed=2)
    assert halved.objects_per_s(course.workers[-1]) >= 0.8 * halved.best
    course.on(wide, 60, seed=3)
    assert wide.objects_per_s(course.workers[-1]) >= 0.8 * wide.best


def test_a_link_that_becomes_slow_to_answer_is_noticed_soon() -> None:
    """A rate that changed ends the patience: near first, then far, it grows within few intervals."""
    course = Course().on(LAN_LARGE, 100)
    begin = len(course.workers)
    course.on(FAR, 16, seed=2)
    assert course.workers[begin] < 32
    assert course.workers[-1] == 32


def test_too_little_work_is_no_reason_for_more_workers() -> None:
    """Workers that wait for the listing say nothing about the link."""
    tuning = Tuning(most=MOST, active=8)
    assert tuned(tuning, Observation(seconds=1, bytes=MIB, objects=1, busy=0.5)) == (tuning, None)


@given(
    st.integers(1, 256),
    st.lists(
        st.builds(
            Observation,
            seconds=st.floats(0.1, 10),
            bytes=st.integers(-(10**9), 10**12),
            objects=st.integers(0, 10**6),
            busy=st.floats(0, 1),
            processors=st.floats(0, 64),
            usable=st.floats(1, 64),
            throttled=st.integers(0, 3),
            failed=st.integers(0, 300),
        ),
        max_size=60,
    ),
)
def test_always_at_least_one_and_at_most_the_maximum(most: int, observations: list[Observation]) -> None:
    """Whatever is seen; and a change always comes with a reason, no change with none."""
    tuning = Tuning(most=most, active=min(8, most))
    for seen in observations:
        after, reason = tuned(tuning, seen)
        assert 1 <= after.active <= most
        assert (reason is not None) == (after.active != tuning.active)
        tuning = after
