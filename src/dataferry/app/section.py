"""The parts that every table of ``dataferry.toml`` shares."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dataferry.domain.errors import InputError
from dataferry.domain.schedule import MAX_BANDWIDTH_BYTES_PER_S, MAX_WINDOWS, Window

Bandwidth = Annotated[int, Field(gt=0, le=MAX_BANDWIDTH_BYTES_PER_S)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
LocationName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class Section(BaseModel):
    """A table of the file: unknown keys are refused, and no value is shown when something is wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class WindowSettings(Section):
    """A time of the week in which another bandwidth holds."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        default=(), description="Days on which it begins: `mon` to `sun`. Empty: every day."
    )
    from_: str = Field(alias="from", description="Time of day at which it begins, `HH:MM`.")
    to: str = Field(
        description="Time of day at which it ends, `HH:MM` to `24:00`; on the next day if that is not later"
        " than `from`."
    )
    timezone: str = Field(
        default="UTC",
        description="IANA name of the time zone of both times, such as `Europe/Berlin`. UTC, since that"
        " needs no time zones on the machine and never changes its clocks.",
    )
    bandwidth_bytes_per_s: int = Field(
        ge=0,
        le=MAX_BANDWIDTH_BYTES_PER_S,
        description="Bound in this window, bytes a second, 0 to 2^50, in place of the one that holds"
        " else; of several windows at once the least. 0: not a byte; transfers wait.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        try:
            Window.of(self.model_dump(by_alias=True))
        except InputError as error:
            raise ValueError(error.message) from error
        return self

    @property
    def window(self) -> Window:
        """The window."""
        return Window.of(self.model_dump(by_alias=True))


Windows = Annotated[tuple[WindowSettings, ...], Field(max_length=MAX_WINDOWS)]


def http_url(value: str) -> str:
    """Return an absolute http(s) URL without its last slash.

    Raises:
        ValueError: It is not one.
    """
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an absolute URL that begins with http:// or https://")
    return value.rstrip("/")
