"""Handing out access to a place: temporary credentials of a token service, else those named for sharing.

A location's own credentials are never handed out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import ConfigError
from dataferry.domain.profile import Profile
from dataferry.mechanisms.base import GrantMode
from dataferry.mechanisms.s3.address import Place
from dataferry.mechanisms.s3.attributes import iso_date
from dataferry.mechanisms.s3.session_policy import session_policy
from dataferry.mechanisms.s3.settings import storing_properties
from dataferry.mechanisms.s3.signing import Credentials
from dataferry.mechanisms.s3.source import S3Source
from dataferry.mechanisms.s3.sts import MIN_DURATION_S, assume_role
from dataferry.net.connections import Network

EXPIRATION = "expiration"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Access:
    """What is handed out: where, with what, until when."""

    endpoint_url: str
    credentials: Credentials = field(repr=False)
    expires_at: datetime | None = None


def grant(
    place: Place, profile: Profile, mode: GrantMode, network: Network, *, ttl_s: int, purpose: str
) -> DataAddress:
    """Return the DataAddress that the other side will use.

    Args:
        place: What it opens.
        profile: Of the address.
        mode: What it allows.
        network: Asks the token service.
        ttl_s: How long, in seconds, as far as the token service allows; credentials that the operator named
            last as long as they last.
        purpose: Whose it is, for the store's audit log.

    Raises:
        ConfigError: The location names neither a token service nor credentials for sharing.
        DataFerryError: The token service refused, or could not be asked.
    """
    access = _access(place, mode, network, ttl_s=ttl_s, purpose=purpose)
    properties = [
        ("region", place.server.region),
        ("endpointOverride", access.endpoint_url),
        ("accessKeyId", access.credentials.access_key_id),
        ("secretAccessKey", access.credentials.secret_access_key),
    ]
    if access.credentials.session_token:
        properties.append(("sessionToken", access.credentials.session_token))
    if access.expires_at is not None:
        properties.append((EXPIRATION, f"{access.expires_at:%Y-%m-%dT%H:%M:%SZ}"))
    properties += _described(place, mode)
    bare = any(name == "objectPrefix" for name, _ in properties)
    endpoint = f"s3://{place.bucket}" + (f"/{place.path}" if place.path and not bare else "")
    return DataAddress(endpoint_type=profile.url, endpoint=endpoint, properties=tuple(properties))


def expiry_of(address: DataAddress) -> datetime | None:
    """Return when an address's credentials end, UTC; None if it does not say so that it can be read."""
    return iso_date(address.get(EXPIRATION))


def try_grant(place: Place, mode: GrantMode, network: Network) -> str | None:
    """Make a grant that nobody gets; return what to tell, None if no token service makes it.

    Raises:
        DataFerryError: It can't be had, or opens nothing.
    """
    if place.sts is None:
        return None
    access = _assumed(place, mode, network, ttl_s=MIN_DURATION_S, purpose="check")
    if mode is GrantMode.READ:
        granted = replace(place, credentials=lambda: access.credentials, expires_at=access.expires_at)
        source = S3Source(granted, network)
        try:
            source.probe()
        finally:
            source.close()
    used = "read with" if mode is GrantMode.READ else "not used"
    return f"the token service gives credentials for it (made for {MIN_DURATION_S} s, {used}, thrown away)"


def _access(place: Place, mode: GrantMode, network: Network, *, ttl_s: int, purpose: str) -> _Access:
    """Choose: the token service, else what the operator named."""
    if place.sts is not None:
        return _assumed(place, mode, network, ttl_s=ttl_s, purpose=purpose)
    if place.share is not None:
        return _Access(endpoint_url=place.share.endpoint_url, credentials=place.share.credentials)
    raise ConfigError(
        f"{place} has no credentials for sharing: name the token service of its location (sts_role_arn,"
        " sts_endpoint_url), or a user who may do no more than the other side should (share_access_key_id,"
        " share_secret_access_key); data can also be offered by http-pull, through this plane"
    )


def _assumed(place: Place, mode: GrantMode, network: Network, *, ttl_s: int, purpose: str) -> _Access:
    service = place.sts
    if service is None:
        raise ConfigError(f"{place} has no token service")
    policy = session_policy(place, mode)
    session = assume_role(place, service, network, policy=policy, ttl_s=ttl_s, purpose=purpose)
    return _Access(
        endpoint_url=service.endpoint_url, credentials=session.credentials, expires_at=session.expires_at
    )


def _described(place: Place, mode: GrantMode) -> list[tuple[str, str]]:
    """What else the other side has to know of the place."""
    found: list[tuple[str, str]] = []
    if not place.is_single and place.path and not place.path.endswith("/"):
        found.append(("objectPrefix", place.path))
    if place.version_id is not None:
        found.append(("versionId", place.version_id))
    if mode is GrantMode.WRITE:
        found += [(name, "true") for name in ("exclusive", "exact_keys") if getattr(place, name)]
        found += storing_properties(place.storing)
    if place.server.virtual:
        found.append(("addressing_style", "virtual"))
    return found
