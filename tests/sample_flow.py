"""A data flow as a store may hold it, for who needs one and does not care which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

from dataferry.domain.dataflow import DataFlow, Dialect, Role, Run, State
from dataferry.domain.profile import Direction
from dataferry.testing.ledger_suite import NOON


def sample_flow(process_id: str = "p1", **changes: Any) -> DataFlow:
    """Return a provider's push that is to run; ``changes`` are its other fields."""
    made = DataFlow(
        id=uuid4(),
        data_flow_id=process_id,
        control_plane_id="cp",
        participant_context_id="default",
        process_id=process_id,
        role=Role.PROVIDER,
        direction=Direction.PUSH,
        profile="https://w3id.org/dspace-sig/profile/s3-push",
        mechanism="s3",
        dialect=Dialect.HEAD,
        state=State.STARTED,
        run=Run.QUEUED,
        participant_id="a",
        counter_party_id="b",
        dataspace_context="c",
        agreement_id="d",
        dataset_id="e",
        created_at=NOON,
        updated_at=NOON,
    )
    return replace(made, **changes)
