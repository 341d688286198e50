"""The planner: lists the source, decides about what is at the destination already, and writes the plan.

One thread. It goes on at the ledger's cursor, so that a listing is never begun anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dataferry.domain.errors import AddressError, TooLargeError
from dataferry.domain.ledger import ObjectRow, PlannedObject
from dataferry.domain.names import is_text, refuse_bytes
from dataferry.domain.objects import Capability, ObjectInfo, Verification
from dataferry.engine.attempt.course import Course
from dataferry.engine.plan.manifest import manifest_key, taken
from dataferry.engine.plan.overwriting import Skip, skip
from dataferry.engine.transfer import Overwrite

# The first page is short, so that workers begin while the second one is listed.
FIRST_PAGE_OBJECTS = 100
PAGE_OBJECTS = 1000
# A key that no sink can make, for names that it refuses: the object is planned, and fails with the reason.
UNPLACEABLE = "\N{REPLACEMENT CHARACTER} unplaceable: "


class Planner:
    """Writes the plan of a transfer into the ledger.

    Args:
        course: The attempt.
    """

    def __init__(self, course: Course) -> None:
        self._course = course
        self._source = course.transfer.source
        self._sink = course.transfer.sink
        self._selection = course.transfer.selection
        self._manifest_key = manifest_key(course.transfer)
        self._listing: Iterator[ObjectInfo] | None = None

    def run(self) -> None:
        """List to the end, page by page.

        Raises:
            ConflictError: Two objects would have the same key at the destination.
            TooLargeError: The source has more objects than a plan may have.
            AddressError: An object's name is not UTF-8.
            DataFerryError: The source can't be listed, or the destination not be looked at.
        """
        course = self._course
        plan = course.ledger.plan(course.attempt)
        if plan.complete:
            course.tally.plan_complete = True
            course.tally.planned.set()
            return
        cursor, limit = self._begin_after(plan.cursor), FIRST_PAGE_OBJECTS
        while True:
            infos = self._list(cursor, limit)
            selected = self._selected(infos)
            # What is no text can't be written down, nor be where a listing goes on.
            cursor = next((info.name for info in reversed(infos) if is_text(info.name)), cursor)
            if infos and cursor is not None:
                self._add(selected, cursor)
            if len(infos) < limit or self._selection.is_past(infos[-1].name):
                break
            limit = PAGE_OBJECTS
        course.ledger.finish_plan(course.attempt)
        course.tally.plan_complete = True
        course.tally.planned.set()
        if self._selection:
            course.observer.noted("left_out", f"left out by patterns: {course.tally.left_out:,} objects")

    def _begin_after(self, cursor: str | None) -> str | None:
        """Where listing begins: nothing is asked for of what stands before all that is selected."""
        first = None if self._source.is_single else self._selection.start_after
        return max(filter(None, (cursor, first)), default=None)

    def _selected(self, infos: Sequence[ObjectInfo]) -> Sequence[ObjectInfo]:
        """Leave out, and count, what the transfer is not about.

        Raises:
            AddressError: A name that is left is not UTF-8.
        """
        selected = infos
        if self._selection:
            selected = [info for info in infos if self._selection.selects(info.name)]
            self._course.tally.left_out += len(infos) - len(selected)
        for info in selected:
            refuse_bytes(info.name)
        return selected

    def _list(self, cursor: str | None, limit: int) -> list[ObjectInfo]:
        """Return the next objects; a listing that failed goes on after the last committed name."""

        def once() -> list[ObjectInfo]:
            if self._listing is None:
                self._listing = self._source.list(start_after=cursor)
            return list(itertools.islice(self._listing, limit))

        return self._course.retrier.run("listing the source", once, renew=self._forget_listing)

    def _forget_listing(self) -> None:
        self._listing = None

    def _add(self, infos: Sequence[ObjectInfo], cursor: str) -> None:
        course = self._course
        most = course.transfer.limits.max_objects
        if course.tally.objects_total + len(infos) > most:
            raise TooLargeError(f"the source lists more than {most:,} objects (`engine.max_objects`)")
        planned = self._decide(infos)
        course.ledger.add(course.attempt, planned, cursor=cursor)
        tally = course.tally
        tally.planned.set()
        tally.planned_objects += len(planned)
        tally.planned_bytes += sum(item.source.size_bytes or 0 for item in planned)
        tally.planned_unsized += sum(
            item.source.size_bytes is None and item.skip_reason is None for item in planned
        )
        skipped = [item for item in planned if item.skip_reason is not None]
        tally.planned_skips += len(skipped)
        tally.planned_skip_bytes += sum(item.source.size_bytes or 0 for item in skipped)

    def _decide(self, infos: Sequence[ObjectInfo]) -> list[PlannedObject]:
        """Give each object its key, and a reason to skip it where there is one."""
        keys = [self._place(info) for info in infos]
        if self._manifest_key in keys:
            raise taken(self._manifest_key)
        policy = self._course.transfer.overwrite
        found: dict[str, ObjectInfo] = {}
        if policy is not Overwrite.ALWAYS:
            wanted = [key for key in keys if not key.startswith(UNPLACEABLE)]
            found = self._course.retrier.run("looking at the destination", lambda: self._sink.find(wanted))
        arrived = self._arrived(found)
        # Where the one is an MD5 of contents, so is an equal one.
        content_etags = Capability.CONTENT_ETAGS in self._source.capabilities | self._sink.capabilities
        return [
            self._planned(
                info,
                key,
                found.get(key),
                skip(policy, info, found.get(key), arrived.get(key), content_etags=content_etags),
            )
            for info, key in zip(infos, keys, strict=True)
        ]

    def _arrived(self, found: dict[str, ObjectInfo]) -> dict[str, ObjectRow]:
        """What the earlier transfer between these places knows of what is there."""
        earlier = self._course.transfer.earlier
        if earlier is None or not found:
            return {}
        rows = self._course.ledger.arrived(earlier, list(found))
        return {key: row for key, row in rows.items() if row.target_identity == self._sink.identity}

    def _planned(
        self, info: ObjectInfo, key: str, found: ObjectInfo | None, skipped: Skip | None
    ) -> PlannedObject:
        planned = PlannedObject(source=info, target_key=key, target_identity=self._sink.identity)
        if skipped is None:
            return planned
        if info.size_bytes is None and found is not None and skipped.level is not Verification.NONE:
            # Equal, so that this is its length too.
            planned = replace(planned, source=replace(info, size_bytes=found.size_bytes))
        return replace(
            planned,
            skip_reason=skipped.reason,
            skip_etag=None if found is None or skipped.level is Verification.NONE else found.validator,
            skip_level=skipped.level,
            skip_crc64nvme=skipped.crc64nvme,
        )

    def _place(self, info: ObjectInfo) -> str:
        try:
            return self._sink.place(info.name, single=self._source.is_single)
        except AddressError:
            return UNPLACEABLE + info.name
