"""Speaks to a running service: its management API, and the orchestrator's."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from dataferry.domain.errors import (
    ConflictError,
    ConnectionFailedError,
    DataFerryError,
    ForbiddenError,
    GoneError,
    InputError,
    NotFoundError,
    UnauthorizedError,
    UnsupportedError,
)

TIMEOUT_S = 30.0
MAX_PAGES = 10_000
MAX_TOLD = 20

_ERRORS: dict[int, type[DataFerryError]] = {
    HTTPStatus.BAD_REQUEST: InputError,
    HTTPStatus.UNPROCESSABLE_ENTITY: InputError,
    HTTPStatus.FORBIDDEN: ForbiddenError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.GONE: GoneError,
    HTTPStatus.NOT_IMPLEMENTED: UnsupportedError,
}


class ServiceClient:
    """A connection to one of a service's APIs.

    Args:
        url: Base URL of the service.
        api_key: Sent as ``X-Api-Key``; None sends none.
    """

    # Of every path.
    prefix: tuple[str, ...] = ()
    # What the key is called in the environment.
    key_variable = "DATAFERRY_API_KEY"
    # How a key that is missing or wrong is answered.
    refuses_key = HTTPStatus.UNAUTHORIZED

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url = url.rstrip("/")
        self._has_key = bool(api_key)
        headers = {"X-Api-Key": api_key} if api_key else {}
        # The key belongs to this host alone: no proxies from the environment, no redirects.
        self._http = httpx.Client(headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def detail_of(self, problem: dict[str, Any]) -> str:
        """Return what an error says is wrong."""
        return str(problem.get("detail") or problem.get("title") or "")

    def get(self, *path: str, **params: Any) -> Any:
        """GET one resource."""
        return self._call("GET", path, params={k: v for k, v in params.items() if v is not None})

    def post(self, *path: str, body: dict[str, Any] | None = None) -> Any:
        """POST to one resource."""
        return self._call("POST", path, json=body or {})

    def pages(self, *path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, page by page."""
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = self.get(*path, **params, cursor=cursor)
            if isinstance(page, list):
                yield from page
                return
            yield from page["items"]
            cursor = page.get("next")
            if cursor is None:
                return

    def _call(self, method: str, path: tuple[str, ...], **request: Any) -> Any:
        """Send one request and read its answer.

        Raises:
            DataFerryError: The service can't be reached, or refused; says which and what to do.
        """
        url = "/".join([self._url, *self.prefix, *(quote(part, safe="") for part in path)])
        try:
            answer = self._http.request(method, url, **request)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise InputError(f"{self._url!r} is not a URL of a service: {error}") from error
        except httpx.ConnectError as error:
            raise ConnectionFailedError(
                f"nothing answers at {self._url}: is `dataferry serve` running there?"
                " Name another place with --url or DATAFERRY_URL"
            ) from error
        except httpx.HTTPError as error:
            raise ConnectionFailedError(f"{self._url} broke off: {error or type(error).__name__}") from error
        if answer.is_success:
            return answer.json() if answer.content else None
        raise self._refusal(answer)

    def _refusal(self, answer: httpx.Response) -> DataFerryError:
        """What a refusal means for whoever typed the command."""
        try:
            detail = self.detail_of(answer.json())
        except (ValueError, AttributeError):
            detail = ""
        if answer.status_code == self.refuses_key:
            what = (
                "does not take this API key: give another" if self._has_key else "wants an API key: give one"
            )
            return UnauthorizedError(f"{self._url} {what} with {self.key_variable} or --api-key")
        kind = _ERRORS.get(answer.status_code, DataFerryError)
        if not detail:
            detail = f"{self._url} answered {answer.status_code}: is it a DataFerry service?"
        return kind(detail)


class ManagementClient(ServiceClient):
    """A connection to ``/management`` of one service."""

    prefix = ("management",)


class OrchestratorClient(ServiceClient):
    """A connection to ``/orchestrate`` and ``/status`` of one service."""

    key_variable = "EDC_API_KEY (`.env` goes first)"
    refuses_key = HTTPStatus.FORBIDDEN

    def detail_of(self, problem: dict[str, Any]) -> str:
        """Return what an error says is wrong, field by field."""
        told = [str(problem["message"]), *_leaves(problem.get("details") or {}, "")]
        return "; ".join(told[:MAX_TOLD])

    def begin(self, document: Any, *, idempotency_key: str | None, dry_run: bool) -> str | None:
        """Have a request taken in; return the orchestration's id, None for a dry run.

        Raises:
            DataFerryError: It was refused, and why.
        """
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        params = {"dryRun": "true"} if dry_run else {}
        answer = self._call("POST", ("orchestrate",), json=document, headers=headers, params=params)
        found = answer["response"]["orchestration_id"]
        return None if found is None else str(found)

    def status(self, id_: str) -> dict[str, Any]:
        """Return one orchestration."""
        found: dict[str, Any] = self.get("status", id_)["response"]["orchestration_processes"][id_]
        return found


def _leaves(details: Any, path: str) -> Iterator[str]:
    """Write nested ``details`` as ``data.0.contractId: sentence``."""
    if isinstance(details, dict):
        for name, inner in details.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(details, list):
        for sentence in details:
            yield f"{path}: {sentence}"
