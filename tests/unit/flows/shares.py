"""The mechanism ``share``: directories that can be granted, with knobs for what stores do at bad moments."""

# ruff: noqa: D102, ARG002 - what the methods are for stands with the protocols in mechanisms/base.py

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from threading import Event
from typing import Any

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError, DataFerryError
from dataferry.domain.location import Location
from dataferry.domain.objects import Capability
from dataferry.domain.profile import Direction, Profile
from dataferry.mechanisms.base import Endpoint, GrantMode, Sink, Source
from dataferry.mechanisms.file import MECHANISM as FILES
from dataferry.net.connections import Network

PUSH = "https://example.org/profile/share-push"
PULL = "https://example.org/profile/share-pull"


@dataclass(frozen=True, slots=True)
class ShareEndpoint:
    """A place of the mechanism ``file`` under another mechanism's name."""

    inner: Endpoint

    @property
    def mechanism(self) -> str:
        return "share"

    @property
    def provenance(self) -> Any:
        return self.inner.provenance

    @property
    def identity(self) -> str:
        return self.inner.identity

    @property
    def is_single(self) -> bool:
        return self.inner.is_single

    @property
    def exclusive(self) -> bool:
        return self.inner.exclusive


def _open() -> Event:
    gate = Event()
    gate.set()
    return gate


@dataclass
class Share:
    """Directories that can be granted.

    ``fault`` is raised when a place is opened, ``gate`` holds it up until it is set; ``refusals`` are raised
    by grants, one each; ``ends_at`` is when grants end; those that are ``lasting`` can't be taken back.
    """

    fault: DataFerryError | None = None
    gate: Event = field(default_factory=_open)
    opened: int = 0
    granted: list[GrantMode] = field(default_factory=list)
    purposes: list[str] = field(default_factory=list)
    revoked: list[DataAddress] = field(default_factory=list)
    refusals: list[DataFerryError] = field(default_factory=list)
    ends_at: datetime | None = None
    lasting: bool = False
    _tokens: Any = field(default_factory=lambda: count(1))

    name: str = "share"
    description: str = "Directories that can be granted."
    profiles: tuple[Profile, ...] = (
        Profile(url=PUSH, direction=Direction.PUSH, aliases=("Share-PUSH",)),
        Profile(url=PULL, direction=Direction.PULL, aliases=("Share-PULL",)),
    )
    url_schemes: tuple[str, ...] = ("share",)
    source_capabilities: frozenset[Capability] = FILES.source_capabilities | {Capability.GRANT}
    sink_capabilities: frozenset[Capability] = FILES.sink_capabilities | {Capability.GRANT}
    location_schema: Mapping[str, Any] = field(
        default_factory=lambda: {
            "type": "object",
            "properties": {"root": {"type": "string"}, "password": {"type": "string", "writeOnly": True}},
            "required": ["root"],
            "additionalProperties": False,
        }
    )
    address_schema: Mapping[str, Any] = field(default_factory=dict)
    metadata_schema: Mapping[str, Any] = field(default_factory=dict)

    def at_location(self, location: Location, path: str) -> Endpoint:
        settings = {"root": location.settings["root"]}
        plain = Location(name=location.name, mechanism="file", settings=settings)
        return ShareEndpoint(FILES.at_location(plain, path))

    def at_url(self, url: str) -> Endpoint:
        raise AddressError(f"not a share: {url}")

    def at_address(self, address: DataAddress) -> Endpoint:
        root = address.get("root")
        if root is None:
            raise AddressError("a share's address needs the property root")
        location = Location(name="address", mechanism="share", settings={"root": root})
        return self.at_location(location, address.get("path") or "")

    def at_metadata(
        self, metadata: Mapping[str, Any], *, end: str, location: Location | None
    ) -> Endpoint | None:
        path = metadata.get(f"{end}Path")
        if path is None:
            return None
        if location is None:
            raise AddressError("no location serves paths in metadata")
        return self.at_location(location, str(path))

    def open_source(self, endpoint: Endpoint, network: Network) -> Source:
        return FILES.open_source(self._opened(endpoint), network)

    def open_sink(self, endpoint: Endpoint, network: Network) -> Sink:
        return FILES.open_sink(self._opened(endpoint), network)

    def _opened(self, endpoint: Endpoint) -> Endpoint:
        assert isinstance(endpoint, ShareEndpoint)
        self.opened += 1
        assert self.gate.wait(20)
        if self.fault is not None:
            raise self.fault
        return endpoint.inner

    def grant(
        self,
        endpoint: Endpoint,
        profile: Profile,
        mode: GrantMode,
        network: Network,
        *,
        ttl_s: int,
        purpose: str,
    ) -> DataAddress:
        self.granted.append(mode)
        self.purposes.append(purpose)
        if self.refusals:
            raise self.refusals.pop(0)
        assert isinstance(endpoint, ShareEndpoint)
        root, path = _split(endpoint.inner)
        token = f"granted-{next(self._tokens)}"
        properties = (("root", root), ("path", path), ("token", token))
        return DataAddress(endpoint_type=profile.url, endpoint="share://", properties=properties)

    def revoke(self, endpoint: Endpoint, address: DataAddress) -> bool:
        self.revoked.append(address)
        return not self.lasting

    def granted_until(self, address: DataAddress) -> datetime | None:
        return self.ends_at


def _split(endpoint: Any) -> tuple[str, str]:
    """Root and path of a file place; directories keep their slash."""
    path = endpoint.path
    return endpoint.root, path + "/" if path and endpoint.is_directory else path
