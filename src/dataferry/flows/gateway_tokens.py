"""Short-lived tokens of the gateway: which there are for a flow, and what using or renewing one does.

Each address that is handed out begins a line of pairs (access token, refresh token); each renewal adds one to
its line. An answer may get lost, so a pair that was renewed goes on renewing until a later one of its line is
used. An access token ends by its own time, whatever became of the pair.

A resume hands out an address of its own, which not every control plane brings the consumer: so the lines
before it stay until that address is used.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow
from dataferry.store.records import TokenPair
from dataferry.store.store import Transaction
from dataferry.store.tokens import digest_of

TOKEN_BYTES = 32
# Renewals of one pair whose answers may be on their way at once, and addresses that nobody has used yet.
MAX_UNUSED = 3
# Access tokens of a flow that are good at once: who renews faster than they expire loses the oldest.
MAX_PAIRS = 16

# Properties of an address. Source: Data Plane Signaling, "Token Renewal", section "The Refresh Token".
ACCESS_TOKEN = "authorization"  # noqa: S105 - a name
REFRESH_TOKEN = "refreshToken"  # noqa: S105 - as above
EXPIRES_IN = "expiresIn"
REFRESH_ENDPOINT = "refreshEndpoint"


def renewable(address: DataAddress, *, endpoint: str, lifetime_s: int) -> DataAddress:
    """Return an address with what it takes to renew its token."""
    more = (
        (REFRESH_TOKEN, new_token()),
        (EXPIRES_IN, str(lifetime_s)),
        (REFRESH_ENDPOINT, endpoint),
    )
    return replace(address, properties=(*address.properties, *more))


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def is_renewable(address: DataAddress | None) -> bool:
    """Return whether the token of an address of ours is to be renewed."""
    return address is not None and address.get(REFRESH_TOKEN) is not None


def record(tx: Transaction, flow: DataFlow, now: datetime) -> None:
    """Write down the tokens of a flow's address with the row that has it; once, and only of ours."""
    address = flow.outgoing_address
    if address is None or not flow.owns_address or not is_renewable(address):
        return
    access, refresh = address.get(ACCESS_TOKEN) or "", address.get(REFRESH_TOKEN) or ""
    pairs = tx.gateway_tokens.of(flow.id)
    if by_refresh_token(pairs, refresh) is not None:
        return
    unused = [pair for pair in pairs if not pair.is_used and pair.number == pair.chain]
    # The oldest of them stays: it may be the only one that ever arrives.
    gone = unused[1 : max(1, len(unused) - MAX_UNUSED + 2)]
    tx.gateway_tokens.delete(flow.id, [pair.number for pair in gone])
    lifetime_s = int(address.get(EXPIRES_IN) or 0)
    tx.gateway_tokens.add(_pair(flow.id, pairs, access, refresh, now + timedelta(seconds=lifetime_s)))


def by_access_token(pairs: list[TokenPair], token: str, now: datetime) -> TokenPair | None:
    """Return the pair of an access token that is good now."""
    found = [pair for pair in pairs if _is(pair.access_digest, token) and now < pair.expires_at]
    return found[0] if found else None


def by_refresh_token(pairs: list[TokenPair], token: str) -> TokenPair | None:
    """Return the pair of a refresh token that is good."""
    found = [pair for pair in pairs if _is(pair.refresh_digest or "", token)]
    return found[0] if found else None


def belongs(pair: TokenPair, access_token: str) -> bool:
    """Return whether an access token is the one of this pair, however old."""
    return _is(pair.access_digest, access_token)


def use(tx: Transaction, pair: TokenPair, now: datetime) -> None:
    """Somebody has shown a pair for the first time: those that it came after renew nothing any more."""
    for other in tx.gateway_tokens.of(pair.flow_id):
        if other.number == pair.number:
            tx.gateway_tokens.put(replace(other, is_used=True))
        elif other.chain < pair.chain or (other.chain == pair.chain and other.number < pair.number):
            if now < other.expires_at:
                tx.gateway_tokens.put(replace(other, refresh_digest=None))
            else:
                tx.gateway_tokens.delete(pair.flow_id, [other.number])


def renew(tx: Transaction, pair: TokenPair, *, lifetime_s: int, now: datetime) -> tuple[str, str]:
    """Add a pair to a pair's line, and return its access token and refresh token."""
    if not pair.is_used:
        use(tx, pair, now)
    pairs = tx.gateway_tokens.of(pair.flow_id)
    waiting = [
        one.number
        for one in pairs
        if one.chain == pair.chain and one.number > pair.number and not one.is_used
    ]
    over = waiting[: max(0, len(waiting) - MAX_UNUSED + 1)]
    over += [one.number for one in pairs if one.refresh_digest is None and one.expires_at <= now]
    ended = [one.number for one in pairs if one.refresh_digest is None]
    over += ended[: max(0, len(pairs) - MAX_PAIRS + 1)]
    tx.gateway_tokens.delete(pair.flow_id, over)
    access, refresh = new_token(), new_token()
    expires_at = now + timedelta(seconds=lifetime_s)
    tx.gateway_tokens.add(_pair(pair.flow_id, pairs, access, refresh, expires_at, chain=pair.chain))
    return access, refresh


def _pair(
    flow_id: UUID,
    pairs: list[TokenPair],
    access: str,
    refresh: str,
    expires_at: datetime,
    *,
    chain: int | None = None,
) -> TokenPair:
    """Return the next pair of a flow, in a line or as the first of its own."""
    number = max((pair.number for pair in pairs), default=0) + 1
    return TokenPair(
        flow_id=flow_id,
        number=number,
        chain=number if chain is None else chain,
        access_digest=digest_of(access),
        refresh_digest=digest_of(refresh),
        expires_at=expires_at,
    )


def _is(digest: str, token: str) -> bool:
    """Compare without telling by the time how much agrees."""
    return hmac.compare_digest(digest, digest_of(token))
