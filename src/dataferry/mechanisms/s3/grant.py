"""Handing out access to a place: the credentials that the operator named for sharing."""

from __future__ import annotations

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import ConfigError
from dataferry.domain.profile import Profile
from dataferry.mechanisms.base import GrantMode
from dataferry.mechanisms.s3.address import Place
from dataferry.mechanisms.s3.settings import storing_properties


def grant(place: Place, profile: Profile, mode: GrantMode) -> DataAddress:
    """Return the DataAddress that the other side will use.

    Named credentials last as long as the operator lets them: there is no time to live to set.

    Raises:
        ConfigError: The location names none. Its own credentials are never handed out.
    """
    if place.share is None:
        raise ConfigError(
            f"{place} has no credentials for sharing: give its location share_access_key_id and "
            "share_secret_access_key, of a user who may do no more than the other side should"
        )
    share = place.share
    properties = [
        ("region", place.server.region),
        ("endpointOverride", share.endpoint_url),
        ("accessKeyId", share.credentials.access_key_id),
        ("secretAccessKey", share.credentials.secret_access_key),
    ]
    if share.credentials.session_token:
        properties.append(("sessionToken", share.credentials.session_token))
    if not place.is_single and place.path and not place.path.endswith("/"):
        properties.append(("objectPrefix", place.path))
    if place.version_id is not None:
        properties.append(("versionId", place.version_id))
    if mode is GrantMode.WRITE and place.exclusive:
        properties.append(("exclusive", "true"))
    if mode is GrantMode.WRITE and place.exact_keys:
        properties.append(("exact_keys", "true"))
    if mode is GrantMode.WRITE:
        properties += storing_properties(place.storing)
    if place.server.virtual:
        properties.append(("addressing_style", "virtual"))
    bare = any(name == "objectPrefix" for name, _ in properties)
    endpoint = f"s3://{place.bucket}" + (f"/{place.path}" if place.path and not bare else "")
    return DataAddress(endpoint_type=profile.url, endpoint=endpoint, properties=tuple(properties))
