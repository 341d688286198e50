"""Writing to S3: where objects go, and what is there already. The calls of a worker are in ``writer``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dataferry.domain.errors import (
    AccessDeniedError,
    AddressError,
    CredentialsExpiredError,
    ObjectNotFoundError,
    ProtocolError,
    UnsupportedError,
)
from dataferry.domain.location import Provenance
from dataferry.domain.objects import Capability, ObjectInfo
from dataferry.mechanisms.base import Source
from dataferry.mechanisms.s3.address import Place, checked_key, distinct_key
from dataferry.mechanisms.s3.body import Habits
from dataferry.mechanisms.s3.calls import Client, true_absence
from dataferry.mechanisms.s3.copying import MAX_COPY_BYTES, S3CopyingWriter, refusal
from dataferry.mechanisms.s3.errors import NotPermittedError
from dataferry.mechanisms.s3.source import S3Reader, pages
from dataferry.mechanisms.s3.writer import look_up
from dataferry.mechanisms.sink_faults import fault_of_sink
from dataferry.net.connections import Network

SINK_CAPABILITIES = frozenset(
    {
        Capability.ATTRIBUTES,
        Capability.TAGS,
        Capability.CONTENT_ETAGS,
        Capability.PARTS,
        Capability.LIST_PARTS,
        Capability.LIST_UPLOADS,
        Capability.READ_BACK,
        Capability.COPY,
        Capability.INJECTIVE_NAMES,
        Capability.PORTABLE,
        Capability.GRANT,
    }
)
MAX_PARTS = 10_000
MIN_PART_SIZE_BYTES = 5 * 1024 * 1024
_FEW_KEYS = 8
_MAX_PAGES_OF_FIND = 4
_PAGE_KEYS = 1000


class S3Sink:
    """A bucket, a prefix or one key, to write to.

    Args:
        place: Which.
        network: Dials.
    """

    def __init__(self, place: Place, network: Network) -> None:
        self._place = place
        self._network = network
        self._client = Client(place, network)
        self._habits = Habits()

    def __reduce__(self) -> tuple[type[S3Sink], tuple[Place, Network]]:
        return S3Sink, (self._place, self._network)

    @property
    def identity(self) -> str:
        """Endpoint and bucket."""
        return self._place.root_identity

    @property
    def exclusive(self) -> bool:
        """As of the place."""
        return self._place.exclusive

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Parts in any order, listings of parts and uploads, attributes; tags, if the place takes them."""
        return SINK_CAPABILITIES if self._place.tags else SINK_CAPABILITIES - {Capability.TAGS}

    @property
    def max_parts(self) -> int:
        """10,000. Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits"."""
        return MAX_PARTS

    @property
    def min_part_size_bytes(self) -> int:
        """5 MiB. Source: as of ``max_parts``."""
        return MIN_PART_SIZE_BYTES

    @fault_of_sink
    def probe(self) -> None:
        """HEAD the bucket; where that is refused, learn the true reason.

        Credentials that came with an address may be for writing only: that they are known is enough then.
        """
        try:
            self._client.call("s3.HeadBucket", "HEAD")
        except (ObjectNotFoundError, AccessDeniedError, ProtocolError) as exc:
            try:
                true_absence(self._client, exc.operation, "")
            except NotPermittedError:
                if self._place.provenance is not Provenance.EXTERNAL:
                    raise

    def place(self, name: str, *, single: bool) -> str:
        """Return the final key: the place's own if both it and the source are one object, else prefix + name.

        Raises:
            AddressError: The name is empty, has ``.`` or ``..`` segments, or the key is too long, or has an
                empty segment that the server may not keep.
        """
        if self._place.is_single:
            if single:
                return distinct_key(self._place, self._place.path)
            raise AddressError(
                f"{self._place} names one object, and the source is more than one: end the destination with /"
            )
        if not name:
            raise AddressError("an object without a name has no place in a sink")
        return distinct_key(self._place, checked_key(self._place.path + name))

    @fault_of_sink
    def find(self, keys: Sequence[str]) -> dict[str, ObjectInfo]:
        """Look keys up: a HEAD each if they are few, else by listing their range, and a HEAD for the rest."""
        if len(keys) <= _FEW_KEYS:
            return self._heads(keys)
        wanted = set(keys)
        first, last = min(wanted, key=str.encode), max(wanted, key=str.encode)
        found = self._heads([first])
        beyond = first
        try:
            prefix = _common_prefix(first, last)
            for number, listed in enumerate(pages(self._client, prefix, after=first), start=1):
                beyond = max(beyond, listed.key, key=str.encode)
                if listed.key in wanted:
                    found[listed.key] = listed
                if listed.key.encode() >= last.encode():
                    return found
                if number >= _MAX_PAGES_OF_FIND * _PAGE_KEYS:
                    break
            else:
                return found
        except CredentialsExpiredError:
            raise
        except (AccessDeniedError, UnsupportedError):
            beyond = first  # may not list: the rest by HEAD
        rest = [key for key in keys if key not in found and key.encode() > beyond.encode()]
        return {**found, **self._heads(rest)}

    @property
    def max_copy_bytes(self) -> int:
        """5 GiB. Source: Amazon S3 API Reference, "CopyObject"."""
        return MAX_COPY_BYTES

    def refuses_copy(self, source: Source) -> str | None:
        """Return why the store can't copy from that source by itself; None if it may be tried."""
        return refusal(source, self._place)

    def writer(self) -> S3CopyingWriter:
        """Open a worker's writer, on connections of its own."""
        return S3CopyingWriter(self._place, self._network, self._habits)

    def reader(self) -> S3Reader:
        """Open a worker's reader of what was written, on a connection of its own."""
        return S3Reader(Client(self._place, self._network), Client(self._place, self._network))

    def abort(self) -> None:
        """Make a blocked look-up or probe fail at once. Any thread."""
        self._client.abort()

    def close(self) -> None:
        """Close the look-ups' connection."""
        self._client.drop()

    def _heads(self, keys: Sequence[str]) -> dict[str, ObjectInfo]:
        """HEAD each key; those not there, or not to be looked at, are left out.

        Amazon answers 403 for a key that is not there to those who may write but not list.
        """
        found = {}
        for key in keys:
            try:
                info = look_up(self._client, key)
            except CredentialsExpiredError:
                raise
            except AccessDeniedError:
                continue
            if info is not None:
                found[key] = dataclasses.replace(info, name=key)
        return found


def _common_prefix(first: str, last: str) -> str:
    """Return what two keys begin with."""
    length = next(
        (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other),
        min(len(first), len(last)),
    )
    return first[:length]
