"""Steps through a directory tree that can't leave it: one directory at a time, symbolic links refused.

Everything below the root is opened relative to the directory above it, with ``O_NOFOLLOW``. So neither a
name nor a link that somebody puts there in the meantime leads anywhere else. Errors of the operating system
become ours here, and name the place below the root, never the root.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from dataferry.domain.errors import (
    AccessDeniedError,
    AddressError,
    BucketNotFoundError,
    DataFerryError,
    DestinationExistsError,
    NoSpaceError,
    ObjectNotFoundError,
    ServerError,
    StorageError,
)
from dataferry.domain.names import is_text, quoted
from dataferry.domain.objects import Attributes, ObjectInfo

MAX_SEGMENT_BYTES = 255
TEMPORARY_SUFFIX = ".dataferry-part"
TEMPORARY_NAME = re.compile(r"\..+\.[0-9a-f]{24}" + re.escape(TEMPORARY_SUFFIX), re.DOTALL)

# Passing through a directory needs no right to list it, where the system knows the difference.
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW

_ERRORS: dict[int, type[DataFerryError]] = {
    errno.ENOENT: ObjectNotFoundError,
    errno.EEXIST: DestinationExistsError,
    errno.EACCES: AccessDeniedError,
    errno.EPERM: AccessDeniedError,
    errno.EROFS: AccessDeniedError,
    errno.ENOSPC: NoSpaceError,
    errno.EDQUOT: NoSpaceError,
    errno.EFBIG: NoSpaceError,
    errno.ENOTDIR: AddressError,
    errno.EISDIR: AddressError,
    errno.ELOOP: AddressError,
    errno.ENAMETOOLONG: AddressError,
    errno.EILSEQ: AddressError,
    errno.EIO: ServerError,
    errno.ESTALE: ServerError,
    errno.EMFILE: ServerError,
    errno.ENFILE: ServerError,
    errno.ETIMEDOUT: ServerError,
}


def shown(root: str, key: str) -> str:
    """A key as messages show it: a path from the very top is absolute, others are relative to a location."""
    return f"/{key}" if root == "/" else key


@contextmanager
def translated(operation: str, key: str) -> Iterator[None]:
    """Turn an ``OSError`` into the error of our tree that says the same."""
    try:
        yield
    except OSError as exc:
        kind = _ERRORS.get(exc.errno or 0, StorageError)
        raise kind(f"{key!r}: {os.strerror(exc.errno or 0)}", operation=operation) from exc


def segments(name: str) -> tuple[str, ...]:
    """Split a name into file names that are each a plain step down.

    Raises:
        AddressError: A step is empty, ``.`` or ``..``, holds NUL, is longer than 255 bytes, is not UTF-8,
            or looks like one of our temporary files.
    """
    steps = tuple(name.split("/"))
    for step in steps:
        reason = _fault(step)
        if reason:
            raise AddressError(f"{quoted(name)} can't be a file name here: {reason}")
    return steps


def _fault(step: str) -> str | None:
    """Say why one step can't be a file name; None if it can."""
    if not is_text(step):
        return "it is not UTF-8; rename it"
    size_bytes = len(step.encode())
    if step in ("", ".", ".."):
        return f"it has the step {step!r}"
    if "\0" in step:
        return "it holds NUL"
    if size_bytes > MAX_SEGMENT_BYTES:
        return f"a step has {size_bytes} bytes, more than {MAX_SEGMENT_BYTES}"
    if TEMPORARY_NAME.fullmatch(step):
        return "it is the name of a temporary file of a transfer"
    return None


@contextmanager
def directory(
    root: str, steps: tuple[str, ...], *, create: bool = False, listable: bool = False
) -> Iterator[int]:
    """Open the directory ``steps`` below ``root``; the descriptor is closed afterwards.

    Raises:
        OSError: As the system says it; ``ENOTDIR`` or ``ELOOP`` for a symbolic link.
        BucketNotFoundError: The root itself is not there.
    """
    try:
        # The root is the operator's word: it alone may be reached through links.
        descriptor = os.open(root, (_LIST if listable and not steps else _PASS) & ~os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise BucketNotFoundError("the root directory is not there", operation="file.open") from exc
    try:
        for depth, step in enumerate(steps, start=1):
            flags = _LIST if listable and depth == len(steps) else _PASS
            below = _step(descriptor, step, flags, create=create)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _step(descriptor: int, step: str, flags: int, *, create: bool) -> int:
    """Open one directory below another, making it if asked to."""
    try:
        return os.open(step, flags, dir_fd=descriptor)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(step, dir_fd=descriptor)
        sync_directory(descriptor)
    return os.open(step, flags, dir_fd=descriptor)


def sync_directory(descriptor: int) -> None:
    """Make the entries of a directory outlast a power cut, where its rights let us."""
    try:
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor)
    except PermissionError:
        return
    try:
        # Some network file systems refuse this; their servers keep entries by themselves.
        with suppress(OSError):
            os.fsync(readable)
    finally:
        os.close(readable)


def validator_of(status: os.stat_result) -> str:
    """Name a version of a file: when it was written, how long it is, which file it is."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


def describe(name: str, key: str, status: os.stat_result, attributes: Attributes | None) -> ObjectInfo:
    """Describe a regular file.

    Raises:
        AddressError: It is a directory, a link, a device, a pipe or a socket.
    """
    if not stat.S_ISREG(status.st_mode):
        raise AddressError(f"{key!r} is not a regular file", operation="file.stat")
    return ObjectInfo(
        name=name,
        key=key,
        size_bytes=status.st_size,
        validator=validator_of(status),
        modified_at=_time(status.st_mtime),
        attributes=attributes,
    )


def _time(seconds: float) -> datetime | None:
    """Read a file's time; None where it is not within the years 1 to 9999: anybody may set it to anything."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
