"""Small questions to other services: one request, and an answer that is bounded in size and time.

For documents and tokens. Redirects are not followed: a place that somebody else names would have to be
looked at as such, and what is asked here has no reason to lie elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx

from dataferry.domain.errors import AddressError, ConnectionFailedError, InputError, ServerError

MAX_ANSWER_BYTES = 64 * 1024
_MAX_RETRY_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back.

    Attributes:
        status: Of HTTP.
        body: As it was sent; never shown, since it is a stranger's and may have a secret in it.
        retry_after_s: What it asked us to wait; None if nothing.
    """

    status: int
    body: bytes = field(repr=False)
    retry_after_s: float | None = None

    def json(self, what: str) -> Any:
        """Return what it says.

        Raises:
            InputError: It is no JSON.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise InputError(f"{what} is no JSON") from None


def ask(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    what: str,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    document: Mapping[str, Any] | None = None,
    content: bytes | None = None,
    max_bytes: int = MAX_ANSWER_BYTES,
) -> Answer:
    """Send one request.

    Args:
        client: Of ``guarded_client``: it decides where may be asked, and for how long.
        method: E.g. ``GET``.
        url: Where.
        what: What is asked for, for errors, e.g. ``the keys of connector-a``.
        headers: Beside those that every request has.
        form: Sent as a form.
        document: Sent as JSON.
        content: Sent as it is; the headers say what it is.
        max_bytes: More is refused.

    Raises:
        AddressError: It is no URL.
        EgressDeniedError: The guard does not let us ask there.
        ConnectionFailedError: There is no answer.
        InputError: It is too large.
    """
    body = bytearray()
    try:
        with client.stream(
            method,
            url,
            headers={
                "Accept": "application/json, */*;q=0.1",
                "Accept-Encoding": "identity",
                **(headers or {}),
            },
            data=form,
            json=document,
            content=content,
        ) as answer:
            for chunk in answer.iter_raw():
                body += chunk
                if len(body) > max_bytes:
                    raise InputError(f"{what}: the answer is too large")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise AddressError(f"{what}: this is no http or https URL") from None
    except httpx.HTTPError as exc:
        raise ConnectionFailedError(
            f"{what}: no answer from {urlsplit(url).hostname} ({type(exc).__name__})"
        ) from exc
    return Answer(status=answer.status_code, body=bytes(body), retry_after_s=retry_after_s(answer))


def fetch_json(client: httpx.Client, url: str, *, what: str, max_bytes: int = MAX_ANSWER_BYTES) -> Any:
    """GET a JSON document.

    Raises:
        AddressError, EgressDeniedError, ConnectionFailedError, InputError: As of ``ask``; or it is no JSON.
        ServerError: The answer is none of success.
    """
    answer = ask(client, "GET", url, what=what, max_bytes=max_bytes)
    if answer.status != HTTPStatus.OK:
        raise ServerError(f"{what}: {urlsplit(url).hostname} answered with {answer.status}")
    return answer.json(what)


def retry_after_s(answer: httpx.Response) -> float | None:
    """Return what ``Retry-After`` says in seconds, bounded; dates are not read."""
    text = answer.headers.get("retry-after", "").strip()
    if not text.isdecimal() or not text.isascii():
        return None
    return min(float(text[:9]), _MAX_RETRY_AFTER_S)
