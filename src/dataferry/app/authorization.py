"""Turns the settings of authorization into what the rooms below take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dataferry.app.authorization_settings import (
    MIN_SECRET_CHARS,
    CallbackTokensSettings,
    CallerTokensSettings,
)
from dataferry.app.resolving import resolved
from dataferry.domain.authorization import CallbackTokens, CallerTokens
from dataferry.domain.errors import ConfigError, InputError
from dataferry.secrets.jwks import KeySet


def caller_tokens(settings: CallerTokensSettings | None, where: str) -> CallerTokens | None:
    """Return by which tokens a control plane is known; None if by none.

    Raises:
        ConfigError: A reference leads nowhere, or there are no keys where they should be.
    """
    if settings is None:
        return None
    secret: str | None = resolved(settings.client_secret, f"{where}: client_secret")
    if settings.issued_here and secret is not None and len(secret) < MIN_SECRET_CHARS:
        raise ConfigError(f"{where}: client_secret: must have {MIN_SECRET_CHARS} characters or more")
    digest = settings.client_secret_sha256
    if settings.issued_here and secret is not None:
        digest = hashlib.sha256(secret.encode()).hexdigest()
    return CallerTokens(
        type=settings.type,
        issuer=settings.issuer,
        subject=settings.subject,
        audience=settings.audience,
        jwks=_key_set(settings.jwks, f"{where}: jwks"),
        jwks_uri=settings.jwks_uri,
        is_issued_here=settings.issued_here,
        accepts_unsigned=settings.accept_unsigned,
        relaxed=settings.relax,
        scope=settings.scope,
        leeway_s=settings.leeway_s,
        token_endpoint=settings.token_endpoint,
        client_id=settings.client_id,
        client_secret=secret,
        client_secret_sha256=digest,
    )


def callback_tokens(settings: CallbackTokensSettings | None, where: str) -> CallbackTokens | None:
    """Return how the token is had that a control plane is called with; None if by none of these ways.

    Raises:
        ConfigError: A reference leads nowhere.
    """
    if settings is None:
        return None
    # Read anew for each exchange; here only to tell at once that it is not there.
    resolved(settings.subject_token, f"{where}: subject_token")
    return CallbackTokens(
        type=settings.type,
        token_endpoint=settings.token_endpoint,
        client_id=settings.client_id,
        client_secret=resolved(settings.client_secret, f"{where}: client_secret"),
        client_authentication=settings.client_authentication,
        subject_token=settings.subject_token,
        resource=settings.resource,
        audience=settings.audience,
        scope=settings.scope,
        reuses=settings.reuse,
        jwks_uri=settings.jwks_uri,
        issuer=settings.issuer,
    )


def _key_set(value: dict[str, Any] | str | None, where: str) -> Mapping[str, Any] | None:
    """Read keys that stand in the configuration."""
    if value is None:
        return None
    try:
        document = json.loads(str(resolved(value, where))) if isinstance(value, str) else value
        return {"keys": [dict(key) for key in KeySet.of(document).keys]}
    except (ValueError, RecursionError):
        raise ConfigError(f"{where}: this is no JSON") from None
    except InputError as error:
        raise ConfigError(f"{where}: {error.message}") from None
