"""What ``dataferry.toml`` may say: every section and key, its meaning, its unit and why its default.

``docs/reference/settings.md`` documents the same keys; a test holds the two together.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from dataferry.app.catalogue import (
    ControlPlaneSettings,
    DatasetSettings,
    LandingZoneSettings,
    LocationSettings,
    ParticipantSettings,
)
from dataferry.app.engine_settings import EngineSettings
from dataferry.app.mqtt_settings import MqttSettings
from dataferry.app.orchestrator_settings import OrchestratorSettings
from dataferry.app.section import LocationName, Name, Section, http_url
from dataferry.domain.purview import ALL_SCOPES, SCOPES_OF_BOUND, Purview, Scope
from dataferry.secrets.did import is_this_machine
from dataferry.secrets.references import is_reference

SQLITE = "sqlite:///"


class ServerSettings(Section):
    """``[server]``: where the service listens, and how it is known."""

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. Loopback, so that nothing is open before authorization is set up;"
        " any other address needs API keys and a token for every control plane.",
    )
    port: int = Field(default=8080, ge=0, le=65535, description="TCP port; 0 takes a free one and prints it.")
    public_url: str | None = Field(
        default=None,
        description="Base URL under which control planes reach this plane, when it differs from host and port"
        " (a proxy in front). None: `http://HOST:PORT` as listened on, `https` with `tls_cert`.",
    )
    gateway_url: str | None = Field(
        default=None,
        description="Base URL under which partners reach the gateway (`/data`, `/ingest`), where that is"
        " another than control planes use: a process of its own (`--role gateway`), or another name."
        " None: as `public_url`.",
    )
    tls_cert: str | None = Field(
        default=None,
        description="PEM file with the certificate to serve with, and its chain. None: plain HTTP, for"
        " loopback or behind a proxy that ends TLS.",
    )
    tls_key: str | None = Field(
        default=None,
        description="PEM file with the certificate's key, without a password. None: it stands in `tls_cert`.",
    )
    signaling_path: str = Field(
        default="/api/v1",
        pattern=r"^/[A-Za-z0-9/_.~-]*$",
        description="Path before `/dataflows` and `/controlplanes`; a version of its own because control"
        " planes are told it when we register.",
    )
    dataplane_id: Name = Field(
        default="dataferry",
        description="Our id in registrations; unique among the planes of a control plane.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged; `info` has one line for each step of a flow."
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="`text` is for people at a terminal, `json` one object a line for log collectors.",
    )
    log_file: str | None = Field(
        default=None,
        min_length=1,
        description="File that the log is written to as well, such as `logs/dataferry.log`; its directory is"
        " made, its mode is 0600, and at 10 MiB it is put aside: five older ones are kept. None: standard"
        " error alone.",
    )
    max_body_bytes: int = Field(
        default=1024 * 1024,
        gt=0,
        description="Largest request body accepted, bytes; messages are some kilobytes, so 1 MiB bounds"
        " memory without refusing a real one.",
    )
    request_threads: int = Field(
        default=160,
        ge=4,
        le=1024,
        description="Requests that are worked on at once; further ones wait, and are never refused. One"
        " caller has at most a quarter of them, so that a slow store of one control plane does not keep the"
        " others waiting.",
    )
    max_connections: int = Field(
        default=512,
        ge=16,
        le=65_536,
        description="Connections held open. One more closes the one that has idled longest, of the peer that"
        " has the most. Half of the 1,024 files that many systems let a process have.",
    )

    allow_http_on_loopback: bool = Field(
        default=False,
        description="Whether the gateway may hand out tokens for plain http while this plane listens on"
        " loopback and has no `public_url`, and whether DID documents and refresh endpoints on this machine"
        " are asked by plain http: for development. Elsewhere they are https, as the profiles want it.",
    )
    gateway_threads: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Pieces of `/data` and `/ingest` that are read from their stores, or written to them, at"
        " once; further ones wait. Each takes a thread and a quarter of a MiB, and no thread while it is"
        " sent. One location has at most half of them: one that stands still does not hold up the others.",
    )
    access_token_ttl_s: int = Field(
        default=300,
        ge=1,
        le=86_400,
        description="How long an access token of the gateway is good for, seconds, where it can be renewed"
        " (`participants.did`). Five minutes: what got into a log or a proxy is soon worth nothing.",
    )

    @field_validator("public_url", "gateway_url")
    @classmethod
    def _public_url(cls, value: str | None) -> str | None:
        return None if value is None else http_url(value)

    @model_validator(mode="after")
    def _key_of_certificate(self) -> Self:
        if self.tls_key is not None and self.tls_cert is None:
            raise ValueError("`tls_key` needs `tls_cert`")
        return self

    @field_validator("signaling_path")
    @classmethod
    def _signaling_path(cls, value: str) -> str:
        return value.rstrip("/")

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def may_ask_plain_http(self) -> bool:
        """True if this machine may be asked without TLS."""
        return self.allow_http_on_loopback and self.is_loopback

    @property
    def may_serve_plain_http(self) -> bool:
        """True if tokens may travel without TLS: nobody but this machine can see them."""
        if self.gateway_url is not None:
            return self.may_ask_plain_http and is_this_machine(urlsplit(self.gateway_url).hostname or "")
        return self.may_ask_plain_http and self.public_url is None


class StoreSettings(Section):
    """``[store]``: the database."""

    url: str = Field(
        default="sqlite:///dataferry.db",
        pattern=r"^[a-z0-9+]+://",
        description="URL of the database: `sqlite:///FILE`, or `postgresql://USER:PASSWORD@HOST/NAME` with"
        " the extra `dataferry[postgresql]`. SQLite in the working directory: nothing to install, and"
        " one process is all that it serves.",
    )
    retention_days: int = Field(
        default=90,
        ge=0,
        le=36_500,
        description="Days after its last change that a flow in a final state is kept, with its events,"
        " callbacks and objects; then its process id may be used again. A quarter is long enough to ask"
        " questions in. 0: for ever.",
    )

    @property
    def file(self) -> Path | None:
        """The SQLite database's file; None for another kind of database."""
        if not self.url.startswith(SQLITE) or self.url == SQLITE:
            return None
        return Path(self.url.removeprefix(SQLITE).partition("?")[0])


class SecretsSettings(Section):
    """``[secrets]``: what seals credentials in the database."""

    key_file: str | None = Field(
        default=None,
        description="File with the key that seals credentials in rows; made with mode 0600 if absent, refused"
        " if others may read it. None: `dataferry.key` beside a SQLite database.",
    )


class ApiKeySettings(Section):
    """``[[auth.api_keys]]``: a key for the management API."""

    name: Name = Field(description="Whose key it is; written into events as the actor.")
    key: str | None = Field(
        default=None,
        repr=False,
        min_length=16,
        description="The key: a value, `env:NAME` or `file:PATH`. Either this or `sha256`.",
    )
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-fA-F]{64}$",
        description="SHA-256 of the key in hexadecimal, so that the file holds no key. Either this or `key`.",
    )
    scopes: tuple[Scope, ...] | None = Field(
        default=None,
        description="What it is good for: `read`, `operate`, `configure`, `data-address`, `orchestrate`."
        " None: all of them; without `configure` and `orchestrate`, which can't be bound, for a key with one"
        " of the next two.",
    )
    participants: tuple[str, ...] = Field(
        default=(),
        description="Participants whose flows, datasets and landing zones it sees; others do not exist for"
        " it. Empty: all.",
    )
    control_planes: tuple[str, ...] = Field(
        default=(),
        description="As `participants`, ids of control planes; where both stand, both must hold. Empty: all.",
    )

    @field_validator("key", mode="before")
    @classmethod
    def _reference_may_be_short(cls, value: object) -> object:
        if isinstance(value, str) and is_reference(value):
            return value.ljust(16)
        return value

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.key is None) == (self.sha256 is None):
            raise ValueError("give either `key` or `sha256`")
        refused = sorted(frozenset(self.scopes or ()) - SCOPES_OF_BOUND)
        if self.purview.is_bound and refused:
            raise ValueError(
                f"a key with `participants` or `control_planes` can't have the scope `{refused[0].value}`"
            )
        return self

    @property
    def purview(self) -> Purview:
        """Whose flows it sees."""
        return Purview.of(self.participants, self.control_planes)

    @property
    def granted(self) -> frozenset[Scope]:
        """What it is good for."""
        if self.scopes is not None:
            return frozenset(self.scopes)
        return SCOPES_OF_BOUND if self.purview.is_bound else ALL_SCOPES


class AuthSettings(Section):
    """``[auth]``: who may use the management API, and the tokens that this plane issues."""

    api_keys: tuple[ApiKeySettings, ...] = Field(
        default=(),
        description="Keys for the management API, beside those of `dataferry api-keys`. None of either, ever:"
        " open, and then for this machine only.",
    )
    issued_token_ttl_s: int = Field(
        default=300,
        ge=30,
        le=3600,
        description="How long a token of `/oauth/token` is good for, seconds, 30 to 3,600. Five minutes:"
        " control planes ask for one when they need it.",
    )


class NetworkSettings(Section):
    """``[network]``: how places that the operator names are reached; a location may say otherwise."""

    ca_file: str | None = Field(
        default=None,
        min_length=1,
        description="PEM file of certificate authorities trusted everywhere, beside the system's. None: those"
        " alone. Read once, when the first TLS connection is made.",
    )
    proxy: str | None = Field(
        default=None,
        pattern=r"^http://[^@/?#]+/?$",
        description="`http://host[:port]` of an HTTP proxy for everything that is not named in `no_proxy`;"
        " this machine itself is always reached without. None: no proxy; the service reads no environment,"
        " `copy` then does.",
    )
    proxy_username: str | None = Field(
        default=None, min_length=1, description="User of the proxy. None: none."
    )
    proxy_password: str | None = Field(
        default=None,
        repr=False,
        description="The user's password: a value, `env:NAME` or `file:PATH`. None: none.",
    )
    no_proxy: tuple[str, ...] = Field(
        default=(),
        description="Hosts (`*.example.com`) and networks (`10.0.0.0/8`, for hosts written as addresses) that"
        " are reached without the proxy.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.proxy_username is None) != (self.proxy_password is None):
            raise ValueError("`proxy_username` and `proxy_password` need each other")
        if self.proxy is None and (self.proxy_username or self.no_proxy):
            raise ValueError("`proxy_username` and `no_proxy` need `proxy`")
        return self


class EgressSettings(Section):
    """``[egress]``: where addresses in messages may lead; it does not bind configured locations."""

    allow: tuple[str, ...] = Field(
        default=(),
        description="Hosts (`*.example.com`) and networks (`10.1.0.0/16`) that messages may name. Empty:"
        " every public one.",
    )
    deny: tuple[str, ...] = Field(
        default=(), description="Hosts and networks that messages may not name; wins over allow."
    )
    allow_private_networks: bool = Field(
        default=False,
        description="Whether messages may name private, loopback and link-local addresses. Off: a caller"
        " can't use this plane to reach into your network.",
    )
    proxied: tuple[str, ...] = Field(
        default=(),
        description="Hosts (`*.example.com`) that messages may name and that are reached through"
        " `network.proxy`, which resolves their names: what they resolve to is then not looked at here."
        " Empty: none; what messages name is dialled directly.",
    )


class Settings(Section):
    """The whole file."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    secrets: SecretsSettings = Field(default_factory=SecretsSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    participants: tuple[ParticipantSettings, ...] = ()
    control_planes: tuple[ControlPlaneSettings, ...] = ()
    locations: dict[LocationName, LocationSettings] = Field(default_factory=dict)
    datasets: tuple[DatasetSettings, ...] = ()
    landing_zones: tuple[LandingZoneSettings, ...] = ()
    engine: EngineSettings = Field(default_factory=EngineSettings)
    network: NetworkSettings = Field(default_factory=NetworkSettings)
    egress: EgressSettings = Field(default_factory=EgressSettings)
    orchestrator: OrchestratorSettings = Field(default_factory=OrchestratorSettings)
    mqtt: MqttSettings = Field(default_factory=MqttSettings)

    @model_validator(mode="after")
    def _proxied_needs_a_proxy(self) -> Self:
        if self.egress.proxied and self.network.proxy is None:
            raise ValueError("`egress.proxied` needs `network.proxy`")
        return self
