"""Work: what the feed hands to workers, an object or a part of one, and what becomes of it on its way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from dataferry.domain.errors import DataFerryError
from dataferry.domain.ledger import ObjectRow
from dataferry.domain.objects import ObjectInfo, PartPlan, PartReceipt, Upload, Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A big object that is visible at the destination, and is not written down yet.

    Attributes:
        found: As the destination has it.
        crc64nvme: Of what was sent.
        verification: How far that it is ours is proved by what the stores said.
    """

    found: ObjectInfo
    crc64nvme: int | None
    verification: Verification


@dataclass(slots=True)
class MultipartObject:
    """One big object whose upload is open.

    Attributes:
        row: As the ledger has it.
        source: As looked up now, with attributes.
        todo: Parts still to send; emptied when the object fails.
        receipts: Parts committed, by number.
        kept: Numbers of parts that an earlier attempt had committed.
        sent_before: Numbers of parts that were sent before, as far as anybody can tell.
        tries: How often the object was begun in this attempt.
        in_flight: Workers that send one of its parts.
        is_streamed: Some of its bytes passed here in this attempt.
        error: The first that fails it.
        arrival: Set once it is visible.
        reads_back: Its parts are read from the destination now.
    """

    row: ObjectRow
    source: ObjectInfo
    upload: Upload
    receipts: dict[int, PartReceipt]
    tries: int
    todo: deque[PartPlan] = field(default_factory=deque)
    kept: frozenset[int] = frozenset()
    sent_before: frozenset[int] = frozenset()
    in_flight: int = 0
    is_streamed: bool = False
    error: DataFerryError | None = None
    arrival: Arrival | None = None
    reads_back: bool = False

    @property
    def is_copied(self) -> bool:
        """True if the store copied parts of it by itself: nobody here saw their bytes."""
        return any(receipt.crc64nvme is None for receipt in self.receipts.values())


@dataclass(frozen=True, slots=True)
class WholeObject:
    """Work: an object to send in one request."""

    row: ObjectRow


@dataclass(frozen=True, slots=True)
class BigObject:
    """Work: an object to begin sending in parts; ``tries`` counts beginnings."""

    row: ObjectRow
    tries: int = 1
    sent_before: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """Work: one part of an open object, to send or to read back."""

    owner: MultipartObject
    plan: PartPlan


Work = WholeObject | BigObject | Part
