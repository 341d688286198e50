"""URLs of control planes, as they come in over the API."""

from __future__ import annotations

from urllib.parse import urlsplit

from dataferry.domain.errors import InputError


def plain_http_url(url: str, field: str) -> str:
    """Return a URL if calls can be sent below it.

    Args:
        url: As it came.
        field: What it is called in the message.

    Raises:
        InputError: It is no absolute http or https URL, or carries credentials, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(f"{field} must be a plain http or https URL")
    return url
