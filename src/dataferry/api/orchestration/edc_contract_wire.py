"""What connectors are sent and what they answer about contracts: EDC's Management API, as JSON-LD.

A dataset comes from the provider, through our connector, as the provider wrote it: it is a stranger's. What
is sent of an offer is its id and its policy as that was understood, never the provider's own document.

Source: Eclipse Dataspace Components 0.18.0, Management API v3 and v4 (catalog, contract negotiations).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dataferry.api.orchestration.edc_wire import (
    MAX_DETAIL_CHARS,
    flat,
    id_of,
    list_of,
    listed,
    member,
    message,
)
from dataferry.domain.address import EDC_NAMESPACE
from dataferry.domain.errors import InputError, ProtocolError
from dataferry.domain.odrl import ODRL, TERMS
from dataferry.domain.orchestration import ApiVersion, Ask, Connector
from dataferry.domain.usage_policy import Agreed, Offer, Offered, UsagePolicy
from dataferry.flows.orchestration.ports import Negotiation

# Our reference to a negotiation. Of all that a connector keeps with one only callback addresses can carry it:
# none of its events is ever sent there, since none is named, and no counterparty sees it.
REFERENCE = "urn:dataferry:entry:"
# An offer's id of EDC holds the ids of asset and definition, encoded.
MAX_OFFER_ID_CHARS = 16_384
PAGE = 100
_SEGMENT = re.compile(r"[A-Za-z0-9._~:@!$&'()*+,;=-]+")


def is_segment(asset_id: str) -> bool:
    """Return whether an id can stand in a path as it is: connectors put it into one without escaping it."""
    return _SEGMENT.fullmatch(asset_id) is not None and asset_id not in {".", ".."}


def dataset_request(version: ApiVersion, connector: Connector, ask: Ask) -> dict[str, Any]:
    """Return what asks for one asset of a provider's catalog."""
    return message(version, "DatasetRequest", **{"@id": ask.asset_id}, **_at_provider(connector, ask))


def catalog_request(version: ApiVersion, connector: Connector, ask: Ask) -> dict[str, Any]:
    """Return what asks for the part of a provider's catalog that is one asset."""
    criterion = {
        "@type": "Criterion",
        "operandLeft": f"{EDC_NAMESPACE}id",
        "operator": "=",
        "operandRight": ask.asset_id,
    }
    query = {"@type": "QuerySpec", "limit": 1, "filterExpression": [criterion]}
    return message(version, "CatalogRequest", querySpec=query, **_at_provider(connector, ask))


def _at_provider(connector: Connector, ask: Ask) -> dict[str, str]:
    return {
        "counterPartyAddress": ask.counter_party_address,
        "counterPartyId": ask.provider_id,
        "protocol": connector.protocol,
    }


def catalogued_of(answer: Any, ask: Ask) -> Offered:
    """Read an asset's offers out of a catalog; none if it is not in there.

    Raises:
        ProtocolError: It is no catalog.
    """
    if not isinstance(answer, dict):
        raise ProtocolError("the answer is no catalog")
    for dataset in listed(member(answer, "dataset")):
        if isinstance(dataset, dict) and dataset.get("@id") == ask.asset_id:
            return offered_of({"@context": answer.get("@context"), **dataset}, ask)
    return Offered()


def offered_of(answer: Any, ask: Ask) -> Offered:
    """Read a dataset's offers; those that can't be read are told of.

    Raises:
        ProtocolError: It is no dataset, or another one than asked for.
    """
    if not isinstance(answer, dict):
        raise ProtocolError("the answer is no dataset")
    if answer.get("@id") != ask.asset_id:
        raise ProtocolError("the answer is another dataset than asked for")
    offers, unreadable = [], []
    for document in listed(member(answer, "hasPolicy")):
        try:
            offers.append(_offer(document, ask, answer.get("@context")))
        except InputError as exc:
            unreadable.append(exc.message)
    return Offered(offers=tuple(offers), unreadable=tuple(unreadable))


def _offer(document: Any, ask: Ask, context: Any) -> Offer:
    id_ = document.get("@id") if isinstance(document, dict) else None
    if not isinstance(id_, str) or not 0 < len(id_) <= MAX_OFFER_ID_CHARS:
        raise InputError("it has no @id")
    policy = UsagePolicy.read(document, target=ask.asset_id, assigner=ask.provider_id, context=context)
    return Offer(id=id_, policy=policy)


def contract_request(
    version: ApiVersion, connector: Connector, ask: Ask, offer: Offer, *, reference: str
) -> dict[str, Any]:
    """Return what begins a negotiation."""
    callback = {"transactional": False, "uri": REFERENCE + reference, "events": []}
    if version is ApiVersion.V4:
        callback = {"@type": "CallbackAddress"} | callback
    return message(
        version,
        "ContractRequest",
        counterPartyAddress=ask.counter_party_address,
        protocol=connector.protocol,
        policy=_policy(version, ask, offer),
        callbackAddresses=[callback],
    )


def _policy(version: ApiVersion, ask: Ask, offer: Offer) -> dict[str, Any]:
    """Write an offer: in the plain names of version 4's context, or in whole IRIs, which need none."""
    if version is ApiVersion.V4:
        about = {"assigner": ask.provider_id, "target": ask.asset_id}
        return {"@type": "Offer", "@id": offer.id, **about, **_plain(offer.policy.rules)}
    return {
        "@type": f"{ODRL}Offer",
        "@id": offer.id,
        f"{ODRL}assigner": {"@id": ask.provider_id},
        f"{ODRL}target": {"@id": ask.asset_id},
        **_whole(offer.policy.rules),
    }


def _plain(node: Any) -> Any:
    """Write rules with plain names for what has one."""
    if isinstance(node, dict):
        return {name: value if name == "rightOperand" else _plain(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_plain(one) for one in node]
    term = str(node).removeprefix(ODRL)
    return term if term in TERMS else node


def _whole(node: Any) -> Any:
    """Write rules with whole IRIs for names and what they name."""
    if isinstance(node, dict):
        return {
            ODRL + name: value if name == "rightOperand" else _whole(value) for name, value in node.items()
        }
    if isinstance(node, list):
        return [_whole(one) for one in node]
    return {"@id": node}


def negotiations_query(version: ApiVersion, ask: Ask, page: int) -> dict[str, Any]:
    """Return the query for negotiations with a provider, newest first; what else they have can't be asked."""
    criterion = {
        "@type": "Criterion",
        "operandLeft": "counterPartyId",
        "operator": "=",
        "operandRight": ask.provider_id,
    }
    order = {"sortField": "createdAt", "sortOrder": "DESC"}
    return message(
        version, "QuerySpec", offset=page * PAGE, limit=PAGE, **order, filterExpression=[criterion]
    )


def negotiations_of(answer: Any) -> list[tuple[str, frozenset[str]]]:
    """Read negotiations: the id of each, and where events of it are sent.

    Raises:
        ProtocolError: It is no list.
    """
    found = []
    for document in list_of(answer):
        if isinstance(document, dict):
            callbacks = listed(member(document, "callbackAddresses"))
            uris = (flat(one).get("uri") for one in callbacks if isinstance(one, dict))
            found.append((id_of(document), frozenset(uri for uri in uris if isinstance(uri, str))))
    return found


def negotiation_of(answer: Any) -> Negotiation:
    """Read a negotiation, or only its state.

    Raises:
        ProtocolError: It has no state.
    """
    values: Mapping[str, Any] = flat(answer) if isinstance(answer, dict) else {}
    state, error = values.get("state"), values.get("errorDetail")
    if not isinstance(state, str) or not state:
        raise ProtocolError("the answer has no state")
    return Negotiation(
        state=state.upper()[:100], error=error[:MAX_DETAIL_CHARS] if isinstance(error, str) else None
    )


def agreement_of(answer: Any, ask: Ask) -> Agreed:
    """Read a contract agreement.

    Raises:
        ProtocolError: It is none, or its policy can't be read or is about something else.
    """
    id_ = id_of(answer)
    values = flat(answer)
    asset_id, provider_id = values.get("assetId"), values.get("providerId")
    if not isinstance(asset_id, str) or not isinstance(provider_id, str):
        raise ProtocolError("the answer is no agreement: it does not say about what, or with whom")
    (document, *more) = listed(member(answer, "policy")) or [None]
    try:
        policy = UsagePolicy.read(
            None if more else document,
            target=ask.asset_id,
            assigner=ask.provider_id,
            context=answer.get("@context"),
        )
    except InputError as exc:
        raise ProtocolError(f"the policy of agreement {id_[:200]} can't be used: {exc.message}") from exc
    return Agreed(id=id_, asset_id=asset_id, provider_id=provider_id, policy=policy)


def termination(version: ApiVersion, negotiation_id: str, reason: str) -> dict[str, Any]:
    """Return what breaks a negotiation off; only version 3 wants its id again."""
    named = {"@id": negotiation_id} if version is ApiVersion.V3 else {}
    return message(version, "TerminateNegotiation", **named, reason=reason)
