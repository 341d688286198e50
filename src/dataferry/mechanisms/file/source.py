"""Reads files: one, or a directory tree in the order of its names."""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Iterator
from mimetypes import MimeTypes

from dataferry.domain.errors import (
    AddressError,
    ConnectionFailedError,
    ObjectNotFoundError,
    ShortBodyError,
    SourceChangedError,
    WrongRangeError,
)
from dataferry.domain.names import is_text
from dataferry.domain.objects import Attributes, Capability, ObjectInfo
from dataferry.mechanisms.file.address import FileEndpoint
from dataferry.mechanisms.file.tree import (
    TEMPORARY_NAME,
    describe,
    directory,
    segments,
    shown,
    translated,
    validator_of,
)

CAPABILITIES = frozenset({Capability.LIST, Capability.RANGES, Capability.VALIDATORS})

# Without the machine's own tables, so that a name means the same type everywhere.
_TYPES = MimeTypes()
_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}

_LOG = logging.getLogger(__name__)


def guess_attributes(name: str) -> Attributes:
    """Guess the content type from a file's name; nothing else is known of a file."""
    content_type, encoding = _TYPES.guess_type(name)
    return Attributes(content_type=_COMPRESSED.get(encoding) if encoding else content_type)


class FileSource:
    """A file, or every regular file below a directory.

    Symbolic links below the root are never followed, wherever they lead: what they name is either listed
    by its own name or lies outside. Links, devices, pipes and sockets are left out of a listing, and how many
    were is logged; naming one as the source is refused.
    """

    def __init__(self, endpoint: FileEndpoint) -> None:
        self._endpoint = endpoint
        self._is_single = endpoint.is_single

    @property
    def identity(self) -> str:
        """As of the endpoint."""
        return self._endpoint.identity

    @property
    def is_single(self) -> bool:
        """True if it is exactly one file."""
        return self._is_single

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Listing, ranges and validators."""
        return CAPABILITIES

    def probe(self) -> None:
        """Open the file or directory once.

        Raises:
            BucketNotFoundError, ObjectNotFoundError, AccessDeniedError, AddressError: It can't be read.
        """
        with translated("file.probe", shown(self._endpoint.root, self._endpoint.path)):
            if self._is_single:
                os.close(_open_file(self._endpoint.root, self._endpoint.path))
                return
            with directory(self._endpoint.root, self._endpoint.steps, listable=True):
                return

    def list(self, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """List files in the plain string order of their names; memory is one directory's names per level.

        Names that are not UTF-8 are listed too: patterns may leave them out (``domain.names``).
        """
        if self._is_single:
            yield from self._list_one(start_after)
            return
        yield from _Walk(self._endpoint, start_after or "")

    def named(self, name: str) -> ObjectInfo:
        """Return the file of a name below the directory.

        Raises:
            AddressError: It leads out of the directory, or can't be a file's name.
        """
        return ObjectInfo(name=name, key="/".join((*self._endpoint.steps, *segments(name))), size_bytes=None)

    def _list_one(self, start_after: str | None) -> Iterator[ObjectInfo]:
        """List the one file."""
        name, key = self._endpoint.name, self._endpoint.path
        if start_after is None or name > start_after:
            yield self.reader().stat(ObjectInfo(name=name, key=key, size_bytes=None))

    def reader(self) -> FileReader:
        """Open a worker's reader."""
        return FileReader(self._endpoint.root)

    def close(self) -> None:
        """Nothing is kept open between calls."""


class _Walk:
    """One listing of a tree, in the order of the names.

    A directory sorts as its name with ``/`` behind it: that is where the names below it stand.
    """

    def __init__(self, endpoint: FileEndpoint, start_after: str) -> None:
        self._endpoint = endpoint
        self._start_after = start_after
        self._left_out = 0

    def __iter__(self) -> Iterator[ObjectInfo]:
        stack = [iter(self._entries(""))]
        while stack:
            name = next(stack[-1], None)
            if name is None:
                stack.pop()
            elif name.endswith("/"):
                if name > self._start_after or self._start_after.startswith(name):
                    stack.append(iter(self._entries(name)))
            elif name > self._start_after:
                yield from self._file(name)
        if self._left_out:
            _LOG.warning(
                "%d links and special files below the source directory were left out", self._left_out
            )

    def _entries(self, prefix: str) -> list[str]:
        """Return the names of one directory, sorted; those of directories end with ``/``."""
        steps = (*self._endpoint.steps, *prefix.split("/")[:-1])
        names = []
        try:
            with (
                translated("file.list", shown(self._endpoint.root, prefix)),
                directory(self._endpoint.root, steps, listable=True) as opened,
                os.scandir(opened) as entries,
            ):
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        names.append(f"{prefix}{entry.name}/")
                    elif not entry.is_file(follow_symlinks=False):
                        self._left_out += 1
                    elif not TEMPORARY_NAME.fullmatch(entry.name):
                        names.append(prefix + entry.name)
        except ObjectNotFoundError:
            if not prefix:
                raise
            return []  # removed since its parent was listed
        names.sort()
        return names

    def _file(self, name: str) -> Iterator[ObjectInfo]:
        """Describe one file; nothing if it was removed since its directory was listed."""
        if is_text(name):
            segments(name)
        steps = (*self._endpoint.steps, *name.split("/"))
        key = "/".join(steps)
        try:
            with translated("file.list", shown(self._endpoint.root, key)):
                status = os.lstat("/".join((self._endpoint.root.rstrip("/"), *steps)))
        except ObjectNotFoundError:
            return
        if stat.S_ISREG(status.st_mode):
            yield describe(name, key, status, None)


class FileReader:
    """One worker's way to read files below a root.

    Args:
        root: The directory.
        past_cache: Have the system forget what it keeps of a range in memory before it is read.
    """

    def __init__(self, root: str, *, past_cache: bool = False) -> None:
        self._root = root
        self._past_cache = past_cache
        self._stream: FileStream | None = None

    def stat(self, info: ObjectInfo) -> ObjectInfo:
        """Look the file up now.

        Raises:
            ObjectNotFoundError: It is gone.
            AddressError: It is not a regular file.
        """
        with translated("file.stat", shown(self._root, info.key)):
            descriptor = _open_file(self._root, info.key)
            try:
                return describe(info.name, info.key, os.fstat(descriptor), guess_attributes(info.name))
            finally:
                os.close(descriptor)

    def open(self, info: ObjectInfo, *, offset_bytes: int = 0, length_bytes: int | None = None) -> FileStream:
        """Open the half-open range ``(offset_bytes, offset_bytes + length_bytes)``, to the end if None.

        Raises:
            SourceChangedError: The file is another version now.
            WrongRangeError: It has no such range.
            ObjectNotFoundError: It is gone.
        """
        with translated("file.open", shown(self._root, info.key)):
            descriptor = _open_file(self._root, info.key)
            try:
                if self._past_cache and hasattr(os, "posix_fadvise"):  # macOS has none
                    os.posix_fadvise(descriptor, offset_bytes, length_bytes or 0, os.POSIX_FADV_DONTNEED)
                stream = FileStream(descriptor, info, offset_bytes, length_bytes)
            except BaseException:
                os.close(descriptor)
                raise
        self._stream = stream
        return stream

    def abort(self) -> None:
        """Make the stream that is open fail at its next call; a file's own reads never wait for long."""
        stream = self._stream
        if stream is not None:
            stream.abort()

    def close(self) -> None:
        """Close the stream that is open."""
        if self._stream is not None:
            self._stream.close()


class FileStream:
    """A range of one open file. Its version is compared when it is opened and when its end is reached."""

    def __init__(
        self, descriptor: int, expected: ObjectInfo, offset_bytes: int, length_bytes: int | None
    ) -> None:
        status = os.fstat(descriptor)
        self._info = describe(expected.name, expected.key, status, guess_attributes(expected.name))
        if expected.validator is not None and self._info.validator != expected.validator:
            raise self._changed()
        available = status.st_size - offset_bytes
        length = available if length_bytes is None else length_bytes
        if offset_bytes < 0 or length < 0 or length > available:
            raise WrongRangeError(
                f"{expected.key!r} has {status.st_size} bytes: "
                f"there is no range of {length} at {offset_bytes}",
                operation="file.open",
            )
        os.lseek(descriptor, offset_bytes, os.SEEK_SET)
        self._file = io.FileIO(descriptor, "rb")
        self._length = self._left = length
        self._aborted = False

    @property
    def info(self) -> ObjectInfo:
        """The file as it was when it was opened."""
        return self._info

    @property
    def length_bytes(self) -> int:
        """How many bytes will come."""
        return self._length

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from its start; return how many bytes, 0 at the end.

        Raises:
            SourceChangedError: The file was written to meanwhile.
            ShortBodyError: The file ended early although its version is the same.
        """
        if self._aborted:
            raise ConnectionFailedError("the read was aborted", operation="file.read")
        if not self._left or not buffer:
            return 0
        with translated("file.read", self._info.key):
            count = self._file.readinto(buffer[: self._left]) or 0
            self._left -= count
            if (not count or not self._left) and validator_of(
                os.fstat(self._file.fileno())
            ) != self._info.validator:
                raise self._changed()
        if not count:
            raise ShortBodyError(f"{self._info.key!r} ended {self._left} bytes early", operation="file.read")
        return count

    def abort(self) -> None:
        """Make the next call fail. Any thread."""
        self._aborted = True

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _changed(self) -> SourceChangedError:
        return SourceChangedError(
            f"{self._info.key!r} is not the version that the transfer began with", operation="file.read"
        )


def _open_file(root: str, key: str) -> int:
    """Open a regular file below the root for reading.

    Raises:
        AddressError: It is something else, or a link.
    """
    *above, last = segments(key)
    with directory(root, tuple(above)) as descriptor:
        # A pipe without a writer would block the open for ever.
        opened = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise AddressError(f"{key!r} is not a regular file", operation="file.open")
    return opened
