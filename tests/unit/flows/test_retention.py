"""Flows that are over are forgotten by themselves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.flows.world import PULL, World, until

from dataferry.domain.errors import NotFoundError
from dataferry.flows import retention
from dataferry.flows.retention import Retention
from dataferry.testing.ledger_suite import StillClock


def ended(still: World, process: str) -> None:
    """A flow that was begun and terminated."""
    still.write("out/data")
    still.signaling.start(still.caller, still.message(process, PULL))
    still.signaling.terminate(still.caller, process, None)


def later(still: World, days: float) -> StillClock:
    """A clock that is ahead."""
    clock = StillClock()
    clock.moment = still.clock.now() + timedelta(days=days)
    return clock


def test_flows_that_are_over_are_forgotten(still: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After their time and not before, more than one look finds, and their process ids begin anew."""
    monkeypatch.setattr(retention, "FLOWS_A_LOOK", 2)
    for number in range(5):
        ended(still, f"p{number}")
    still.signaling.start(still.caller, still.message("alive", PULL))
    assert Retention(still.store, later(still, 29.9), days=30).tick() == 0
    forgetting = Retention(still.store, later(still, 30.1), days=30)
    forgetting.start()
    until(lambda: still.rows() == 1)
    forgetting.close()
    assert still.flow("alive").process_id == "alive"
    with pytest.raises(NotFoundError):
        still.signaling.status(still.caller, "p0")
    ended(still, "p0")


def test_zero_keeps_for_ever(still: World) -> None:
    """Nothing is forgotten, and no thread looks."""
    ended(still, "p0")
    forgetting = Retention(still.store, later(still, 9999), days=0)
    forgetting.start()
    forgetting.close()
    assert still.rows() == 1
