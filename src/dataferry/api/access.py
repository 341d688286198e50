"""The outermost layer of a request: its id, one line in the log, and the last word on unexpected errors.

Logged are method, path, status and time: never the query, a header or a body. What operators' tools ask again
and again (a GET below ``/management`` or ``/status``, health) is logged at debug, unless it fails.
"""

from __future__ import annotations

import re
import time
from uuid import uuid4

import structlog.contextvars
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataferry.api.problems import unexpected
from dataferry.telemetry.logs import get_logger

REQUEST_ID = "X-Request-Id"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEALTH = frozenset({"/healthz", "/readyz"})
_POLLED = ("/management/", "/status", "/orchestrator/status")
_ERROR = 400
_SERVER_ERROR = 500

_log = get_logger("api")


class BrokenOffError(Exception):
    """An answer that has begun and can't be brought to its end: the connection is closed.

    So that nobody takes it for whole. Who raises it has logged why.
    """


class AccessLog:
    """ASGI middleware: gives each request an id, logs it, and answers what nobody caught with a problem.

    Args:
        app: What is called.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _ID.fullmatch(given) else uuid4().hex
        began = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except BrokenOffError:
                raise  # its answer has begun, and the gateway has said why
            except Exception:
                _log.exception("request_failed", method=scope["method"], path=scope["path"])
                if status:
                    # The answer has begun: break it off, so that nobody takes it for whole.
                    raise
                await unexpected(request_id, instance=scope["path"])(scope, receive, send_with_id)
            finally:
                log = _log.debug if _is_polling(scope, status) else _log.info
                log(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    seconds=round(time.monotonic() - began, 4),
                )


def _is_polling(scope: Scope, status: int) -> bool:
    """Return True for requests that would fill the log and tell nothing."""
    if scope["path"] in _HEALTH:
        return status < _SERVER_ERROR
    return scope["method"] == "GET" and scope["path"].startswith(_POLLED) and status < _ERROR
