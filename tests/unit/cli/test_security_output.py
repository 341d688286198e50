"""Names and messages of strangers can't make the operator's terminal obey."""

from __future__ import annotations

import json

import pytest

from dataferry.cli import main
from dataferry.cli.output import print_json, print_table
from dataferry.domain.errors import DataFerryError

HOSTILE = "\x1b]0;title\x07\x9b31m\x7fname"


def _controls(text: str) -> list[str]:
    return [char for char in text if not char.isprintable() and char != "\n"]


def test_json_keeps_what_it_says_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """They are escaped, so that programs read the same text."""
    print_json({"name": HOSTILE})
    written = capsys.readouterr().out
    assert _controls(written) == []
    assert json.loads(written) == {"name": HOSTILE}


def test_tables_hold_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """Cells show a replacement."""
    print_table(["name"], [[HOSTILE]], empty="nothing")
    assert _controls(capsys.readouterr().out) == []


def test_errors_hold_no_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error may name an object of somebody else's bucket."""

    def fail(**_: object) -> None:
        raise DataFerryError(HOSTILE)

    monkeypatch.setattr("dataferry.cli.application.application", fail)
    assert main.main(["check"]) == 1
    written = capsys.readouterr().err
    assert _controls(written) == []
    assert "name" in written
