"""What the log of ``dataferry serve`` tells, and what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.servers.plane import PULL, Rig, running

from dataferry.demo.control_plane import message

PROCESS_ID = "process-in-the-log"


def lines(rig: Rig) -> list[dict[str, Any]]:
    """The log so far, of one JSON object a line."""
    text = rig.plane.process.log.read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def steps(rig: Rig) -> list[tuple[str, str]]:
    """What the log tells of the flow: event and reason."""
    return [(one["event"], one["reason"]) for one in lines(rig) if one.get("data_flow") == PROCESS_ID]


def test_each_step_of_a_flow_is_a_line_and_polling_is_none(tmp_path: Path) -> None:
    """Operators follow a flow in the log; their dashboards do not fill it."""
    (tmp_path / "landing").mkdir()
    rig = Rig(
        tmp_path / "plane",
        locations={"here": {"type": "file", "root": str(tmp_path / "landing")}},
        more={
            "landing_zones": [{"name": "in", "sink": "here:{processId}/"}],
            "server": {"log_format": "json"},
        },
    )
    with running(rig):
        reply = rig.control_plane.prepare(rig.address, message(PROCESS_ID, "any", PULL))
        assert reply.status == 200, reply.body
        rig.notify(PROCESS_ID, "terminate", reason="seen enough")
        assert rig.view(PROCESS_ID) is not None
        rig.wait_for(lambda: len(steps(rig)) > 1, what="two steps in the log")
        assert steps(rig) == [("PREPARED", "prepare was accepted"), ("TERMINATED", "seen enough")]
        paths = [str(one["path"]) for one in lines(rig) if one.get("event") == "request"]
        assert [path for path in paths if path.endswith("/terminate")]
        assert not [path for path in paths if path.startswith("/management/")]
