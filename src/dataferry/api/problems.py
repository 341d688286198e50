"""Errors as RFC 9457 problem documents: one table from the error tree to HTTP statuses.

Every answer of the API that is not a success is made here, those of the framework (no such route, wrong
method, wrong fields) included. No stack trace, no secret and no value of a field stands in one: an
unexpected error says only under which id the log has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dataferry.api.seed_errors import is_orchestration, seed_error
from dataferry.domain import errors
from dataferry.domain.errors import DataFerryError

MEDIA_TYPE = "application/problem+json"
MAX_FIELD_ERRORS = 20

SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:dataferry:problem:illegal_transition"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}

# The first class of an error's line of ancestors that stands here decides. What a source or a sink answered
# is 422: the message was understood, and what it asks for can't be done there.
STATUSES: dict[type[DataFerryError], HTTPStatus] = {
    errors.TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.InputError: HTTPStatus.BAD_REQUEST,
    errors.UnsupportedError: HTTPStatus.BAD_REQUEST,
    errors.UnauthorizedError: HTTPStatus.UNAUTHORIZED,
    errors.ForbiddenError: HTTPStatus.FORBIDDEN,
    errors.GoneError: HTTPStatus.GONE,
    errors.EgressDeniedError: HTTPStatus.FORBIDDEN,
    errors.NotFoundError: HTTPStatus.NOT_FOUND,
    errors.ConflictError: HTTPStatus.CONFLICT,
    errors.FencedError: HTTPStatus.CONFLICT,
    errors.ThrottledError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ConnectionFailedError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ServerError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ConfigError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.StoppedError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ExhaustedError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DataFerryError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

TITLES: dict[str, str] = {
    "invalid_input": "The message is wrong",
    "invalid_address": "The address can't be used",
    "unknown_profile": "No mechanism offers the profile",
    "too_large": "More than a bound allows",
    "unauthorized": "Credentials are missing or wrong",
    "forbidden": "Not allowed",
    "gone": "Over",
    "egress_denied": "Policy does not let us reach that place",
    "not_found": "Not found",
    "conflict": "Not possible now",
    "illegal_transition": "Not possible in this state",
    "duplicate_process": "The process has a data flow already",
    "unsupported": "Not supported",
    "unexpected": "An unexpected error",
}


def status_of(error: DataFerryError) -> HTTPStatus:
    """Return the HTTP status of an error: that of its nearest ancestor in ``STATUSES``."""
    return next(STATUSES[ancestor] for ancestor in type(error).__mro__ if ancestor in STATUSES)


def problem(
    status: int,
    kind: str,
    detail: str,
    *,
    title: str | None = None,
    instance: str | None = None,
    fields: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Make a problem document.

    Args:
        status: HTTP status.
        kind: As ``DataFerryError.kind``: becomes the type ``urn:dataferry:problem:<kind>``.
        detail: What is wrong here, in one sentence.
        title: What is wrong in general; from the kind if None.
        instance: The path that was asked for, without its query.
        fields: ``{"field", "message"}`` of each field that is wrong.
        headers: More response headers.

    Below ``/orchestrate`` and ``/status`` it has the shape that their clients know instead.

    Source: RFC 9457, section 3.
    """
    if is_orchestration(instance):
        details = {entry["field"]: [entry["message"]] for entry in fields}
        return seed_error(status, detail, details, headers=headers)
    content: dict[str, Any] = {
        "type": f"urn:dataferry:problem:{kind}",
        "title": title or TITLES.get(kind) or kind.replace("_", " ").capitalize(),
        "status": int(status),
        "detail": detail,
    }
    if instance is not None:
        content["instance"] = instance
    if fields:
        content["errors"] = list(fields)
    return JSONResponse(content, status_code=int(status), media_type=MEDIA_TYPE, headers=dict(headers or {}))


def of_error(error: DataFerryError, *, instance: str | None = None) -> JSONResponse:
    """Make the problem document of an error of ours."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="dataferry"'
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return problem(status, error.kind, str(error), instance=instance, headers=headers)


def unexpected(error_id: str, *, instance: str | None = None) -> JSONResponse:
    """Make the problem document of a fault of ours: it names the id that the log has, and nothing else."""
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "unexpected",
        f"something went wrong in here; the log has it under {error_id}",
        instance=instance,
    )


def install(application: FastAPI) -> None:
    """Let every error of the application leave it as a problem document."""
    application.add_exception_handler(DataFerryError, _on_error)
    application.add_exception_handler(RequestValidationError, _on_validation)
    application.add_exception_handler(HTTPException, _on_http)


def _on_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DataFerryError)  # noqa: S101  the handler is registered for it
    return of_error(error, instance=request.url.path)


def _on_validation(request: Request, error: Exception) -> JSONResponse:
    """Name each field that is wrong; never its value, which may be a secret."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    fields = [
        {"field": _field(entry["loc"]), "message": str(entry["msg"]).removeprefix("Value error, ")}
        for entry in error.errors()[:MAX_FIELD_ERRORS]
    ]
    detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in fields)
    return problem(HTTPStatus.BAD_REQUEST, "invalid_input", detail, instance=request.url.path, fields=fields)


def _on_http(request: Request, error: Exception) -> JSONResponse:
    """Dress what the framework refuses by itself: 404, 405, a body it can't read."""
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    kinds = {
        HTTPStatus.BAD_REQUEST: "invalid_input",
        HTTPStatus.NOT_FOUND: "not_found",
        HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    }
    details = {
        HTTPStatus.NOT_FOUND: "there is nothing at this path",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not possible at this path",
    }
    return problem(
        status,
        kinds.get(status, "http"),
        details.get(status, str(error.detail)),
        title=None if status in kinds else status.phrase,
        instance=request.url.path,
        headers=error.headers,
    )


def _field(location: Sequence[int | str]) -> str:
    """Write a field's place as ``dataAddress.endpointProperties.0``; ``body`` for the whole of it."""
    parts = [str(part)[:100] for part in location]
    if len(parts) > 1 and parts[0] in {"body", "path", "query", "header"}:
        parts = parts[1:]
    return ".".join(parts[:20])
