"""Which entries write the same file, and whose turn it is to write one."""

from __future__ import annotations

from uuid import UUID

import hypothesis.strategies as st
from hypothesis import given

from dataferry.flows.orchestration.named_files import Turns, written_twice
from dataferry.flows.retries import overlap

# Names of which one begins with the other, and letters on both sides of `/`.
NAMES = st.sampled_from(["a", "a.meta.json", "a-", "a0", "b"])
PLACES = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@given(st.lists(PLACES, max_size=8))
def test_who_writes_where_another_does_is_found(places: list[str]) -> None:
    """There is a finding exactly where two overlap, and each finding is such a pair."""
    found = written_twice([(place, position) for position, place in enumerate(places)])
    pairs = {
        (later, earlier)
        for later in range(len(places))
        for earlier in range(later)
        if overlap(places[later], places[earlier])
    }
    assert bool(found) is bool(pairs)
    assert set(found.items()) <= pairs


def test_a_file_and_its_own_sidecar_are_no_two_entries() -> None:
    """One entry may write several places."""
    assert written_twice([("x/a", 0), ("x/a.meta.json", 0), ("x/b", 1)]) == {}
    assert written_twice([("x/a", 0), ("x/a.meta.json", 0), ("x/a.meta.json", 1)]) == {1: 0}


def test_all_that_repeat_one_file_are_named() -> None:
    """Each with the first."""
    assert written_twice([("x", position) for position in range(4)]) == {1: 0, 2: 0, 3: 0}


def test_turns_go_by_who_came_first() -> None:
    """Who asked first writes first; others of the same place follow one by one, and nobody else waits."""
    first, second, third, other = ((UUID(int=7), position) for position in range(4))
    turns = Turns()
    assert turns.is_up(first, ["x/a", "x/a.meta.json"])
    assert not turns.is_up(second, ["x/a.meta.json"])
    assert not turns.is_up(third, ["x/a/within", "x/a.meta.json"])
    assert turns.is_up(other, ["x/ab"])
    assert turns.is_up(other, [])
    assert turns.is_up(first, ["x/a", "x/a.meta.json"])
    turns.leave(first)
    turns.leave(first)
    assert not turns.is_up(third, ["x/a/within", "x/a.meta.json"])
    assert turns.is_up(second, ["x/a.meta.json"])
    turns.leave(second)
    assert turns.is_up(third, ["x/a/within", "x/a.meta.json"])
