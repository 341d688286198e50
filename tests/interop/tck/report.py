"""The page that tells what the conformance kit found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tests.interop.tck.kit import Outcome, version
from tests.interop.tck.schemas import Checked

_HEAD = """# Conformance

What the conformance kit of Data Plane Signaling finds wrong with DataFerry. Written by `make conformance`,
which runs every data plane test of the kit against a real `dataferry serve`; none is excluded.

{state}

| | |
|---|---|
| kit | `org.eclipse.dataspacetck.dps:dps-tck` {kit}, from {kit_from} |
| specification | Data Plane Signaling {specification} |
| tests | {passed} passed, {failed} failed |

| test | what it verifies | | why it fails |
|---|---|---|---|
"""

_TAIL = """
The kit lets its user choose dataset, profile and agreement of each test. Tests of signaling use `s3-pull` and
`s3-push`, except those of a push's provider: the address that they bring is always HTTP. How the plane is
configured is in `tests/interop/tck/configuration.py`. `make conformance` needs Java 17, and Maven, which
fetches the kit from Maven Central.
"""

_MESSAGES = """
## Messages and their schemas

Every message that passed between the plane and its control plane in this run, held against the JSON Schemas
that the specification publishes. What the plane sends must be as published. What it accepts may differ where
control planes in use do: a missing `@type` in a data address, for one.

| message | | number | |
|---|---|---|---|
"""


def complete(outcomes: Iterable[Outcome], tests: Iterable[str]) -> list[Outcome]:
    """Return the outcomes, and a failure for each test that should have run and did not."""
    found = list(outcomes)
    ran = {one.test for one in found}
    missing = [
        Outcome(test=test, status="failed", title=test, reason="the kit did not run it")
        for test in tests
        if test not in ran
    ]
    return found + missing


def page(outcomes: Sequence[Outcome], checked: Sequence[Checked], *, kit_from: str) -> str:
    """Return the page in Markdown.

    Args:
        outcomes: Of every test.
        checked: Every message that was held against its schema.
        kit_from: Where the kit came from.
    """
    passed = sum(one.passed for one in outcomes)
    failed = len(outcomes) - passed
    head = _HEAD.format(
        state="**This is not complete yet**: not all tests pass." if failed else "All tests pass.",
        kit=version("kit"),
        kit_from=kit_from,
        specification=version("specification"),
        passed=passed,
        failed=failed,
    )
    return head + "".join(map(_row, outcomes)) + _TAIL + _messages(checked)


def _messages(checked: Sequence[Checked]) -> str:
    """Count the messages, and name every way in which some differ from their schema."""
    rows = []
    for theirs, what in sorted({(not one.ours, one.what) for one in checked}):
        alike = [one for one in checked if (not one.ours, one.what) == (theirs, what)]
        # Which entry of a list it was is no matter.
        faults = sorted({re.sub(r"\[\d+\]", "[]", fault) for one in alike for fault in one.faults})
        side = "accepted" if theirs else "sent"
        rows.append(f"| {what} | {side} | {len(alike)} | {_cell('; '.join(faults)) or 'as published'} |\n")
    return _MESSAGES + "".join(rows)


def _row(one: Outcome) -> str:
    name = one.title.partition(": ")[0]
    why = "" if one.passed else one.reason[:300]
    about = one.title.partition(": ")[2]
    return f"| {name} | {_cell(about)} | {one.status} | {_cell(why)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
