"""Bounds of request bodies, kept before anything of the application sees them.

A body is counted while it arrives (``Content-Length`` may lie or be missing), must be JSON that says it is
JSON, not nested too deeply, and without strings that no store can keep.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NoReturn

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataferry.api.problems import problem
from dataferry.domain.errors import InputError

MAX_BODY_BYTES = 1024 * 1024
MAX_JSON_DEPTH = 32
BODY_TIMEOUT_S = 30.0
# The doors where OAuth wants a form (RFC 6749, sections 4.4.2 and 6).
FORM = "application/x-www-form-urlencoded"
_FORM_PATH = re.compile(r"/data/[^/]{1,64}/token|/oauth/token")
_DATA_PATH = "/ingest/"
_NOT_KEPT = re.compile("[\\x00\\ud800-\\udfff]")


class RefusedBodyError(Exception):
    """A body that the application never sees.

    Args:
        status: HTTP status of the answer.
        kind: Of the problem document.
        detail: What is wrong with it.
    """

    def __init__(self, status: HTTPStatus, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail


class JsonBodies:
    """ASGI middleware: reads each body whole, within its bounds, checks it, and hands it on.

    The parsed body is left in ``request.state.json`` for those who need every field of it; None if empty.

    Args:
        app: What is called with requests whose body is fine.
        readers: By path: who may read bodies that are too long to be gone through twice, and leaves what
            it made of one in ``request.state.json``; None where this class is to read and judge it.
        max_bytes: Bodies are messages, not data: one MiB is a thousand times the usual one.
        timeout_s: A body must be here within this time, so that slow senders hold no memory.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        readers: Mapping[str, Callable[[bytes], object | None]] = MappingProxyType({}),
        max_bytes: int = MAX_BODY_BYTES,
        timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._app = app
        self._readers = readers
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] == "PUT" and scope["path"].startswith(_DATA_PATH):
            # Data, not a message: who takes it in bounds it.
            await self._app(scope, receive, send)
            return
        if scope["method"] in {"GET", "HEAD", "OPTIONS"} and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        try:
            _refuse_ambiguous(headers)
            body = await self._read(headers, receive)
            if _FORM_PATH.fullmatch(scope["path"]) and _media_type(headers) == FORM:
                # No page of a browser gains by that: what it sends must bear a token all the same.
                document, state["form"] = None, body
            else:
                document = self._document(scope["path"], headers, body)
        except RefusedBodyError as refused:
            answer = problem(
                refused.status,
                refused.kind,
                refused.detail,
                title=refused.status.phrase,
                instance=scope["path"],
                # What is left of a refused body would be read as the next request.
                headers={"Connection": "close"},
            )
            await answer(scope, receive, send)
            return
        state["json"] = document
        await self._app(scope, _replay(body, receive), send)

    def _document(self, path: str, headers: Headers, body: bytes) -> Any:
        """Return what the body says; None if there is none."""
        if not body:
            return None
        _refuse_other_types(headers)
        reader = self._readers.get(path)
        document = None if reader is None else reader(body)
        return parsed(body) if document is None else document

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        """Return the whole body."""
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > self._max_bytes:
            self._too_large()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._collect(receive)
        except TimeoutError:
            raise RefusedBodyError(
                HTTPStatus.REQUEST_TIMEOUT,
                "body_timeout",
                f"the body did not arrive within {self._timeout_s:g} s",
            ) from None

    async def _collect(self, receive: Receive) -> bytes:
        """Gather the chunks, counting."""
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                self._too_large()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> NoReturn:
        raise RefusedBodyError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"the body is larger than {self._max_bytes} bytes",
        )


def _refuse_ambiguous(headers: Headers) -> None:
    """Refuse two lengths: a proxy before us may have believed the other, and what follows be anybody's."""
    if "content-length" in headers and "transfer-encoding" in headers:
        raise RefusedBodyError(
            HTTPStatus.BAD_REQUEST,
            "invalid_input",
            "the request has both Content-Length and Transfer-Encoding",
        )


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand the body out once; after it, whatever the connection says next."""
    handed_out = False

    async def replay() -> Message:
        nonlocal handed_out
        if handed_out:
            return await receive()
        handed_out = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _refuse_other_types(headers: Headers) -> None:
    """Refuse a body that does not say that it is JSON."""
    media_type = _media_type(headers)
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise RefusedBodyError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "send application/json"
        )


def parsed(body: bytes) -> Any:
    """Return what JSON says.

    Raises:
        RefusedBodyError: It is none, or none that is taken in.
    """
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
        check_json(document, texts=not is_plain(body))
    except RecursionError:
        raise RefusedBodyError(HTTPStatus.BAD_REQUEST, "invalid_input", _TOO_DEEP) from None
    except InputError as wrong:
        raise RefusedBodyError(HTTPStatus.BAD_REQUEST, "invalid_input", wrong.message) from None
    except ValueError:
        raise RefusedBodyError(HTTPStatus.BAD_REQUEST, "invalid_json", "the body is not JSON") from None
    return document


def is_plain(body: bytes) -> bool:
    """Return whether nothing is escaped and all is ASCII: then no string can have what can't be kept."""
    escapes = b"\\" in body and b"\\u" in body  # one byte is found much sooner than two
    return body.isascii() and not escapes and b"\0" not in body


_TOO_DEEP = f"the body is nested more than {MAX_JSON_DEPTH} levels deep"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def check_json(document: Any, *, max_depth: int = MAX_JSON_DEPTH, texts: bool = True) -> None:
    """Refuse JSON that is nested too deeply, or has values that can't be kept and sent on.

    Args:
        document: As it was parsed.
        max_depth: Levels at most.
        texts: Whether strings are looked at; they need not be where the text of the JSON says enough.

    Raises:
        InputError: It is, or it has.
    """
    waiting: list[tuple[Any, int]] = [(document, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            if texts:
                _check_text(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InputError("the body has a number that is out of range")
        elif isinstance(value, dict | list):
            if depth > max_depth:
                raise InputError(_TOO_DEEP)
            if isinstance(value, dict) and texts:
                for name in value:
                    _check_text(name)
            children = value.values() if isinstance(value, dict) else value
            waiting.extend([(child, depth + 1) for child in children if texts or not isinstance(child, str)])


def _check_text(text: str) -> None:
    """Refuse what UTF-8 can't say (half of a surrogate pair) and NUL, which databases do not keep."""
    if _NOT_KEPT.search(text):
        raise InputError("the body has a string with characters that can't be kept")
