"""The S3 mechanism: what it is called, and how its places come to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError, ConfigError
from dataferry.domain.location import Location, Provenance
from dataferry.domain.objects import Capability
from dataferry.domain.profile import Direction, Profile
from dataferry.mechanisms.base import Endpoint, GrantMode
from dataferry.mechanisms.routes import refuse_route, route_of
from dataferry.mechanisms.s3 import ambient, schemas, settings
from dataferry.mechanisms.s3.address import (
    Place,
    Server,
    Share,
    TokenService,
    Written,
    parse_s3_url,
)
from dataferry.mechanisms.s3.attributes import Storing
from dataferry.mechanisms.s3.data_address import (
    external_credentials,
    flag,
    parse_address,
    properties_of,
)
from dataferry.mechanisms.s3.grant import expiry_of, grant, try_grant
from dataferry.mechanisms.s3.signing import Credentials
from dataferry.mechanisms.s3.sink import SINK_CAPABILITIES, S3Sink
from dataferry.mechanisms.s3.source import SOURCE_CAPABILITIES, S3Source
from dataferry.net.connections import Network
from dataferry.net.routes import USUAL, Route

_AS_THE_BUCKET_SAYS = Storing()
_PROFILE = "https://w3id.org/dspace-sig/profile/s3"
PROFILES = (
    Profile(url=f"{_PROFILE}-push", direction=Direction.PUSH, aliases=("AmazonS3-PUSH",)),
    Profile(url=f"{_PROFILE}-pull", direction=Direction.PULL, aliases=("AmazonS3-PULL",)),
)


class S3Mechanism:
    """Amazon S3 and servers that speak its protocol."""

    name = "s3"
    description = "Objects, prefixes and buckets of Amazon S3 and servers that speak its protocol."
    profiles: tuple[Profile, ...] = PROFILES
    url_schemes: tuple[str, ...] = ("s3",)
    source_capabilities: frozenset[Capability] = SOURCE_CAPABILITIES
    sink_capabilities: frozenset[Capability] = SINK_CAPABILITIES
    location_schema: Mapping[str, Any] = schemas.LOCATION_SCHEMA
    address_schema: Mapping[str, Any] = schemas.ADDRESS_SCHEMA
    metadata_schema: Mapping[str, Any] = schemas.METADATA_SCHEMA

    def at_location(self, location: Location, path: str) -> Place:
        """Return ``location:bucket[/key[?versionId=ID]]``.

        Raises:
            ConfigError: A setting is unknown, of another type, or half of a pair.
            AddressError: The path names no bucket, or a key that can't be one.
        """
        bucket, _, key = path.removeprefix("/").partition("/")
        return self._configured(location, Written.versioned(bucket, key))

    def at_url(self, url: str) -> Place:
        """Return ``s3://bucket[/key]`` with the machine's ambient endpoint, region and credentials."""
        written = parse_s3_url(url)
        server = Server.of(ambient.endpoint_url(), region=ambient.region(), bucket=written.bucket)
        return _place(
            written,
            server,
            ambient.credentials,
            provenance=Provenance.OPERATOR,
            route=Route(ca_file=ambient.ca_file()),
        )

    def at_address(self, address: DataAddress) -> Place:
        """Return the place of a DataAddress from a message, with the credentials that it brings itself."""
        refuse_route(address)
        written = parse_address(address)
        credentials = external_credentials(address)
        server = Server.of(
            written.endpoint_url,
            region=address.get("region"),
            style=address.get("addressing_style") or "auto",
            bucket=written.bucket,
        )
        return _place(
            written,
            server,
            partial(_known, credentials),
            provenance=Provenance.EXTERNAL,
            exclusive=flag(address.get("exclusive"), "exclusive"),
            exact_keys=flag(address.get("exact_keys"), "exact_keys"),
            storing=settings.storing_of_address(address),
            expires_at=expiry_of(address),
        )

    def at_metadata(
        self, metadata: Mapping[str, Any], *, end: str, location: Location | None
    ) -> Place | None:
        """Return the place that ``<end>DataAddress``, or ``<end>Bucket`` and ``<end>Key``, name; else None.

        A bucket with credentials in ``endpointProperties`` is a place from outside; a bare one uses the
        location's endpoint and credentials.
        """
        wire = metadata.get(f"{end}DataAddress")
        if wire is not None:
            return self.at_address(DataAddress.from_wire(wire))
        bucket, key = metadata.get(f"{end}Bucket"), metadata.get(f"{end}Key") or ""
        if bucket is None:
            return None
        if not isinstance(bucket, str) or not isinstance(key, str):
            raise AddressError(f"{end}Bucket and {end}Key must be strings")
        written = Written.plain(bucket, key)
        own = DataAddress.from_wire({"endpointProperties": _pairs(metadata.get("endpointProperties"))})
        if own.get("accessKeyId", "secretAccessKey", "keyName", "endpointOverride"):
            address = DataAddress(
                endpoint_type=PROFILES[0].url,
                endpoint=f"s3://{written.bucket}/{written.path}",
                properties=own.properties,
            )
            return self.at_address(address)
        if location is None:
            raise AddressError(f"{end}Bucket without credentials: no location's credentials serve it")
        return self._configured(location, written)

    def open_source(self, endpoint: Endpoint, network: Network) -> S3Source:
        """Open a place for reading."""
        return S3Source(_own(endpoint), network)

    def open_sink(self, endpoint: Endpoint, network: Network) -> S3Sink:
        """Open a place for writing.

        Raises:
            AddressError: It names a version: what is written becomes one of its own.
        """
        place = _own(endpoint)
        if place.version_id is not None:
            raise AddressError(f"{place}: a version can be read, and not be written: leave ?versionId= out")
        return S3Sink(place, network)

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
        """Hand out temporary credentials of the location's token service, else those named for sharing."""
        return grant(_own(endpoint), profile, mode, network, ttl_s=ttl_s, purpose=purpose)

    def revoke(self, endpoint: Endpoint, address: DataAddress) -> bool:
        """Return False: temporary credentials are good to their end, named ones as long as they are."""
        del endpoint, address
        return False

    def granted_until(self, address: DataAddress) -> datetime | None:
        """Return when an address's credentials end; None if they don't by themselves."""
        return expiry_of(address)

    def try_grant(self, endpoint: Endpoint, mode: GrantMode, network: Network) -> str | None:
        """Have the token service make a grant that nobody gets; None if there is no token service."""
        return try_grant(_own(endpoint), mode, network)

    def _configured(self, location: Location, written: Written) -> Place:
        """Return a place in a location."""
        given = settings.checked(location)
        try:
            server = Server.of(
                given.get("endpoint_url"),
                region=given.get("region"),
                style=given.get("addressing_style", "auto"),
                bucket=written.bucket,
            )
            share = settings.share_of(given, server)
            sts = settings.token_service_of(given, server)
            storing, route = settings.storing_of(given), route_of(given)
        except (AddressError, ConfigError) as exc:
            raise ConfigError(f"location {location.name}: {exc.message}") from exc
        own = settings.credentials_of(given, "")
        return _place(
            written,
            server,
            ambient.credentials if own is None else partial(_known, own),
            provenance=Provenance.OPERATOR,
            exclusive=given.get("exclusive", False),
            exact_keys=given.get("exact_keys", False),
            server_side_copy=given.get("server_side_copy", True),
            payload_signing=given.get("payload_signing", False),
            storing=storing,
            tags=given.get("tags", True),
            route=route,
            share=share,
            sts=sts,
        )


def _known(credentials: Credentials) -> Credentials:
    """Give credentials that do not change; unlike a lambda it can be pickled."""
    return credentials


def _place(
    written: Written,
    server: Server,
    credentials: Callable[[], Credentials],
    *,
    provenance: Provenance,
    exclusive: bool = False,
    exact_keys: bool = False,
    server_side_copy: bool = True,
    payload_signing: bool = False,
    storing: Storing = _AS_THE_BUCKET_SAYS,
    tags: bool = True,
    route: Route = USUAL,
    share: Share | None = None,
    sts: TokenService | None = None,
    expires_at: datetime | None = None,
) -> Place:
    """Put a place together."""
    return Place(
        server=server,
        bucket=written.bucket,
        path=written.path,
        is_single=written.is_single,
        version_id=written.version_id,
        provenance=provenance,
        credentials=credentials,
        exclusive=exclusive,
        exact_keys=exact_keys,
        server_side_copy=server_side_copy,
        payload_signing=payload_signing,
        storing=storing,
        tags=tags,
        route=route,
        share=share,
        sts=sts,
        expires_at=expires_at,
    )


def _own(endpoint: Endpoint) -> Place:
    """Return an endpoint of ours as what it is.

    Raises:
        ConfigError: It is another mechanism's.
    """
    if not isinstance(endpoint, Place):
        raise ConfigError(f"an endpoint of {endpoint.mechanism} was given to s3")
    return endpoint


def _pairs(wire: Any) -> list[dict[str, Any]]:
    """Write ``endpointProperties``, a list or an object, as a list of pairs."""
    if wire is None:
        return []
    return [{"name": name, "value": value} for name, value in properties_of(wire).items()]


MECHANISM = S3Mechanism()
