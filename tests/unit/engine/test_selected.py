"""Transfers that are about some of a source's objects."""

from __future__ import annotations

import pytest
from tests.unit.engine.attempts import Rig

from dataferry.domain.errors import AddressError, ConnectionFailedError
from dataferry.domain.ledger import Attempt, ObjectState
from dataferry.engine.plan.planning import FIRST_PAGE_OBJECTS
from dataferry.engine.preview import preview
from dataferry.engine.selection import Selection
from dataferry.engine.transfer import Transfer

YEARS = {
    f"{year}/{month:02}/{n}.csv": b"x" for year in (2024, 2025, 2026) for month in (1, 11) for n in range(90)
}


def test_only_what_is_selected_is_moved_and_the_rest_is_counted() -> None:
    """The plan has what patterns select, and an event says how much they left out."""
    rig = Rig({"a.csv": b"a", "a.tmp": b"t", "deep/b.csv": b"b", "old/c.csv": b"c"})

    result = rig.go(selection=Selection.of(["*.csv"], ["old/"]))

    assert sorted(rig.sink.objects) == ["in/a.csv", "in/deep/b.csv"]
    assert (result.objects, result.bytes) == (2, 2)
    assert [message for kind, message in rig.witness.notes if kind == "left_out"] == [
        "left out by patterns: 2 objects"
    ]


def test_only_the_folders_that_patterns_name_are_listed() -> None:
    """Listing begins before the first folder, ends behind the last, and goes on there after a fault."""
    rig = Rig(YEARS)
    faults = iter([ConnectionFailedError("gone")])

    def fault(operation: str, key: str, _number: int) -> None:
        if operation == "list" and key == "2025/11/50.csv":
            for error in faults:
                raise error

    rig.source.fault = fault
    result = rig.go(selection=Selection.of(["2025/11/*.csv"]))

    assert result.objects == 90
    assert {key[:10] for key in rig.sink.objects} == {"in/2025/11"}
    assert rig.source.listed < 90 + 180


def test_patterns_bind_what_was_planned_without_them() -> None:
    """An attempt whose patterns leave a planned object out does not move it, and says so."""
    rig = Rig({"a.csv": b"a", "secret.key": b"s"})
    rig.crash("open")

    result = rig.go(selection=Selection.of([], ["*.key"]))

    assert sorted(rig.sink.objects) == ["in/a.csv"]
    assert result.objects_failed == 1
    failed = rig.ledger.objects("t", state=ObjectState.FAILED)
    assert [(row.source.name, row.error_kind) for row in failed] == [("secret.key", "object_not_found")]


BYTES = {f"{letter}{n:03}\udcff": b"x" for letter in "bz" for n in range(FIRST_PAGE_OBJECTS)}


def test_a_name_that_is_not_utf_8_is_refused_with_the_way_out() -> None:
    """The error shows the byte; nothing has moved."""
    rig = Rig({"a": b"a", **BYTES})

    with pytest.raises(AddressError, match=r"'b000\\xff' can't be moved: its name is not UTF-8.*exclude"):
        rig.go()

    assert rig.sink.objects == {}


@pytest.mark.parametrize("selection", [Selection.of([], ["b???[!0-9]", "z*"]), Selection.of(["a", "n"])])
def test_patterns_leave_out_names_that_are_not_utf_8(selection: Selection) -> None:
    """The rest arrives, wherever such names stand in a page; the plan goes on behind a name that is text."""
    rig = Rig({"a": b"a", "n": b"n", **BYTES})

    assert rig.go(selection=selection).objects == 2

    assert sorted(rig.sink.objects) == ["in/a", "in/n"]
    plan = rig.ledger.plan(Attempt(transfer_id="t", epoch=1))
    assert (plan.cursor, plan.complete) == ("n", True)


def test_a_preview_counts_what_is_left_out() -> None:
    """It plans as an attempt does; of a plan that was made before it can't know."""
    rig = Rig(YEARS)
    transfer = Transfer(
        id="t",
        epoch=rig.ledger.begin("t").epoch,
        source=rig.source,
        sink=rig.sink,
        selection=Selection.of([], ["2024/**"]),
    )

    assert (found := preview(transfer, rig.ledger, rig.witness)).objects == 360
    assert (found.left_out, found.objects_to_move) == (180, 360)
    assert preview(transfer, rig.ledger, rig.witness).left_out is None
