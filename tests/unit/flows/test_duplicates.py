"""Ten parallel starts with one process id: one flow, one copy, whatever the control plane's habit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from tests.unit.flows.world import World, until

from dataferry.domain.dataflow import State
from dataferry.domain.errors import ConflictError, DuplicateProcessError
from dataferry.domain.location import ControlPlane, Retries
from dataferry.flows.messages import Answer
from dataferry.flows.turns import Turns

TIMES = 10


def ten_starts(world: World) -> list[Answer | DuplicateProcessError]:
    """Send one start ten times at once."""
    barrier = Barrier(TIMES)

    def start(_: int) -> Answer | DuplicateProcessError:
        barrier.wait()
        try:
            return world.signaling.start(
                world.caller, world.message(data_address=world.their_address("got/"))
            )
        except DuplicateProcessError as exc:
            return exc

    with ThreadPoolExecutor(TIMES) as pool:
        return list(pool.map(start, range(TIMES)))


@pytest.fixture
def world_of(make_world: Callable[..., World]) -> Callable[[Retries], World]:
    """A data plane whose control plane repeats messages in this way."""

    def make(retries: Retries) -> World:
        world = make_world(plane=ControlPlane(id="cp", endpoint="http://control.example", retries=retries))
        world.write("out/data")
        return world

    return make


@pytest.fixture(params=[True, False], ids=["turns", "constraint only"])
def with_turns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With the locks of this process, and as in two processes, where only the unique constraint decides."""
    if not request.param:
        from contextlib import nullcontext

        def no_turn(*_: Any, **__: Any) -> Any:
            return nullcontext()

        monkeypatch.setattr(Turns, "of", no_turn)
    return bool(request.param)


def test_strict_accepts_one(world_of: Callable[[Retries], World], with_turns: bool) -> None:
    """One is accepted, nine are refused, one copy is made."""
    world = world_of(Retries.STRICT)
    answers = ten_starts(world)
    assert len([answer for answer in answers if isinstance(answer, Answer)]) == 1
    until(lambda: world.notebook.kinds("p1"))
    assert (world.rows(), world.notebook.kinds("p1")) == (1, ["completed"])
    assert State.COMPLETED is world.flow().state


def test_replay_answers_all_alike(world_of: Callable[[Retries], World], with_turns: bool) -> None:
    """Ten answers name the same flow, one copy is made."""
    world = world_of(Retries.REPLAY)
    answers = ten_starts(world)
    accepted = [answer for answer in answers if isinstance(answer, Answer)]
    assert len(accepted) == TIMES
    assert len({(answer.flow.id, answer.flow.data_flow_id) for answer in accepted}) == 1
    until(lambda: world.notebook.kinds("p1"))
    assert (world.rows(), world.notebook.kinds("p1")) == (1, ["completed"])


def test_a_turn_is_waited_for_boundedly() -> None:
    """Who waits too long is told so, and the lock of a key that nobody holds is gone."""
    turns = Turns()
    with (
        turns.of("a", timeout_s=1),
        turns.of("b", timeout_s=1),
        pytest.raises(ConflictError, match="still being worked on"),
        turns.of("a", timeout_s=0.01),
    ):
        pass
    assert not turns._turns
