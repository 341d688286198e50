"""``POST /oauth/token``: tokens for control planes without an identity provider; and the keys to check them.

Source: RFC 6749, sections 2.3.1, 4.4, 5.1 and 5.2; RFC 7517, section 5.
"""

from __future__ import annotations

import base64
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote_plus

from fastapi import APIRouter, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security.http import HTTPBase

from dataferry.api.services import services_of
from dataferry.domain.errors import DataFerryError, RetryClass, ThrottledError
from dataferry.flows.issuing import TokenRefusedError
from dataferry.flows.token_renewal import Refusal
from dataferry.telemetry.logs import get_logger

TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
JWKS_PATH = "/oauth/jwks.json"
MAX_FIELDS = 20
GRANT_TYPE = "client_credentials"
_KEYS_KEPT_S = 300
# Source: RFC 6749, section 5.1.
_NOT_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}
# For the OpenAPI document only: HTTPBasic would refuse in other words than OAuth's.
_BASIC = HTTPBase(
    scheme="basic",
    scheme_name="Client",
    auto_error=False,
    description="A control plane's client id and secret.",
)
_FORM = {
    "content": {
        "application/x-www-form-urlencoded": {
            "schema": {
                "type": "object",
                "required": ["grant_type"],
                "properties": {
                    "grant_type": {"type": "string", "enum": [GRANT_TYPE]},
                    "client_id": {"type": "string"},
                    "client_secret": {"type": "string"},
                },
            }
        }
    }
}
router = APIRouter(tags=["tokens"])
_log = get_logger("api.tokens")


@router.post(
    TOKEN_PATH,
    summary="Issue a token to a control plane",
    openapi_extra={"requestBody": _FORM},
    dependencies=[Security(_BASIC)],
)
def issue_token(request: Request) -> JSONResponse:
    """Issue a token to call this plane with, to a client that shows its secret in the form or by Basic."""
    services = services_of(request)
    peer = request.client.host if request.client else ""
    try:
        client_id, client_secret = _client(request)
        issued = services.issuer.issue(client_id, client_secret, peer=peer)
    except TokenRefusedError as exc:
        status = HTTPStatus.UNAUTHORIZED if exc.refusal is Refusal.INVALID_CLIENT else HTTPStatus.BAD_REQUEST
        return _refused(exc.refusal, exc.message, status)
    except ThrottledError as exc:
        return _refused(
            Refusal.TEMPORARILY_UNAVAILABLE,
            exc.message,
            HTTPStatus.TOO_MANY_REQUESTS,
            retry_after_s=exc.retry_after_s,
        )
    except DataFerryError as exc:
        if exc.retry is not RetryClass.TEMPORARY:
            raise
        _log.warning("token_not_signed", reason=str(exc))
        return _refused(
            Refusal.TEMPORARILY_UNAVAILABLE, "nothing can be signed now", HTTPStatus.SERVICE_UNAVAILABLE
        )
    content = {"access_token": issued.text, "token_type": "Bearer", "expires_in": issued.lifetime_s}
    return JSONResponse(content, headers=_NOT_KEPT)


@router.get(JWKS_PATH, summary="The keys of what this plane signs")
def key_set(request: Request) -> JSONResponse:
    """Return the public keys of this plane's participants. Source: RFC 7517, section 5."""
    headers = {"Cache-Control": f"public, max-age={_KEYS_KEPT_S}"}
    return JSONResponse(services_of(request).signers.key_set, headers=headers)


def _client(request: Request) -> tuple[str, str]:
    """Return the client's id and secret.

    Raises:
        TokenRefusedError: A field is missing, there twice, or asks for something else.
    """
    form = getattr(request.state, "form", b"")
    try:
        pairs = parse_qsl(form.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise TokenRefusedError(Refusal.INVALID_REQUEST, "the body is no form") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise TokenRefusedError(Refusal.INVALID_REQUEST, "a field is there twice")
    if not fields.get("grant_type"):
        raise TokenRefusedError(Refusal.INVALID_REQUEST, "grant_type is needed, in a form")
    if fields["grant_type"] != GRANT_TYPE:
        raise TokenRefusedError(Refusal.UNSUPPORTED_GRANT_TYPE, f"grant_type is {GRANT_TYPE}")
    basic = _basic(request.headers.get("authorization", ""))
    if basic is not None:
        if "client_secret" in fields or fields.get("client_id", basic[0]) != basic[0]:
            raise TokenRefusedError(Refusal.INVALID_REQUEST, "the client authenticates in two ways")
        return basic
    return fields.get("client_id", ""), fields.get("client_secret", "")


def _basic(header: str) -> tuple[str, str] | None:
    """Read a client's credentials from its header; None if it has none. Source: RFC 6749, section 2.3.1."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except ValueError:
        raise TokenRefusedError(Refusal.INVALID_CLIENT, "the credentials can't be read") from None
    client_id, _, client_secret = text.partition(":")
    return unquote_plus(client_id), unquote_plus(client_secret)


def _refused(
    refusal: Refusal, message: str, status: HTTPStatus, *, retry_after_s: float | None = None
) -> JSONResponse:
    """Answer with OAuth's error document. Source: RFC 6749, section 5.2."""
    headers = dict(_NOT_KEPT)
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Basic realm="dataferry"'
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        headers["Retry-After"] = str(max(1, round(retry_after_s or 1)))
    return JSONResponse(
        {"error": refusal.value, "error_description": message}, status_code=status, headers=headers
    )
