"""What README and the how-to pages show can be used as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dataferry.app.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for number, block in enumerate(
        re.findall(r"```toml\n(# dataferry\.toml.*?)```", page.read_text(), flags=re.DOTALL), start=1
    )
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_of_the_configuration_are_valid(text: str) -> None:
    """Every whole ``dataferry.toml`` in the pages is one that ``serve`` takes."""
    import tomllib

    Settings.model_validate(tomllib.loads(text))


def test_readme_fits_a_screen_or_two() -> None:
    """README stays short: the rest is in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100
