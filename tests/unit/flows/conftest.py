"""Data planes for the tests of the use cases; each is closed, with all its threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.flows.world import World


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Make data planes with settings of the test's choice."""
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World(tmp_path / str(len(made)), **settings))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A data plane that works."""
    return make_world()


@pytest.fixture
def still(make_world: Callable[..., World]) -> World:
    """A data plane whose executor never works: rows stay as the verbs leave them."""
    return make_world(working=False)
