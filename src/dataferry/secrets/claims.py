"""Reading JWTs of others: what they claim before anything is proved, and their times.

Source: RFC 7519, section 4.1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError

from dataferry.domain.errors import UnauthorizedError

MAX_TOKEN_CHARS = 8 * 1024
# Beyond what clocks count: seconds that no calendar has.
_MOST_S = 1e15


def unproved(text: str, *, what: str = "the token") -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the header and the claims of a signed JWT, without believing them.

    Args:
        text: The token.
        what: What to call it in errors.

    Raises:
        UnauthorizedError: It is no such thing, or too long.
    """
    if len(text) > MAX_TOKEN_CHARS:
        raise UnauthorizedError(f"{what} is too long")
    try:
        compact = jws.extract_compact(text.encode("ascii"))
        header, claims = compact.headers(), json.loads(compact.payload)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise UnauthorizedError(f"{what} is no JWT") from None
    if not isinstance(claims, dict):
        raise UnauthorizedError(f"{what} is no JWT")
    return header, claims


def time_of(claims: Mapping[str, Any], name: str, *, what: str = "the token") -> float | None:
    """Return a time of the claims in Unix seconds; None if it is not there.

    Raises:
        UnauthorizedError: It is no time.
    """
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MOST_S:
        raise UnauthorizedError(f"{what} has no time in {name}")
    return float(value)
