"""Policies: one thing said in many spellings is one, and whatever else is another or none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataferry.domain.errors import InputError
from dataferry.domain.odrl import ODRL
from dataferry.domain.usage_policy import Offer, UsagePolicy

EDC = "https://w3id.org/edc/v0.0.1/ns/"
REGION = {"leftOperand": "region", "operator": "eq", "rightOperand": "eu"}
UNTIL = {"leftOperand": f"{EDC}inForceDate", "operator": "lteq", "rightOperand": "2027-01-01T00:00:00Z"}


def _use(*constraints: Any, **more: Any) -> dict[str, Any]:
    return {"permission": [{"action": "use", "constraint": list(constraints), **more}]}


WRITTEN = _use(REGION, UNTIL)


@pytest.mark.parametrize(
    "spelt",
    [
        {"@id": "o", "@type": "Offer", **_use(UNTIL, REGION)},
        {"odrl:permission": {"odrl:action": {"@id": "odrl:use"}, "odrl:constraint": [REGION, UNTIL]}},
        {
            "permission": [{"action": [{"@id": f"{ODRL}use"}], "constraint": [REGION, UNTIL]}],
            "prohibition": [],
            "obligation": [],
            "odrl:profile": None,
        },
        {
            f"{ODRL}permission": [
                {
                    "@type": "Permission",
                    f"{ODRL}action": [{"@id": f"{ODRL}use"}],
                    f"{ODRL}constraint": [
                        {
                            f"{ODRL}leftOperand": [{"@id": "region"}],
                            f"{ODRL}operator": [{"@id": f"{ODRL}eq"}],
                            f"{ODRL}rightOperand": [{"@value": "eu"}],
                        },
                        {
                            f"{ODRL}leftOperand": [{"@value": "edc:inForceDate"}],
                            f"{ODRL}operator": [{"@id": "odrl:lteq"}],
                            f"{ODRL}rightOperand": [
                                {"@value": "2027-01-01T00:00:00Z", "@type": "xsd:dateTime"}
                            ],
                        },
                    ],
                }
            ]
        },
        {"@context": ["https://w3id.org/dspace/2025/1/context.jsonld", "https://w3id.org/edc/dspace/v0.0.1"],
         **_use(REGION, UNTIL | {"leftOperand": "inForceDate"})},
        {"@context": {"o": ODRL, "when": {"@id": "edc:inForceDate"}}, "o:permission": [
            {"o:action": "o:use", "o:constraint": [REGION, UNTIL | {"leftOperand": "when"}]}
        ]},
    ],
)  # fmt: skip
def test_one_policy_has_many_spellings(spelt: dict[str, Any]) -> None:
    """Prefixes, whole IRIs, lists of one, expanded values, another order: all of it says the same."""
    assert UsagePolicy.read(spelt) == UsagePolicy.read(WRITTEN)


@pytest.mark.parametrize(
    "other",
    [
        {},
        _use(REGION),
        _use(REGION, UNTIL, UNTIL),
        _use(REGION | {"rightOperand": "us"}, UNTIL),
        _use(REGION | {"operator": "neq"}, UNTIL),
        _use(REGION | {"leftOperand": "Region"}, UNTIL),
        _use(REGION, UNTIL | {"leftOperand": "inForceDate"}),
        _use(REGION | {"leftOperand": "edc:region"}, UNTIL),
        _use(REGION | {"leftOperand": "odrl:region"}, UNTIL),
        _use(REGION | {"rightOperand": {"@id": "eu"}}, UNTIL),
        _use(REGION | {"rightOperand": ["eu", "us"]}, UNTIL),
        _use({"and": [REGION, UNTIL]}),
        _use({"or": [REGION, UNTIL]}),
        _use(REGION, UNTIL, duty=[{"action": "pay"}]),
        {**WRITTEN, "prohibition": [{"action": "distribute"}]},
        {**WRITTEN, "obligation": [{"action": "delete"}]},
        {**WRITTEN, "profile": "https://example.org/profile"},
        {"prohibition": WRITTEN["permission"]},
        {"permission": WRITTEN["permission"] * 2},
        {"permission": [{"action": "display", "constraint": [REGION, UNTIL]}]},
        {"permission": [{"action": "use", "constraint": [REGION]}, {"action": "use", "constraint": [UNTIL]}]},
    ],
)
def test_what_says_anything_else_is_another_policy(other: dict[str, Any]) -> None:
    """One word more or less makes it one that was not accepted."""
    assert UsagePolicy.read(other) != UsagePolicy.read(WRITTEN)


@pytest.mark.parametrize(
    "unknown",
    [
        None, "use", [], 5,
        {"permission": ["use"]},
        {"permission": [{}]},
        {"permission": [None]},
        {"permission": [{"constraint": [REGION]}]},
        {"permission": [{"action": "use", "refinement": []}]},
        {"permission": [{"action": {"@id": "odrl:use", "odrl:refinement": REGION}}]},
        {"permission": [{"action": ["use", "display"]}]},
        {"permission": [{"action": ""}]},
        {"permission": {"@list": []}},
        {"permission": [{"@value": "use"}]},
        _use({}),
        _use({"leftOperand": "region"}),
        _use({"leftOperand": "region", "operator": "eq"}),
        _use(REGION | {"and": [REGION]}),
        _use({"and": [REGION], "or": [REGION]}),
        _use({"andSequence": [REGION]}),
        _use(REGION | {"unit": "km"}),
        _use(REGION | {"dataType": "xsd:string"}),
        _use(REGION | {"rightOperand": {"@value": "eu", "@language": "en"}}),
        _use(REGION | {"rightOperand": {"@value": {"a": 1}}}),
        _use(REGION | {"rightOperand": {"a": 1}}),
        _use(REGION | {"rightOperand": []}),
        {"permission": [], "inheritFrom": "http://p/other"},
        {"permission": [], "https://example.org/permission": []},
        {"permission": [], "conflict": "perm"},
        {"permission": WRITTEN["permission"], "odrl:permission": WRITTEN["permission"]},
        {"@context": {"permission": "https://example.org/nothing"}, **WRITTEN},
        {"@context": [{"permission": {"@id": "https://example.org/nothing"}}], **WRITTEN},
        _use(REGION | {"@context": {}}),
        {"@context": {"region": "a", "a": "region"}, **WRITTEN},
        {"@graph": []},
        {**WRITTEN, "target": "asset"},
        {**WRITTEN, "assigner": "did:web:p"},
        _use(REGION, target="asset"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_no_policy(unknown: Any) -> None:
    """A key, a shape or a value that is not known might change what the rest means."""
    with pytest.raises(InputError):
        UsagePolicy.read(unknown)


@pytest.mark.parametrize("written", [{"@id": "asset"}, "asset", [{"@value": "asset"}]])
def test_parties_are_held_against_who_was_asked(written: Any) -> None:
    """An offer may say about what it is, and of whom, wherever it likes: it must be true."""
    offered = {**_use(REGION, target=written), "target": written, "assignee": "did:web:us"}
    found = UsagePolicy.read(offered, target="asset", assigner="did:web:p")
    assert found == UsagePolicy.read(_use(REGION))
    with pytest.raises(InputError, match="its target is 'asset'"):
        UsagePolicy.read(offered, target="another", assigner="did:web:p")
    with pytest.raises(InputError, match="its assigner is 'did:web:q'"):
        UsagePolicy.read({"assigner": "did:web:q"}, target="asset", assigner="did:web:p")


def test_numbers_are_what_connectors_make_of_them() -> None:
    """They hand them on as text; true is not 1, and 1 is not 1.0."""
    as_text = {
        value: UsagePolicy.read(_use(REGION | {"rightOperand": value})) for value in ("5", "true", "1")
    }
    assert UsagePolicy.read(_use(REGION | {"rightOperand": 5})) == as_text["5"]
    assert UsagePolicy.read(_use(REGION | {"rightOperand": True})) == as_text["true"]
    assert UsagePolicy.read(_use(REGION | {"rightOperand": True})) != as_text["1"]
    assert UsagePolicy.read(_use(REGION | {"rightOperand": 1.0})) != as_text["1"]


def test_nobody_reads_for_ever() -> None:
    """A policy has so many rules and constraints at most, however they are nested."""
    nested: dict[str, Any] = REGION
    for _ in range(20):
        nested = {"and": [nested, REGION]}
    UsagePolicy.read(_use(nested))
    for many in (_use(*[REGION] * 1000), {"permission": [{"action": "use"}] * 1001}, _use(*[nested] * 30)):
        with pytest.raises(InputError, match="more than 1000"):
            UsagePolicy.read(many)


def test_an_empty_policy_is_told_apart() -> None:
    """Rules that are empty lists say nothing."""
    assert UsagePolicy.read({"permission": [], "@type": "Set", "@id": "x"}).is_empty
    assert not UsagePolicy.read({"permission": [{"action": "use"}]}).is_empty


def test_what_is_shown_is_short_and_plain() -> None:
    """No control character, no end; and what is short can be read again."""
    shown = UsagePolicy.read(_use(REGION | {"rightOperand": "\x1b[31m\u202e" + "x" * 10_000})).shown
    assert len(shown) < 450
    assert shown[:-1].isascii()
    assert shown.isprintable()
    assert UsagePolicy.read(json.loads(UsagePolicy.read(WRITTEN).shown)) == UsagePolicy.read(WRITTEN)


# A busy machine is no fault of a policy.
SLOWLY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
CONTEXT = {"a": "b:x", "b": "o:y", "o": "odrl:", "region": {"@id": "a"}}
NAMES = st.sampled_from(
    ["use", "region", "odrl:use", "edc:region", "https://example.org/x", "a:b", "urn:x:y"]
)
VALUES = st.one_of(
    st.text(max_size=5), st.integers(), st.booleans(), st.builds(lambda name: {"@id": name}, NAMES)
)
ATOMS = st.fixed_dictionaries(
    {
        "leftOperand": NAMES,
        "operator": NAMES,
        "rightOperand": st.one_of(VALUES, st.lists(VALUES, min_size=1, max_size=2)),
    }
)
CONSTRAINTS = st.recursive(
    ATOMS,
    lambda inner: st.builds(
        lambda kind, several: {kind: several},
        st.sampled_from(["and", "or", "xone"]),
        st.lists(inner, min_size=1, max_size=2),
    ),
    max_leaves=3,
)
RULES = st.fixed_dictionaries({"action": NAMES}, optional={"constraint": st.lists(CONSTRAINTS, max_size=2)})
POLICIES = st.fixed_dictionaries(
    {},
    optional={name: st.lists(RULES, max_size=2) for name in ("permission", "prohibition", "obligation")},
)


@SLOWLY
@given(policy=POLICIES, order=st.randoms(), context=st.sampled_from([None, CONTEXT]))
def test_reading_again_changes_nothing(policy: dict[str, Any], order: Any, context: Any) -> None:
    """What rows keep, what is sent and what is shuffled on the way is the policy that was read."""
    found = UsagePolicy.read(policy, context=context)
    kept = Offer.from_text(Offer(id="o", policy=found).to_text())
    assert kept.policy == found
    assert kept.policy.rules == found.rules
    for rules in policy.values():
        order.shuffle(rules)
    assert UsagePolicy.read(policy, context=context) == found


@SLOWLY
@given(one=POLICIES, other=POLICIES)
def test_equal_policies_have_the_same_rules(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two that are equal have the same number of rules of each kind: none is ever lost in a comparison."""
    first, second = UsagePolicy.read(one), UsagePolicy.read(other)
    if first == second:
        counts = [{name: len(rules) for name, rules in read.rules.items()} for read in (first, second)]
        assert counts[0] == counts[1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["permission", "odrl:permission", "action", "constraint", "@id", "@value", "@context", "and",
             "leftOperand", "operator", "rightOperand", "target", "x", ""]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@SLOWLY
@given(document=JSON)
def test_whatever_comes_is_read_or_refused(document: Any) -> None:
    """A stranger's document never ends in anything but a policy or a refusal."""
    try:
        found = UsagePolicy.read(document, target="a", assigner="b")
    except InputError:
        return
    assert UsagePolicy.read(found.rules) == found
