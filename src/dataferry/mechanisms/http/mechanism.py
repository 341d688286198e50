"""The HTTP mechanism: what it is called, and how its places come to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError, ConfigError
from dataferry.domain.location import Location, Provenance
from dataferry.domain.objects import Capability
from dataferry.domain.profile import Direction, Profile
from dataferry.mechanisms.abilities import AccessTokens
from dataferry.mechanisms.base import Endpoint, GrantMode
from dataferry.mechanisms.http import schemas
from dataferry.mechanisms.http.address import Headers, Place, below, parse_url
from dataferry.mechanisms.http.data_address import PROFILE, place_of
from dataferry.mechanisms.http.grant import gateway_address, refuse_grant
from dataferry.mechanisms.http.headers import basic, bearer, checked_header
from dataferry.mechanisms.http.parts import PartsSink
from dataferry.mechanisms.http.sink import PUT, SINK_CAPABILITIES, HttpSink
from dataferry.mechanisms.http.source import SOURCE_CAPABILITIES, HttpSource
from dataferry.mechanisms.routes import route_of
from dataferry.net.connections import Network

PROFILES = (
    Profile(
        url=f"{PROFILE}-push",
        direction=Direction.PUSH,
        aliases=("HttpData-PUSH", "http-push"),
        own_addresses_only=True,
    ),
    Profile(
        url=f"{PROFILE}-pull",
        direction=Direction.PULL,
        aliases=("HttpData-PULL", "http-pull"),
        own_addresses_only=True,
    ),
)


class HttpMechanism:
    """Objects behind URLs."""

    name = "http"
    description = "Single objects behind http(s) URLs: read with GET, written with PUT or POST."
    profiles: tuple[Profile, ...] = PROFILES
    url_schemes: tuple[str, ...] = ("http", "https")
    source_capabilities: frozenset[Capability] = SOURCE_CAPABILITIES
    sink_capabilities: frozenset[Capability] = SINK_CAPABILITIES
    location_schema: Mapping[str, Any] = schemas.LOCATION_SCHEMA
    address_schema: Mapping[str, Any] = schemas.ADDRESS_SCHEMA
    metadata_schema: Mapping[str, Any] = schemas.METADATA_SCHEMA

    def at_location(self, location: Location, path: str) -> Place:
        """Return the URL of a plain path below the location's ``base_url``.

        Raises:
            ConfigError: A setting is missing, unknown, of another type, or contradicts another.
            AddressError: The path would leave the base, or can't be one.
        """
        settings = _checked(location)
        try:
            base = parse_url(settings["base_url"])
            headers, route = _credentials(settings), route_of(settings)
        except (AddressError, ConfigError) as exc:
            raise ConfigError(f"location {location.name}: {exc.message}") from exc
        if base.query:
            raise ConfigError(f"location {location.name}: base_url must have no query")
        return Place(url=below(base, path), provenance=Provenance.OPERATOR, headers=headers, route=route)

    def at_url(self, url: str) -> Place:
        """Return the place of a URL; it brings no credentials but those that its query holds."""
        return Place(url=parse_url(url), provenance=Provenance.OPERATOR)

    def at_address(self, address: DataAddress) -> Place:
        """Return the place of a DataAddress from a message, with what it brings itself."""
        return place_of(address)

    def at_metadata(
        self, metadata: Mapping[str, Any], *, end: str, location: Location | None
    ) -> Place | None:
        """Return the place that ``<end>DataAddress`` names, None if there is none."""
        wire = metadata.get(f"{end}DataAddress")
        return None if wire is None else place_of(DataAddress.from_wire(wire))

    def open_source(self, endpoint: Endpoint, network: Network) -> HttpSource:
        """Open a place for reading.

        Raises:
            AddressError: Its address asks for another method than GET.
        """
        place = _own(endpoint)
        if place.method not in {None, "GET"}:
            raise AddressError(f"a source is read with GET, and the address says {place.method}")
        return HttpSource(place, network)

    def open_sink(self, endpoint: Endpoint, network: Network) -> HttpSink:
        """Open a place for writing.

        Raises:
            AddressError: Its address asks for another method than PUT or POST.
        """
        place = _own(endpoint)
        if place.method not in {None, PUT, "POST"}:
            raise AddressError(f"a sink is written with PUT or POST, and the address says {place.method}")
        return PartsSink(place, network) if place.takes_parts else HttpSink(place, network)

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
        """Refuse, with advice.

        Raises:
            UnsupportedError: Always.
        """
        refuse_grant()

    def gateway_address(
        self, profile: Profile, *, url: str, token: str, is_single: bool, takes_parts: bool = False
    ) -> DataAddress:
        """Return the address of this plane's own gateway, as the published profile writes it."""
        return gateway_address(profile, url=url, token=token, is_single=is_single, takes_parts=takes_parts)

    def with_tokens(self, endpoint: Endpoint, tokens: AccessTokens) -> Place:
        """Return the place with tokens that are renewed."""
        return replace(_own(endpoint), tokens=tokens)

    def may_be_resigned(self, known: Endpoint, other: Endpoint) -> bool:
        """Return whether two URLs, each with a query, differ in that at most."""
        urls = (_own(known).url, _own(other).url)
        return all(url.query for url in urls) and replace(urls[0], query="") == replace(urls[1], query="")

    def revoke(self, endpoint: Endpoint, address: DataAddress) -> bool:
        """Return False: nothing was granted."""
        return False


def _own(endpoint: Endpoint) -> Place:
    """Return an endpoint of ours as what it is.

    Raises:
        ConfigError: It is another mechanism's.
    """
    if not isinstance(endpoint, Place):
        raise ConfigError(f"an endpoint of {endpoint.mechanism} was given to http")
    return endpoint


def _checked(location: Location) -> Mapping[str, Any]:
    """Return a location's settings; by hand, as ``copy`` starts without jsonschema.

    Raises:
        ConfigError: A setting is missing, unknown, no text, half of a pair, or one way too many to log in.
    """
    known = schemas.LOCATION_SCHEMA["properties"]
    settings = {
        name: value for name, value in location.settings.items() if name != "type" and value is not None
    }
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(
                f"location {location.name}: http has no setting {name!r}; it has {', '.join(known)}"
            )
        if not isinstance(value, str) or not value:
            raise ConfigError(f"location {location.name}: {name} must be a text")
    if "base_url" not in settings:
        raise ConfigError(f"location {location.name}: base_url is missing")
    for name, others in schemas.LOCATION_SCHEMA["dependentRequired"].items():
        if name in settings and not all(other in settings for other in others):
            raise ConfigError(f"location {location.name}: {name} needs {', '.join(others)} too")
    if sum(names[0] in settings for names in schemas.CREDENTIALS) > 1:
        ways = "; ".join(" and ".join(names) for names in schemas.CREDENTIALS)
        raise ConfigError(f"location {location.name}: name one credential only: {ways}")
    return settings


def _credentials(settings: Mapping[str, Any]) -> Headers:
    """Return the header that carries a location's credential."""
    if "bearer_token" in settings:
        return (bearer(settings["bearer_token"]),)
    if "username" in settings:
        return (basic(settings["username"], settings["password"]),)
    if "header_name" in settings:
        return (checked_header(settings["header_name"], settings["header_value"]),)
    return ()


MECHANISM = HttpMechanism()
