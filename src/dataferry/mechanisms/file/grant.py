"""Files are never handed out: nobody else can reach them by themselves."""

from __future__ import annotations

from typing import NoReturn

from dataferry.domain.errors import UnsupportedError


def refuse_grant() -> NoReturn:
    """Say what to do instead.

    Raises:
        UnsupportedError: Always.
    """
    raise UnsupportedError(
        "a file location can't be shared with another organisation: "
        "let them send to or fetch from an S3 location, or serve the files over http-pull",
        operation="file.grant",
    )
