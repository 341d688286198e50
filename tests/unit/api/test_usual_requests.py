"""The quick reading of requests says yes to nothing that the rules refuse, and means the same by it."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given
from tests.servers.orchestrator import entry

from dataferry.api.bodies import RefusedBodyError, parsed
from dataferry.api.orchestration import usual
from dataferry.api.orchestration.wire import request_of
from dataferry.flows.orchestration.orchestrator import Request, RequestError

ADDRESS = "http://edc.example/consumer/cp"
BODY = {"data": [entry("c1"), entry("c2")], "connectorAddress": ADDRESS}

# Mostly what is right: else hardly any request would be read quickly.
URLS = st.sampled_from(
    [ADDRESS, "HTTPS://p.example:8443/dsp", "http://p/%7Ea"] * 4
    + ["ftp://x/y", "http://u:p@x/y", "http://x/../y", "http://x/%2E%2e"]
)
WRONG: st.SearchStrategy[Any] = st.sampled_from([None, False, 7, "", "x" * 2049, [], {}])
TEXTS = st.sampled_from(
    ["c", "did:web:p", "x" * 2048, "HttpData-PULL"] * 10
    + ["zwei Wörter", "\ud800", "\0", 'say "so"', "\u2028"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner), max_leaves=12
)
FIELDS = {
    "type": st.just("edc-asset"),
    "counterPartyAddress": URLS,
    "contractId": TEXTS,
    "connectorId": TEXTS,
}
MORE = {
    "transferType": TEXTS | st.none(),
    "counterPartyId": TEXTS | st.none(),
    "destination": TEXTS | st.none(),
}


@st.composite
def changed(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """A document with a field wrong, missing or unknown now and then."""
    found = dict(document)
    for name in document:
        choice = draw(st.integers(0, 40))
        if choice == 0:
            found[name] = draw(WRONG)
        elif choice == 1:
            del found[name]
        elif choice == 2:
            found[draw(st.sampled_from(["unknown", "counter_party_id"]))] = draw(VALUES)
    return found


ENTRIES = st.fixed_dictionaries(FIELDS, optional=MORE).flatmap(changed)
BODIES = st.fixed_dictionaries(
    {"data": st.lists(ENTRIES, max_size=4), "connectorAddress": URLS},
    optional={"properties": st.dictionaries(TEXTS, VALUES, max_size=3)},
).flatmap(changed)
FORMS = st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}])


def _by_the_rules(body: bytes) -> Request | None:
    """What the bounds of bodies and the rules of requests make of it."""
    try:
        return request_of(parsed(body), None)
    except (RefusedBodyError, RequestError):
        return None


def _same(body: bytes) -> Request | None:
    """Compare both readings; return the quick one."""
    quick = usual.read(body)
    if quick is not None:
        ruled = _by_the_rules(body)
        assert ruled is not None
        assert list(ruled.asks) == list(quick.asks)
        # As text, so that 1, 1.0 and True are three things, and -0.0 is none of 0.0.
        assert json.dumps(ruled.properties) == json.dumps(quick.properties)
        assert ruled.connector_address == quick.connector_address
        assert ruled.digest == quick.digest
    return quick


@given(BODIES, FORMS)
@example(BODY, {})
@example({**BODY, "properties": {"n": 10**400, "f": 1e308, "z": -0.0}}, {})
@example({**BODY, "properties": {"big": "x" * 20_000}}, {})
@example({**BODY, "properties": {"nan": float("nan"), "inf": float("-inf")}}, {})
def test_both_readings_agree(document: dict[str, Any], form: dict[str, Any]) -> None:
    """Whatever is sent: what is read quickly is right by the rules, and the same request."""
    _same(json.dumps(document, **form).encode(errors="surrogatepass"))


@given(st.data())
def test_both_readings_agree_on_broken_text(data: st.DataObject) -> None:
    """The same of bodies with a byte changed, left out or doubled: half-JSON, repeated and misspelt names."""
    body = bytearray(json.dumps({**BODY, "properties": {"a": [1, 2.5e3, None, "b"]}}).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    _same(bytes(body))


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": [], "data": %s, "connectorAddress": "x", "connectorAddress": "http://p"}',
        b'\n {"connectorAddress":"http://p","properties":{"a":{"b":[1,2]},"a":1},"data":%s} \r\n',
        b'{"data": %s, "connectorAddress": "http:\\/\\/p"}',
    ],
)
def test_odd_text_of_right_requests_is_read_quickly_too(body: bytes) -> None:
    """Names that are there twice count as the last one does, in both readings."""
    assert _same(body % json.dumps(BODY["data"]).encode()) is not None


def test_the_usual_request_is_read_quickly() -> None:
    """Each described field may be there, and the optional ones with some entries only."""
    assert _same(json.dumps(BODY).encode()) is not None
    more = [entry("c3", transferType="HttpData-PULL"), entry("c4", counterPartyId="p", destination=None)]
    found = _same(json.dumps({**BODY, "data": [*BODY["data"], *more], "properties": {"t": 1}}).encode())
    assert found is not None
    assert [ask.transfer_type for ask in found.asks] == [None, None, "HttpData-PULL", None]
    assert found.asks.distinct("counter_party_id") == {None, "p"}


@pytest.mark.parametrize("depth", [28, 29, 30, 31, 32, 33])
def test_the_bound_of_depth_is_the_same(depth: int) -> None:
    """Levels are counted from the body's own."""
    nested: Any = 0
    for _ in range(depth):
        nested = [nested]
    body = json.dumps({**BODY, "properties": {"n": nested}}).encode()
    assert (usual.read(body) is None) == (_by_the_rules(body) is None)
