"""A plane behind a proxy that serves it below a path of its own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from dataferry.app.composition import build
from dataferry.app.settings import Settings


@pytest.mark.parametrize(
    ("public_url", "path"),
    [("https://dp.example/ferry/", "/ferry"), ("https://dp.example", ""), (None, "")],
)
def test_the_path_of_the_public_url_stands_before_what_callers_are_told(
    tmp_path: Path, public_url: str | None, path: str
) -> None:
    """Where to ask for a status is told with it; what is listened on is not changed by it."""
    settings = Settings.model_validate(
        {"server": {"public_url": public_url}, "store": {"url": f"sqlite:///{tmp_path}/dataferry.db"}}
    )
    with closing(build(settings)) as service:
        services = service.application.state.services
        assert (services.public_path, services.signaling_path) == (path, "/api/v1")
