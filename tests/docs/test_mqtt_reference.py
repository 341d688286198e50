"""docs/reference/mqtt.md names every field of every payload, and no other."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.unit.store.sample_rows import flow

from dataferry.api.mqtt import payloads
from dataferry.api.mqtt.topics import Topics
from dataferry.domain.dataflow import Role, Run, State
from dataferry.domain.orchestration import Standing
from dataferry.domain.profile import Direction
from dataferry.domain.progress import Progress
from dataferry.store.records import FlowTransition, Moment, OrchestrationTransition

PAGE = (Path(__file__).parents[2] / "docs/reference/mqtt.md").read_text()
KNOWN: dict[str, Any] = {
    "role": Role.PROVIDER,
    "direction": Direction.PUSH,
    "state": State.STARTED,
    "run": Run.FAILED,
    "standing": Standing.FAILED,
    "at": datetime(2026, 1, 1, tzinfo=UTC),
    "flow_id": uuid4(),
    "orchestration_id": uuid4(),
}


def made(kind: Any) -> Any:
    """A transition; what is not known above is a number or a text."""
    return kind(
        **{
            one.name: KNOWN.get(one.name, 1 if one.type == "int" else "text")
            for one in fields(kind)
            if one.default is MISSING
        }
    )


MOMENT = Moment(flow_id=uuid4(), progress=Progress(), at=KNOWN["at"])
SECTIONS = {
    "State of a flow": payloads.flow_state(made(FlowTransition), str),
    "State of an orchestration": payloads.orchestration_state(made(OrchestrationTransition), "p", str),
    "Progress of a flow": payloads.flow_progress(flow(), MOMENT, str),
    "Status of the plane": payloads.plane_status("d", is_online=True, at=None),
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_is_documented(heading: str) -> None:
    """Those that the section names are those that a payload has."""
    found = re.search(rf"^## {heading}$\n(.*?)(?=^## )", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert found
    rows = re.findall(r"^\| (`.*?) \|", found[1], flags=re.MULTILINE)
    prose = [line for line in found[1].splitlines() if not line.startswith("|")]
    named = set(re.findall(r"`([a-zA-Z]+)`", " ".join([*rows, *prose])))
    assert set(SECTIONS[heading]) == named - {"offline", "online"}


def test_payloads_are_written_as_ascii() -> None:
    """Whatever stands in them, halves of surrogate pairs included."""
    assert payloads.encoded({"a": "ü\ud800"}) == b'{"a":"\\u00fc\\ud800"}'


def test_secrets_in_what_others_wrote_are_masked() -> None:
    """A reason that repeats a credential does not take it to subscribers."""
    change = made(FlowTransition)
    told = payloads.flow_state(change, lambda text: text.replace("text", "***"))
    assert (told["reason"], told["error"]) == ("***", "***")


def test_every_topic_is_documented() -> None:
    """The patterns of the page are those of the code."""
    topics = Topics(prefix="<prefix>", data_plane_id="D", only_participant="default")
    id_ = uuid4()
    for topic in (
        topics.status,
        topics.state(id_, "default"),
        topics.progress(id_, "default"),
        topics.orchestration(id_, "default"),
    ):
        assert f"| `{topic.replace('/D/', '/<dataplaneId>/').replace(str(id_), '<id>')}` |" in PAGE
