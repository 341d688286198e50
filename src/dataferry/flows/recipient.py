"""Where one request of a push writes: its object's place, its connection, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from dataferry.domain.errors import (
    AccessDeniedError,
    AddressError,
    DataFerryError,
    DestinationExistsError,
    TooLargeError,
)
from dataferry.domain.ledger import Finished, ObjectRow, ObjectState, PlannedObject
from dataferry.domain.objects import Capability, ObjectInfo
from dataferry.domain.profile import Direction
from dataferry.engine.transfer import Overwrite
from dataferry.flows.ingest import Ingest, Lent, Receiving

# As of the engine: an object never has more parts, whatever its size.
MAX_PARTS = 9_000
MAX_NAME_CHARS = 4096
_NO_NAMES = frozenset({"", ".", ".."})


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """An object that is there, or a part that was taken.

    Attributes:
        is_new: This flow had not brought an object of that name before.
    """

    size_bytes: int
    etag: str | None
    crc64nvme: int | None
    is_new: bool = True


class Recipient:
    """One request's way to write an object of a flow.

    Args:
        ingest: Lends connections.
        receiving: Whose data.
        name: Of the object; empty is the address itself.

    Raises:
        AddressError: Nothing of that name may be written there.
    """

    def __init__(self, ingest: Ingest, receiving: Receiving, name: str) -> None:
        self._ingest = ingest
        self.receiving = receiving
        self.ledger = ingest.shared.store.ledger
        self.options = receiving.options
        self.policy = ingest.shared.policy
        self.watch = ingest.access.watch(receiving.flow_id, Direction.PUSH)
        is_single = receiving.place.endpoint.is_single
        if is_single and name:
            raise AddressError("this flow takes one object, at the address itself")
        self.name = name or receiving.default_name
        if len(self.name) > MAX_NAME_CHARS or not _NO_NAMES.isdisjoint(self.name.split("/")):
            raise AddressError("a name has no empty levels, and none that step")
        if not self.options.selection.selects(self.name):
            raise AddressError("an object of that name was not asked for")
        self.lent: Lent = ingest.lend(receiving)
        try:
            self.key = self.lent.sink.place(self.name, single=is_single)
            self.row: ObjectRow | None = self.ledger.named(receiving.attempt.transfer_id, self.key)
        except BaseException:
            self.lent.close()
            raise

    @property
    def takes_parts(self) -> bool:
        """True if the sink takes an object in parts."""
        return Capability.PARTS in self.lent.sink.capabilities

    @property
    def has_come(self) -> bool:
        """True if this flow brought an object of that name."""
        return self.row is not None and self.row.state is ObjectState.DONE

    @property
    def objects_done(self) -> int:
        """How many objects the flow has brought."""
        return self.ledger.totals(self.receiving.attempt.transfer_id).objects_done

    def planned(self, size_bytes: int | None) -> PlannedObject:
        """What is to be written down of the object."""
        return PlannedObject(
            source=ObjectInfo(name=self.name, key=self.name, size_bytes=size_bytes),
            target_key=self.key,
            target_identity=self.lent.sink.identity,
        )

    def refuse_size(self, size_bytes: int) -> None:
        """Return if an object of that size may come.

        Raises:
            TooLargeError: It may not.
        """
        if size_bytes > self.policy.max_received_object_bytes:
            raise TooLargeError(
                f"an object may have {self.policy.max_received_object_bytes} bytes here at most"
            )

    def must_be_new(self, *, only_if_absent: bool) -> bool:
        """Return whether nothing may be there; what this flow itself brought may be replaced.

        Raises:
            DestinationExistsError: Something is.
        """
        protects = self.options.overwrite is Overwrite.NEVER and not self.has_come
        if not (only_if_absent or protects):
            return False
        try:
            found = self.lent.writer.stat(self.key)
        except AccessDeniedError:
            return True  # who may only write has but the condition
        if found is not None:
            raise DestinationExistsError("an object of that name is there, and must not be replaced")
        return True

    def arrived(self, finished: Finished) -> Arrived:
        """Write down that the object is there, sent whole."""
        self.ledger.arrive(self.receiving.attempt, self.planned(finished.size_bytes), finished)
        return Arrived(
            size_bytes=finished.size_bytes,
            etag=finished.etag,
            crc64nvme=finished.crc64nvme,
            is_new=not self.has_come,
        )

    def missing(self, error: DataFerryError) -> None:
        """Write down that the object was begun, and is not there; its open upload is to be aborted."""
        row = self.row
        if row is None or row.state is not ObjectState.PENDING:
            row = self.ledger.expect(self.receiving.attempt, self.planned(None))
        self.ledger.fail(self.receiving.attempt, row.ordinal, kind=error.kind, error=str(error))

    def part_size_bytes(self, size_bytes: int) -> int:
        """The size of an object's parts that this side cuts."""
        sink, limits = self.lent.sink, self.options.limits
        most = min(MAX_PARTS, sink.max_parts)
        return max(limits.part_size_bytes, -(-size_bytes // most), sink.min_part_size_bytes)

    def release(self) -> None:
        """The request was answered: its connection may serve the next one."""
        self._ingest.take_back(self.receiving, self.lent)

    def drop(self) -> None:
        """The request failed: its connection is in no known state."""
        self.lent.close()
