"""Our rules are at least as strict as the JSON Schemas that the specification publishes.

The schemas are not ours to keep a copy of. Name checkouts, bare ones too, of the specification
(``eclipse-dataplane-signaling/dataplane-signaling``) and of the Dataspace Protocol
(``eclipse-dataspace-protocol-base/DataspaceProtocol``) in ``DPS_SPECIFICATION`` and ``DSP_SPECIFICATION``.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.interop.dps.dialects import DIALECTS, Dialect
from tests.interop.dps.generated import changed, each_change, right, whole
from tests.interop.dps.rules import registration, status_message, status_response, taken
from tests.interop.dps.shapes import Check, faults
from tests.interop.tck.schemas import MessageSchemas

SPECIFICATION, PROTOCOL = "DPS_SPECIFICATION", "DSP_SPECIFICATION"
SCHEMAS = "specifications/schemas"
DATA_ADDRESS = "artifacts/src/main/resources/transfer/data-address-schema.json"
PUBLISHED = {
    "prepare": "DataFlowPrepareMessage",
    "start": "DataFlowStartMessage",
    "started": "DataFlowStartedNotificationMessage",
    "suspend": "DataFlowSuspendMessage",
    "resume": "DataFlowResumeMessage",
    "terminate": "DataFlowTerminateMessage",
    "status message": "DataFlowStatusMessage",
    "status response": "DataFlowStatusResponseMessage",
    "registration": "DataPlaneRegistrationMessage",
}
KINDS = [
    pytest.param(dialect, kind, id=f"{dialect.name}-{kind}") for dialect in DIALECTS for kind in PUBLISHED
]
MANY = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
TALLY: Counter[str] = Counter()


def rules(dialect: Dialect) -> dict[str, Check]:
    """Our rule of each message."""
    answers = {"status message": status_message(dialect), "status response": status_response(dialect)}
    return {**taken(dialect), **answers, "registration": registration()}


def _shown(repository: Path, *arguments: str) -> bytes:
    """What git says about a repository."""
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


@pytest.fixture(scope="module")
def published() -> Iterator[dict[str, MessageSchemas]]:
    """The published schemas of each dialect; at the end, what was compared is said (``pytest -s``)."""
    missing = [name for name in (SPECIFICATION, PROTOCOL) if not os.environ.get(name)]
    if missing:
        pytest.skip(f"{' and '.join(missing)}: no checkout of the specification is named")
    specification, protocol = (Path(os.environ[name]) for name in (SPECIFICATION, PROTOCOL))
    address = json.loads(_shown(protocol, "show", f"HEAD:{DATA_ADDRESS}"))
    found = {}
    for dialect in DIALECTS:
        listed = _shown(specification, "ls-tree", "--name-only", dialect.revision, f"{SCHEMAS}/")
        documents = {
            Path(path).name: json.loads(_shown(specification, "show", f"{dialect.revision}:{path}"))
            for path in listed.decode().split()
        }
        found[dialect.name] = MessageSchemas(documents, address)
    yield found
    for verdicts, count in sorted(TALLY.items()):
        print(f"{verdicts}: {count:,} messages")  # noqa: T201 - the result, for who asked for it


@pytest.mark.parametrize(("dialect", "kind"), KINDS)
def test_what_passes_ours_passes_theirs(
    published: dict[str, MessageSchemas], dialect: Dialect, kind: str
) -> None:
    """Of messages right and wrong, none that our rule lets pass is refused by the published schema."""
    schemas, rule = published[dialect.name], rules(dialect)[kind]

    @MANY
    @given(changed(kind, dialect))
    def compare(message: dict[str, Any]) -> None:
        ours = not faults(rule, message)
        theirs = not schemas.faults(PUBLISHED[kind], json.dumps(message).encode())
        words = {True: "passes", False: "refuses"}
        TALLY[f"{dialect.name}: ours {words[ours]}, theirs {words[theirs]}"] += 1
        assert theirs or not ours

    compare()


@pytest.mark.parametrize(("dialect", "kind"), KINDS)
def test_each_single_change_is_judged_as_strictly(
    published: dict[str, MessageSchemas], dialect: Dialect, kind: str
) -> None:
    """Of a message that has everything: each place dropped, and replaced by junk of each type."""
    schemas, rule = published[dialect.name], rules(dialect)[kind]
    laxer = [
        message
        for message in each_change(whole(kind, dialect))
        if not faults(rule, message) and schemas.faults(PUBLISHED[kind], json.dumps(message).encode())
    ]
    assert laxer == []


@pytest.mark.parametrize(("dialect", "kind"), KINDS)
def test_what_is_right_passes_both(published: dict[str, MessageSchemas], dialect: Dialect, kind: str) -> None:
    """Our rules are not strict by refusing everything."""
    schemas, rule = published[dialect.name], rules(dialect)[kind]

    @settings(MANY, max_examples=200)
    @given(right(kind, dialect))
    def compare(message: dict[str, Any]) -> None:
        assert faults(rule, message) == []
        assert schemas.faults(PUBLISHED[kind], json.dumps(message).encode()) == ()

    compare()
