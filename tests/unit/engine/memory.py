"""A source, a sink and a ledger in memory, honest about the ports' rules, with faults on demand."""

# ruff: noqa: D101, D102, ARG002 - the ports say what these do, and name the arguments
from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from awscrt.checksums import crc64nvme

from dataferry.domain.clock import Clock, SystemClock
from dataferry.domain.errors import (
    AddressError,
    ConflictError,
    ConnectionFailedError,
    DestinationExistsError,
    FencedError,
    IntegrityError,
    ObjectNotFoundError,
    SourceChangedError,
    UploadGoneError,
)
from dataferry.domain.ledger import Attempt, Cleanup, Finished, ObjectRow, ObjectState, Plan, PlannedObject
from dataferry.domain.objects import (
    Attributes,
    Capability,
    ObjectInfo,
    PartReceipt,
    Totals,
    Upload,
    Verification,
)
from dataferry.domain.progress import Progress

SOURCE_ALL = frozenset(
    {
        Capability.LIST,
        Capability.RANGES,
        Capability.VALIDATORS,
        Capability.ATTRIBUTES,
        Capability.CONTENT_ETAGS,
    }
)
SINK_ALL = frozenset(
    {
        Capability.PARTS,
        Capability.LIST_PARTS,
        Capability.LIST_UPLOADS,
        Capability.INJECTIVE_NAMES,
        Capability.ATTRIBUTES,
        Capability.READ_BACK,
    }
)
Fault = Callable[[str, str, int], None]


class CrashError(BaseException):
    """Stands for kill -9: everything raises it from then on."""


def no_fault(operation: str, key: str, number: int) -> None:
    """Let everything pass."""


def ignore(kind: str, message: str) -> None:
    """Take no note."""


def md5(data: bytes) -> str:
    """ETag of plain bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@dataclass
class Block:
    """A call that blocks until it is aborted."""

    event: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        self.entered.set()
        self.event.wait(30)
        raise ConnectionFailedError("aborted")


class MemorySource:
    """Objects to read. ``fault(operation, name, number)`` may raise or change things."""

    def __init__(self, objects: dict[str, bytes], capabilities: frozenset[Capability] = SOURCE_ALL) -> None:
        self.objects = dict(objects)
        self.capabilities = capabilities
        self.identity = "memory://source"
        self.is_single = False
        self.keeps_crc = False
        self.says_length = True
        self.knows_sizes = True
        self.corrupt = False
        self.fault: Fault = no_fault
        self.attributes = Attributes(content_type="text/x-test", user_metadata=(("a", "b"),))
        self.stats = 0
        self.opens: list[tuple[str, int, int | None]] = []
        self.listed = 0

    def info(self, name: str, *, full: bool = True) -> ObjectInfo:
        if name not in self.objects:
            raise ObjectNotFoundError(f"no {name}")
        data = self.objects[name]
        strong = Capability.VALIDATORS in self.capabilities
        return ObjectInfo(
            name=name,
            key=name,
            size_bytes=len(data) if self.knows_sizes else None,
            validator=md5(data) if strong else None,
            crc64nvme=crc64nvme(data) if self.keeps_crc and full else None,
            attributes=self.attributes if full else None,
        )

    def probe(self) -> None:
        """Always there."""

    def list(self, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        for name in sorted(self.objects):
            if start_after is None or name > start_after:
                self.fault("list", name, 0)
                self.listed += 1
                yield self.info(name, full=False)

    def reader(self) -> MemoryReader:
        return MemoryReader(self)

    def close(self) -> None:
        """Nothing is open."""


class MemoryReader:
    def __init__(self, source: MemorySource) -> None:
        self.source = source
        self.block = Block()
        self.closed = False

    def stat(self, info: ObjectInfo) -> ObjectInfo:
        self.source.fault("stat", info.name, 0)
        self.source.stats += 1
        return self.source.info(info.name)

    def open(
        self, info: ObjectInfo, *, offset_bytes: int = 0, length_bytes: int | None = None
    ) -> MemoryStream:
        self.source.fault("open", info.name, offset_bytes)
        now = self.source.info(info.name)
        if info.validator is not None and info.validator != now.validator:
            raise SourceChangedError(f"{info.name} changed")
        self.source.opens.append((info.name, offset_bytes, length_bytes))
        data = self.source.objects[info.name]
        end = len(data) if length_bytes is None else offset_bytes + length_bytes
        said = now.size_bytes if self.source.says_length else None
        return MemoryStream(
            self,
            replace(now, name=info.name, key=info.key, size_bytes=said),
            data[offset_bytes:end],
            offset_bytes,
        )

    def abort(self) -> None:
        self.block.event.set()

    def close(self) -> None:
        self.closed = True


class MemoryStream:
    def __init__(self, reader: MemoryReader, info: ObjectInfo, data: bytes, offset: int) -> None:
        self.info = info
        says = reader.source.says_length and reader.source.knows_sizes
        self.length_bytes: int | None = len(data) if says else None
        self._reader, self._data, self._offset, self._at = reader, data, offset, 0

    def readinto(self, buffer: memoryview) -> int:
        source = self._reader.source
        try:
            source.fault("read", self.info.name, self._offset + self._at)
        except BlockedError:
            self._reader.block.wait()
        if self._reader.closed or self._reader.block.event.is_set():
            raise ConnectionFailedError("the connection was closed")
        piece = self._data[self._at : self._at + min(len(buffer), 64 * 1024)]
        if source.corrupt and piece:
            piece = bytes([piece[0] ^ 1]) + piece[1:]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        """Nothing is open."""


class BlockedError(Exception):
    """A fault raises it to make a read block until it is aborted."""


@dataclass
class OpenUpload:
    key: str
    size: int | None
    attributes: Attributes
    parts: dict[int, bytes] = field(default_factory=dict)
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))


class MemorySink:
    """Objects written, and the uploads that are open."""

    def __init__(self, capabilities: frozenset[Capability] = SINK_ALL) -> None:
        self.capabilities = capabilities
        self.identity = "memory://sink"
        self.exclusive = True
        self.max_parts = 10_000
        self.min_part_size_bytes = 1
        self.keeps_crc = True
        self.lists_uploads = True
        self.keeps_conditions = True
        self.folds_case = False
        self.learnt = 0
        self.objects: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.attributes: dict[str, Attributes] = {}
        self.uploads: dict[str, OpenUpload] = {}
        self.bytes_received = 0
        self.completed: list[str] = []
        self.most_open = 0
        self.fault: Fault = no_fault
        self.spoil: Callable[[str, bytes], bytes] = lambda _key, data: data
        self.read_back: list[tuple[str, int, int | None]] = []
        self.lock = threading.RLock()
        self._numbers = iter(range(1, 10**9))

    def probe(self) -> None:
        """Always there."""

    def place(self, name: str, *, single: bool) -> str:
        if ".." in name.split("/"):
            raise AddressError(f"{name} would escape")
        return f"in/{name.lower() if self.folds_case else name}"

    def learn_names(self) -> None:
        self.learnt += 1

    def check_keys(self, keys: Iterable[str]) -> None:
        self.checked = list(keys)

    def info(self, key: str) -> ObjectInfo:
        data = self.objects[key]
        return ObjectInfo(
            name=key,
            key=key,
            size_bytes=len(data),
            validator=self.etags.get(key, md5(data)),
            crc64nvme=crc64nvme(data) if self.keeps_crc else None,
        )

    def find(self, keys: Sequence[str]) -> dict[str, ObjectInfo]:
        self.fault("find", "", len(keys))
        return {key: self.info(key) for key in keys if key in self.objects}

    def writer(self) -> MemoryWriter:
        return MemoryWriter(self)

    def reader(self) -> MemoryReader:
        return MemoryReader(Written(self))

    def new_id(self) -> str:
        return f"upload-{next(self._numbers)}"

    def close(self) -> None:
        """Nothing is open."""


class Written(MemorySource):
    """What a sink holds, as a source; its faults are called ``back open`` and ``back read``."""

    def __init__(self, sink: MemorySink) -> None:
        super().__init__({})
        self.sink, self.objects, self.opens = sink, sink.objects, sink.read_back
        self.fault = lambda operation, key, number: sink.fault(f"back {operation}", key, number)

    def info(self, name: str, *, full: bool = True) -> ObjectInfo:
        if name not in self.objects:
            raise ObjectNotFoundError(f"no {name}")
        return self.sink.info(name)


class MemoryBody:
    def __init__(
        self, writer: MemoryWriter, key: str, number: int, length: int, land: Callable[[bytes], str]
    ) -> None:
        self._sink, self._block = writer.sink, writer.block
        self._key, self._number, self._length, self._land = key, number, length, land
        self._data = bytearray()

    def send(self, data: memoryview) -> None:
        try:
            self._sink.fault("send", self._key, self._number)
        except BlockedError:
            self._block.wait()
        self._data += data
        with self._sink.lock:
            self._sink.bytes_received += len(data)

    def finish(self) -> PartReceipt:
        self._sink.fault("finish", self._key, self._number)
        data = bytes(self._data)
        assert len(data) == self._length
        with self._sink.lock:
            etag = self._land(data)
        self._sink.fault("finished", self._key, self._number)
        return PartReceipt(
            number=self._number,
            size_bytes=len(data),
            etag=etag,
            crc64nvme=crc64nvme(data),
            confirmed=self._sink.keeps_crc,
        )

    def cancel(self) -> None:
        self._data.clear()


class MemoryWriter:
    def __init__(self, sink: MemorySink) -> None:
        self.sink = sink
        self.block = Block()

    def put(
        self, key: str, *, length_bytes: int, attributes: Attributes, only_if_absent: bool = False
    ) -> MemoryBody:
        self.sink.fault("put", key, 0)

        def land(data: bytes) -> str:
            if only_if_absent and self.sink.keeps_conditions and key in self.sink.objects:
                raise DestinationExistsError(f"{key} is there")
            self.sink.objects[key] = self.sink.spoil(key, data)
            self.sink.etags[key] = md5(data)
            self.sink.attributes[key] = attributes
            return md5(data)

        return MemoryBody(self, key, 1, length_bytes, land)

    def create_upload(self, key: str, *, size_bytes: int | None, attributes: Attributes) -> Upload:
        self.sink.fault("create", key, 0)
        with self.sink.lock:
            upload_id = self.sink.new_id()
            self.sink.uploads[upload_id] = OpenUpload(key, size_bytes, attributes)
            self.sink.most_open = max(self.sink.most_open, len(self.sink.uploads))
        self.sink.fault("created", key, 0)
        return Upload(upload_id=upload_id, key=key, keeps_crc64nvme=self.sink.keeps_crc)

    def _upload(self, upload: Upload) -> OpenUpload:
        if upload.upload_id not in self.sink.uploads:
            raise UploadGoneError(f"no upload {upload.upload_id}")
        return self.sink.uploads[upload.upload_id]

    def put_part(self, upload: Upload, *, number: int, offset_bytes: int, length_bytes: int) -> MemoryBody:
        self.sink.fault("put_part", upload.key, number)
        self._upload(upload)

        def land(data: bytes) -> str:
            self._upload(upload).parts[number] = data
            return md5(data)

        return MemoryBody(self, upload.key, number, length_bytes, land)

    def list_parts(self, upload: Upload) -> dict[int, PartReceipt] | None:
        self.sink.fault("list_parts", upload.key, 0)
        parts = self._upload(upload).parts
        return {n: PartReceipt(number=n, size_bytes=len(d), etag=md5(d)) for n, d in parts.items()}

    def complete(
        self,
        upload: Upload,
        parts: Sequence[PartReceipt],
        *,
        size_bytes: int,
        crc64nvme: int | None,
        only_if_absent: bool = False,
    ) -> ObjectInfo:
        self.sink.fault("complete", upload.key, 0)
        with self.sink.lock:
            there = self._upload(upload)
            for part in parts:
                if part.number not in there.parts or md5(there.parts[part.number]) != part.etag:
                    raise IntegrityError(f"part {part.number} is not as sent")
            if only_if_absent and self.sink.keeps_conditions and upload.key in self.sink.objects:
                raise DestinationExistsError(f"{upload.key} is there")
            data = b"".join(there.parts[part.number] for part in parts)
            self.sink.objects[upload.key] = self.sink.spoil(upload.key, data)
            self.sink.attributes[upload.key] = there.attributes
            joined = b"".join(bytes.fromhex(part.etag) for part in parts)
            self.sink.etags[upload.key] = f"{md5(joined)}-{len(parts)}"
            del self.sink.uploads[upload.upload_id]
            self.sink.completed.append(upload.key)
        self.sink.fault("completed", upload.key, 0)
        return self.sink.info(upload.key)

    def abort_upload(self, upload: Upload) -> None:
        self.sink.fault("abort_upload", upload.key, 0)
        self.sink.uploads.pop(upload.upload_id, None)

    def list_uploads(self, key: str, *, since: datetime) -> list[Upload] | None:
        self.sink.fault("list_uploads", key, 0)
        if not self.sink.lists_uploads:
            return None
        return [
            Upload(upload_id=upload_id, key=key, started_at=upload.begun)
            for upload_id, upload in self.sink.uploads.items()
            if upload.key == key and upload.begun >= since
        ]

    def stat(self, key: str) -> ObjectInfo | None:
        self.sink.fault("stat", key, 0)
        return self.sink.info(key) if key in self.sink.objects else None

    def abort(self) -> None:
        self.block.event.set()

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Row:
    row: ObjectRow
    skipped_size: int = 0
    parts: dict[int, PartReceipt] = field(default_factory=dict)


class MemoryLedger:
    """The ledger's rules in memory; ``fault`` runs before and after each write (``... committed``)."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.epochs: dict[str, int] = {}
        self.rows: dict[str, dict[int, Row]] = {}
        self.plans: dict[str, Plan] = {}
        self.cleanup_rows: dict[int, Cleanup] = {}
        self.given_up: list[Cleanup] = []
        self.fault: Fault = no_fault
        self.calls: list[str] = []
        self._lock = threading.RLock()

    def begin(self, transfer_id: str) -> Attempt:
        epoch = self.epochs[transfer_id] = self.epochs.get(transfer_id, 0) + 1
        self.rows.setdefault(transfer_id, {})
        self.plans.setdefault(transfer_id, Plan(complete=False, cursor=None))
        return Attempt(transfer_id=transfer_id, epoch=epoch)

    def _write(self, attempt: Attempt, operation: str, change: Callable[[], None], number: int = 0) -> None:
        self.fault(operation, "", number)
        with self._lock:
            self.check(attempt)
            self.calls.append(operation)
            change()
        self.fault(f"{operation} committed", "", number)

    def plan(self, attempt: Attempt) -> Plan:
        return self.plans[attempt.transfer_id]

    def add(self, attempt: Attempt, objects: Sequence[PlannedObject], *, cursor: str | None) -> None:
        def change() -> None:
            rows = self.rows[attempt.transfer_id]
            keys = [row.row.target_key for row in rows.values()] + [item.target_key for item in objects]
            if len(set(keys)) != len(keys):
                raise ConflictError("two objects have the same key")
            for item in objects:
                ordinal = len(rows) + 1
                state = ObjectState.SKIPPED if item.skip_reason else ObjectState.PENDING
                rows[ordinal] = Row(
                    ObjectRow(
                        ordinal=ordinal,
                        source=item.source,
                        target_key=item.target_key,
                        target_identity=item.target_identity,
                        state=state,
                        error=item.skip_reason,
                        etag=item.skip_etag,
                        crc64nvme=item.skip_crc64nvme,
                        verification=item.skip_level,
                    )
                )
            self.plans[attempt.transfer_id] = Plan(complete=False, cursor=cursor)

        self._write(attempt, "add", change)

    def finish_plan(self, attempt: Attempt) -> None:
        plan = self.plans[attempt.transfer_id]
        self._write(
            attempt,
            "finish_plan",
            lambda: self.plans.__setitem__(attempt.transfer_id, replace(plan, complete=True)),
        )

    def pending(self, transfer_id: str, *, after_ordinal: int, limit: int) -> list[ObjectRow]:
        return self.objects(transfer_id, after_ordinal=after_ordinal, limit=limit, state=ObjectState.PENDING)

    def objects(
        self, transfer_id: str, *, after_ordinal: int = 0, limit: int = 100, state: ObjectState | None = None
    ) -> list[ObjectRow]:
        with self._lock:
            rows = [row.row for row in self.rows[transfer_id].values()]
        return [r for r in rows if r.ordinal > after_ordinal and state in (None, r.state)][:limit]

    def arrived(self, transfer_id: str, keys: Sequence[str]) -> dict[str, ObjectRow]:
        there = {ObjectState.DONE, ObjectState.SKIPPED}
        with self._lock:
            rows = [row.row for row in self.rows[transfer_id].values()]
        return {row.target_key: row for row in rows if row.target_key in keys and row.state in there}

    def totals(self, transfer_id: str) -> Totals:
        with self._lock:
            rows = list(self.rows[transfer_id].values())
        totals = Totals(plan_complete=self.plans[transfer_id].complete)
        levels = []
        for row in rows:
            size = row.row.source.size_bytes or 0
            totals.objects_total += 1
            totals.bytes_total += size
            there = row.row.state in {ObjectState.DONE, ObjectState.SKIPPED}
            totals.objects_unsized += row.row.source.size_bytes is None and not there
            if row.row.state is ObjectState.DONE:
                totals.objects_done += 1
                totals.bytes_done += size
                levels.append(row.row.verification)
            elif row.row.state is ObjectState.SKIPPED:
                totals.objects_skipped += 1
                totals.bytes_done += size
                totals.bytes_skipped += size
            elif row.row.state is ObjectState.FAILED:
                totals.objects_failed += 1
            else:
                totals.bytes_done += sum(part.size_bytes for part in row.parts.values())
        totals.verification = min(levels, default=Verification.NONE)
        return totals

    def intend(
        self, attempt: Attempt, ordinal: int, *, part_size_bytes: int, version_id: str | None = None
    ) -> ObjectRow:
        row = self.rows[attempt.transfer_id][ordinal]

        def change() -> None:
            since = row.row.intent_at or self.clock.now()
            source = replace(row.row.source, version_id=version_id or row.row.source.version_id)
            row.row = replace(row.row, source=source, intent_at=since, part_size_bytes=part_size_bytes)

        self._write(attempt, "intend", change, ordinal)
        return row.row

    def open_upload(self, attempt: Attempt, ordinal: int, upload: Upload) -> None:
        row = self.rows[attempt.transfer_id][ordinal]
        self._write(
            attempt, "open_upload", lambda: setattr(row, "row", replace(row.row, upload=upload)), ordinal
        )

    def parts(self, transfer_id: str, ordinal: int) -> list[PartReceipt]:
        with self._lock:
            parts = self.rows[transfer_id][ordinal].parts
            return [parts[number] for number in sorted(parts)]

    def add_part(self, attempt: Attempt, ordinal: int, part: PartReceipt) -> None:
        parts = self.rows[attempt.transfer_id][ordinal].parts
        self._write(attempt, "add_part", lambda: parts.__setitem__(part.number, part), part.number)

    def drop_parts(self, attempt: Attempt, ordinal: int, numbers: Iterable[int]) -> None:
        def change() -> None:
            for number in numbers:
                self.rows[attempt.transfer_id][ordinal].parts.pop(number, None)

        self._write(attempt, "drop_parts", change, ordinal)

    def _abandon(self, transfer_id: str, row: Row, *, known: bool = True) -> None:
        upload = row.row.upload
        if row.row.intent_at is not None and (known or upload is None):
            number = max(self.cleanup_rows, default=0) + 1
            self.cleanup_rows[number] = Cleanup(
                id=number,
                transfer_id=transfer_id,
                target_identity=row.row.target_identity,
                key=row.row.target_key,
                upload=upload,
                since=row.row.intent_at if upload is None else None,
                attempts=0,
                last_error=None,
            )

    def restart(
        self,
        attempt: Attempt,
        ordinal: int,
        *,
        source: ObjectInfo | None,
        abandon: bool,
        target: tuple[str, str] | None = None,
    ) -> None:
        row = self.rows[attempt.transfer_id][ordinal]

        def change() -> None:
            self._abandon(attempt.transfer_id, row, known=abandon)
            row.parts.clear()
            row.row = replace(
                row.row,
                state=ObjectState.PENDING,
                source=source or row.row.source,
                upload=None,
                intent_at=None,
                part_size_bytes=None,
                target_key=target[0] if target else row.row.target_key,
                target_identity=target[1] if target else row.row.target_identity,
            )

        self._write(attempt, "restart", change, ordinal)

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
        row = self.rows[attempt.transfer_id][ordinal]

        def change() -> None:
            self._abandon(attempt.transfer_id, row, known=False)
            row.parts.clear()
            row.row = replace(
                row.row,
                source=replace(row.row.source, size_bytes=size_bytes),
                state=ObjectState.DONE,
                etag=etag,
                crc64nvme=crc64nvme,
                verification=verification,
                upload=None,
                intent_at=None,
            )

        self._write(attempt, "finish", change, ordinal)

    def finish_many(self, attempt: Attempt, objects: Sequence[Finished]) -> None:
        for item in objects:
            self.finish(
                attempt,
                item.ordinal,
                size_bytes=item.size_bytes,
                etag=item.etag,
                crc64nvme=item.crc64nvme,
                verification=item.verification,
            )

    def fail(self, attempt: Attempt, ordinal: int, *, kind: str, error: str) -> None:
        row = self.rows[attempt.transfer_id][ordinal]

        def change() -> None:
            self._abandon(attempt.transfer_id, row)
            row.parts.clear()
            row.row = replace(
                row.row, state=ObjectState.FAILED, error_kind=kind, error=error, upload=None, intent_at=None
            )

        self._write(attempt, "fail", change, ordinal)

    def skip(self, attempt: Attempt, ordinal: int, *, reason: str) -> None:
        row = self.rows[attempt.transfer_id][ordinal]

        def change() -> None:
            self._abandon(attempt.transfer_id, row)
            row.parts.clear()
            row.row = replace(row.row, state=ObjectState.SKIPPED, error=reason, upload=None, intent_at=None)

        self._write(attempt, "skip", change, ordinal)

    def retry_failed(self, attempt: Attempt) -> int:
        with self._lock:
            self.check(attempt)
            failed = [r for r in self.rows[attempt.transfer_id].values() if r.row.state is ObjectState.FAILED]
            for row in failed:
                fresh = replace(row.row.source, validator=None, version_id=None, crc64nvme=None)
                row.row = replace(
                    row.row, state=ObjectState.PENDING, source=fresh, error_kind=None, error=None
                )
            return len(failed)

    def abandon_all(self, transfer_id: str) -> int:
        rows = [row for row in self.rows[transfer_id].values() if row.row.intent_at is not None]
        for row in rows:
            self._abandon(transfer_id, row)
            row.parts.clear()
            row.row = replace(row.row, upload=None, intent_at=None, part_size_bytes=None)
        return len(rows)

    def is_opening(self, target_identity: str, key: str) -> bool:
        place = (target_identity, key)
        with self._lock:
            rows = [row.row for rows in self.rows.values() for row in rows.values()]
        return any(
            r.intent_at and r.upload is None for r in rows if (r.target_identity, r.target_key) == place
        )

    def known_uploads(self, target_identity: str, key: str) -> frozenset[str]:
        with self._lock:
            rows = [row.row for rows in self.rows.values() for row in rows.values()]
        uploads = [
            r.upload for r in rows if r.upload and (r.target_identity, r.target_key) == (target_identity, key)
        ]
        uploads += [
            c.upload
            for c in (*self.cleanup_rows.values(), *self.given_up)
            if c.upload is not None and (c.target_identity, c.key) == (target_identity, key)
        ]
        return frozenset(upload.upload_id for upload in uploads)

    def cleanups(self, *, limit: int = 100, transfer_id: str | None = None) -> list[Cleanup]:
        return [c for c in self.cleanup_rows.values() if transfer_id in (None, c.transfer_id)][:limit]

    def cleaned(self, cleanup_id: int, *, error: str | None, retry_at: datetime | None) -> None:
        cleanup = self.cleanup_rows.pop(cleanup_id)
        if error is not None:
            cleanup = replace(cleanup, attempts=cleanup.attempts + 1, last_error=error)
            if retry_at is None:
                self.given_up.append(cleanup)
            else:
                self.cleanup_rows[cleanup_id] = cleanup

    def check(self, attempt: Attempt) -> None:
        if self.epochs[attempt.transfer_id] != attempt.epoch:
            raise FencedError("a newer attempt owns the transfer")

    def close(self) -> None:
        """Nothing waits."""


class Witness:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.progress: list[Progress] = []
        self.notes: list[tuple[str, str]] = []
        self.noting: Callable[[str, str], None] = ignore

    def progressed(self, progress: Progress) -> None:
        self.progress.append(progress)

    def noted(self, kind: str, message: str) -> None:
        self.notes.append((kind, message))
        self.noting(kind, message)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.notes]
