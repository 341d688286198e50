"""``dataferry api-keys``: makes, lists and revokes the keys of operators, in the database itself.

There is no way to do so over HTTP: whoever gets hold of a key can make no other one with it, and the first
key needs none before it. A running ``serve`` looks keys up in the same database, so that all holds at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from dataferry.app.configuration import load
from dataferry.app.settings import ApiKeySettings, Settings
from dataferry.app.wiring import key_file
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from dataferry.domain.purview import SCOPES_OF_BOUND, Purview, Scope
from dataferry.secrets.redaction import API_KEY_PREFIX
from dataferry.secrets.sealing import Sealer, load_or_create_key
from dataferry.store.records import ApiKey
from dataferry.store.store import Store
from dataferry.store.tokens import digest_of

KEY_BYTES = 32
MAX_NAME_CHARS = 200
MAX_DAYS = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A new key.

    Attributes:
        key: Itself; it is nowhere else, and can't be had again.
        told: What is told of it, as of every key.
        is_first: Whether until now there was none: from now on everybody needs one.
    """

    key: str
    told: dict[str, Any]
    is_first: bool


def create(
    config: str | None,
    name: str,
    *,
    scopes: frozenset[Scope],
    participants: Sequence[str] = (),
    control_planes: Sequence[str] = (),
    days: int | None = None,
) -> Made:
    """Make a key.

    Args:
        config: Path of the configuration; None looks for it.
        name: Whose it is.
        scopes: What it is good for.
        participants: Whose flows it sees; none is all.
        control_planes: As above.
        days: After so many it opens nothing any more; None is never.

    Raises:
        InputError: Something given is wrong.
        ConflictError: There is one of that name.
        ConfigError: The configuration is wrong, or the database can't be used.
    """
    settings = load(config, may_lack_keys=True)
    purview = Purview.of(participants, control_planes)
    _check(settings, name, scopes, purview)
    now = datetime.now(UTC)
    key = API_KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    row = ApiKey(
        id=str(uuid4()),
        name=name,
        digest=digest_of(key),
        scopes=scopes,
        purview=purview,
        created_at=now,
        expires_at=None if days is None else now + timedelta(days=days),
    )
    with _store(settings) as store, store.transaction() as tx:
        is_first = not settings.auth.api_keys and not tx.api_keys.exist()
        try:
            tx.api_keys.insert(row)
        except ConflictError as exc:
            raise ConflictError(f"{exc.message}: revoke it first, or take another name") from exc
    return Made(key=key, told=_told(row, now), is_first=is_first)


def list_keys(config: str | None, *, every: bool = False) -> list[dict[str, Any]]:
    """Return the keys that are in force, those of the configuration first; never a key itself.

    Args:
        config: As above.
        every: Also those that were revoked or have expired.
    """
    settings = load(config, may_lack_keys=True)
    now = datetime.now(UTC)
    with _store(settings) as store, store.snapshot() as tx:
        rows = tx.api_keys.list()
    configured = [_told_of_configured(key) for key in settings.auth.api_keys]
    return configured + [_told(row, now) for row in rows if every or row.is_in_force(now)]


def revoke(config: str | None, name: str) -> None:
    """Revoke a key by its name or id: from the next request on it opens nothing.

    Raises:
        NotFoundError: There is none.
        ForbiddenError: It stands in the configuration.
    """
    settings = load(config, may_lack_keys=True)
    with _store(settings) as store, store.transaction() as tx:
        if tx.api_keys.revoke(name, datetime.now(UTC)):
            return
    if any(key.name == name for key in settings.auth.api_keys):
        raise ForbiddenError(
            f"API key {name!r} stands in the configuration file: take it out there, and restart `serve`"
        )
    raise NotFoundError(f"there is no API key {name!r}; see `dataferry api-keys list`")


def names(config: str | None) -> list[str]:
    """Return the names of the keys that can be revoked."""
    return [key["name"] for key in list_keys(config) if not key["configured"]]


def _check(settings: Settings, name: str, scopes: frozenset[Scope], purview: Purview) -> None:
    """Refuse what can't be.

    Raises:
        InputError, ConflictError: Says what.
    """
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARS:
        raise InputError(
            f"the name of a key has 1 to {MAX_NAME_CHARS} characters, and none that is unprintable"
        )
    if any(key.name == name for key in settings.auth.api_keys):
        raise ConflictError(f"there is an API key {name!r} in the configuration: take another name")
    if not scopes:
        raise InputError("a key without a scope is good for nothing")
    if purview.is_bound and not scopes <= SCOPES_OF_BOUND:
        raise InputError(
            f"a key that is bound can't have the scope {Scope.CONFIGURE.value!r}:"
            " what is configured is there for all"
        )
    known = {participant.id for participant in settings.participants}
    unknown = sorted((purview.participants or frozenset()) - known)
    if known and unknown:
        raise InputError(f"{unknown[0]!r} is none of [[participants]]: {', '.join(sorted(known))}")


@contextmanager
def _store(settings: Settings) -> Iterator[Store]:
    """The database, beside whoever serves it."""
    sealer = Sealer(load_or_create_key(key_file(settings)))
    store = Store.join(settings.store.url, sealer=sealer, clock=SystemClock())
    try:
        yield store
    finally:
        store.close()


def _told(key: ApiKey, now: datetime) -> dict[str, Any]:
    """What is told of a key."""
    return {
        "name": key.name,
        "id": key.id,
        "scopes": _in_order(key.scopes),
        "participants": sorted(key.purview.participants or ()),
        "controlPlanes": sorted(key.purview.control_planes or ()),
        "createdAt": key.created_at.isoformat(),
        "expiresAt": key.expires_at and key.expires_at.isoformat(),
        "lastUsedAt": key.last_used_at and key.last_used_at.isoformat(),
        "revokedAt": key.revoked_at and key.revoked_at.isoformat(),
        "inForce": key.is_in_force(now),
        "configured": False,
    }


def _told_of_configured(key: ApiKeySettings) -> dict[str, Any]:
    """What is told of a key of the configuration: when it was made and used, nobody writes down."""
    return {
        "name": key.name,
        "id": None,
        "scopes": _in_order(key.granted),
        "participants": sorted(key.participants),
        "controlPlanes": sorted(key.control_planes),
        "createdAt": None,
        "expiresAt": None,
        "lastUsedAt": None,
        "revokedAt": None,
        "inForce": True,
        "configured": True,
    }


def _in_order(scopes: frozenset[Scope]) -> list[str]:
    return [scope.value for scope in Scope if scope in scopes]
