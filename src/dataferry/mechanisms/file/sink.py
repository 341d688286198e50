"""Writes files: first beside their final place and unseen, then there in one step.

A temporary file is called ``.NAME.UPLOAD.dataferry-part`` and lies in the directory of the final file, hence
on the same file system, so that moving it is atomic.
Attributes have no place in plain files and are dropped: the sink does not declare ``ATTRIBUTES``.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TypeVar

from dataferry.domain.errors import (
    AddressError,
    DataFerryError,
    IntegrityError,
    ObjectNotFoundError,
    UploadGoneError,
)
from dataferry.domain.objects import Attributes, Capability, ObjectInfo, PartReceipt, Upload
from dataferry.mechanisms.file.address import FileEndpoint
from dataferry.mechanisms.file.body import PartBody, WholeBody, move, reserve
from dataferry.mechanisms.file.collisions import refuse_folded, refuse_nested
from dataferry.mechanisms.file.source import FileReader
from dataferry.mechanisms.file.spelling import Spelling, folds_names
from dataferry.mechanisms.file.temporary import TIME_CHARS, begun_at, new_upload_id, temporary_name
from dataferry.mechanisms.file.tree import (
    TEMPORARY_SUFFIX,
    describe,
    directory,
    segments,
    shown,
    sync_directory,
    translated,
)
from dataferry.mechanisms.sink_faults import fault_of_sink, faults_of_sink

CAPABILITIES = frozenset({Capability.PARTS, Capability.LIST_UPLOADS, Capability.READ_BACK})

# Nothing limits the parts of a file; the ledger's rows do.
MAX_PARTS = 10_000

T = TypeVar("T")

_UPLOAD_ID = re.compile(r"[0-9a-f]{24}")


class FileSink:
    """A file to be written, or a directory to write files in; directories are made as they are needed."""

    def __init__(self, endpoint: FileEndpoint) -> None:
        self._endpoint = endpoint
        self._names_one_file = endpoint.is_single
        # Where the file system takes several spellings for one name; None until that is known, and elsewhere.
        self._spelling: Spelling | None = None

    @property
    def identity(self) -> str:
        """The root; keys are relative to it."""
        return f"file://{self._endpoint.root}"

    @property
    def exclusive(self) -> bool:
        """True: temporary files of our keys are ours."""
        return self._endpoint.exclusive

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Parts, listing of uploads, reading back."""
        return CAPABILITIES

    @property
    def max_parts(self) -> int:
        """The most parts of one file."""
        return MAX_PARTS

    @property
    def min_part_size_bytes(self) -> int:
        """One: parts lie anywhere in a file."""
        return 1

    @fault_of_sink
    def probe(self) -> None:
        """Check that the root, and what is there already of the way to the place, are directories of ours.

        Raises:
            BucketNotFoundError: The root is not there; it is never made, since it may be a missing mount.
            AddressError: A link or a file stands in the way.
            AccessDeniedError: The last directory that is there may not be written to.
        """

        def look(opened: int) -> None:
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=opened):
                raise PermissionError(errno.EACCES, "not writable")

        self._nearest(look)

    def learn_names(self) -> None:
        """Find out what the file system takes for one name, by a file of ours that is removed again.

        Where none can be written, nothing is learnt, and names are taken as they are.
        """
        with suppress(DataFerryError):
            self._spelling = Spelling(self._endpoint.root) if self._nearest(folds_names) else None

    def _nearest(self, look: Callable[[int], T]) -> T:
        """Look at the directory of the place, or at the last one on the way to it that is there."""
        steps = self._endpoint.steps[:-1] if self._names_one_file else self._endpoint.steps
        while True:
            try:
                with (
                    translated("file.probe", shown(self._endpoint.root, "/".join(steps))),
                    directory(self._endpoint.root, steps) as opened,
                ):
                    return look(opened)
            except ObjectNotFoundError:
                steps = steps[:-1]

    def place(self, name: str, *, single: bool) -> str:
        """Return the path below the root of a source object.

        Raises:
            AddressError: The name would leave the root or can't be a file name, or a link or a file stands
                in its way, or something that is no regular file in its place, or the file system takes
                another name for it that is there.
        """
        if single and self._names_one_file:
            steps, own = self._endpoint.steps, 1
        else:
            below = segments(name)
            steps, own = (*self._endpoint.steps, *below), len(below)
        key = "/".join(steps)
        self._refuse_obstacles(key, steps, own)
        return key

    @fault_of_sink
    def _refuse_obstacles(self, key: str, steps: tuple[str, ...], own: int) -> None:
        """Refuse a path on which something else is there already.

        Raises:
            AddressError: A link or a file stands in the way, or what is no regular file in its place.
            BucketNotFoundError: The root is not there.
        """
        with (
            suppress(ObjectNotFoundError),
            translated("file.place", shown(self._endpoint.root, key)),
            directory(self._endpoint.root, steps[:-1]) as above,
        ):
            describe(key, shown(self._endpoint.root, key), os.lstat(steps[-1], dir_fd=above), None)
        if self._spelling is not None:
            self._spelling.refuse_other(key, last=own)

    def check_keys(self, keys: Iterable[str]) -> None:
        """Refuse keys that can't be there together: ``a`` and ``a/b``; on some systems ``a`` and ``A``.

        Args:
            keys: In the order of the source's names; memory is one key's length, however many there are.
                Where names fold they are sorted, in a temporary file if they are many.

        Raises:
            AddressError: Two of them can't be there together.
        """
        if self._spelling is None:
            refuse_nested((key, key) for key in keys)
        else:
            refuse_folded(keys)

    @fault_of_sink
    def find(self, keys: Sequence[str]) -> dict[str, ObjectInfo]:
        """Look files up; those not there are left out."""
        writer = self.writer()
        found = ((key, writer.stat(key)) for key in keys)
        return {key: info for key, info in found if info is not None}

    def writer(self) -> FileWriter:
        """Open a worker's writer."""
        return FileWriter(self._endpoint.root, self._spelling)

    def reader(self) -> FileReader:
        """Open a worker's reader of what was written: from the disk, where the system can do that."""
        return FileReader(self._endpoint.root, past_cache=True)

    def close(self) -> None:
        """Nothing is kept open between calls."""


@faults_of_sink
class FileWriter:
    """One worker's way to write below a root.

    Args:
        root: The directory.
        spelling: Looks at names once more before they are taken, where the file system folds them.
    """

    def __init__(self, root: str, spelling: Spelling | None = None) -> None:
        self._root = root
        self._spelling = spelling
        self._body: PartBody | WholeBody | None = None

    def put(
        self, key: str, *, length_bytes: int, attributes: Attributes, only_if_absent: bool = False
    ) -> WholeBody:
        """Write a whole file; ``attributes`` are dropped.

        Raises:
            NoSpaceError: There is no room for ``length_bytes``.
        """
        del attributes
        with self._beside(key, "file.put", create=True) as (above, name):
            body = WholeBody(
                above,
                key=shown(self._root, key),
                name=name,
                temporary=temporary_name(name, new_upload_id()),
                length_bytes=length_bytes,
                only_if_absent=only_if_absent,
                before_visible=lambda: self._refuse_other(key),
            )
        self._body = body
        return body

    def create_upload(self, key: str, *, size_bytes: int | None, attributes: Attributes) -> Upload:
        """Make the temporary file, at its full size where that is known: a full disk is noticed now.

        Raises:
            NoSpaceError: There is no room for ``size_bytes``.
        """
        del attributes
        upload_id = new_upload_id()
        with self._beside(key, "file.create_upload", create=True) as (above, name):
            temporary = temporary_name(name, upload_id)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=above)
            try:
                reserve(descriptor, size_bytes or 0)
            except BaseException:
                os.unlink(temporary, dir_fd=above)
                raise
            finally:
                os.close(descriptor)
            sync_directory(above)
        return Upload(upload_id=upload_id, key=key, started_at=begun_at(upload_id))

    def put_part(self, upload: Upload, *, number: int, offset_bytes: int, length_bytes: int) -> PartBody:
        """Write one part at its place in the temporary file.

        Raises:
            UploadGoneError: The temporary file is not there.
        """
        body = PartBody(
            self._open_temporary(upload, "file.put_part", os.O_WRONLY),
            key=shown(self._root, upload.key),
            number=number,
            offset_bytes=offset_bytes,
            length_bytes=length_bytes,
        )
        self._body = body
        return body

    def list_parts(self, upload: Upload) -> None:
        """Return None: a file can't tell which of its bytes are there, so the ledger's word stands.

        Raises:
            UploadGoneError: The temporary file is not there.
        """
        os.close(self._open_temporary(upload, "file.list_parts", os.O_RDONLY))

    def complete(
        self,
        upload: Upload,
        parts: Sequence[PartReceipt],
        *,
        size_bytes: int,
        crc64nvme: int | None,
        only_if_absent: bool = False,
    ) -> ObjectInfo:
        """Move the temporary file to its final name, in one step and after its bytes are on the disk.

        Raises:
            UploadGoneError: The temporary file is not there.
            IntegrityError: Parts, temporary file and ``size_bytes`` do not agree.
            DestinationExistsError: ``only_if_absent``, and it is there.
            AddressError: The file system takes another name for it that is there by now.
        """
        del crc64nvme  # nothing of a file could be compared with it but its bytes, read again
        descriptor = self._open_temporary(upload, "file.complete", os.O_RDWR)
        try:
            with self._beside(upload.key, "file.complete") as (above, name):
                os.fsync(descriptor)
                status = os.fstat(descriptor)
                if not sum(part.size_bytes for part in parts) == status.st_size == size_bytes:
                    raise IntegrityError(
                        f"{upload.key!r} has not the {size_bytes} bytes that it should have",
                        operation="file.complete",
                    )
                temporary = temporary_name(name, upload.upload_id)
                self._refuse_other(upload.key)
                move(above, temporary, name, only_if_absent=only_if_absent)
                return describe(upload.key, upload.key, status, None)
        finally:
            os.close(descriptor)

    def abort_upload(self, upload: Upload) -> None:
        """Remove the temporary file; one that is gone is no error."""
        with (
            suppress(ObjectNotFoundError),
            self._beside(upload.key, "file.abort_upload") as (above, name),
        ):
            if _UPLOAD_ID.fullmatch(upload.upload_id):
                os.unlink(temporary_name(name, upload.upload_id), dir_fd=above)

    def list_uploads(self, key: str, *, since: datetime) -> list[Upload]:
        """Return the temporary files of exactly that key, begun since then to the millisecond."""
        earliest = since.replace(microsecond=since.microsecond // 1000 * 1000)
        *above, name = segments(key)
        found = []
        with (
            suppress(ObjectNotFoundError),
            translated("file.list_uploads", key),
            directory(self._root, tuple(above), listable=True) as opened,
            os.scandir(opened) as entries,
        ):
            for entry in entries:
                upload_id = entry.name.removesuffix(TEMPORARY_SUFFIX)[-2 * TIME_CHARS :]
                if (
                    _UPLOAD_ID.fullmatch(upload_id)
                    and entry.name == temporary_name(name, upload_id)
                    and begun_at(upload_id) >= earliest
                ):
                    found.append(Upload(upload_id=upload_id, key=key, started_at=begun_at(upload_id)))
        return sorted(found, key=lambda upload: upload.upload_id)

    def stat(self, key: str) -> ObjectInfo | None:
        """Look a file up; None if there is none, or something that is no regular file."""
        try:
            with self._beside(key, "file.stat") as (above, name):
                return describe(key, key, os.lstat(name, dir_fd=above), None)
        except (ObjectNotFoundError, AddressError):
            return None

    def abort(self) -> None:
        """Make the body on its way fail at its next call; a file's own writes never wait for long."""
        body = self._body
        if body is not None:
            body.abort()

    def close(self) -> None:
        """Drop the body on its way."""
        if self._body is not None:
            self._body.cancel()

    def _refuse_other(self, key: str) -> None:
        """Refuse to replace a file that was made meanwhile under another spelling of the name."""
        if self._spelling is not None:
            self._spelling.refuse_other(key, last=1)

    @contextmanager
    def _beside(self, key: str, operation: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """Open the directory of a key; give its descriptor and the file's name in it."""
        *above, name = segments(key)
        with (
            translated(operation, shown(self._root, key)),
            directory(self._root, tuple(above), create=create) as opened,
        ):
            yield opened, name

    def _open_temporary(self, upload: Upload, operation: str, flags: int) -> int:
        """Open the temporary file of an upload."""
        gone = UploadGoneError(f"the upload of {upload.key!r} is not there", operation=operation)
        if not _UPLOAD_ID.fullmatch(upload.upload_id):
            raise gone
        try:
            with self._beside(upload.key, operation) as (above, name):
                return os.open(temporary_name(name, upload.upload_id), flags | os.O_NOFOLLOW, dir_fd=above)
        except ObjectNotFoundError:
            raise gone from None
