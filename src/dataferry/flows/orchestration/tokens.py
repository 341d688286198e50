"""Tokens of data addresses that only last a while: a new address is fetched when one is refused.

While it is, the download's workers wait; nothing that has arrived is given up. Where a provider refuses every
token, or the address says no bearer token, the attempt fails, and the entry's steps decide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import AccessDeniedError, InputError, ThrottledError
from dataferry.domain.orchestration import Connector
from dataferry.flows.orchestration.connectors import Connectors
from dataferry.flows.orchestration.faults import ended
from dataferry.flows.orchestration.ports import ENDED, STARTED, DataAddressSource, EdcClient
from dataferry.flows.resolution import Resolver
from dataferry.flows.writing import by_id, change
from dataferry.mechanisms.abilities import AccessTokens
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.orchestration")
_OPERATION = "data address"


class FetchedTokens:
    """Finds the tokens of entries' flows.

    Args:
        store: Where flows and entries are.
        connectors: Which may be asked.
        edc: How they are asked.
        addresses: Where data addresses come from.
        resolver: Knows if two addresses are the same place.
    """

    def __init__(
        self,
        store: Store,
        connectors: Connectors,
        edc: EdcClient,
        addresses: DataAddressSource,
        resolver: Resolver,
    ) -> None:
        self._store = store
        self._connectors = connectors
        self._edc = edc
        self._addresses = addresses
        self._resolver = resolver

    def of(self, flow: DataFlow) -> AccessTokens | None:
        """Return a flow's tokens; None if it is no entry's, or its address has no bearer token."""
        token = None if flow.incoming_address is None else _bearer(flow.incoming_address)
        if token is None or not flow.is_own:
            return None
        with self._store.snapshot() as tx:
            entry = tx.orchestrations.of_flow(flow.id)
            if entry is None or entry.transfer_id is None:
                return None
            address = tx.orchestrations.get(entry.orchestration_id).connector_address
        try:
            connector = self._connectors.of(address)
        except InputError:
            return None
        transfer_id = entry.transfer_id
        return EntryTokens(token, lambda: self._fetch(flow, connector, transfer_id))

    def _fetch(self, flow: DataFlow, connector: Connector, transfer_id: str) -> str:
        """Fetch a new data address, keep it with the flow, and return its token.

        Raises:
            TransferEndedError: The transfer process has ended.
            ThrottledError: It is suspended, or there is no address just now: try again.
            AccessDeniedError: The new address is of no use.
        """
        process = self._edc.process(connector, transfer_id)
        if process.state in ENDED:
            raise ended(process)
        address = self._addresses.find(connector, transfer_id) if process.state == STARTED else None
        if address is None:
            raise ThrottledError(
                f"the transfer process is {process.state} and has no data address", operation=_OPERATION
            )
        token = _bearer(address)
        if token is None or not is_same_place(self._resolver, flow, address):
            raise AccessDeniedError("the new data address leads elsewhere", operation=_OPERATION)
        change(self._store, by_id(flow.id), lambda _, row: replace(row, incoming_address=address))
        _log.info("data address fetched anew", transfer=transfer_id)
        return token


class EntryTokens:
    """One download's token; implements ``mechanisms.base.AccessTokens``. Any thread.

    Args:
        token: Of the address that it begins with.
        fetch: Returns a new one.
    """

    # EDC's own data plane answers 403 to a token that has ended.
    refusals = frozenset({int(HTTPStatus.UNAUTHORIZED), int(HTTPStatus.FORBIDDEN)})

    def __init__(self, token: str, fetch: Callable[[], str]) -> None:
        self._held = token
        self._fetch = fetch
        self._turn = threading.Lock()

    def current(self) -> str:
        """Return the newest token; nobody says how long it is good for."""
        return self._held

    def after(self, refused: str) -> str:
        """Return the token that follows one that was refused: one fetch for all workers.

        Raises:
            DataFerryError: There is none.
        """
        with self._turn:
            if self._held == refused:
                self._held = self._fetch()
            return self._held


def _bearer(address: DataAddress) -> str | None:
    """Return an address's bearer token; None if it shows itself in another way."""
    if (address.get("authType") or "").lower() != "bearer":
        return None
    token = address.get("authorization") or ""
    scheme, _, rest = token.partition(" ")
    return (rest if scheme.lower() == "bearer" and rest else token) or None


def is_same_place(resolver: Resolver, flow: DataFlow, address: DataAddress) -> bool:
    """Return whether a new address leads to what a flow is reading, with other credentials."""
    known = flow.incoming_address
    if known is None:
        return False
    at = resolver.at_address
    try:
        return at(flow.profile, known).endpoint.identity == at(flow.profile, address).endpoint.identity
    except InputError:
        return False
