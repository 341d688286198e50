"""DataAddress: what messages may carry, and what never shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataferry.domain.address import MAX_PROPERTIES, DataAddress
from dataferry.domain.errors import AddressError

IRI = "https://w3id.org/edc/v0.0.1/ns/"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=10,
)


def wire(*properties: dict[str, Any]) -> dict[str, Any]:
    """Make an S3 address with the given properties."""
    return {"endpointType": "AmazonS3", "endpoint": "s3://bucket/key", "endpointProperties": list(properties)}


def test_property_names_lose_their_iri() -> None:
    """EDC writes property names as IRIs."""
    address = DataAddress.from_wire(wire({"name": IRI + "bucketName", "value": "measurements"}))
    assert address.get("bucketName") == "measurements"


def test_get_takes_the_first_name_that_has_a_value() -> None:
    """An empty value counts as not there."""
    address = DataAddress.from_wire(wire({"name": "a", "value": ""}, {"name": "b", "value": "2"}))
    assert address.get("a", "b", "c") == "2"
    assert address.get("c") is None


def test_the_first_of_two_equal_names_counts() -> None:
    """A repeated property cannot override an earlier one."""
    address = DataAddress.from_wire(wire({"name": "region", "value": "1"}, {"name": "region", "value": "2"}))
    assert address.get("region") == "1"


def test_a_property_by_its_name_and_by_its_iri_is_one() -> None:
    """Said twice it is kept once; where the values differ, both are, and the first counts."""
    twice = [
        {"name": "authorization", "value": "one"},
        {"name": f"{IRI}authType", "value": "bearer"},
        {"name": f"{IRI}authorization", "value": "one"},
        {"name": "authorization", "value": "two"},
    ]
    address = DataAddress.from_wire(wire(*twice))
    assert address.properties == (("authorization", "one"), ("authType", "bearer"), ("authorization", "two"))
    assert address.get("authorization") == "one"


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (8080, "8080"), (None, ""), ("x", "x")])
def test_scalar_values_become_text(value: object, text: str) -> None:
    """Control planes write numbers and booleans where the DSP has strings."""
    assert DataAddress.from_wire(wire({"name": "p", "value": value})).properties == (("p", text),)


def test_null_properties_are_none() -> None:
    """EDC sends explicit nulls; we answer with a list."""
    address = DataAddress.from_wire(
        {"endpointType": "AmazonS3", "endpoint": None, "endpointProperties": None}
    )
    assert address == DataAddress(endpoint_type="AmazonS3")
    assert address.to_wire()["endpointProperties"] == []


@pytest.mark.parametrize(
    "bad",
    [
        "s3://bucket",
        [],
        {"endpointType": 7},
        {"endpointType": "x", "endpoint": {}},
        {"endpointType": "x", "endpointProperties": {}},
        wire({"value": "no name"}),
        wire({"name": "n", "value": ["list"]}),
        wire({"name": "n", "value": "x" * 20_000}),
        wire(*[{"name": f"n{i}", "value": "v"} for i in range(MAX_PROPERTIES + 1)]),
    ],
)
def test_wrong_shapes_are_refused(bad: object) -> None:
    """The error is an AddressError, which is answered with 400."""
    with pytest.raises(AddressError):
        DataAddress.from_wire(bad)


@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    """Nothing but AddressError comes out, whatever comes in."""
    try:
        address = DataAddress.from_wire(value)
    except AddressError:
        return
    assert DataAddress.from_wire(json.loads(json.dumps(address.to_wire()))) == address


def test_repr_shows_no_value() -> None:
    """Logs may hold the repr of an address, so it has names only."""
    address = DataAddress.from_wire(wire({"name": "secretAccessKey", "value": "hunter2"}))
    assert "hunter2" not in repr(address)
    assert "secretAccessKey" in repr(address)
