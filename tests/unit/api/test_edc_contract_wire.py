"""What connectors are sent about contracts, in each version's form, and what they answer."""

from __future__ import annotations

from typing import Any

import pytest

from dataferry.api.orchestration import edc_contract_wire as wire
from dataferry.domain.errors import ProtocolError
from dataferry.domain.odrl import ODRL
from dataferry.domain.orchestration import ApiVersion, Ask, Connector
from dataferry.domain.usage_policy import Offer, UsagePolicy

EDC = "https://w3id.org/edc/v0.0.1/ns/"
ASK = Ask(
    counter_party_address="http://p/api/dsp", contract_id=None, connector_id="did:web:p", asset_id="asset"
)
CONNECTOR = Connector(address="http://edc")
USE = {"permission": [{"action": "use"}]}
EVERYTHING = {
    "profile": ["https://example.org/profile"],
    "permission": [
        {
            "action": "use",
            "constraint": [
                {"leftOperand": "region", "operator": "isAnyOf", "rightOperand": ["eu", "use"]},
                {
                    "or": [
                        {
                            "leftOperand": f"{EDC}n",
                            "operator": "eq",
                            "rightOperand": {"@value": 1, "@type": "xsd:int"},
                        }
                    ]
                },
            ],
            "duty": [{"action": "odrl:inform"}],
        }
    ],
    "prohibition": [{"action": "odrl:use", "remedy": [{"action": "https://example.org/pay"}]}],
}


def _offer(policy: Any = USE) -> Offer:
    return Offer(id="1:2:3", policy=UsagePolicy.read(policy))


def test_version_4_is_sent_plain_names() -> None:
    """Those that its schema has; what has none is a whole IRI. Values stay as they came."""
    request = wire.contract_request(ApiVersion.V4, CONNECTOR, ASK, _offer(EVERYTHING), reference="o/1")
    assert request["policy"] == {
        "@type": "Offer",
        "@id": "1:2:3",
        "assigner": "did:web:p",
        "target": "asset",
        "profile": ["https://example.org/profile"],
        "permission": [
            {
                "action": "use",
                "constraint": [
                    {"leftOperand": "region", "operator": "isAnyOf", "rightOperand": ["eu", "use"]},
                    {
                        "or": [
                            {
                                "leftOperand": f"{EDC}n",
                                "operator": "eq",
                                "rightOperand": {
                                    "@value": 1,
                                    "@type": "http://www.w3.org/2001/XMLSchema#int",
                                },
                            }
                        ]
                    },
                ],
                "duty": [{"action": f"{ODRL}inform"}],
            }
        ],
        "prohibition": [{"action": "use", "remedy": [{"action": "https://example.org/pay"}]}],
    }
    assert request["callbackAddresses"] == [
        {
            "@type": "CallbackAddress",
            "transactional": False,
            "uri": "urn:dataferry:entry:o/1",
            "events": [],
        }
    ]
    assert request["@context"] == ["https://w3id.org/edc/connector/management/v2"]


@pytest.mark.parametrize("version", list(ApiVersion))
def test_what_is_sent_is_read_as_what_was_offered(version: ApiVersion) -> None:
    """In both forms: nothing is lost, nothing is added."""
    offer = _offer(EVERYTHING)
    request = wire.contract_request(version, CONNECTOR, ASK, offer, reference="o/1")
    found = UsagePolicy.read(request["policy"], target="asset", assigner="did:web:p")
    assert found == offer.policy
    assert set(request) == {
        "@context", "@type", "counterPartyAddress", "protocol", "policy", "callbackAddresses",
    }  # fmt: skip


@pytest.mark.parametrize(
    "dataset",
    [
        {"@id": "asset", "hasPolicy": {"@id": "o", "@type": "Offer", **USE}},
        {
            "@id": "asset",
            "odrl:hasPolicy": [{"@id": "o", "odrl:permission": {"odrl:action": {"@id": "odrl:use"}}}],
        },
        {"@id": "asset", f"{ODRL}hasPolicy": [{"@id": "o", f"{ODRL}permission": [{f"{ODRL}action": "use"}]}]},
        {
            "@id": "asset",
            "@context": [{"x": ODRL}],
            "hasPolicy": {"@id": "o", "x:permission": {"x:action": "x:use"}},
        },
    ],
)
def test_datasets_come_in_many_spellings(dataset: dict[str, Any]) -> None:
    """All of them are one offer; the same in a catalog."""
    (offer,) = wire.offered_of(dataset, ASK).offers
    assert (offer.id, offer.policy) == ("o", UsagePolicy.read(USE))
    context = dataset.pop("@context", None)
    for name in ("dataset", "dcat:dataset"):
        catalog = {"@context": context, name: [{"@id": "another"}, "x", dataset]}
        assert wire.catalogued_of(catalog, ASK).offers == (offer,)


@pytest.mark.parametrize(
    "offer", [None, "o", {}, {"@id": ""}, {"@id": 5}, {"@id": "x" * 20_000}, {"@id": "o", "more": 1}]
)
def test_offers_that_are_none_do_not_hide_others(offer: Any) -> None:
    """They are told of."""
    found = wire.offered_of({"@id": "asset", "hasPolicy": [offer, {"@id": "o", **USE}]}, ASK)
    assert ([one.id for one in found.offers], len(found.unreadable)) == (["o"], 1)


@pytest.mark.parametrize("answer", [None, [], "x", {}, {"@id": ["asset"]}, {"@id": "another"}])
def test_what_is_no_such_dataset_is_refused(answer: Any) -> None:
    """And what is no catalog."""
    with pytest.raises(ProtocolError):
        wire.offered_of(answer, ASK)
    if not isinstance(answer, dict):
        with pytest.raises(ProtocolError):
            wire.catalogued_of(answer, ASK)


@pytest.mark.parametrize(
    ("asset_id", "expected"),
    [
        ("a", True), ("urn:uuid:1-2", True), ("a.b_c~d", True), ("...", True),
        ("", False), (".", False), ("..", False), ("a/b", False), ("a?b", False), ("a#b", False),
        ("a%2Fb", False), ("a b", False), ("ä", False), ("a\n", False), ("a\\b", False),
    ],
)  # fmt: skip
def test_ids_that_can_stand_in_a_path(asset_id: str, expected: bool) -> None:
    """Connectors put them into one as they are."""
    assert wire.is_segment(asset_id) is expected


@pytest.mark.parametrize(
    "document",
    [
        {"@id": "n", "callbackAddresses": [{"@type": "CallbackAddress", "uri": "urn:dataferry:entry:o/1"}]},
        {"@id": "n", "edc:callbackAddresses": {"edc:uri": "urn:dataferry:entry:o/1", "edc:events": []}},
        {"@id": "n", f"{EDC}callbackAddresses": [{f"{EDC}uri": [{"@value": "urn:dataferry:entry:o/1"}]}]},
        {"@id": "n", "callbackAddresses": [{"uri": {"@id": "urn:dataferry:entry:o/1"}}, "x", {"uri": 5}]},
    ],
)
def test_negotiations_are_known_by_their_callback(document: dict[str, Any]) -> None:
    """However it is spelt; others have none, and what is none is not counted."""
    (found, other) = wire.negotiations_of([document, {"@id": "m"}, "x"])
    assert (found, other) == (("n", frozenset({"urn:dataferry:entry:o/1"})), ("m", frozenset()))


UNTIL = {"leftOperand": f"{EDC}inForceDate", "operator": "lteq", "rightOperand": "2099-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "answer",
    [
        {
            "@context": ["https://w3id.org/edc/connector/management/v2"],
            "assetId": "asset",
            "providerId": "did:web:p",
            "policy": {
                "@id": "x",
                "@type": "Agreement",
                "assigner": "did:web:p",
                "assignee": "us",
                "target": "asset",
                "permission": [{"action": "use", "constraint": [UNTIL | {"leftOperand": "inForceDate"}]}],
            },
        },
        {
            "@context": {"@vocab": EDC, "edc": EDC, "odrl": ODRL},
            "edc:assetId": "asset",
            "edc:providerId": {"@id": "did:web:p"},
            "edc:policy": [
                {
                    "@id": "x",
                    "odrl:assigner": {"@id": "did:web:p"},
                    "odrl:target": {"@id": "asset"},
                    "odrl:permission": {
                        "odrl:action": {"@id": "odrl:use"},
                        "odrl:constraint": {
                            "odrl:leftOperand": {"@id": "edc:inForceDate"},
                            "odrl:operator": {"@id": "odrl:lteq"},
                            "odrl:rightOperand": "2099-01-01T00:00:00Z",
                        },
                    },
                    "odrl:prohibition": [],
                }
            ],
        },
    ],
)
def test_agreements_come_in_many_spellings(answer: dict[str, Any]) -> None:
    """As EDC 0.18 writes them by version 4, and by version 3."""
    found = wire.agreement_of({"@id": "agreement", **answer}, ASK)
    assert (found.id, found.asset_id, found.provider_id) == ("agreement", "asset", "did:web:p")
    assert found.policy == UsagePolicy.read({"permission": [{"action": "use", "constraint": [UNTIL]}]})


@pytest.mark.parametrize("answer", [None, {}, {"state": 5}, {"state": ""}, []])
def test_a_negotiation_without_a_state_is_refused(answer: Any) -> None:
    """It says nothing."""
    with pytest.raises(ProtocolError):
        wire.negotiation_of(answer)
