"""The bytes of one part or of one whole file on their way to the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dataferry.domain.errors import ConnectionFailedError, IntegrityError, UnsupportedError
from dataferry.domain.objects import PartReceipt
from dataferry.mechanisms.checksum import crc64nvme
from dataferry.mechanisms.file.tree import sync_directory, translated, validator_of
from dataferry.mechanisms.sink_faults import faults_of_sink

_NO_ALLOCATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
_NO_UNNAMED_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)


def reserve(descriptor: int, size_bytes: int) -> None:
    """Give a file its full size, and its room on the disk where the system can do that.

    Raises:
        OSError: There is no room.
    """
    if size_bytes and hasattr(os, "posix_fallocate"):  # macOS has none
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
        except OSError as exc:
            if exc.errno not in _NO_ALLOCATION:
                raise
        else:
            return
    os.ftruncate(descriptor, size_bytes)


def move(directory: int, temporary: str, name: str, *, only_if_absent: bool) -> None:
    """Give a finished temporary file its final name, in one step, and make that last.

    Raises:
        OSError: It failed; ``EEXIST`` if ``only_if_absent`` and the name is taken.
        UnsupportedError: ``only_if_absent`` on a file system without hard links.
    """
    if only_if_absent:
        try:
            os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            raise UnsupportedError(
                "this file system has no hard links, so that a file can't be written only if absent",
                operation="file.complete",
            ) from exc
        os.unlink(temporary, dir_fd=directory)
    else:
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    sync_directory(directory)


@faults_of_sink
class _Body:
    """Bytes written from an offset on, counted and summed up."""

    operation = "file.write"

    def __init__(
        self, descriptor: int, *, key: str, number: int, offset_bytes: int, length_bytes: int
    ) -> None:
        self._descriptor: int | None = descriptor
        self._key = key
        self._number = number
        self._offset = offset_bytes
        self._length = length_bytes
        self._sent = 0
        self._crc = 0
        self._aborted = False
        self._checksum = crc64nvme

    def send(self, data: memoryview) -> None:
        """Write the next bytes.

        Raises:
            IntegrityError: They are more than was said.
            NoSpaceError: The disk is full.
        """
        descriptor = self._open_descriptor()
        if self._sent + len(data) > self._length:
            raise IntegrityError(
                f"{self._key!r}: more than the {self._length} bytes that were said", operation=self.operation
            )
        self._crc = self._checksum(data, self._crc)
        with translated(self.operation, self._key):
            while data:
                count = os.pwrite(descriptor, data, self._offset + self._sent)
                self._sent += count
                data = data[count:]

    def abort(self) -> None:
        """Make the next call fail. Any thread."""
        self._aborted = True

    def _open_descriptor(self) -> int:
        """Return the descriptor of a body that is still on its way."""
        if self._aborted or self._descriptor is None:
            raise ConnectionFailedError("the write was aborted", operation=self.operation)
        return self._descriptor

    def _flush(self) -> os.stat_result:
        """Check that all bytes came, and make them last: the ledger will say that they are there."""
        descriptor = self._open_descriptor()
        if self._sent != self._length:
            raise IntegrityError(
                f"{self._key!r}: {self._sent} of {self._length} bytes were sent", operation=self.operation
            )
        os.fsync(descriptor)
        return os.fstat(descriptor)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@faults_of_sink
class PartBody(_Body):
    """One part on its way into the temporary file."""

    operation = "file.put_part"

    def finish(self) -> PartReceipt:
        """End the part.

        Raises:
            IntegrityError: Bytes are missing.
        """
        try:
            with translated(self.operation, self._key):
                self._flush()
        finally:
            self._close()
        return PartReceipt(
            number=self._number, size_bytes=self._length, etag="", crc64nvme=self._crc, confirmed=False
        )

    def cancel(self) -> None:
        """Stop writing; the temporary file stays, the part is sent again. Never raises."""
        with suppress(OSError):
            self._close()


@faults_of_sink
class WholeBody(_Body):
    """A whole file on its way.

    On Linux it has no name until its end, so that a kill leaves nothing; elsewhere it is a temporary file.

    Args:
        directory: Descriptor of the directory that it goes to; a copy of it is kept.
        key: As in errors.
        name: Its final name.
        temporary: The name it may have meanwhile.
        length_bytes: How many bytes it has.
        only_if_absent: Refuse to replace another file.
        before_visible: Called right before it gets its name; may refuse.
    """

    operation = "file.put"

    def __init__(
        self,
        directory: int,
        *,
        key: str,
        name: str,
        temporary: str,
        length_bytes: int,
        only_if_absent: bool,
        before_visible: Callable[[], None],
    ) -> None:
        self._name = name
        self._temporary = temporary
        self._only_if_absent = only_if_absent
        self._before_visible = before_visible
        descriptor, self._is_named = _create(directory, temporary)
        self._directory: int | None = None
        super().__init__(descriptor, key=key, number=1, offset_bytes=0, length_bytes=length_bytes)
        try:
            self._directory = os.dup(directory)
            reserve(descriptor, length_bytes)
        except BaseException:
            self.cancel()
            raise

    def finish(self) -> PartReceipt:
        """End the file and give it its final name.

        Raises:
            IntegrityError: Bytes are missing.
            DestinationExistsError: ``only_if_absent``, and it is there.
        """
        try:
            with translated(self.operation, self._key):
                status = self._flush()
                self._before_visible()
                self._publish()
        except BaseException:
            self.cancel()
            raise
        self._is_named = False
        self.cancel()
        return PartReceipt(
            number=1,
            size_bytes=self._length,
            etag=validator_of(status),
            crc64nvme=self._crc,
            confirmed=False,
        )

    def _publish(self) -> None:
        """Make the file visible under its final name."""
        directory = self._directory
        if directory is None:
            raise ConnectionFailedError("the write was aborted", operation=self.operation)
        if not self._is_named:
            target = self._name if self._only_if_absent else self._temporary
            os.link(f"/proc/self/fd/{self._descriptor}", target, dst_dir_fd=directory, follow_symlinks=True)
            self._is_named = not self._only_if_absent
            if self._only_if_absent:
                sync_directory(directory)
                return
        move(directory, self._temporary, self._name, only_if_absent=self._only_if_absent)

    def cancel(self) -> None:
        """Drop the file. Never raises."""
        directory, self._directory = self._directory, None
        if directory is not None:
            if self._is_named:
                with suppress(OSError):
                    os.unlink(self._temporary, dir_fd=directory)
            os.close(directory)
        with suppress(OSError):
            self._close()


def _create(directory: int, temporary: str) -> tuple[int, bool]:
    """Create a file for a whole body; return its descriptor and whether it has a name."""
    if hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").is_dir():
        try:
            return os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o666, dir_fd=directory), False
        except OSError as exc:
            if exc.errno not in _NO_UNNAMED_FILES:
                raise
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=directory), True
