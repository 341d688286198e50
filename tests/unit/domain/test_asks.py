"""Requests by columns: the same list, in few objects."""

from __future__ import annotations

import json

from dataferry.domain.asks import Asks
from dataferry.domain.orchestration import Ask

ASKS = [
    Ask(counter_party_address="http://p", contract_id="c0", connector_id="did:web:p"),
    Ask(counter_party_address="http://p", contract_id="c1", connector_id="did:web:p", destination="lake:x"),
]


def test_a_list_is_the_same_by_columns() -> None:
    """In its order and length, by position too, and again after a way through JSON."""
    asks = Asks.of(ASKS)
    assert (len(asks), list(asks), asks[1]) == (2, ASKS, ASKS[1])
    again = Asks(len(asks), json.loads(json.dumps(asks.columns)))
    assert list(again) == ASKS


def test_what_is_the_same_is_there_once() -> None:
    """And what nobody says is not there."""
    assert Asks.of(ASKS).columns == {
        "counter_party_address": "http://p",
        "contract_id": ["c0", "c1"],
        "connector_id": "did:web:p",
        "destination": [None, "lake:x"],
    }


def test_distinct_values_of_a_field() -> None:
    """None is one of them."""
    asks = Asks.of(ASKS)
    assert [asks.distinct(name) for name in ("destination", "connector_id", "transfer_type")] == [
        {None, "lake:x"},
        {"did:web:p"},
        {None},
    ]
    assert list(Asks.of([])) == []


def test_what_some_entry_lacks() -> None:
    """Whether one of them has no value, or none of them has."""
    asks = Asks.of(ASKS)
    assert [name for name in Ask._fields if asks.lack(name)] == [
        "transfer_type",
        "counter_party_id",
        "destination",
        "asset_id",
    ]
    assert asks.distinct("transfer_type", "connector_id") == {(None, "did:web:p")}
