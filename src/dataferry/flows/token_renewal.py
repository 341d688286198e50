"""The refresh endpoint: a new access token of the gateway, to the participant that the old one is bound to.

Source: Data Plane Signaling, "Token Renewal"; RFC 6749, sections 5 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from dataferry.domain.clock import Clock
from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import (
    DataFerryError,
    EgressDeniedError,
    ForbiddenError,
    GoneError,
    NotFoundError,
    RetryClass,
    UnauthorizedError,
)
from dataferry.domain.participant import Participant
from dataferry.flows import gateway_tokens
from dataferry.flows.identities import Identities
from dataferry.flows.standing import refuse_closed
from dataferry.secrets.client_tokens import Presented, Proof, present, verify
from dataferry.store.records import TokenPair
from dataferry.store.store import Store, Transaction


class Refusal(StrEnum):
    """Why no token is issued, in OAuth's words."""

    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    INVALID_GRANT = "invalid_grant"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    TEMPORARILY_UNAVAILABLE = "temporarily_unavailable"


class RenewalRefusedError(DataFerryError):
    """A token is not renewed.

    Args:
        refusal: OAuth's word for it.
        message: What is wrong; names no token.
    """

    kind = "renewal_refused"

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A new access token, and the refresh token that renews it."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    lifetime_s: int


class TokenRenewals:
    """Renews the tokens of the gateway.

    Args:
        store: Has flows and their tokens.
        identities: Finds the keys of clients.
        participants: Ours, by their context.
        lifetime_s: How long an access token is good for.
        clock: Time.
    """

    def __init__(
        self,
        store: Store,
        identities: Identities,
        participants: Mapping[str, Participant],
        *,
        lifetime_s: int,
        clock: Clock,
    ) -> None:
        self._store = store
        self._identities = identities
        self._participants = participants
        self._lifetime_s = lifetime_s
        self._clock = clock

    def renew(self, flow_id: str, refresh_token: str, client_token: str | None) -> Issued:
        """Issue a new pair for a flow's refresh token, to the client that it is bound to.

        Nobody's DID document is fetched before a refresh token was shown that is good, and the client claims
        to be whom it is bound to: strangers can't send this plane anywhere.

        Raises:
            RenewalRefusedError: No.
        """
        presented = _presented(client_token)
        try:
            flow_uuid = UUID(flow_id)
        except ValueError:
            raise _no_grant() from None
        with self._store.snapshot() as tx:
            flow, _ = _granted(tx, flow_uuid, refresh_token)
        if presented.client != flow.counter_party_id:
            raise RenewalRefusedError(Refusal.INVALID_GRANT, "the refresh token is bound to another client")
        proof = self._proof(flow, presented)
        with self._store.transaction() as tx:
            _, pair = _granted(tx, flow_uuid, refresh_token)
            if not gateway_tokens.belongs(pair, proof.access_token):
                raise RenewalRefusedError(
                    Refusal.INVALID_CLIENT, "the client's token names another access token"
                )
            self._refuse_replay(tx, presented, proof)
            access, refresh = gateway_tokens.renew(
                tx, pair, lifetime_s=self._lifetime_s, now=self._clock.now()
            )
        return Issued(access_token=access, refresh_token=refresh, lifetime_s=self._lifetime_s)

    def _proof(self, flow: DataFlow, presented: Presented) -> Proof:
        """Verify the client's token."""
        us = self._participants.get(flow.participant_context_id)
        if us is None or us.did is None:
            raise RenewalRefusedError(Refusal.INVALID_GRANT, "this participant has no DID any more")
        try:
            key = self._identities.key(presented.client, presented.kid)
            return verify(presented, key, audience=us.did, now=self._clock.now().timestamp())
        except UnauthorizedError as exc:
            raise RenewalRefusedError(Refusal.INVALID_CLIENT, exc.message) from None
        except EgressDeniedError:
            raise RenewalRefusedError(
                Refusal.INVALID_CLIENT, "this plane may not fetch the client's DID document"
            ) from None
        except DataFerryError as exc:
            if exc.retry is not RetryClass.TEMPORARY:
                raise
            raise RenewalRefusedError(
                Refusal.TEMPORARILY_UNAVAILABLE, "the client's DID document can't be had now"
            ) from None

    def _refuse_replay(self, tx: Transaction, presented: Presented, proof: Proof) -> None:
        """A client's token is good once, where it has an id to know it by."""
        if proof.jti is None:
            return
        expires_at = datetime.fromtimestamp(proof.expires_at, UTC)
        now = self._clock.now()
        if not tx.client_tokens.is_new(presented.client, proof.jti, expires_at=expires_at, now=now):
            raise RenewalRefusedError(Refusal.INVALID_CLIENT, "the client's token was used before")


def _presented(client_token: str | None) -> Presented:
    """Read the client's token without believing it."""
    if client_token is None:
        raise RenewalRefusedError(Refusal.INVALID_CLIENT, "send a JWT of the client's DID as bearer token")
    try:
        return present(client_token)
    except UnauthorizedError as exc:
        raise RenewalRefusedError(Refusal.INVALID_CLIENT, exc.message) from None


def _granted(tx: Transaction, flow_id: UUID, refresh_token: str) -> tuple[DataFlow, TokenPair]:
    """Return the flow and the pair that a refresh token is of, while its data may move."""
    try:
        flow = tx.flows.get(flow_id)
    except NotFoundError:
        raise _no_grant() from None
    pair = gateway_tokens.by_refresh_token(tx.gateway_tokens.of(flow_id), refresh_token)
    if pair is None:
        raise _no_grant()
    try:
        refuse_closed(flow, flow.direction)
    except (ForbiddenError, GoneError):
        raise RenewalRefusedError(Refusal.INVALID_GRANT, f"the transfer is {flow.state.value}") from None
    return flow, pair


def _no_grant() -> RenewalRefusedError:
    return RenewalRefusedError(Refusal.INVALID_GRANT, "the refresh token is unknown, or was replaced")
