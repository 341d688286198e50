"""Objects, their parts and what is proved about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum


class Capability(StrEnum):
    """What a mechanism's source or sink can do. What is not declared is refused, and the suite proves it."""

    LIST = "list"  # source: more than one object
    RANGES = "ranges"  # source: reads from an offset
    VALIDATORS = "validators"  # source: names the version it reads, and notices another
    ATTRIBUTES = "attributes"  # either: keeps content type, cache headers and user metadata
    TAGS = "tags"  # either: keeps tags, which a source tells when it is asked for them apart
    CONTENT_ETAGS = "content_etags"  # either: an ETag in the form of an MD5 depends on the contents alone
    PARTS = "parts"  # sink: parts in any order, resumable
    LIST_PARTS = "list_parts"  # sink: tells which parts it holds
    LIST_UPLOADS = "list_uploads"  # sink: tells which uploads are open
    READ_BACK = "read_back"  # sink: what was written can be read, to compare it with what was sent
    COPY = "copy"  # sink: its store can copy objects by itself, see ``CopyingSink``
    INJECTIVE_NAMES = "injective_names"  # sink: different names are always different objects
    PORTABLE = "portable"  # either: can be pickled, and is the same place in another process
    GRANT = "grant"  # hands out scoped access as a DataAddress


class Verification(IntEnum):
    """How far the bytes of an object are proved; the lowest of a transfer is its level."""

    NONE = 0
    SIZE = 1
    TRANSPORT = 2
    DESTINATION = 3
    END_TO_END = 4

    @property
    def word(self) -> str:
        """The level as results show it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What travels with an object beside its bytes; None is "not set".

    Attributes:
        tags: ``(key, value)``; empty until they were asked for, see ``ObjectInfo.tag_count``.
    """

    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    expires: str | None = None
    user_metadata: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """One object as a source or a sink knows it.

    Attributes:
        name: Relative to the root that was opened, ``/`` between levels; the file name of a single object.
            In a listing it may be no text: see ``domain.names``.
        key: How the mechanism addresses it; opaque to the engine.
        size_bytes: None where the source does not say.
        validator: A strong validator (S3's ETag without quotes); None where there is none.
        version_id: The store's own version, where it keeps versions.
        crc64nvme: The store's checksum of the whole object, 0..2**64-1, where it keeps one.
        attributes: None until a reply that carries them (a listing does not).
        tag_count: How many tags the store says that it has; they are asked for apart.
    """

    name: str
    key: str
    size_bytes: int | None
    validator: str | None = None
    version_id: str | None = None
    crc64nvme: int | None = None
    modified_at: datetime | None = None
    attributes: Attributes | None = None
    tag_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A multipart upload in a sink.

    Attributes:
        upload_id: The store's handle (S3's UploadId; a temporary file's name).
        key: The final key.
        started_at: As the store says it, where it does.
        keeps_crc64nvme: True if the store was told to keep a full-object CRC-64/NVME and agreed.
    """

    upload_id: str
    key: str
    started_at: datetime | None = None
    keeps_crc64nvme: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReceipt:
    """A part as the sink accepted it.

    Attributes:
        number: From 1.
        etag: The store's word for the part, as completion needs it; empty where it has none.
        crc64nvme: Of the bytes sent; None for a part known from the store's listing only.
        confirmed: True if the store returned a checksum and it was the same.
    """

    number: int
    size_bytes: int
    etag: str
    crc64nvme: int | None = None
    confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlan:
    """One part of the plan: half-open ``(offset_bytes, offset_bytes + length_bytes)``."""

    number: int
    offset_bytes: int
    length_bytes: int


@dataclass(slots=True, kw_only=True)
class Totals:
    """How far a transfer is, in objects and bytes; counts of committed work.

    Attributes:
        bytes_skipped: Of ``bytes_done``, those of objects that were there already.
        objects_unsized: Objects whose length is not known (yet); ``bytes_total`` is without them.
        plan_complete: False while the source is still being listed: then totals are what is known so far.
    """

    objects_total: int = 0
    bytes_total: int = 0
    objects_done: int = 0
    objects_skipped: int = 0
    objects_failed: int = 0
    bytes_done: int = 0
    bytes_skipped: int = 0
    objects_unsized: int = 0
    plan_complete: bool = False
    verification: Verification = field(default=Verification.NONE)
