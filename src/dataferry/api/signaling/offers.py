"""What our registration hands a control plane: how it gets the token to call us with, and the keys of ours.

Source: Data Plane Signaling, "The Data Plane Registration Message" and "Authorization Profiles".
"""

from __future__ import annotations

from typing import Any

from dataferry.api.signaling.token_endpoint import JWKS_PATH, TOKEN_PATH
from dataferry.domain.authorization import AuthorizationType, CallbackTokens, CallerTokens
from dataferry.domain.location import ControlPlane, Provenance, RegistrationStyle


def offered_authorization(control_plane: ControlPlane, *, base_url: str) -> dict[str, Any] | None:
    """Return the authorization object for a control plane; None where there is nothing to hand over.

    Only what the operator named goes out, and only to a place that the operator named.

    Args:
        control_plane: Who is told.
        base_url: Ours, as it reaches us.
    """
    if control_plane.provenance is not Provenance.OPERATOR:
        return None
    rules, callback = control_plane.authorization, control_plane.callback_authorization
    offered: dict[str, Any] | None = None
    if rules is not None and rules.type is AuthorizationType.TOKEN_EXCHANGE:
        offered = _exchange(rules, callback)
    elif rules is not None:
        offered = _client_credentials(control_plane, rules, callback, base_url)
    if offered is not None:
        return offered
    if control_plane.token and control_plane.registration != RegistrationStyle.EDC:
        return {"type": "bearer", "token": control_plane.token}
    return None


def _client_credentials(
    control_plane: ControlPlane, rules: CallerTokens, callback: CallbackTokens | None, base_url: str
) -> dict[str, Any] | None:
    """Source: Data Plane Signaling, "OAuth 2 Client Credentials Grant"."""
    client_id = rules.client_id or control_plane.id
    token_endpoint = f"{base_url}{TOKEN_PATH}" if rules.is_issued_here else rules.token_endpoint
    if token_endpoint is None or rules.client_secret is None:
        return None
    offered: dict[str, Any] = {
        "type": rules.type.value,
        "tokenEndpoint": token_endpoint,
        "clientId": client_id,
        "clientSecret": rules.client_secret,
    }
    jwks_uri = None if callback is None else callback.jwks_uri
    if callback is not None and callback.type is AuthorizationType.SELF_ISSUED and jwks_uri is None:
        jwks_uri = f"{base_url}{JWKS_PATH}"
    return offered if jwks_uri is None else {**offered, "jwksUri": jwks_uri}


def _exchange(rules: CallerTokens, callback: CallbackTokens | None) -> dict[str, Any] | None:
    """Tell which broker's tokens we take, and which keys ours have.

    ``resource``, ``audience`` and ``scope`` are beyond the specification: EDC asks the broker for them.

    Source: Data Plane Signaling, "OAuth 2 Token Exchange".
    """
    broker = callback
    if broker is None or broker.type is not AuthorizationType.TOKEN_EXCHANGE:
        return None
    offered = {
        "type": rules.type.value,
        "tokenExchangeEndpoint": broker.token_endpoint,
        "issuer": broker.issuer or rules.issuer,
        "jwksUri": broker.jwks_uri or rules.jwks_uri,
        "resource": rules.subject,
        "audience": rules.audience,
        "scope": rules.scope,
    }
    return {name: value for name, value in offered.items() if value is not None}
