"""One control plane that does not answer does not hold up the callbacks of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.flows.world import QUICK, World

from dataferry.domain.errors import ConnectionFailedError
from dataferry.domain.location import ControlPlane
from dataferry.flows.messages import Callback, Caller
from dataferry.flows.outbox import BATCH
from dataferry.flows.policy import Backoff

HANGING, HEALTHY = "hanging", "healthy"


class Client:
    """Calls one control plane in vain."""

    def __init__(self) -> None:
        self.tries: list[str] = []

    def send(self, control_plane: ControlPlane, callback: Callback) -> None:
        """Note who is called."""
        del callback
        self.tries.append(control_plane.id)
        if control_plane.id == HANGING:
            raise ConnectionFailedError("no answer")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two control planes, and an hour's patience after a failed call."""
    policy = replace(QUICK, callback_backoff=Backoff(first_s=3600, most_s=3600))
    world = World(
        tmp_path, plane=ControlPlane(id=HANGING, endpoint="http://a.example"), policy=policy, working=False
    )
    world.catalogue.control_planes.put(ControlPlane(id=HEALTHY, endpoint="http://b.example"))
    yield world
    world.close()


def test_a_hanging_control_plane_costs_the_others_one_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many messages wait for it: more than a batch of them are older than the other's one."""
    for plane, count in ((HANGING, BATCH + 5), (HEALTHY, 1)):
        caller = Caller(control_plane_id=plane)
        for number in range(count):
            flow = world.signaling.prepare(caller, world.message(f"{plane}-{number}")).flow
            with world.store.transaction() as tx:
                tx.outbox.add(flow, "prepared")
    client = Client()
    monkeypatch.setattr(world.outbox, "_client", client)
    world.outbox.tick()
    world.outbox.tick()
    assert client.tries == [HANGING, HEALTHY]
