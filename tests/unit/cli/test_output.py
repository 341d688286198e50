"""What people are shown."""

from __future__ import annotations

import pytest

from dataferry.cli.flows import row
from dataferry.cli.output import as_size, as_text, print_table, printable


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 * 1024**3, "3.0 GiB"),
        (2**50, "1024.0 TiB"),
    ],
)
def test_sizes_are_for_people(count: int | None, text: str) -> None:
    """In powers of 1024."""
    assert as_size(count) == text


def test_cells_are_plain_words() -> None:
    """None, booleans, lists and tables have a form of their own."""
    assert as_text(None) == "-"
    assert as_text(value=True) == "yes"
    assert as_text(["a", 1]) == "a, 1"
    assert as_text({"a": None}) == "a=-"


def test_names_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences in names that came from elsewhere are not printed; markup is text."""
    assert "\x1b" not in printable("a\x1b[2Jb")
    print_table(("name",), [["\x1b]0;owned\x07[bold]x[/bold]"]], empty="")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]x[/bold]" in out


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than a heading above nothing."""
    print_table(("name",), [], empty="no data flows")
    assert capsys.readouterr().out == "no data flows\n"


def test_a_flow_without_bytes_of_its_own_shows_none() -> None:
    """The side that moves nothing has no progress to show."""
    shown = row({"dataFlowId": "p1", "state": "STARTED", "run": "idle", "profile": "https://x/s3-pull"})
    assert shown == ["p1", "STARTED", "idle", "-", "s3-pull", "-", "-", "-", "-", "-"]
