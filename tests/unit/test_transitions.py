"""The transition table, pair by pair: what it allows, and that it allows nothing else."""

from __future__ import annotations

from itertools import product

import pytest

from dataferry.domain.dataflow import FINAL_STATES, SATISFIED, TRANSITIONS, Event, State, next_state
from dataferry.domain.errors import TransitionError

ALLOWED = {
    ("INITIALIZED", "prepare"): "PREPARED",
    ("INITIALIZED", "prepare later"): "PREPARING",
    ("INITIALIZED", "start"): "STARTED",
    ("INITIALIZED", "start later"): "STARTING",
    ("INITIALIZED", "terminate"): "TERMINATED",
    ("PREPARING", "preparation done"): "PREPARED",
    ("PREPARING", "terminate"): "TERMINATED",
    ("PREPARED", "start"): "STARTED",
    ("PREPARED", "start later"): "STARTING",
    ("PREPARED", "started"): "STARTED",
    ("PREPARED", "complete"): "COMPLETED",
    ("PREPARED", "terminate"): "TERMINATED",
    ("STARTING", "start done"): "STARTED",
    ("STARTING", "terminate"): "TERMINATED",
    ("STARTED", "suspend"): "SUSPENDED",
    ("STARTED", "complete"): "COMPLETED",
    ("STARTED", "terminate"): "TERMINATED",
    ("SUSPENDED", "resume"): "STARTED",
    ("SUSPENDED", "terminate"): "TERMINATED",
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)), ids=lambda value: value.value)
def test_a_pair_leads_where_the_specification_says_or_is_refused(state: State, event: Event) -> None:
    """Each state meets each event: allowed pairs lead to their state, all others are refused."""
    expected = ALLOWED.get((state.value, event.value))
    if expected is None:
        with pytest.raises(TransitionError, match=f"{event.value} is not possible in state {state.value}"):
            next_state(state, event)
    else:
        assert State(expected) == next_state(state, event)


def test_nothing_leads_out_of_a_final_state() -> None:
    """COMPLETED and TERMINATED are the end."""
    assert {State.COMPLETED, State.TERMINATED} == set(FINAL_STATES)
    assert not [pair for pair in TRANSITIONS if pair[0].is_final]


def test_every_state_but_the_first_can_be_reached() -> None:
    """No state is only a word."""
    assert set(State) - {State.INITIALIZED} == set(TRANSITIONS.values())


@pytest.mark.parametrize("event", list(SATISFIED), ids=lambda value: value.value)
def test_a_satisfied_verb_names_the_states_it_leads_to(event: Event) -> None:
    """A verb counts as done where it would have led, and ``started`` also where the transfer is over."""
    led_to = {target for (_, via), target in TRANSITIONS.items() if via is event}
    over = {State.COMPLETED} if event is Event.STARTED else set()
    assert led_to | over == SATISFIED[event]
