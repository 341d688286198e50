"""What people are shown."""

from __future__ import annotations

import pytest

from dataferry.cli.flows import COLUMNS, facts, failed, row, watched
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
    flow = {"dataFlowId": "p1", "state": "STARTED", "run": "idle", "objectsTotal": None, "lastError": None}
    assert row(flow) == ["p1", "STARTED", "idle", "-", "-", "-", "-"]
    assert watched(flow) == ["p1", "STARTED", "idle", "-", "-", "-", "-"]
    assert facts(flow) == [("dataFlowId", "p1"), ("state", "STARTED"), ("run", "idle")]


def test_a_flow_is_told_in_units_for_people() -> None:
    """Sizes, shares and times are rounded; what is nothing is not told."""
    flow = {
        "dataFlowId": "p1",
        "createdAt": "2026-11-23T02:18:09.855281+00:00",
        "objectsTotal": 4,
        "objectsDone": 1,
        "objectsSkipped": 2,
        "objectsFailed": 0,
        "bytesTotal": 2048,
        "bytesTransferred": 1536,
        "percentComplete": 75.0,
        "bytesResumed": 0,
    }
    assert facts(flow) == [
        ("dataFlowId", "p1"),
        ("createdAt", "2026-11-23 02:18:09 UTC"),
        ("objects", "1 of 4 moved, 2 skipped"),
        ("bytes", "1.5 KiB of 2.0 KiB (75 %)"),
    ]


def test_a_flow_without_a_total_is_told_without_one() -> None:
    """While the length of an object is not known."""
    flow = {"bytesTotal": None, "bytesTransferred": 1536, "percentComplete": None}
    assert facts(flow) == [("bytes", "1.5 KiB")]


def test_a_list_of_flows_fits_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 80 columns no state is broken, however long the ids are."""
    monkeypatch.setenv("COLUMNS", "80")
    flow = {
        "dataFlowId": "0a6121c9-fd47-4737-a910-c501fa50dc83",
        "state": "TERMINATED",
        "run": "running",
        "role": "provider",
        "datasetId": "a-dataset-with-a-rather-long-name",
        "percentComplete": 100.0,
        "bytesTransferred": 1023 * 1024,
    }
    print_table(COLUMNS, [row(flow)], empty="")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(
        all(word in line for word in ("TERMINATED", "running", "provider", "1023.0 KiB")) for line in lines
    )


def test_failed_objects_of_a_flow_are_told_with_the_way_to_all_of_them() -> None:
    """The first ones, and where the others are; nothing where there are none."""
    objects = [{"name": "a", "lastErrorKind": "access_denied", "lastError": "no"}]
    flow = {"id": "x", "objectsFailed": 1}
    assert failed(flow, objects, "http://here/") == ["a: access_denied: no"]
    assert failed(flow | {"objectsFailed": 1001}, objects, "http://here/") == [
        "a: access_denied: no",
        "and 1,000 more: GET http://here/management/dataflows/x/objects?state=failed",
    ]
    assert failed(flow | {"objectsFailed": 0}, [], "http://here") == []
