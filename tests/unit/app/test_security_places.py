"""How many places of the executor one control plane may have."""

from __future__ import annotations

import pytest

from dataferry.app.engine_settings import EngineSettings
from dataferry.app.settings import Settings
from dataferry.app.values import most_of_one


@pytest.mark.parametrize(
    ("concurrency", "configured", "control_planes", "expected"),
    [(4, None, 1, 4), (4, None, 2, 3), (1, None, 2, 1), (4, 2, 1, 2), (4, 2, 9, 2)],
)
def test_a_place_is_left_where_others_may_come(
    concurrency: int, configured: int | None, control_planes: int, expected: int
) -> None:
    """By default all but one where there are several, at least one, and what is configured in any case."""
    engine = EngineSettings(flow_concurrency=concurrency, flow_concurrency_per_control_plane=configured)
    assert expected == most_of_one(Settings(engine=engine), control_planes)
