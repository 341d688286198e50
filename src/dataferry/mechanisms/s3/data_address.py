"""DataAddresses of S3: where they point, and what they bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError
from dataferry.mechanisms.s3.address import (
    Written,
    checked_bucket,
    checked_key,
    checked_version,
    is_prefix,
    parse_http_url,
    parse_s3_url,
)
from dataferry.mechanisms.s3.signing import Credentials
from dataferry.net.connections import DEFAULT_PORTS


def parse_address(address: DataAddress) -> Written:
    """Read where a DataAddress points: its endpoint, EDC's names, or both.

    EDC's ``folderName`` goes before ``objectName``; ``objectPrefix`` makes it a prefix. ``versionId`` names a
    version of one object.

    Raises:
        AddressError: Nothing names a bucket, or two things name different ones.
    """
    bucket = address.get("bucketName")
    written = _endpoint(address.endpoint, bucket)
    if written is None:
        if bucket is None:
            raise AddressError("the address names no bucket: set endpoint to s3://bucket/key, or bucketName")
        written = Written(bucket=checked_bucket(bucket), path="", is_single=False)
    override = address.get("endpointOverride") or written.endpoint_url
    prefix, name, folder = (address.get(it) for it in ("objectPrefix", "objectName", "folderName"))
    path, single = written.path, written.is_single
    if not path and (prefix or name or folder):
        stem = "" if not folder else folder if folder.endswith("/") else folder + "/"
        path = stem + (prefix or name or "")
        single = prefix is None and not is_prefix(path)
    version_id, named = written.version_id, address.get("versionId")
    if named is not None and version_id not in {None, named}:
        raise AddressError("endpoint and versionId name different versions")
    return Written(
        bucket=written.bucket,
        path=checked_key(path),
        is_single=single,
        endpoint_url=override,
        version_id=version_id if named is None else checked_version(named),
    ).checked()


def _endpoint(endpoint: str, bucket: str | None) -> Written | None:
    """Read the ``endpoint`` of a DataAddress, None if it is empty."""
    scheme = endpoint.partition("://")[0].lower()
    if not endpoint:
        return None
    if scheme == "s3":
        written = parse_s3_url(endpoint)
        if bucket is not None and bucket != written.bucket:
            raise AddressError("endpoint and bucketName name different buckets")
        return written
    if scheme in DEFAULT_PORTS:
        return parse_http_url(endpoint, bucket)
    raise AddressError("the endpoint must be s3://bucket[/key] or http(s)://host/bucket[/key]")


def flag(value: str | None, name: str) -> bool:
    """Read a property that is true or false; None is false.

    Raises:
        AddressError: It is neither.
    """
    if value is None or value.lower() == "false":
        return False
    if value.lower() == "true":
        return True
    raise AddressError(f"the property {name} must be true or false")


def external_credentials(address: DataAddress) -> Credentials:
    """Return the credentials that a DataAddress brings.

    Raises:
        AddressError: It has none, or only ``keyName``: the name of a secret in somebody else's vault.
    """
    key, secret = address.get("accessKeyId"), address.get("secretAccessKey")
    if not key or not secret:
        hint = (
            " (keyName names a secret of another vault, which can't be read here)"
            if address.get("keyName")
            else ""
        )
        raise AddressError(f"the address has no accessKeyId and secretAccessKey of its own{hint}")
    return Credentials(
        access_key_id=_clean(key, "accessKeyId"),
        secret_access_key=secret,
        session_token=_clean(token, "sessionToken")
        if (token := address.get("sessionToken", "token"))
        else None,
    )


def _clean(value: str, name: str) -> str:
    """Return a credential that can stand in a header."""
    if not value.isascii() or not value.isprintable() or " " in value:
        raise AddressError(f"the property {name} has characters that it can't have")
    return value


def properties_of(wire: Any) -> Mapping[str, Any]:
    """Read ``endpointProperties`` of metadata: a list of ``{name, value}`` or a plain object."""
    if isinstance(wire, Mapping):
        return wire
    return dict(DataAddress.from_wire({"endpointProperties": wire}).properties)
