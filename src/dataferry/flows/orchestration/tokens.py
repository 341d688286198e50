"""Tokens of data addresses that only last a while: a new address is fetched when one is refused.

Where the address says how its token is renewed, that is tried first. While a new address is fetched, the
download's workers wait; nothing that has arrived is given up. Where a provider refuses every token, or the
address says no bearer token, the attempt fails, and the entry's steps decide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import AccessDeniedError, DataFerryError, InputError, ThrottledError
from dataferry.domain.orchestration import Connector
from dataferry.flows.orchestration.connectors import Connectors
from dataferry.flows.orchestration.faults import ended
from dataferry.flows.orchestration.ports import ENDED, STARTED, DataAddressSource, EdcClient
from dataferry.flows.renewal import Renewals
from dataferry.flows.resolution import Resolver
from dataferry.flows.writing import by_id, change
from dataferry.mechanisms.abilities import AccessTokens, SignedEndpoints
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

_log = get_logger("flows.orchestration")
_OPERATION = "data address"
_BEARER = "bearer"
# EDC's own data plane answers 403 to a token that has ended.
REFUSALS = frozenset({int(HTTPStatus.UNAUTHORIZED), int(HTTPStatus.FORBIDDEN)})


class FetchedTokens:
    """Finds the tokens of entries' flows.

    Args:
        store: Where flows and entries are.
        connectors: Which may be asked.
        edc: How they are asked.
        addresses: Where data addresses come from.
        resolver: Knows if two addresses are the same place.
        renewals: Renew the tokens of addresses that say how.
    """

    def __init__(
        self,
        store: Store,
        connectors: Connectors,
        edc: EdcClient,
        addresses: DataAddressSource,
        resolver: Resolver,
        renewals: Renewals,
    ) -> None:
        self._store = store
        self._connectors = connectors
        self._edc = edc
        self._addresses = addresses
        self._resolver = resolver
        self._renewals = renewals

    def of(self, flow: DataFlow) -> AccessTokens | None:
        """Return a flow's tokens; None if it is no entry's, or its address has no bearer token."""
        tokens = self._of_address(flow)
        if tokens is None or not flow.is_own:
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
        return EntryTokens(tokens, lambda: self._fetch(flow, connector, transfer_id))

    def _of_address(self, flow: DataFlow) -> AccessTokens | None:
        """Return the tokens of a flow's address: renewed where it says how; None if it has none."""
        token = None if flow.incoming_address is None else _bearer(flow.incoming_address)
        return None if token is None else self._renewals.of(flow) or LastToken(token)

    def _fetch(self, flow: DataFlow, connector: Connector, transfer_id: str) -> AccessTokens:
        """Fetch a new data address, keep it with the flow, and return its tokens.

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
        tokens = self._of_address(replace(flow, incoming_address=address))
        if tokens is None or not is_same_place(self._resolver, flow, address):
            raise AccessDeniedError("the new data address leads elsewhere", operation=_OPERATION)
        change(self._store, by_id(flow.id), lambda _, row: replace(row, incoming_address=address))
        _log.info("data address fetched anew", transfer=transfer_id)
        return tokens


class LastToken:
    """A token that nobody renews; implements ``mechanisms.base.AccessTokens``.

    Args:
        token: Of a data address.
    """

    refusals = REFUSALS

    def __init__(self, token: str) -> None:
        self._token = token

    def current(self) -> str:
        """Return it; nobody says how long it is good for."""
        return self._token

    def after(self, refused: str) -> str:
        """Return it, if it was not the one that was refused.

        Raises:
            AccessDeniedError: It was.
        """
        if refused == self._token:
            raise AccessDeniedError("the provider takes this token no more", operation=_OPERATION)
        return self._token


class EntryTokens:
    """One download's tokens; implements ``mechanisms.base.AccessTokens``. Any thread.

    Args:
        tokens: Of the address that it begins with.
        fetch: Returns those of a new one.
    """

    refusals = REFUSALS

    def __init__(self, tokens: AccessTokens, fetch: Callable[[], AccessTokens]) -> None:
        self._held = tokens
        self._fetched = 0
        self._fetch = fetch
        self._turn = threading.Lock()

    def current(self) -> str:
        """Return a token that is good now, of a new address where that is the only way to one.

        Raises:
            DataFerryError: There is none.
        """
        held, fetched = self._held, self._fetched
        try:
            return held.current()
        except DataFerryError as exc:
            return self._anew(fetched, exc).current()

    def after(self, refused: str) -> str:
        """Return the token that follows one that was refused: renewed, else of a new address.

        Raises:
            DataFerryError: There is none; that the renewal failed, if the new address brings the old token.
        """
        held, fetched = self._held, self._fetched
        try:
            return held.after(refused)
        except DataFerryError as exc:
            following = self._anew(fetched, exc).current()
            if following == refused:
                raise
            return following

    def _anew(self, fetched: int, why: DataFerryError) -> AccessTokens:
        """Return the tokens of a new address: one fetch for all workers that saw so many before."""
        with self._turn:
            if self._fetched == fetched:
                _log.info("data address wanted anew", reason=str(why))
                self._held = self._fetch()
                self._fetched += 1
            return self._held


def _bearer(address: DataAddress) -> str | None:
    """Return an address's bearer token; None if it shows itself in another way.

    One without a type may be a bare token, or the whole header.
    """
    kind, token = (address.get("authType") or "").lower(), address.get("authorization") or ""
    scheme, _, rest = token.partition(" ")
    if scheme.lower() == _BEARER and rest:
        token = rest
    return token or None if kind == _BEARER or not (kind or " " in token) else None


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


def is_resigned(resolver: Resolver, flow: DataFlow, address: DataAddress) -> bool:
    """Return whether a new address may be that of what a flow is reading, with another signature."""
    if flow.incoming_address is None:
        return False
    try:
        known = resolver.at_address(flow.profile, flow.incoming_address)
        other = resolver.at_address(flow.profile, address)
    except InputError:
        return False
    mechanism = known.mechanism
    return isinstance(mechanism, SignedEndpoints) and mechanism.may_be_resigned(
        known.endpoint, other.endpoint
    )
