"""Messages made up for comparison: right ones, and such with something dropped, replaced or added."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from tests.interop.dps.dialects import DIALECTS, Dialect

JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(""),
    st.text(max_size=3),
    # Made anew each time: what is put into a message may be changed there.
    st.builds(list),
    st.builds(dict),
    st.builds(lambda: [7]),
)
TEXT = st.text(min_size=1, max_size=8)
PROPERTY = st.fixed_dictionaries(
    {"@type": st.just("EndpointProperty"), "name": TEXT, "value": st.text(max_size=4)}
)
ADDRESS = st.fixed_dictionaries(
    {"@type": st.just("DataAddress"), "endpointType": TEXT},
    optional={
        "endpoint": st.text(max_size=8),
        "endpointProperties": st.lists(PROPERTY, min_size=1, max_size=2),
    },
)
URL = st.just("https://dp.example/api")
STATE = st.sampled_from(
    ["PREPARING", "PREPARED", "STARTING", "STARTED", "SUSPENDED", "COMPLETED", "TERMINATED"]
)
_IDS = (
    "messageId",
    "participantId",
    "counterPartyId",
    "dataspaceContext",
    "processId",
    "agreementId",
    "datasetId",
)
# Names to add: of other messages, and of none.
_DROPPED = object()
_NAMES = ("extra", "error", "dataAddress", "labels", "state", "reason", "claims", "authorization")
Fields = dict[str, st.SearchStrategy[Any]]


def right(kind: str, dialect: Dialect) -> st.SearchStrategy[dict[str, Any]]:
    """Return messages as a plane or a control plane sends them.

    Args:
        kind: ``prepare``, …, ``status message``, ``status response`` or ``registration``.
        dialect: In whose words.
    """
    required, optional = _fields(kind, dialect)
    return st.fixed_dictionaries(required, optional=optional)


def _fields(kind: str, dialect: Dialect) -> tuple[Fields, Fields]:
    """Fields that are there, and those that may be."""
    plane: Fields = {"dataplaneId": TEXT} if dialect.names_data_plane else {}
    base: Fields = {**dict.fromkeys((*_IDS, dialect.transfer), TEXT), "claims": st.just({"a": 1})}
    more: Fields = {"metadata": st.just({"k": None}), "labels": st.lists(TEXT, max_size=2)}
    if dialect.has_callback_address:
        more["callbackAddress"] = URL
    offers = {one.transfers: st.lists(TEXT, min_size=1, max_size=2) for one in DIALECTS}
    told: Fields = {"messageId": TEXT}
    known: Fields = {"dataFlowId": TEXT, "state": STATE, **plane}
    us: Fields = {"dataplaneId": TEXT, "endpoint": URL, "authorization": st.just({"type": "bearer"})}
    kinds: dict[str, tuple[Fields, Fields]] = {
        "prepare": (base, more),
        "start": (base, {**more, "dataAddress": ADDRESS}),
        "started": (told, {"dataAddress": ADDRESS}),
        "resume": (told, {"dataAddress": ADDRESS}),
        "suspend": (told, {"reason": TEXT}),
        "terminate": (told, {"reason": TEXT}),
        "status message": (
            {"messageId": st.uuids().map(str), **known},
            {"dataAddress": ADDRESS, "error": TEXT},
        ),
        "status response": (known, {}),
        "registration": ({**us, **offers}, {"labels": st.lists(TEXT, max_size=2)}),
    }
    return kinds[kind]


def whole(kind: str, dialect: Dialect) -> dict[str, Any]:
    """Return a right message in which nothing that may be there is missing, at any depth."""
    _, optional = _fields(kind, dialect)

    def is_whole(message: dict[str, Any]) -> bool:
        address = message.get("dataAddress", {"endpoint": "", "endpointProperties": []})
        return (
            optional.keys() <= message.keys()
            and {"endpoint", "endpointProperties"} <= address.keys()
            and message.get("labels") != []
        )

    # Without shrinking: that takes a minute, for a message that nobody reads.
    quickly = settings(phases=[Phase.generate], max_examples=20_000, derandomize=True, database=None)
    return find(right(kind, dialect), is_whole, settings=quickly)


def each_change(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a message with one thing changed: each place dropped once, and replaced by each kind of junk."""
    for *parents, last in _places(message):
        for junk in (_DROPPED, None, True, 7, "", "x", [], {}, [7]):
            made = deepcopy(message)
            inner: Any = made
            for step in parents:
                inner = inner[step]
            if junk is _DROPPED:
                del inner[last]
            else:
                inner[last] = deepcopy(junk)
            yield made


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a message."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from _places(inner, (*path, key))


@st.composite
def changed(draw: st.DrawFn, kind: str, dialect: Dialect) -> dict[str, Any]:
    """Make a right message with up to three things dropped, replaced or added, at any depth."""
    message = deepcopy(draw(right(kind, dialect)))
    for _ in range(draw(st.integers(min_value=0, max_value=3))):
        places = list(_places(message))
        if not places:
            break
        *parents, last = draw(st.sampled_from(places))
        inner: Any = message
        for step in parents:
            inner = inner[step]
        how = draw(st.sampled_from(["drop", "replace", "add"]))
        if how == "drop":
            del inner[last]
        elif how == "add" and isinstance(inner, dict):
            inner[draw(st.sampled_from(_NAMES))] = draw(JUNK)
        else:
            inner[last] = draw(JUNK)
    return message
