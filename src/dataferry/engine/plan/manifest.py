"""Writes the manifest at the destination, once everything has arrived or failed.

It is read from the ledger twice: once to know how long it is, once to send it, in one request. So memory is a
page of rows, and nothing can be left open by a kill: until the request has ended the destination has the
manifest of before, or none, and the next attempt writes it again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from dataferry.domain import manifest
from dataferry.domain.errors import AddressError, ConflictError
from dataferry.domain.ledger import PAGE_ROWS, rows_of
from dataferry.domain.manifest import NAME, Summary, is_delivered
from dataferry.domain.objects import ObjectInfo, PartReceipt
from dataferry.engine.attempt.course import Course
from dataferry.engine.attempt.progress import Monitor
from dataferry.engine.objects.hands import Hands
from dataferry.engine.transfer import Transfer

# Sorts before the name, and nearly nothing lies between.
_JUST_BEFORE = f"{NAME[:-1]}{chr(ord(NAME[-1]) - 1)}~"


def manifest_key(transfer: Transfer) -> str | None:
    """Return the manifest's key at the destination; None if none is to be written.

    Raises:
        AddressError: The destination names one object, or can't have an object of that name.
    """
    if not transfer.manifest:
        return None
    sink = transfer.sink
    # Of no other name: a sink may look at what is there of the name that it is asked for.
    alone, beside = sink.place(NAME, single=True), None
    with suppress(AddressError):
        beside = sink.place(NAME, single=False)
    if alone != beside:
        raise AddressError(
            f"the destination names one object, and has no room for {NAME} beside it: end it with /, or ask "
            "for no manifest"
        )
    return beside


def refuse_collision(course: Course) -> None:
    """Refuse a manifest if the source has an object that would become it (rule 9).

    Raises:
        AddressError: As of ``manifest_key``.
        ConflictError: It has.
    """
    transfer = course.transfer
    key = manifest_key(transfer)
    if key is None or not transfer.selection.selects(NAME):
        return

    def has_one() -> bool:
        found = transfer.source.list(start_after=_JUST_BEFORE)
        return next((info.name == NAME for info in found if info.name >= NAME), False)

    if course.retrier.run("listing the source", has_one):
        raise taken(key)


def taken(key: str) -> ConflictError:
    """Return the error that says what stands in the manifest's way."""
    return ConflictError(
        f"the source has an object that would become {key!r}, which the manifest is to be: leave it out "
        f"(exclude {NAME!r}), or ask for no manifest"
    )


def write_manifest(course: Course) -> None:
    """Write the manifest; returns once the destination has it.

    Raises:
        FencedError: A newer attempt owns the transfer; nothing was written.
        DataFerryError: It can't be written; the transfer is then not complete.
    """
    key = manifest_key(course.transfer)
    if key is None:
        return
    if course.ledger.arrived(course.transfer.id, [key]):
        raise taken(key)
    hands = Hands(course)
    monitor = Monitor(
        course.tally, course.observer, lambda: hands.look(course.clock.monotonic()), course.doom
    )
    unregister = course.halt.on_stop(hands.connections.halt)
    monitor.start()
    try:
        summary = _send(hands, key)
    finally:
        # What was sent is none of the transfer's bytes.
        hands.meter.bytes = hands.meter.retransferred = 0
        unregister()
        monitor.close()
        hands.connections.close()
    course.observer.noted("manifest", f"{key} lists {summary.objects:,} objects that are at the destination")


def _send(hands: Hands, key: str) -> Summary:
    course = hands.course
    size, summary = _measured(course)

    def once() -> PartReceipt:
        course.ledger.check(course.attempt)
        write = hands.connections.writer.put(key, length_bytes=size, attributes=manifest.ATTRIBUTES)
        return hands.carry(ManifestStream(course, summary, size), write, size)

    hands.moving(NAME, once)
    return summary


def _measured(course: Course) -> tuple[int, Summary]:
    """Return how many bytes the manifest has, and its last line."""
    summary, size = Summary(), 0
    for row in rows_of(course.ledger, course.transfer.id):
        summary.add(row)
        size += len(manifest.line(row)) if is_delivered(row) else 0
    return size + len(summary.line()), summary


@dataclass
class ManifestStream:
    """The manifest's bytes, from the ledger, a page of rows at a time.

    Attributes:
        length_bytes: Of the whole, as it was measured.
    """

    course: Course
    summary: Summary
    length_bytes: int
    _after: int = 0
    _page: memoryview = field(default_factory=lambda: memoryview(b""))
    _is_last: bool = False

    @property
    def info(self) -> ObjectInfo:
        """What it is."""
        return ObjectInfo(name=NAME, key=NAME, size_bytes=self.length_bytes)

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from its start; return how many bytes, 0 at the end."""
        while not self._page and not self._is_last:
            self._turn()
        count = min(len(buffer), len(self._page))
        buffer[:count] = self._page[:count]
        self._page = self._page[count:]
        return count

    def _turn(self) -> None:
        rows = self.course.ledger.objects(self.course.transfer.id, after_ordinal=self._after, limit=PAGE_ROWS)
        if rows:
            self._after = rows[-1].ordinal
            text = b"".join(manifest.line(row) for row in rows if is_delivered(row))
        else:
            self._is_last = True
            text = self.summary.line()
        self._page = memoryview(text)

    def close(self) -> None:
        """Nothing is open."""
