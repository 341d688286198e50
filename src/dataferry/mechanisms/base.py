"""What every mechanism offers: places, sources, sinks and grants.

Sources and sinks are blocking, and made for worker threads: each worker opens one ``Reader`` and one
``Writer`` of its own and keeps them for the run. ``abort`` may be called from any thread and makes a
blocked call fail at once; everything else belongs to one thread.

Only ``DataFerryError`` leaves this interface. Nothing here retries: the engine does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from dataferry.domain.address import DataAddress
from dataferry.domain.location import Location, Provenance
from dataferry.domain.objects import Attributes, Capability, ObjectInfo, PartReceipt, Upload
from dataferry.domain.profile import Profile
from dataferry.net.connections import Network


class GrantMode(StrEnum):
    """What a granted address allows: a pull provider grants READ, a push consumer WRITE."""

    READ = "read"
    WRITE = "write"


class Endpoint(Protocol):
    """A place of one mechanism: parsed, validated, with credentials; ``repr`` and ``str`` show none."""

    @property
    def mechanism(self) -> str:
        """The mechanism's name."""
        ...

    @property
    def provenance(self) -> Provenance:
        """Whose word it is."""
        ...

    @property
    def identity(self) -> str:
        """Endpoint, bucket and key or prefix, without credentials: equal for the same place."""
        ...

    @property
    def is_single(self) -> bool:
        """True if it names exactly one object; False for a prefix, directory or whole bucket."""
        ...

    @property
    def exclusive(self) -> bool:
        """True if nobody else uploads there, so that unknown uploads of our keys may be aborted."""
        ...


@runtime_checkable
class ByteStream(Protocol):
    """The bytes of one read. Close it when done; closing before the end drops the connection."""

    @property
    def info(self) -> ObjectInfo:
        """The object as this reply describes it, attributes included."""
        ...

    @property
    def length_bytes(self) -> int | None:
        """How many bytes will come; None if the store did not say."""
        ...

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from its start; return how many bytes, 0 at the end.

        Raises:
            ShortBodyError: The stream ended before ``length_bytes``.
            StorageError: It failed otherwise.
        """
        ...

    def close(self) -> None:
        """Give the connection back, or drop it if bytes are left."""
        ...


class Reader(Protocol):
    """One worker's way to read from a source."""

    def stat(self, info: ObjectInfo) -> ObjectInfo:
        """Look the object up now, attributes included; ``name`` and ``key`` as given."""
        ...

    def open(self, info: ObjectInfo, *, offset_bytes: int = 0, length_bytes: int | None = None) -> ByteStream:
        """Read the half-open range ``(offset_bytes, offset_bytes + length_bytes)``, to the end if None.

        The version that ``info.validator`` names is asked for (``If-Match``) *and* the reply compared.

        Raises:
            SourceChangedError: It is another version now.
            WrongRangeError: The reply is another range than asked for.
            ObjectNotFoundError: It is gone.
        """
        ...

    def abort(self) -> None:
        """Make this reader's blocked call fail at once. Any thread."""
        ...

    def close(self) -> None:
        """Close its connection."""
        ...


class Source(Protocol):
    """Where bytes come from."""

    @property
    def identity(self) -> str:
        """As of the endpoint."""
        ...

    @property
    def is_single(self) -> bool:
        """True if it is exactly one object."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do."""
        ...

    def probe(self) -> None:
        """Check with as few requests as possible that it can be read.

        Raises:
            BucketNotFoundError, ObjectNotFoundError, AccessDeniedError: It can't.
        """
        ...

    def list(self, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """List objects in the order of their names, those after the name ``start_after``; lazily, in pages.

        A single object is a list of one, with its attributes.
        """
        ...

    def reader(self) -> Reader:
        """Open a worker's reader."""
        ...

    def close(self) -> None:
        """Close what listing used."""
        ...


class PartWrite(Protocol):
    """One body on its way: a part, or a whole small object. Nothing is visible before ``finish``."""

    def send(self, data: memoryview) -> None:
        """Send the next bytes.

        Raises:
            StorageError: The store refused or the connection failed.
        """
        ...

    def finish(self) -> PartReceipt:
        """End the body, and return what the store accepted.

        For a whole object, ``etag`` is the object's, and ``number`` is 1.

        Raises:
            IntegrityError: The store's checksum differs from that of the bytes sent.
            StorageError: It was refused.
        """
        ...

    def cancel(self) -> None:
        """Drop it; the store must not keep a visible object. Never raises."""
        ...


class Writer(Protocol):
    """One worker's way to write to a sink. Keys are final keys, from ``Sink.place``."""

    def put(
        self, key: str, *, length_bytes: int, attributes: Attributes, only_if_absent: bool = False
    ) -> PartWrite:
        """Send a whole object in one request."""
        ...

    def create_upload(self, key: str, *, size_bytes: int | None, attributes: Attributes) -> Upload:
        """Open a multipart upload; ``size_bytes`` is None where the source does not say it."""
        ...

    def put_part(self, upload: Upload, *, number: int, offset_bytes: int, length_bytes: int) -> PartWrite:
        """Send one part; sending the same number again replaces it."""
        ...

    def list_parts(self, upload: Upload) -> dict[int, PartReceipt] | None:
        """Return the parts that the sink holds, or None if it can't tell (then the ledger's word stands).

        Raises:
            UploadGoneError: There is no such upload.
        """
        ...

    def complete(
        self,
        upload: Upload,
        parts: Sequence[PartReceipt],
        *,
        size_bytes: int,
        crc64nvme: int | None,
        only_if_absent: bool = False,
    ) -> ObjectInfo:
        """Make the object visible under its key, whole, and return it as the sink has it.

        A 200 with an error in its body is an error.

        Raises:
            UploadGoneError: There is no such upload: look at the object and compare (rule 6).
            IntegrityError: The store's checksum of the object differs.
            DestinationExistsError: ``only_if_absent``, and it is there.
        """
        ...

    def abort_upload(self, upload: Upload) -> None:
        """Drop an upload and its parts; one that is gone already is no error."""
        ...

    def list_uploads(self, key: str, *, since: datetime) -> list[Upload] | None:
        """Return open uploads of exactly that key, begun since then; None if it can't or may not tell."""
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """Look an object up; None if there is none."""
        ...

    def abort(self) -> None:
        """Make this writer's blocked call fail at once. Any thread."""
        ...

    def close(self) -> None:
        """Close its connection."""
        ...


class Sink(Protocol):
    """Where bytes go."""

    @property
    def identity(self) -> str:
        """As of the endpoint, without the key: what a part row is keyed by."""
        ...

    @property
    def exclusive(self) -> bool:
        """As of the endpoint."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do."""
        ...

    @property
    def max_parts(self) -> int:
        """The most parts an upload may have."""
        ...

    @property
    def min_part_size_bytes(self) -> int:
        """The least size of a part that is not the last; 1 where there is none."""
        ...

    def probe(self) -> None:
        """Check with as few requests as possible that it is there and the credentials are known."""
        ...

    def place(self, name: str, *, single: bool) -> str:
        """Return the final key of a source object.

        Args:
            name: As in ``ObjectInfo.name``.
            single: The source is exactly one object: then a sink that names one object is its key.

        Raises:
            AddressError: The name would escape the sink's root, or can't be a name there.
        """
        ...

    def find(self, keys: Sequence[str]) -> dict[str, ObjectInfo]:
        """Look up to a thousand final keys up, in few requests; those not there are left out.

        Keys are in the order of the source's names. Attributes may be None.
        """
        ...

    def writer(self) -> Writer:
        """Open a worker's writer."""
        ...

    def close(self) -> None:
        """Close what look-ups used."""
        ...


class Mechanism(Protocol):
    """One way of moving bytes. Stateless; found through the entry-point group ``dataferry.mechanisms``."""

    @property
    def name(self) -> str:
        """Short, lower case: what ``type`` in a location says."""
        ...

    @property
    def description(self) -> str:
        """One sentence."""
        ...

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """What control planes may ask for by it; empty if it grants and takes no addresses."""
        ...

    @property
    def url_schemes(self) -> tuple[str, ...]:
        """E.g. ``("s3",)``; the empty scheme is a plain path."""
        ...

    @property
    def source_capabilities(self) -> frozenset[Capability]:
        """What its sources can do."""
        ...

    @property
    def sink_capabilities(self) -> frozenset[Capability]:
        """What its sinks can do."""
        ...

    @property
    def location_schema(self) -> Mapping[str, Any]:
        """JSON Schema of a location's settings; secrets have ``writeOnly: true``."""
        ...

    @property
    def address_schema(self) -> Mapping[str, Any]:
        """JSON Schema of its DataAddress, as ``{endpointType, endpoint, <property>: <value>}``."""
        ...

    @property
    def metadata_schema(self) -> Mapping[str, Any]:
        """JSON Schema of the keys of ``metadata`` that it understands."""
        ...

    def at_location(self, location: Location, path: str) -> Endpoint:
        """Return the place ``location:path``.

        Raises:
            ConfigError: The location's settings are wrong.
            AddressError: The path can't be one, e.g. it has ``..``.
        """
        ...

    def at_url(self, url: str) -> Endpoint:
        """Return the place of a URL given by the operator, with the machine's ambient credentials.

        Raises:
            AddressError: It is not one of ours.
        """
        ...

    def at_address(self, address: DataAddress) -> Endpoint:
        """Return the place of a DataAddress that came in a message (``EXTERNAL``: no ambient credentials).

        Raises:
            AddressError: It is malformed, or has no credentials of its own where they are needed.
        """
        ...

    def at_metadata(
        self, metadata: Mapping[str, Any], *, end: str, location: Location | None
    ) -> Endpoint | None:
        """Return the place that a message's ``metadata`` names for one end, None if it names none.

        Args:
            metadata: The message's, e.g. with ``sourceBucket``, ``destinationDataAddress``.
            end: ``source`` or ``destination``.
            location: Whose credentials serve a bare bucket; None refuses one.
        """
        ...

    def open_source(self, endpoint: Endpoint, network: Network) -> Source:
        """Open a place for reading; no request is sent yet."""
        ...

    def open_sink(self, endpoint: Endpoint, network: Network) -> Sink:
        """Open a place for writing; no request is sent yet."""
        ...

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
        """Hand out scoped access to the place, as the DataAddress that the other side will use.

        Args:
            endpoint: The place, of ours.
            profile: Of the address.
            mode: What it allows.
            network: Reaches who gives credentials, where somebody must be asked.
            ttl_s: How long it is to be good for, in seconds, as far as that can be chosen.
            purpose: Whose it is, for the store's audit log; no secret, and nothing that must be secret.

        Raises:
            UnsupportedError: It can't, and what to do instead.
            ConfigError: The location does not say with what.
            StorageError: Who gives the credentials refused, or could not be asked.
        """
        ...

    def revoke(self, endpoint: Endpoint, address: DataAddress) -> bool:
        """Take a grant back; False if it can't be taken back before it expires."""
        ...
