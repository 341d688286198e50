"""Flows to store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow, Dialect, Role, Run, State
from dataferry.domain.profile import Direction
from dataferry.testing.ledger_suite import NOON

PLANTED = "pl4nted-s3cret-value"


def flow(process_id: str = "p1", **changes: Any) -> DataFlow:
    """Return a flow with a secret in each place that may hold one."""
    address = DataAddress(
        endpoint_type="s3", endpoint="s3://bucket", properties=(("secretAccessKey", PLANTED),)
    )
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
        dialect=Dialect.RC2,
        state=State.STARTED,
        run=Run.QUEUED,
        participant_id="a",
        counter_party_id="b",
        dataspace_context="c",
        agreement_id="d",
        dataset_id="e",
        callback_address="http://cp.example/callback",
        claims={"role": [PLANTED]},
        metadata={"destinationDataAddress": {"secretAccessKey": PLANTED}},
        labels=("l1", "l2"),
        incoming_address=address,
        outgoing_address=address,
        source_ref="plant:a/",
        sink_ref=None,
        request_digest="0" * 64,
        reason="why",
        created_at=NOON,
        updated_at=NOON,
    )
    return replace(made, **changes)
