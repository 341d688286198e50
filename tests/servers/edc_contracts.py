"""The part of the stand-in for a connector that has catalogs and negotiates contracts, as EDC does.

    edc.contracts.assets["asset-1"] = [{"permission": [{"action": "use"}]}]
    edc.contracts.forged = {"assetId": "another"}          # what agreements say instead
    edc.contracts.breaks_off["asset-1"] = "not with you"   # the provider's word

Offers get a fresh id with each answer. A negotiation is FINALIZED after ``looks`` looks at it, under the
policy that the provider has for the asset; one that asks for another policy is TERMINATED. Data of an
agreement is what ``EdcConnector.offer`` has under the asset's id.

Source: Eclipse Dataspace Components 0.18.0, Management API v3 and v4, ``ContractRequestValidator``,
``DatasetRequestValidator``, ``ContractValidationServiceImpl``.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EDC = "https://w3id.org/edc/v0.0.1/ns/"
ODRL = "http://www.w3.org/ns/odrl/2/"
DSP_CONTEXT = ["https://w3id.org/dspace/2025/1/context.jsonld"]
V3_CONTEXT = {"@vocab": EDC, "edc": EDC, "odrl": ODRL}
CONSUMER = "did:web:consumer"
_NAMED = {"action", "operator", "leftOperand"}
_TERMS = {"use", "eq", "neq", "gt", "gteq", "lt", "lteq", "isAnyOf"}
_ENDED = {"FINALIZED", "TERMINATED"}

Answer = tuple[int, Any]


@dataclass(slots=True, kw_only=True)
class Negotiation:
    """A contract negotiation of the consumer's."""

    id: str
    asset_id: str
    provider_id: str
    address: str
    policy: Any
    callbacks: list[Any]
    state: str = "REQUESTED"
    looks: int = 0
    error: str | None = None
    reason: str | None = None
    agreement_id: str | None = None


class Contracts:
    """Assets of a provider, and negotiations about them.

    Args:
        offers: Of the connector: what an agreement leads to.
    """

    def __init__(self, offers: dict[str, Any]) -> None:
        self._offers = offers
        self.assets: dict[str, list[dict[str, Any]]] = {}
        self.negotiations: dict[str, Negotiation] = {}
        self.breaks_off: dict[str, str] = {}
        self.forged: dict[str, Any] = {}
        self.looks = 2
        # What a dataset says instead of what it would.
        self.dataset_changes: dict[str, Any] = {}

    def perform(self, operation: str, version: str, id_: str | None, body: Any) -> Answer | None:
        """Do what an operation does; None if it is none of ours."""
        whole = {"dataset": self._dataset, "catalog": self._catalog, "negotiate": self._negotiate}
        if operation in whole:
            return whole[operation](body, version)
        if operation == "negotiations":
            return self._query(body, version)
        verbs = {
            "negotiation_state": self._state,
            "negotiation": self._shown,
            "agreement": self._agreement,
            "break_off": self._break_off,
        }
        if operation not in verbs:
            return None
        negotiation = self.negotiations.get(id_ or "")
        if negotiation is None:
            return 404, _error(f"Object of type ContractNegotiation with ID={id_} was not found")
        return verbs[operation](negotiation, version, body)

    # -- the catalog

    def _dataset(self, body: Any, version: str) -> Answer:
        del version
        missing = {"@id", "protocol", "counterPartyId", "counterPartyAddress"} - body.keys()
        if missing:
            return 400, _error(f"mandatory value {sorted(missing)} is missing")
        # The connector's own client puts the id into a path as it is.
        if set(body["@id"]) & set("/?#% "):
            return 502, _error("Not Found")
        found = self._written(body["@id"])
        if found is None:
            return 502, _error(f"{body['@id']} not found")
        return 200, {"@context": DSP_CONTEXT, **found, **self.dataset_changes}

    def _catalog(self, body: Any, version: str) -> Answer:
        del version
        (criterion,) = body["querySpec"]["filterExpression"]
        assert criterion["operandLeft"] == f"{EDC}id"
        found = self._written(criterion["operandRight"])
        dataset = [] if found is None else [found | self.dataset_changes]
        return 200, {"@context": DSP_CONTEXT, "@type": "Catalog", "@id": "c", "dataset": dataset}

    def _written(self, asset_id: str) -> dict[str, Any] | None:
        policies = self.assets.get(asset_id)
        if policies is None:
            return None
        offers = [
            {"@id": f"{number}:{asset_id}:{uuid.uuid4()}", "@type": "Offer", **policy}
            for number, policy in enumerate(policies)
        ]
        return {"@id": asset_id, "@type": "Dataset", "hasPolicy": offers, "distribution": []}

    # -- negotiations

    def _negotiate(self, body: Any, version: str) -> Answer:
        policy = _expanded(body["policy"])
        target, assigner = policy.get(f"{ODRL}target"), policy.get(f"{ODRL}assigner")
        if policy.get("@type") not in {"Offer", f"{ODRL}Offer"} or not target or not assigner:
            return 400, _error("mandatory object 'policy' is not an offer with assigner and target")
        (callback,) = body["callbackAddresses"]
        assert callback["events"] == []
        assert version == "v3" or callback["@type"] == "CallbackAddress"
        made = Negotiation(
            id=str(uuid.uuid4()),
            asset_id=target["@id"],
            provider_id=assigner["@id"],
            address=body["counterPartyAddress"],
            policy=policy,
            callbacks=[callback],
        )
        self.negotiations[made.id] = made
        return 200, {"@type": "IdResponse", "@id": made.id, "createdAt": 1}

    def _query(self, body: Any, version: str) -> Answer:
        found = list(self.negotiations.values())[::-1]
        assert (body["sortField"], body["sortOrder"]) == ("createdAt", "DESC")
        for criterion in body["filterExpression"]:
            assert criterion["operandLeft"] == "counterPartyId"
            found = [one for one in found if one.provider_id == criterion["operandRight"]]
        page = found[body["offset"] : body["offset"] + body["limit"]]
        return 200, [self._shown(one, version, None)[1] for one in page]

    def _shown(self, negotiation: Negotiation, version: str, body: Any) -> Answer:
        del body
        callbacks: Any = [{"@type": "CallbackAddress", **one} for one in negotiation.callbacks]
        shown = {
            "@id": negotiation.id,
            "@type": "ContractNegotiation",
            "type": "CONSUMER",
            "state": negotiation.state,
            "counterPartyId": negotiation.provider_id,
            # Version 3 writes a list of one as its only member.
            "callbackAddresses": callbacks[0] if version == "v3" else callbacks,
        }
        return 200, shown if negotiation.error is None else {**shown, "errorDetail": negotiation.error}

    def _state(self, negotiation: Negotiation, version: str, body: Any) -> Answer:
        del version, body
        negotiation.looks += 1
        if negotiation.state not in _ENDED and negotiation.looks >= self.looks:
            self._come_to_an_end(negotiation)
        return 200, {"@type": "NegotiationState", "state": negotiation.state}

    def _come_to_an_end(self, negotiation: Negotiation) -> None:
        number = int(negotiation.policy["@id"].partition(":")[0])
        own = _expanded(self.assets[negotiation.asset_id][number])
        asked = {name: value for name, value in negotiation.policy.items() if name in own}
        error = self.breaks_off.get(negotiation.asset_id)
        if error is None and asked != own:
            error = "Policy in the contract agreement is not equal to the one in the contract offer"
        if error is not None:
            negotiation.state, negotiation.error = "TERMINATED", error
            return
        negotiation.state, negotiation.agreement_id = "FINALIZED", str(uuid.uuid4())
        self._offers[negotiation.agreement_id] = self._offers[negotiation.asset_id]

    def _agreement(self, negotiation: Negotiation, version: str, body: Any) -> Answer:
        del body
        if negotiation.agreement_id is None:
            return 404, _error("no agreement")
        number = int(negotiation.policy["@id"].partition(":")[0])
        parties = {
            "assigner": negotiation.provider_id,
            "assignee": CONSUMER,
            "target": negotiation.asset_id,
        }
        policy = {"@id": str(uuid.uuid4()), **self.assets[negotiation.asset_id][number], **parties}
        if version == "v3":
            policy = _prefixed(policy)
        whole = {
            "@type": "ContractAgreement",
            "@id": negotiation.agreement_id,
            "assetId": negotiation.asset_id,
            "providerId": negotiation.provider_id,
            "consumerId": CONSUMER,
            "contractSigningDate": 1,
            "policy": {"@type": "odrl:Agreement" if version == "v3" else "Agreement", **policy},
            "@context": V3_CONTEXT if version == "v3" else DSP_CONTEXT,
        }
        return 200, whole | self.forged

    def _break_off(self, negotiation: Negotiation, version: str, body: Any) -> Answer:
        if version == "v3" and body.get("@id") != negotiation.id:
            return 400, _error("mandatory @id is missing")
        if negotiation.state in _ENDED:
            return 409, _error(f"Negotiation {negotiation.id} is in state {negotiation.state}")
        negotiation.state, negotiation.reason = "TERMINATED", body["reason"]
        return 204, None


def _expanded(node: Any, *, is_name: bool = False) -> Any:
    """Return ODRL with whole IRIs, out of version 4's plain names or out of whole IRIs."""
    if isinstance(node, Mapping):
        if node.keys() == {"@id"}:
            return dict(node)
        return {
            key: value if key.startswith("@") else _member(key, value)
            for key, value in ((_key(key), value) for key, value in node.items())
        }
    if isinstance(node, list):
        return [_expanded(one, is_name=is_name) for one in node]
    if not is_name:
        return node
    return {"@id": ODRL + node if node in _TERMS else node}


def _member(key: str, value: Any) -> Any:
    plain = key.removeprefix(ODRL)
    if plain == "rightOperand":
        return value
    return _expanded(value, is_name=plain in _NAMED | {"assigner", "target", "assignee"})


def _key(key: str) -> str:
    return key if key.startswith(("@", "http")) else ODRL + key


def _prefixed(node: Any, *, is_name: bool = False) -> Any:
    """Return ODRL as version 3 compacts it: prefixes, lists of one as their member, names as objects."""
    if isinstance(node, Mapping):
        return {
            key if key.startswith("@") else f"odrl:{key}": _prefixed(
                value, is_name=key in _NAMED | {"assigner", "target", "assignee"}
            )
            for key, value in node.items()
        }
    if isinstance(node, list):
        return _prefixed(node[0]) if len(node) == 1 else [_prefixed(one) for one in node]
    if is_name and isinstance(node, str):
        return {"@id": f"odrl:{node}" if node in _TERMS else node.replace(EDC, "edc:")}
    return node


def _error(message: str) -> list[dict[str, Any]]:
    return [{"message": message, "type": "BadRequest", "path": None, "invalidValue": None}]
