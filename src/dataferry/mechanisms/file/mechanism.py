"""The mechanism ``file``: this machine's files, for the operator only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import AddressError, UnsupportedError
from dataferry.domain.location import Location
from dataferry.domain.objects import Capability
from dataferry.domain.profile import Profile
from dataferry.mechanisms.base import Endpoint, GrantMode, Sink, Source
from dataferry.mechanisms.file import address, sink, source
from dataferry.mechanisms.file.grant import refuse_grant
from dataferry.net.connections import Network

_NOTHING: Mapping[str, Any] = {"not": {}, "description": "Messages never name files."}
_FILE_TYPES = ("file", "localfile", "filesystem")


class FileMechanism:
    """Files and directory trees below a root that nothing leaves."""

    name = "file"
    description = "Files and directory trees of this machine; named by the operator only, never by messages."
    profiles: tuple[Profile, ...] = ()
    url_schemes = ("file", "")
    source_capabilities: frozenset[Capability] = source.CAPABILITIES
    sink_capabilities: frozenset[Capability] = sink.CAPABILITIES
    location_schema = address.LOCATION_SCHEMA
    address_schema = _NOTHING
    metadata_schema = _NOTHING

    def at_location(self, location: Location, path: str) -> Endpoint:
        """Return the place ``location:path``."""
        return address.at_location(location, path)

    def at_url(self, url: str) -> Endpoint:
        """Return the place of a ``file`` URL or a plain path."""
        return address.at_url(url)

    def at_address(self, address: DataAddress) -> Endpoint:
        """Refuse.

        Raises:
            AddressError: Always: a message never names a file.
        """
        raise _refusal()

    def at_metadata(
        self,
        metadata: Mapping[str, Any],
        *,
        end: str,
        location: Location | None,
    ) -> Endpoint | None:
        """Return None, or refuse metadata that names a file for this end.

        Raises:
            AddressError: It names one.
        """
        named = metadata.get(f"{end}DataAddress")
        if isinstance(named, dict):
            kind = str(named.get("endpointType") or named.get("type") or "").lower()
            if kind in _FILE_TYPES or _is_file_url(named.get("endpoint")):
                raise _refusal()
        if _is_file_url(named):
            raise _refusal()
        return None

    def open_source(self, endpoint: Endpoint, network: Network) -> Source:
        """Open a file or directory for reading."""
        return source.FileSource(_own(endpoint))

    def open_sink(self, endpoint: Endpoint, network: Network) -> Sink:
        """Open a file or directory for writing."""
        return sink.FileSink(_own(endpoint))

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

    def revoke(self, endpoint: Endpoint, address: DataAddress) -> bool:
        """Return False: nothing was granted."""
        return False


def _own(endpoint: Endpoint) -> address.FileEndpoint:
    """Check that a place is one of ours."""
    if not isinstance(endpoint, address.FileEndpoint):
        raise UnsupportedError(f"this is a place of {endpoint.mechanism}, not of file")
    return endpoint


def _is_file_url(value: Any) -> bool:
    return isinstance(value, str) and value[:5].lower() == "file:"


def _refusal() -> AddressError:
    return AddressError("files are never named in messages: name a dataset or landing zone of the operator")
