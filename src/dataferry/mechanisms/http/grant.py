"""Nothing is handed out by HTTP: that would need a door of ours which the other side may knock at."""

from __future__ import annotations

from typing import NoReturn

from dataferry.domain.errors import UnsupportedError


def refuse_grant() -> NoReturn:
    """Say what to do instead.

    Raises:
        UnsupportedError: Always.
    """
    raise UnsupportedError(
        "this data plane can't hand out an HTTP address for the other side to use: take an S3 profile "
        "with an S3 location; by HTTP it only fetches and sends",
        operation="http.grant",
    )
