"""Which version of an object is read: the planned one, also where it was replaced or deleted since.

Source: Amazon S3 API Reference, "ListObjectVersions".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar
from xml.etree import ElementTree as ET

from dataferry.domain.errors import (
    AccessDeniedError,
    CredentialsExpiredError,
    ObjectNotFoundError,
    ProtocolError,
    SourceChangedError,
    UnsupportedError,
)
from dataferry.domain.objects import ObjectInfo
from dataferry.mechanisms.s3 import replies
from dataferry.mechanisms.s3.address import is_version
from dataferry.mechanisms.s3.attributes import strong_etag
from dataferry.mechanisms.s3.calls import Client

T = TypeVar("T")
# An object that was written more often while it was copied is not looked for any longer.
MAX_PAGES = 3


class Versions:
    """Asks for the version that is meant, as far as the store lets us; belongs to one reader.

    Args:
        aside: Looks for versions.
        named: The one that the place names; then no other will do.
    """

    def __init__(self, aside: Client, named: str | None) -> None:
        self._aside = aside
        self._named = named
        self._is_denied = False

    def read(self, info: ObjectInfo, action: Callable[[ObjectInfo], T]) -> T:
        """Run a read of an object.

        Versions need permissions of their own (``s3:GetObjectVersion``). Who lacks them reads the current
        one, which the validator still binds.

        Args:
            info: As planned, or as looked up since.
            action: Reads what it is given, version included; may be called again.

        Raises:
            DataFerryError: The action's.
        """
        if self._named is not None:
            return action(replace(info, version_id=self._named))
        if info.version_id is None:
            return self._current(info, action)
        if self._is_denied and info.validator is not None:
            return self._current(replace(info, version_id=None), action)
        try:
            return action(info)
        except AccessDeniedError:
            if info.validator is None:
                raise
            done = action(replace(info, version_id=None))
            self._is_denied = True
            return done

    def _current(self, info: ObjectInfo, action: Callable[[ObjectInfo], T]) -> T:
        """Read the current version; if that is another one than planned, the planned one, if it is kept."""
        try:
            return action(info)
        except (SourceChangedError, ObjectNotFoundError):
            version_id = planned_version(self._aside, info)
            if version_id is None:
                raise
            try:
                return action(replace(info, version_id=version_id))
            except AccessDeniedError:
                pass  # the first error says why it was asked for
            raise


def version_query(version_id: str | None) -> list[tuple[str, str]]:
    """Return what asks for a version; nothing asks for the current one."""
    return [] if version_id is None else [("versionId", version_id)]


def planned_version(client: Client, planned: ObjectInfo) -> str | None:
    """Look for the version that was current when an object was planned, by its ETag and size.

    Returns:
        Its id; None if it is not there, or may not be looked for.
    """
    if planned.validator is None:
        return None
    try:
        for listed in _versions(client, planned.key):
            size = listed.findtext("Size") or ""
            if strong_etag(listed.findtext("ETag")) == planned.validator and (
                planned.size_bytes is None or size == str(planned.size_bytes)
            ):
                version_id = listed.findtext("VersionId") or ""
                return version_id if is_version(version_id) else None
    except CredentialsExpiredError:
        raise
    except (AccessDeniedError, UnsupportedError, ProtocolError):
        return None
    return None


def _versions(client: Client, key: str) -> Iterator[ET.Element]:
    """List the versions of exactly one key, the newest first; delete markers are none."""
    operation = "s3.ListObjectVersions"
    markers: list[tuple[str, str]] = []
    for _ in range(MAX_PAGES):
        query = [("versions", ""), ("prefix", key), ("max-keys", "1000"), *markers]
        root = client.call(operation, "GET", query=query).xml(operation)
        yield from (item for item in root.findall("Version") if item.findtext("Key") == key)
        next_key = root.findtext("NextKeyMarker")
        if (root.findtext("IsTruncated") or "").strip() != "true" or next_key != key:
            return  # what follows are other keys that begin like this one
        markers = [
            ("key-marker", replies.bounded(next_key)),
            ("version-id-marker", replies.bounded(root.findtext("NextVersionIdMarker") or "")),
        ]
