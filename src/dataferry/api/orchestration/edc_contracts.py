"""Contracts by the Management API of connectors; implements ``flows.orchestration.ports.Negotiator``.

Source: Eclipse Dataspace Components, Management API v3 and v4.
"""

from __future__ import annotations

from urllib.parse import quote

from dataferry.api.orchestration import edc_contract_wire as wire
from dataferry.api.orchestration.edc import HttpEdcClient
from dataferry.api.orchestration.edc_wire import id_of
from dataferry.domain.errors import ConflictError, NotFoundError
from dataferry.domain.orchestration import Ask, Connector
from dataferry.domain.usage_policy import Agreed, Offer, Offered
from dataferry.flows.orchestration.ports import BROKEN_OFF, Negotiation

_NEGOTIATIONS = "/contractnegotiations"
# Of negotiations with one provider, newest first, when one whose answer was lost is looked for.
MOST_PAGES = 50


class HttpNegotiator:
    """Asks connectors about contracts. Thread-safe.

    Args:
        edc: Sends what is asked, within its bounds.
    """

    def __init__(self, edc: HttpEdcClient) -> None:
        self._edc = edc

    def offered(self, connector: Connector, ask: Ask) -> Offered:
        """POST ``/catalog/dataset/request``; ``/catalog/request`` for an id that can't stand in a path.

        Raises:
            DataFerryError: As ``Negotiator`` says.
        """
        version = self._edc.version(connector)
        if wire.is_segment(ask.asset_id or ""):
            path, body, read = "/catalog/dataset/request", wire.dataset_request, wire.offered_of
        else:
            path, body, read = "/catalog/request", wire.catalog_request, wire.catalogued_of
        return self._edc.ask(
            connector,
            version,
            "POST",
            path,
            body(version, connector, ask),
            read=lambda answer: read(answer, ask),
        )

    def request(self, connector: Connector, ask: Ask, offer: Offer, *, reference: str) -> str:
        """POST ``/contractnegotiations``.

        Raises:
            DataFerryError: As ``Negotiator`` says.
        """
        version = self._edc.version(connector)
        body = wire.contract_request(version, connector, ask, offer, reference=reference)
        return self._edc.ask(connector, version, "POST", _NEGOTIATIONS, body, read=id_of)

    def find(self, connector: Connector, ask: Ask, reference: str) -> str | None:
        """POST ``/contractnegotiations/request``, page by page, until one has the reference.

        Raises:
            DataFerryError: As ``Negotiator`` says.
        """
        version = self._edc.version(connector)
        for page in range(MOST_PAGES):
            query = wire.negotiations_query(version, ask, page)
            found = self._edc.ask(
                connector, version, "POST", f"{_NEGOTIATIONS}/request", query, read=wire.negotiations_of
            )
            for id_, uris in found:
                if wire.REFERENCE + reference in uris:
                    return id_
            if len(found) < wire.PAGE:
                return None
        raise NotFoundError(
            f"it is not among the {MOST_PAGES * wire.PAGE} newest negotiations with {ask.provider_id[:200]}"
        )

    def negotiation(self, connector: Connector, negotiation_id: str) -> Negotiation:
        """GET ``/contractnegotiations/{id}/state``, and all of it once it was broken off, for its error.

        Raises:
            DataFerryError: As ``Negotiator`` says.
        """
        version, path = self._edc.version(connector), _path(negotiation_id)
        found = self._edc.ask(connector, version, "GET", f"{path}/state", read=wire.negotiation_of)
        if found.state not in BROKEN_OFF:
            return found
        whole = self._edc.ask(connector, version, "GET", path, read=wire.negotiation_of)
        return Negotiation(state=whole.state, error=whole.error and self._edc.redact(whole.error))

    def agreement(self, connector: Connector, ask: Ask, negotiation_id: str) -> Agreed:
        """GET ``/contractnegotiations/{id}/agreement``.

        Raises:
            DataFerryError: As ``Negotiator`` says.
        """
        version, path = self._edc.version(connector), f"{_path(negotiation_id)}/agreement"
        return self._edc.ask(
            connector, version, "GET", path, read=lambda answer: wire.agreement_of(answer, ask)
        )

    def break_off(self, connector: Connector, negotiation_id: str, reason: str) -> None:
        """POST ``/contractnegotiations/{id}/terminate``; one that has ended (409), or is gone, is no error.

        Raises:
            DataFerryError: As ``Negotiator`` says.
        """
        version, path = self._edc.version(connector), f"{_path(negotiation_id)}/terminate"
        body = wire.termination(version, negotiation_id, reason)
        try:
            self._edc.ask(connector, version, "POST", path, body, read=lambda _: None)
        except (ConflictError, NotFoundError):
            return


def _path(negotiation_id: str) -> str:
    return f"{_NEGOTIATIONS}/{quote(negotiation_id, safe='')}"
