"""Tokens of other planes' addresses, renewed while their data is fetched.

One renewal at a time for all workers of a flow. What was renewed is in the store before it is first used:
until then the provider takes the token before it, so that no crash and no lost answer ends a transfer.

Source: Data Plane Signaling, "Token Renewal"; RFC 6749, sections 5 and 6.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID
from weakref import WeakValueDictionary

import httpx

from dataferry.domain.address import DataAddress
from dataferry.domain.clock import Clock
from dataferry.domain.dataflow import DataFlow, Role
from dataferry.domain.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    DataFerryError,
    ProtocolError,
    ServerError,
    ThrottledError,
)
from dataferry.domain.location import Provenance
from dataferry.flows.gateway_tokens import ACCESS_TOKEN, EXPIRES_IN, REFRESH_ENDPOINT, REFRESH_TOKEN
from dataferry.flows.signers import Signers
from dataferry.net.connections import Network
from dataferry.net.httpx_transport import guarded_client
from dataferry.secrets.did import is_this_machine
from dataferry.secrets.signing import Signer
from dataferry.store.records import RenewedTokens
from dataferry.store.store import Store, Transaction
from dataferry.telemetry.logs import get_logger

TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_LIFETIME_S = 10 * 365 * 86_400
# Renewed when so much of its life is left, but no sooner than that before its end.
MARGIN = 1 / 3
MAX_MARGIN_S = 30.0
# While a token is still good, a refresh endpoint that fails is asked again after so long.
ASKED_AGAIN_S = 2.0
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_SECONDS = re.compile(r"[0-9]{1,9}")
_OPERATION = "token renewal"
_log = get_logger("flows.renewal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What an address says about how its token is renewed.

    Attributes:
        endpoint: Of the provider's authorization server.
        lifetime_s: How long the access token is good for when it is issued.
        base_digest: Tells this address from another one for the same flow.
    """

    endpoint: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    lifetime_s: int
    base_digest: str

    @classmethod
    def of(cls, address: DataAddress, *, may_be_plain: bool = False) -> Offer | None:
        """Read an address; None if its token can't be renewed.

        Args:
            address: From the other side.
            may_be_plain: Whether this machine may be asked by plain http: for development.

        Source: "Token Renewal", sections "The Refresh Token" and "The Refresh Request" (TLS is a must).
        """
        access, refresh = address.get(ACCESS_TOKEN), address.get(REFRESH_TOKEN)
        seconds = address.get(EXPIRES_IN) or ""
        endpoint = address.get(REFRESH_ENDPOINT) or address.endpoint
        if not access or not refresh or not _SECONDS.fullmatch(seconds) or int(seconds) == 0:
            return None
        if not _TOKEN.fullmatch(access) or not _is_usable(endpoint, may_be_plain=may_be_plain):
            return None
        written = json.dumps(address.to_wire(), sort_keys=True)
        return cls(
            endpoint=endpoint,
            access_token=access,
            refresh_token=refresh,
            lifetime_s=min(int(seconds), MAX_LIFETIME_S),
            base_digest=hashlib.sha256(written.encode("utf-8", "replace")).hexdigest(),
        )

    def tokens(self, flow_id: UUID, now: datetime) -> RenewedTokens:
        """Return what the address itself brought, as if it were issued now."""
        return RenewedTokens(
            flow_id=flow_id,
            base_digest=self.base_digest,
            access_token=self.access_token,
            refresh_token=self.refresh_token,
            expires_at=now + timedelta(seconds=self.lifetime_s),
            lifetime_s=self.lifetime_s,
        )


def _is_usable(endpoint: str, *, may_be_plain: bool) -> bool:
    """Return whether a refresh endpoint is a URL that tokens may be sent to."""
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
        usable = bool(host) and parts.port != 0 and not parts.fragment and "@" not in parts.netloc
    except ValueError:
        return False
    return usable and (
        parts.scheme == "https" or (parts.scheme == "http" and may_be_plain and is_this_machine(host))
    )


class Renewals:
    """Renews tokens of flows that this side fetches. Thread-safe.

    Args:
        store: Keeps what was renewed.
        network: Whose egress guard and certificates are used.
        signers: What our participants sign with.
        clock: Time.
        may_be_plain: As of ``Offer.of``.
    """

    def __init__(
        self,
        store: Store,
        network: Network,
        signers: Signers,
        clock: Clock,
        *,
        may_be_plain: bool = False,
    ) -> None:
        self.store = store
        self.clock = clock
        self.client = guarded_client(network, Provenance.EXTERNAL, timeout_s=TIMEOUT_S)
        self._may_be_plain = may_be_plain
        self._signers = signers
        self._lock = threading.Lock()
        # An attempt that ends and the next one share theirs, so that they do not renew the same token twice.
        self._tokens: WeakValueDictionary[tuple[str, str], FlowTokens] = WeakValueDictionary()

    def offer(self, address: DataAddress) -> Offer | None:
        """Return how an address's token is renewed; None if it can't be."""
        return Offer.of(address, may_be_plain=self._may_be_plain)

    def of(self, flow: DataFlow) -> FlowTokens | None:
        """Return the tokens of a flow that fetches; None if they can't be renewed, or we can't sign."""
        signer = self._signers.get(flow.participant_context_id)
        offer = None if flow.incoming_address is None else self.offer(flow.incoming_address)
        if signer is None or offer is None:
            return None
        key = (str(flow.id), offer.base_digest)
        with self._lock:
            tokens = self._tokens.get(key)
            if tokens is None:
                tokens = self._tokens[key] = FlowTokens(self, flow, offer, signer)
            return tokens

    def note(self, tx: Transaction, flow: DataFlow) -> None:
        """Write down when a flow's address came, if it is new: its token is as old as that, or a little more.

        Args:
            tx: The one that the flow is written in.
            flow: With its address.
        """
        address = flow.incoming_address
        offer = None if address is None or flow.role is Role.PROVIDER else self.offer(address)
        if offer is None:
            return
        known = tx.renewed_tokens.get(flow.id)
        if known is None or known.base_digest != offer.base_digest:
            tx.renewed_tokens.put(offer.tokens(flow.id, self.clock.now()))

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


class FlowTokens:
    """One flow's access token, renewed in time; implements ``mechanisms.base.AccessTokens``. Any thread.

    Args:
        renewals: Whose.
        flow: Whose address it is.
        offer: What that says.
        signer: Proves who we are.
    """

    refusals = frozenset({int(HTTPStatus.UNAUTHORIZED)})

    def __init__(self, renewals: Renewals, flow: DataFlow, offer: Offer, signer: Signer) -> None:
        self._renewals = renewals
        self._flow = flow
        self._offer = offer
        self._signer = signer
        self._turn = threading.Lock()
        self._held = self._stored()
        self._again_at = renewals.clock.now()
        # The last renewal that failed, and when.
        self._failure: DataFerryError | None = None
        self._failed_at = renewals.clock.monotonic()

    def _stored(self) -> RenewedTokens:
        """Return what was renewed last for this address, else what the address itself brought."""
        with self._renewals.store.snapshot() as tx:
            stored = tx.renewed_tokens.get(self._flow.id)
        if stored is not None and stored.base_digest == self._offer.base_digest:
            return stored
        # Nobody knows how old it is; one that has ended is refused, and renewed then.
        return self._offer.tokens(self._flow.id, self._renewals.clock.now())

    def _kept(self, access_token: str, refresh_token: str, lifetime_s: float) -> RenewedTokens:
        return RenewedTokens(
            flow_id=self._flow.id,
            base_digest=self._offer.base_digest,
            access_token=access_token,
            refresh_token=refresh_token,
            expires_at=self._renewals.clock.now() + timedelta(seconds=lifetime_s),
            lifetime_s=lifetime_s,
        )

    def current(self) -> str:
        """Return a token that is good now; renewed first when it is about to end.

        Raises:
            DataFerryError: It has ended, and there is no other.
        """
        return self.good_now().access_token

    def good_now(self) -> RenewedTokens:
        """Return the tokens that ``current`` is of, with the time when they end.

        Raises:
            DataFerryError: As ``current``.
        """
        held, now = self._held, self._renewals.clock.now()
        left_s = (held.expires_at - now).total_seconds()
        if left_s > min(MAX_MARGIN_S, held.lifetime_s * MARGIN):
            return held
        if left_s > 0 and (self._turn.locked() or now < self._again_at):
            return held
        if left_s <= 0 and now < self._again_at and self._failure is not None:
            raise copy(self._failure)
        try:
            return self._renewed(held)
        except DataFerryError as exc:
            self._again_at = self._renewals.clock.now() + timedelta(seconds=ASKED_AGAIN_S)
            if left_s <= 0:
                raise
            _log.info("renewal_failed", flow_id=str(self._flow.id), reason=str(exc))
            return held

    def after(self, refused: str) -> str:
        """Return the token that follows one that was refused.

        Raises:
            DataFerryError: There is none.
        """
        held = self._held
        return held.access_token if held.access_token != refused else self._renewed(held).access_token

    def _renewed(self, seen: RenewedTokens) -> RenewedTokens:
        """Renew what was seen; who waits here meanwhile shares what becomes of it, be it a failure.

        Raises:
            DataFerryError: No token was issued.
        """
        came_at = self._renewals.clock.monotonic()
        with self._turn:
            if self._held is not seen:
                return self._held
            if self._failure is not None and self._failed_at > came_at:
                raise copy(self._failure)
            try:
                fresh = self._ask(seen)
            except DataFerryError as exc:
                self._failure, self._failed_at = copy(exc), self._renewals.clock.monotonic()
                raise
            self._keep(fresh)
            self._held, self._failure = fresh, None
            return fresh

    def _keep(self, fresh: RenewedTokens) -> None:
        """Write down what was issued, unless another address came meanwhile: that one's tokens count then."""
        with self._renewals.store.transaction() as tx:
            address = tx.flows.get(self._flow.id).incoming_address
            offer = None if address is None else self._renewals.offer(address)
            if offer is None or offer.base_digest == fresh.base_digest:
                tx.renewed_tokens.put(fresh)

    def _ask(self, held: RenewedTokens) -> RenewedTokens:
        """Send the refresh request.

        Raises:
            DataFerryError: No token was issued.
        """
        proof = self._signer.client_token(
            audience=self._flow.counter_party_id,
            access_token=held.access_token,
            now=self._renewals.clock.now().timestamp(),
        )
        form = {"grant_type": "refresh_token", "refresh_token": held.refresh_token}
        headers = {"Authorization": f"Bearer {proof}", "Accept-Encoding": "identity"}
        body = bytearray()
        try:
            with self._renewals.client.stream(
                "POST", self._offer.endpoint, data=form, headers=headers
            ) as answer:
                for chunk in answer.iter_raw():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise ProtocolError("the answer is too large", operation=_OPERATION)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise ConnectionFailedError(
                f"no answer from {urlsplit(self._offer.endpoint).hostname}: {type(exc).__name__}",
                operation=_OPERATION,
            ) from exc
        if answer.status_code != HTTPStatus.OK:
            raise _refusal(answer.status_code)
        return self._read(bytes(body), held)

    def _read(self, body: bytes, held: RenewedTokens) -> RenewedTokens:
        """Read an answer of success. Source: RFC 6749, section 5.1."""
        try:
            content: Any = json.loads(body)
            kind, access = str(content["token_type"]).lower(), content["access_token"]
            refresh = content.get("refresh_token", held.refresh_token)
            lifetime_s = float(content.get("expires_in", held.lifetime_s))
            usable = kind == "bearer" and 0 < lifetime_s < MAX_LIFETIME_S
            usable = usable and all(_TOKEN.fullmatch(token) for token in (access, refresh))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            usable = False
        if not usable:
            raise ProtocolError("the answer is no token response", operation=_OPERATION)
        return self._kept(access, refresh, lifetime_s)


def _refusal(status: int) -> DataFerryError:
    """Turn an answer without a token into our error; never in the server's own words."""
    told = f"answered with {status}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ThrottledError(told, operation=_OPERATION)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return ServerError(told, operation=_OPERATION)
    if status >= HTTPStatus.BAD_REQUEST:
        return AccessDeniedError(f"{told}: the provider renews this token no more", operation=_OPERATION)
    return ProtocolError(told, operation=_OPERATION)
