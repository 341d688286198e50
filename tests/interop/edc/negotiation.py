"""The orchestrator negotiates contracts by itself, through the consumer's connector."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import httpx
from tests.interop.edc.connector import PROTOCOL, ConnectorError
from tests.interop.edc.dataspace import NEGOTIATED, NEGOTIATIONS, UNACCEPTABLE, Dataspace
from tests.interop.edc.orchestration import KEY, OVER, address, alone, check, post, wait

from dataferry.api.orchestration.edc import HttpEdcClient
from dataferry.api.orchestration.edc_contracts import HttpNegotiator
from dataferry.demo.planes import PlaneProcess
from dataferry.domain.orchestration import ApiVersion, Ask, Connector
from dataferry.net.connections import Network


def negotiated(dataspace: Dataspace) -> None:
    """By v4, of an asset whose id is no path: under the accepted policy, and its data arrives."""
    view = _orchestrated(dataspace, dataspace.consumer_plane, NEGOTIATED)
    check(dataspace, view)
    (path,) = view["storage_paths"]
    dataspace.consumer.wait(path["transfer_id"], "COMPLETED")
    _look_for(dataspace, view, ApiVersion.V4)
    agreement = dataspace.consumer.call("GET", f"/contractnegotiations/{path['negotiation_id']}/agreement")
    if (agreement["@id"], agreement["assetId"]) != (path["contract_id"], NEGOTIATED):
        raise ConnectorError(f"the contract that is shown is another one: {path}, {agreement}")


def negotiated_by_v3(dataspace: Dataspace) -> None:
    """By v3, found out: the same comes to an agreement under which a transfer is started."""
    with alone(dataspace) as plane:
        view = _orchestrated(dataspace, plane, NEGOTIATED, "transfer_id")
        _look_for(dataspace, view, ApiVersion.V3)
        id_, headers = view["orchestration_id"], {"X-Api-Key": KEY}
        httpx.delete(f"{plane.url}/orchestrate/{id_}", headers=headers, timeout=10, trust_env=False)
        wait(plane, id_, lambda view: view["process_status"] in OVER)


def not_negotiated(dataspace: Dataspace) -> None:
    """An asset under another policy is not asked for; the entry says under which, and how to accept it."""
    view = _orchestrated(dataspace, dataspace.consumer_plane, UNACCEPTABLE)
    (path,) = view["storage_paths"]
    words = ("prohibition", "orchestrator.accepted_policies")
    if path.get("error_kind") != "no_agreement" or not all(word in path["error"] for word in words):
        raise ConnectorError(f"the entry does not say what was offered: {path}")


def _orchestrated(
    dataspace: Dataspace, plane: PlaneProcess, asset: str, until: str = "status_code"
) -> dict[str, Any]:
    """Return an orchestration once its entry has something, or is over.

    Again where the connectors lose a negotiation between them, which is not what is tried here.
    """

    def is_so(view: dict[str, Any]) -> bool:
        return view["process_status"] in OVER or bool(view["storage_paths"][0].get(until))

    for _ in range(NEGOTIATIONS - 1):
        view = wait(plane, post(plane, _request(dataspace, asset)), is_so)
        if view["storage_paths"][0].get("error_kind") != "negotiation_ended":
            return view
    return wait(plane, post(plane, _request(dataspace, asset)), is_so)


def _request(dataspace: Dataspace, asset: str) -> dict[str, Any]:
    entry = {
        "type": "edc-asset",
        "counterPartyAddress": f"{dataspace.provider.protocol_url}/2025-1",
        "assetId": asset,
        "connectorId": dataspace.provider.participant_id,
    }
    return {"data": [entry], "connectorAddress": address(dataspace)}


def _look_for(dataspace: Dataspace, view: dict[str, Any], version: ApiVersion) -> None:
    """Ask the connector for the negotiation as after a crash: by its reference only."""
    connector = Connector(
        address=address(dataspace), management_path="", protocol=PROTOCOL, api_version=version
    )
    ask = Ask(counter_party_address="", contract_id=None, connector_id=dataspace.provider.participant_id)
    with closing(HttpEdcClient(Network())) as edc:
        negotiator = HttpNegotiator(edc)
        found = [
            negotiator.find(connector, ask, f"{view['orchestration_id']}/{position}") for position in (0, 1)
        ]
    if found != [view["storage_paths"][0]["negotiation_id"], None]:
        raise ConnectorError(f"the negotiation is not found again: {found}, {view}")
