"""``[mqtt]``: the broker that is told what becomes of flows and orchestrations."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from dataferry.app.section import Name, Section

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
# What a topic that is published to can't have: MQTT 5.0, section 4.7.
_PREFIX = r"^[^$+#/\x00-\x1f\x7f][^+#\x00-\x1f\x7f]*$"


class MqttSettings(Section):
    """``[mqtt]``: state and progress events for subscribers of a broker."""

    url: str | None = Field(
        default=None,
        description="The broker: `mqtts://host[:8883]`, or `mqtt://host[:1883]` without TLS; needs the extra"
        " `dataferry[mqtt]`. None: nobody is told.",
    )
    client_id: Name | None = Field(
        default=None,
        description="How the broker knows this plane; no two clients of a broker may have the same. None:"
        " `dataferry-` and `server.dataplane_id`.",
    )
    username: str | None = Field(default=None, min_length=1, description="User at the broker. None: none.")
    password: str | None = Field(
        default=None,
        repr=False,
        min_length=1,
        description="The user's password: a value, `env:NAME` or `file:PATH`. None: none.",
    )
    ca_file: str | None = Field(
        default=None,
        min_length=1,
        description="PEM file of certificate authorities that are trusted for the broker, beside the system's"
        " and those of `network.ca_file`. None: those alone.",
    )
    client_certificate: str | None = Field(
        default=None,
        min_length=1,
        description="PEM file of the certificate that this plane shows to the broker. None: none.",
    )
    client_key: str | None = Field(
        default=None,
        min_length=1,
        description="PEM file of its key, without a password. None: in `client_certificate`.",
    )
    topic_prefix: str = Field(
        default="dataferry",
        pattern=_PREFIX,
        max_length=200,
        description="Levels above all topics, such as `plant-7/ferry`; no `+`, no `#`, no `$` or `/` at the"
        " beginning.",
    )
    version: Literal["5", "3.1.1"] = Field(
        default="5",
        description="Version of MQTT. By 5 a broker says why it refuses a message, and forgets the last state"
        " of a flow when this plane does; `3.1.1` for brokers that do not speak it.",
    )
    qos: Literal[0, 1] = Field(
        default=1,
        description="Of state events: 1 is told until the broker acknowledges it, 0 is lost with a connection"
        " that breaks. 2 is not offered: what is repeated after a crash would be repeated all the same.",
    )
    retain: bool = Field(
        default=True,
        description="Whether the broker keeps the last state of each flow and orchestration for who"
        " subscribes later; by version 5 for `store.retention_days` after its end.",
    )
    keepalive_s: int = Field(
        default=60,
        ge=5,
        le=3600,
        description="A connection over which nothing was said for so long is tried, seconds, 5 to 3,600. A"
        " minute: a broker that vanished is noticed soon, and idling costs nothing.",
    )
    progress_interval_s: float = Field(
        default=5.0,
        ge=1.0,
        le=3600.0,
        description="Least seconds between two progress events of a flow, 1 to 3,600. Five: quick enough for"
        " people, and little beside what is moved.",
    )
    max_in_flight: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="State events that may wait for their acknowledgement at once; a broker's own bound holds"
        " too. The others wait in the database. Twenty is what brokers take by default.",
    )

    @field_validator("url")
    @classmethod
    def _place(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            _ = parts.port
        except ValueError:
            raise ValueError("must be mqtts://host[:port] or mqtt://host[:port]") from None
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("must be mqtts://host[:port] or mqtt://host[:port]")
        if "@" in parts.netloc:
            raise ValueError("must name no user: set `username` and `password`")
        return value

    @field_validator("topic_prefix")
    @classmethod
    def _no_empty_level(cls, value: str) -> str:
        if not all(value.split("/")):
            raise ValueError("has an empty level: no `/` at the end, and no two of them together")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.url is None and self.model_fields_set - {"url"}:
            raise ValueError("`url` is required: it says which broker")
        if self.password is not None and self.username is None:
            raise ValueError("`password` needs `username`")
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError("`client_key` needs `client_certificate`")
        if (self.ca_file or self.client_certificate) and not self.is_tls:
            raise ValueError("`ca_file` and `client_certificate` need an `url` that begins with mqtts://")
        return self

    @property
    def is_tls(self) -> bool:
        """True if what is said is encrypted."""
        return self.url is not None and urlsplit(self.url).scheme == "mqtts"
