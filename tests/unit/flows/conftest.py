"""Data planes for the tests of the use cases; each is closed, with all its threads.

The modules of which the database is most of what is tested run on each kind of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.servers.postgresql import PostgresServer
from tests.unit.flows.world import World

ON_EACH_DATABASE = frozenset(
    {
        "test_background",
        "test_callbacks",
        "test_outage",
        "test_duplicates",
        "test_retention",
        "test_signaling_verbs",
    }
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the databases of a test's planes."""
    if "flows_database" in metafunc.fixturenames:
        each = metafunc.module.__name__.rpartition(".")[2] in ON_EACH_DATABASE
        metafunc.parametrize(
            "flows_database", ["sqlite", "postgresql"] if each else ["sqlite"], indirect=True
        )


@pytest.fixture
def flows_database(request: pytest.FixtureRequest) -> Iterator[Callable[[], str | None]]:
    """Return what gives the URL of the next plane's database; None is SQLite in its directory."""
    if request.param == "sqlite":
        yield lambda: None
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    with ExitStack() as opened:
        yield lambda: opened.enter_context(server.database())


@pytest.fixture
def make_world(tmp_path: Path, flows_database: Callable[[], str | None]) -> Iterator[Callable[..., World]]:
    """Make data planes with settings of the test's choice."""
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World(tmp_path / str(len(made)), url=flows_database(), **settings))
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
