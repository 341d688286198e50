"""What a control plane's registration hands over: how it is called, and how known.

Source: Data Plane Signaling, "Control Plane Registration" and "Authorization Profiles".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from dataferry.api.signaling.wire import Authorization
from dataferry.domain.authorization import AuthorizationType, CallbackTokens, CallerTokens
from dataferry.domain.errors import InputError, UnsupportedError
from dataferry.domain.location import Provenance
from dataferry.secrets.did import is_this_machine
from dataferry.secrets.jwks import KeySet

_OFFERED = (
    "authorization: offered are {type: bearer, token: <token>}, {type: oauth2_client_credentials,"
    " tokenEndpoint, clientId, clientSecret, and jwks or jwksUri}, or none at all"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofs:
    """How each side proves itself to the other, by the word of the one who registers.

    Attributes:
        callback_token: Bearer token that we call it with.
        callback_authorization: How we get one.
        authorization: By which keys it is known; None leaves its calls to what the operator configured.
    """

    callback_token: str | None = field(default=None, repr=False)
    callback_authorization: CallbackTokens | None = field(default=None, repr=False)
    authorization: CallerTokens | None = field(default=None, repr=False)


def proofs_of(given: Authorization | None, *, may_be_plain: bool) -> Proofs:
    """Read an authorization object.

    No keys means that the control plane is not known by any: signatures are never skipped by a message's
    word.

    Args:
        given: As it came.
        may_be_plain: Whether places on this machine may be asked by plain http: for development.

    Raises:
        UnsupportedError: The authorization profile is none that a registration may bring.
        InputError: Something of it is missing or wrong.
    """
    if given is None:
        return Proofs()
    if given.type == AuthorizationType.CLIENT_CREDENTIALS:
        return _client_credentials(given, may_be_plain=may_be_plain)
    if given.type == AuthorizationType.TOKEN_EXCHANGE:
        # Our workload credential would go to a place that a message named, and nobody said whom to believe.
        raise UnsupportedError(
            "authorization: oauth2_token_exchange is configured by the operator, who alone can say which"
            " principals there are, and which broker this plane's workload credential may be shown to"
        )
    if given.type != "bearer" or given.token is None:
        raise UnsupportedError(_OFFERED)
    return Proofs(callback_token=given.token)


def _client_credentials(given: Authorization, *, may_be_plain: bool) -> Proofs:
    """Source: Data Plane Signaling, "OAuth 2 Client Credentials Grant"."""
    if not (given.token_endpoint and given.client_id and given.client_secret):
        raise InputError("authorization: tokenEndpoint, clientId and clientSecret are needed")
    if given.jwks is not None and given.jwks_uri is not None:
        raise InputError("authorization: jwks and jwksUri are never used at the same time")
    kind = AuthorizationType.CLIENT_CREDENTIALS
    callback = CallbackTokens(
        type=kind,
        token_endpoint=_secure(given.token_endpoint, "tokenEndpoint", may_be_plain=may_be_plain),
        provenance=Provenance.EXTERNAL,
        client_id=given.client_id,
        client_secret=given.client_secret,
    )
    if given.jwks_uri is not None:
        uri = _secure(given.jwks_uri, "jwksUri", may_be_plain=may_be_plain)
        known = CallerTokens(type=kind, jwks_uri=uri, provenance=Provenance.EXTERNAL)
        return Proofs(callback_authorization=callback, authorization=known)
    if given.jwks is not None:
        try:
            keys = KeySet.of(given.jwks).keys
        except InputError as error:
            raise InputError(f"authorization: jwks: {error.message}") from None
        known = CallerTokens(
            type=kind, jwks={"keys": [dict(key) for key in keys]}, provenance=Provenance.EXTERNAL
        )
        return Proofs(callback_authorization=callback, authorization=known)
    return Proofs(callback_authorization=callback)


def _secure(url: str, name: str, *, may_be_plain: bool) -> str:
    """Return a URL that secrets may go to and keys may come from.

    Raises:
        InputError: It is another kind.
    """
    refused = InputError(f"authorization: {name} must be an https URL")
    try:
        parts = urlsplit(url)
        host, usable = parts.hostname or "", parts.port != 0
    except ValueError:
        raise refused from None
    plain = parts.scheme == "http" and may_be_plain and is_this_machine(host)
    if (
        not (parts.scheme == "https" or plain)
        or not host
        or not usable
        or "@" in parts.netloc
        or parts.fragment
    ):
        raise refused
    return url
