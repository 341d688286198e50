"""Tokens: digests of those that the gateway gave out, and, sealed, those that were renewed elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from dataferry.secrets.redaction import SecretValues
from dataferry.secrets.sealing import Sealer
from dataferry.store.records import RenewedTokens, TokenPair
from dataferry.store.schema import client_tokens, gateway_tokens, renewed_tokens
from dataferry.store.times import from_text, to_text


def digest_of(token: str) -> str:
    """Return what is kept of a token. They are long and random, so one round does."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class GatewayTokenRepository:
    """What the gateway gave out for each flow: a handful of pairs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, flow_id: UUID) -> list[TokenPair]:
        """Return a flow's pairs, oldest first."""
        query = select(gateway_tokens).where(gateway_tokens.c.flow_id == flow_id)
        rows = self._connection.execute(query.order_by(gateway_tokens.c.number)).mappings()
        return [TokenPair(**row) for row in rows]

    def add(self, pair: TokenPair) -> None:
        """Add a pair."""
        self._connection.execute(insert(gateway_tokens).values(asdict(pair)))

    def put(self, pair: TokenPair) -> None:
        """Write a pair over what it was."""
        table = gateway_tokens.c
        here = (table.flow_id == pair.flow_id, table.number == pair.number)
        self._connection.execute(update(gateway_tokens).where(*here).values(asdict(pair)))

    def delete(self, flow_id: UUID, numbers: Iterable[int]) -> None:
        """Delete some of a flow's pairs."""
        table = gateway_tokens.c
        here = (table.flow_id == flow_id, table.number.in_(list(numbers)))
        self._connection.execute(delete(gateway_tokens).where(*here))


class ClientTokenRepository:
    """Which clients' tokens were accepted, until nobody would take them again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def is_new(self, client: str, jti: str, *, expires_at: datetime, now: datetime) -> bool:
        """Note a token; False if it was noted before. Those that have expired are forgotten."""
        self._connection.execute(delete(client_tokens).where(client_tokens.c.expires_at < now))
        row = {"digest": digest_of(json.dumps([client, jti])), "expires_at": expires_at}
        try:
            with self._connection.begin_nested():
                self._connection.execute(insert(client_tokens).values(row))
        except IntegrityError:
            return False
        return True


class RenewedTokenRepository:
    """What other planes' refresh endpoints gave us, one row a flow."""

    def __init__(self, connection: Connection, sealer: Sealer, secrets: SecretValues) -> None:
        self._connection = connection
        self._sealer = sealer
        self._secrets = secrets

    def get(self, flow_id: UUID) -> RenewedTokens | None:
        """Return a flow's; None if none were renewed."""
        query = select(renewed_tokens.c.tokens_sealed).where(renewed_tokens.c.flow_id == flow_id)
        sealed = self._connection.execute(query).scalar_one_or_none()
        if sealed is None:
            return None
        stored: dict[str, Any] = json.loads(self._sealer.open(sealed, purpose=_purpose(flow_id)))
        self._secrets.remember(stored["access_token"], stored["refresh_token"])
        return RenewedTokens(**{**stored, "flow_id": flow_id, "expires_at": from_text(stored["expires_at"])})

    def put(self, tokens: RenewedTokens) -> None:
        """Write a flow's over those before."""
        self._secrets.remember(tokens.access_token, tokens.refresh_token)
        stored = {**asdict(tokens), "expires_at": to_text(tokens.expires_at)}
        del stored["flow_id"]
        sealed = self._sealer.seal(json.dumps(stored), purpose=_purpose(tokens.flow_id))
        here = renewed_tokens.c.flow_id == tokens.flow_id
        changed = self._connection.execute(update(renewed_tokens).where(here).values(tokens_sealed=sealed))
        if changed.rowcount == 0:
            row = {"flow_id": tokens.flow_id, "tokens_sealed": sealed}
            self._connection.execute(insert(renewed_tokens).values(row))


def _purpose(flow_id: UUID) -> str:
    return f"renewed_tokens.tokens:{flow_id}"
