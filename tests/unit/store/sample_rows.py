"""Flows to store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.sample_flow import sample_flow

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow, Dialect

PLANTED = "pl4nted-s3cret-value"


def flow(process_id: str = "p1", **changes: Any) -> DataFlow:
    """Return a flow with a secret in each place that may hold one."""
    address = DataAddress(
        endpoint_type="s3", endpoint="s3://bucket", properties=(("secretAccessKey", PLANTED),)
    )
    made = sample_flow(
        process_id,
        dialect=Dialect.RC2,
        callback_address="http://cp.example/callback",
        claims={"role": [PLANTED]},
        metadata={"destinationDataAddress": {"secretAccessKey": PLANTED}},
        labels=("l1", "l2"),
        incoming_address=address,
        outgoing_address=address,
        source_ref="plant:a/",
        request_digest="0" * 64,
        reason="why",
    )
    return replace(made, **changes)
