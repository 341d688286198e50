"""The parts that every table of ``dataferry.toml`` shares."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from dataferry.domain.limits import MAX_BANDWIDTH_BYTES_PER_S

Bandwidth = Annotated[int, Field(gt=0, le=MAX_BANDWIDTH_BYTES_PER_S)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
LocationName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class Section(BaseModel):
    """A table of the file: unknown keys are refused, and no value is shown when something is wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def http_url(value: str) -> str:
    """Return an absolute http(s) URL without its last slash.

    Raises:
        ValueError: It is not one.
    """
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an absolute URL that begins with http:// or https://")
    return value.rstrip("/")
