"""The ledger: what a transfer planned, what it has moved, and what it must clean up.

A port with one behaviour suite. The engine writes it; nobody else does. Rules 1 to 9 of
docs/architecture.md are kept with it. Every write names the attempt (transfer and epoch) and raises
``FencedError`` if a newer attempt exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from dataferry.domain.objects import ObjectInfo, PartReceipt, Totals, Upload, Verification

# Read at once.
PAGE_ROWS = 500


class ObjectState(StrEnum):
    """Where one object of a transfer stands."""

    PENDING = "pending"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Who writes: a transfer and the epoch of its attempt."""

    transfer_id: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedObject:
    """One object to copy.

    Attributes:
        source: As listed; the validator is what every read of it must match.
        target_key: The final key in the sink; unique in a transfer.
        target_identity: The sink's place (endpoint and bucket, or root); a part row is worthless elsewhere.
        skip_reason: Set if it is there already (``overwrite`` policy): planned as skipped.
        skip_etag: The destination's validator of a skipped object, for the next look at it.
        skip_level: How far a skipped object is proved; ``NONE`` says nothing, and lowers nothing.
        skip_crc64nvme: The checksum of a skipped object, where it is known.
    """

    source: ObjectInfo
    target_key: str
    target_identity: str
    skip_reason: str | None = None
    skip_etag: str | None = None
    skip_level: Verification = Verification.NONE
    skip_crc64nvme: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow:
    """One object as the ledger knows it.

    Attributes:
        ordinal: Its place in the plan, from 1; identifies it together with the transfer.
        part_size_bytes: Chosen when the upload was created; None for objects sent whole.
        upload: The open multipart upload.
        intent_at: When the intent to create an upload was written; None if none was.
        etag: The destination's validator, once it is there.
    """

    ordinal: int
    source: ObjectInfo
    target_key: str
    target_identity: str
    state: ObjectState
    part_size_bytes: int | None = None
    upload: Upload | None = None
    intent_at: datetime | None = None
    etag: str | None = None
    crc64nvme: int | None = None
    verification: Verification = Verification.NONE
    error_kind: str | None = None
    error: str | None = None

    @property
    def anew(self) -> ObjectRow:
        """The same object, of which nothing is sent yet."""
        return replace(self, upload=None, intent_at=None, part_size_bytes=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What is written of an object that has arrived.

    Attributes:
        etag: The destination's.
    """

    ordinal: int
    size_bytes: int
    etag: str | None
    crc64nvme: int | None
    verification: Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How far the listing came: ``cursor`` is the name of the last listed object."""

    complete: bool
    cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """An upload that must be aborted: durable, retried, and nobody waits for it.

    Attributes:
        key: Of the object that was to be written.
        upload: Which; None if only the intent to create it is known: it has to be looked for, and may not be.
        since: When that intent was written; None if the upload is known.
    """

    id: int
    transfer_id: str
    target_identity: str
    key: str
    upload: Upload | None
    attempts: int
    last_error: str | None
    since: datetime | None = None


class Ledger(Protocol):
    """Durable memory of transfers. Thread-safe; writes return once committed (group commit)."""

    def plan(self, attempt: Attempt) -> Plan:
        """Return how far the plan of this transfer is."""
        ...

    def add(self, attempt: Attempt, objects: Sequence[PlannedObject], *, cursor: str | None) -> None:
        """Append to the plan, and move the cursor, in one transaction.

        Raises:
            ConflictError: Two objects have the same target key.
        """
        ...

    def finish_plan(self, attempt: Attempt) -> None:
        """Write that the source has been listed to its end."""
        ...

    def pending(self, transfer_id: str, *, after_ordinal: int, limit: int) -> list[ObjectRow]:
        """Return objects still to move, in the order of the plan."""
        ...

    def objects(
        self, transfer_id: str, *, after_ordinal: int = 0, limit: int = 100, state: ObjectState | None = None
    ) -> list[ObjectRow]:
        """Return objects in any state, for reports."""
        ...

    def arrived(self, transfer_id: str, keys: Sequence[str]) -> dict[str, ObjectRow]:
        """Return those of a transfer's objects that are at the destination, by target key."""
        ...

    def totals(self, transfer_id: str) -> Totals:
        """Return committed counts; parts of unfinished objects count in ``bytes_done``."""
        ...

    def intend(
        self, attempt: Attempt, ordinal: int, *, part_size_bytes: int, version_id: str | None = None
    ) -> ObjectRow:
        """Write the intent to create an upload, before it is created (rule 1).

        Args:
            attempt: Who writes.
            ordinal: Which object.
            part_size_bytes: Of its parts.
            version_id: The source's version that they are to be of, where its store keeps versions; None
                keeps the planned one.
        """
        ...

    def open_upload(self, attempt: Attempt, ordinal: int, upload: Upload) -> None:
        """Write the upload that was created."""
        ...

    def parts(self, transfer_id: str, ordinal: int) -> list[PartReceipt]:
        """Return the committed parts of an object's open upload, by number."""
        ...

    def add_part(self, attempt: Attempt, ordinal: int, part: PartReceipt) -> None:
        """Commit one part (rule 2: the worker waits for this before it takes the next)."""
        ...

    def drop_parts(self, attempt: Attempt, ordinal: int, numbers: Iterable[int]) -> None:
        """Forget parts that the destination does not have (rule 3)."""
        ...

    def restart(
        self,
        attempt: Attempt,
        ordinal: int,
        *,
        source: ObjectInfo | None,
        abandon: bool,
        target: tuple[str, str] | None = None,
    ) -> None:
        """Forget upload, intent and parts, and make the object pending again, whatever state it was in.

        Args:
            attempt: Who writes.
            ordinal: Which object.
            source: A newly looked-up source, or None to keep the planned one.
            abandon: Hand the open upload, or an intent without one, to the clean-up list, under its old
                target identity.
            target: A new ``(target_key, target_identity)``, or None to keep the planned one (rule 5).
        """
        ...

    def finish(
        self,
        attempt: Attempt,
        ordinal: int,
        *,
        size_bytes: int,
        etag: str | None,
        crc64nvme: int | None,
        verification: Verification,
    ) -> None:
        """Write that the object is at the destination, and forget its parts.

        An intent whose upload is not known goes to the clean-up list.
        """
        ...

    def finish_many(self, attempt: Attempt, objects: Sequence[Finished]) -> None:
        """Do as ``finish`` does for several objects, in one transaction."""
        ...

    def fail(self, attempt: Attempt, ordinal: int, *, kind: str, error: str) -> None:
        """Write that the object failed for good; its open upload, or intent, goes to the clean-up list."""
        ...

    def skip(self, attempt: Attempt, ordinal: int, *, reason: str) -> None:
        """Write that the object is at the destination already."""
        ...

    def retry_failed(self, attempt: Attempt) -> int:
        """Make failed objects pending again, with a fresh look at their source; return how many."""
        ...

    def abandon_all(self, transfer_id: str) -> int:
        """Hand every open upload, and every intent without one, to the clean-up list; return how many.

        Whatever the epoch.
        """
        ...

    def known_uploads(self, target_identity: str, key: str) -> frozenset[str]:
        """Return the ids of all uploads that any transfer's rows know for that key."""
        ...

    def is_opening(self, target_identity: str, key: str) -> bool:
        """Return True if a transfer's row has an intent for that key, and its upload is not known yet.

        Asked before ``known_uploads``: what is listed, in neither, and older than both answers is nobody's.
        """
        ...

    def cleanups(self, *, limit: int = 100, transfer_id: str | None = None) -> list[Cleanup]:
        """Return uploads that are due to be aborted."""
        ...

    def cleaned(self, cleanup_id: int, *, error: str | None, retry_at: datetime | None) -> None:
        """Write the result of one clean-up: gone if ``error`` is None, else due again at ``retry_at``.

        With an error and no ``retry_at`` it is given up, and stays visible.
        """
        ...

    def check(self, attempt: Attempt) -> None:
        """Return if the attempt is still the newest.

        Raises:
            FencedError: It is not.
        """
        ...

    def close(self) -> None:
        """Commit what is waiting and stop the writer."""
        ...


@runtime_checkable
class OwnWriter(Protocol):
    """What a ledger has too whose rows a thread of its own writes: it may be kept near its callers."""

    @property
    def writer_id(self) -> int | None:
        """The system's number of that thread; None if it has ended."""
        ...


def rows_of(
    ledger: Ledger, transfer_id: str, *, after_ordinal: int = 0, state: ObjectState | None = None
) -> Iterator[ObjectRow]:
    """Read all objects of a transfer in the order of its plan, a page at a time.

    Args:
        ledger: Knows them.
        transfer_id: Whose.
        after_ordinal: Those that follow this one; a row may be written once it was given.
        state: Only those in it.
    """
    while rows := ledger.objects(transfer_id, after_ordinal=after_ordinal, limit=PAGE_ROWS, state=state):
        yield from rows
        after_ordinal = rows[-1].ordinal
