"""What a location says, read and checked; by hand, as ``copy`` starts without jsonschema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError, ConfigError
from dataferry.domain.location import Location
from dataferry.mechanisms.s3 import schemas
from dataferry.mechanisms.s3.address import DEFAULT_REGION, Server, Share, TokenService
from dataferry.mechanisms.s3.attributes import Storing
from dataferry.mechanisms.s3.data_address import flag
from dataferry.mechanisms.s3.signing import Credentials

_STORAGE_CLASS = re.compile(schemas.STORAGE_CLASS)
_KEY_ID = re.compile(schemas.KEY_ID)
_PATTERNS = {
    "sts_role_arn": (re.compile(schemas.ROLE_ARN), "the ARN of a role: arn:aws:iam::ACCOUNT:role/NAME"),
    "sts_external_id": (re.compile(schemas.EXTERNAL_ID), "2 to 1,224 letters, digits and _+=,.@:/-"),
    "sts_kms_key_arn": (re.compile(schemas.KMS_KEY_ARN), "the ARN of a key (not of an alias)"),
}
# Amazon's regional endpoints say the region that they want to be signed for; the global one is of the first.
_STS_HOST = re.compile(r"sts(?:-fips)?(?:\.([a-z0-9-]+))?\.amazonaws\.com(?:\.cn)?")
_STORING = ("storage_class", "server_side_encryption", "sse_kms_key_id")
_BUCKET_KEY = "bucket_key_enabled"


def checked(location: Location) -> Mapping[str, Any]:
    """Return a location's settings.

    Raises:
        ConfigError: A setting is unknown, of another type, or half of a pair.
    """
    properties = schemas.LOCATION_SCHEMA["properties"]
    settings = {
        name: value for name, value in location.settings.items() if name != "type" and value is not None
    }
    for name, value in settings.items():
        if name not in properties:
            raise ConfigError(
                f"location {location.name}: s3 has no setting {name!r}; it has {', '.join(properties)}"
            )
        wanted = bool if properties[name].get("type") == "boolean" else str
        if not isinstance(value, wanted) or value == "":
            raise ConfigError(
                f"location {location.name}: {name} must be {'true or false' if wanted is bool else 'a text'}"
            )
    for name, others in schemas.LOCATION_SCHEMA["dependentRequired"].items():
        if name in settings and not all(other in settings for other in others):
            raise ConfigError(f"location {location.name}: {name} needs {', '.join(others)} too")
    return settings


def credentials_of(settings: Mapping[str, Any], prefix: str) -> Credentials | None:
    """Return a set of credentials of a location, None if it names none."""
    key = settings.get(f"{prefix}access_key_id")
    if key is None:
        return None
    return Credentials(
        access_key_id=key,
        secret_access_key=settings[f"{prefix}secret_access_key"],
        session_token=settings.get(f"{prefix}session_token"),
    )


def share_of(settings: Mapping[str, Any], server: Server) -> Share | None:
    """Return what a location hands out, None if it names nothing."""
    credentials = credentials_of(settings, "share_")
    if credentials is None:
        return None
    named = settings.get("share_endpoint_url")
    url = server.url if named is None else Server.of(named, region=server.region).url
    return Share(credentials=credentials, endpoint_url=url)


def token_service_of(settings: Mapping[str, Any], server: Server) -> TokenService | None:
    """Return the token service that makes a location's grants, None if it names none.

    Raises:
        AddressError: A value can't be one.
    """
    url, role = settings.get("sts_endpoint_url"), settings.get("sts_role_arn")
    for name, (pattern, what) in _PATTERNS.items():
        if name in settings and not pattern.fullmatch(settings[name]):
            raise AddressError(f"{name} is {what}")
    if url is None and role is None:
        return None
    if url is None:
        domain = "amazonaws.com.cn" if server.region.startswith("cn-") else "amazonaws.com"
        url = f"https://sts.{server.region}.{domain}"
    at = Server.of(url, region=server.region)
    known = _STS_HOST.fullmatch(at.host)
    if known is not None:
        at = Server.of(url, region=known[1] or DEFAULT_REGION)
    named = settings.get("share_endpoint_url")
    return TokenService(
        server=at,
        role_arn=role,
        external_id=settings.get("sts_external_id"),
        kms_key_arn=settings.get("sts_kms_key_arn"),
        endpoint_url=server.url if named is None else Server.of(named, region=server.region).url,
    )


def storing_of(settings: Mapping[str, Any]) -> Storing:
    """Return how objects written to a location are kept.

    Raises:
        AddressError: A value is none of those that there are, or needs another one.
    """
    encryption, key_id = settings.get("server_side_encryption"), settings.get("sse_kms_key_id")
    storage_class, bucket_key = settings.get("storage_class"), settings.get(_BUCKET_KEY)
    if storage_class is not None and not _STORAGE_CLASS.fullmatch(storage_class):
        raise AddressError("storage_class is a word such as STANDARD_IA")
    if encryption not in {None, *schemas.ENCRYPTIONS}:
        raise AddressError(f"server_side_encryption is one of {', '.join(schemas.ENCRYPTIONS)}")
    if key_id is not None and not _KEY_ID.fullmatch(key_id):
        raise AddressError("sse_kms_key_id is the id, ARN or alias of a key")
    for name, value in (("sse_kms_key_id", key_id), (_BUCKET_KEY, bucket_key)):
        if value is not None and not (encryption or "").startswith("aws:"):
            raise AddressError(f"{name} needs server_side_encryption aws:kms or aws:kms:dsse")
    return Storing(
        storage_class=storage_class,
        server_side_encryption=encryption,
        sse_kms_key_id=key_id,
        bucket_key_enabled=bucket_key,
    )


def storing_of_address(address: DataAddress) -> Storing:
    """Return how the sender of a DataAddress wants objects kept.

    Raises:
        AddressError: As of ``storing_of``.
    """
    settings: dict[str, Any] = {name: address.get(name) for name in _STORING}
    if address.get(_BUCKET_KEY) is not None:
        settings[_BUCKET_KEY] = flag(address.get(_BUCKET_KEY), _BUCKET_KEY)
    return storing_of(settings)


def storing_properties(storing: Storing) -> list[tuple[str, str]]:
    """Write how objects are kept as properties of a DataAddress; ``storing_of_address`` reads them."""
    found = [(name, getattr(storing, name)) for name in _STORING]
    if storing.bucket_key_enabled is not None:
        found.append((_BUCKET_KEY, str(storing.bucket_key_enabled).lower()))
    return [(name, value) for name, value in found if value is not None]
