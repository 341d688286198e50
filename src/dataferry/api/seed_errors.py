"""Errors of ``/orchestrate`` and ``/status``, as their clients know them: message, status, code and details.

Everywhere else they are RFC 9457 problems. The codes are 400, 403, 404, 500, 502 and 504, and 405, 408 and
409 where nothing of these would be true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

_PATHS = re.compile(r"(/orchestrator)?/(orchestrate|status)(/.*)?")
_CODES: dict[int, HTTPStatus] = {
    HTTPStatus.UNAUTHORIZED: HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNPROCESSABLE_ENTITY: HTTPStatus.BAD_REQUEST,
    HTTPStatus.SERVICE_UNAVAILABLE: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def is_orchestration(path: str | None) -> bool:
    """Return whether a path's errors have this shape."""
    return path is not None and _PATHS.fullmatch(path) is not None


def seed_error(
    status: int,
    message: str,
    details: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Make the answer.

    Args:
        status: HTTP status; one that these clients do not know becomes the nearest that they do.
        message: What is wrong.
        details: ``{field: [sentence, ...]}``, nested as the request is.
        headers: More response headers.
    """
    code = int(_CODES.get(status, HTTPStatus(status)))
    content = {"message": message, "status": "ERROR", "status_code": code, "details": dict(details or {})}
    return JSONResponse(content, status_code=code, headers=dict(headers or {}))
