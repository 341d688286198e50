"""``POST /data/{flow}/token``: the refresh endpoint of a flow's data address.

Source: Data Plane Signaling, "Token Renewal", section "The Refresh Request"; RFC 6749, sections 5.1, 5.2, 6.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Path, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

from dataferry.api.authorization import bearer_token
from dataferry.api.services import services_of
from dataferry.flows.gateway import DATA_PATH
from dataferry.flows.token_renewal import Refusal, RenewalRefusedError
from dataferry.telemetry.logs import get_logger

MAX_FIELDS = 20
GRANT_TYPE = "refresh_token"
_STATUSES = {
    Refusal.INVALID_CLIENT: HTTPStatus.UNAUTHORIZED,
    Refusal.TEMPORARILY_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
# Source: RFC 6749, section 5.1.
_NOT_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_CLIENT = HTTPBearer(
    scheme_name="ClientToken", auto_error=False, description="A JWT that the client's DID has signed."
)
_FORM = {
    "content": {
        "application/x-www-form-urlencoded": {
            "schema": {
                "type": "object",
                "properties": {
                    "grant_type": {"type": "string", "enum": [GRANT_TYPE]},
                    "refresh_token": {"type": "string"},
                },
            }
        }
    }
}
router = APIRouter(prefix=DATA_PATH, tags=["data"], dependencies=[Security(_CLIENT)])
_log = get_logger("api.gateway")


@router.post("/{flow_id}/token", openapi_extra={"requestBody": _FORM})
def renew_token(request: Request, flow_id: Annotated[str, Path(max_length=64)]) -> JSONResponse:
    """Renew the access token of a flow's data address; `grant_type` and `refresh_token` as form or query."""
    services = services_of(request)
    try:
        fields = _fields(request)
        issued = services.renewals.renew(flow_id, fields["refresh_token"], bearer_token(request))
    except RenewalRefusedError as exc:
        _log.info("token_refused", flow=flow_id, refusal=exc.refusal.value, reason=exc.message)
        return _refused(exc)
    content = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.lifetime_s,
        "refresh_token": issued.refresh_token,
    }
    return JSONResponse(content, headers=_NOT_KEPT)


def _fields(request: Request) -> dict[str, str]:
    """Return the fields of form and query; each may be there once.

    Raises:
        RenewalRefusedError: One is missing, there twice, or asks for something else.
    """
    form = getattr(request.state, "form", b"")
    try:
        pairs = parse_qsl(form.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise RenewalRefusedError(Refusal.INVALID_REQUEST, "the body is no form") from None
    pairs += request.query_params.multi_items()
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise RenewalRefusedError(Refusal.INVALID_REQUEST, "a field is there twice")
    if not fields.get("grant_type") or not fields.get("refresh_token"):
        raise RenewalRefusedError(Refusal.INVALID_REQUEST, "grant_type and refresh_token are needed")
    if fields["grant_type"] != GRANT_TYPE:
        raise RenewalRefusedError(Refusal.UNSUPPORTED_GRANT_TYPE, f"grant_type is {GRANT_TYPE}")
    return fields


def _refused(error: RenewalRefusedError) -> JSONResponse:
    """Answer with OAuth's error document. Source: RFC 6749, section 5.2."""
    status = _STATUSES.get(error.refusal, HTTPStatus.BAD_REQUEST)
    headers = dict(_NOT_KEPT)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="dataferry", error="invalid_token"'
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    content = {"error": error.refusal.value, "error_description": error.message}
    return JSONResponse(content, status_code=status, headers=headers)
