"""The rig: what a mechanism's test file supplies, so that the behaviour suite can run on it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from enum import StrEnum

import pytest
from awscrt.checksums import crc64nvme

from dataferry.domain.address import DataAddress
from dataferry.domain.location import Location
from dataferry.domain.objects import Attributes, Capability, ObjectInfo, PartReceipt, Upload
from dataferry.mechanisms.base import ByteStream, Endpoint, Mechanism, PartWrite, Reader, Sink, Source, Writer
from dataferry.net.connections import Network

BUFFER_BYTES = 256 * 1024
NO_ATTRIBUTES = Attributes()


class Fault(StrEnum):
    """What may go wrong on the other side; a rig says which of it it can bring about."""

    SHORT_BODY = "short body"  # source: the connection ends in the middle of a body
    STALL = "stall"  # source: half of a body, then silence
    IGNORED_RANGE = "ignored range"  # source: 200 and the whole object, where a range was asked for
    SHIFTED_RANGE = "shifted range"  # source: 206 with another range
    IGNORED_CONDITION = "ignored condition"  # source: If-Match is not looked at
    THROTTLING = "throttling"  # either: slow down, with a time to wait
    SERVER_ERROR = "server error"  # either: 500
    EXPIRED_CREDENTIALS = "expired credentials"  # either
    WRONG_CREDENTIALS = "wrong credentials"  # either
    REFUSED_CONNECTION = "refused connection"  # either: nobody listens
    STALLED_WRITE = "stalled write"  # sink: takes no more bytes in the middle of a body
    ERROR_IN_SUCCESS = "error in success"  # sink: completion answers 200 with an error in its body
    WRONG_CHECKSUM = "wrong checksum"  # sink: what was stored has another checksum
    FULL = "full"  # sink: no space left


class Quirk(StrEnum):
    """What a certain server can't do, though its protocol can; the case that needs it is skipped there."""

    NO_CONDITIONAL_WRITES = "writes only if absent are not conditional"
    NO_CONDITIONAL_COPIES = "copies of a certain version are not conditional"
    NAMES_COLLIDE = "names collide as those of files and directories do"
    NO_CONTENT_LANGUAGE = "the content language is lost"
    LOST_UPLOADS_CRASH = "using an upload that is gone is an internal error"
    NO_UPLOAD_TIMES = "uploads do not carry the time they were begun"
    NO_USER_METADATA = "there is no user metadata"
    NO_ATTRIBUTES = "attributes that a source has are of the server's own making"
    LOCKS_BROKEN_WRITES = "what broke off stays locked for a moment"
    WRITE_ONLY = "what was written is not read there"
    NO_VERSION_OF_WRITES = "a write does not say what version it made"


class MechanismRig(ABC):
    """Sources and sinks of one mechanism, with a way to look behind them.

    Attributes:
        mechanism: What is tested.
        part_size_bytes: The size of parts that are not the last; the least that the store takes.
        secrets: Values that must never be shown.
        source_faults: What ``faulty_source`` can bring about.
        sink_faults: What ``faulty_sink`` can bring about.
        quirks: What the rig's server can't do.
        bad_names: Names that ``place`` must refuse.
        any_path: A path that is right in any location.
        wrong_location: A location whose settings are wrong.
    """

    mechanism: Mechanism
    part_size_bytes: int = 64 * 1024
    secrets: tuple[str, ...] = ()
    source_faults: frozenset[Fault] = frozenset()
    sink_faults: frozenset[Fault] = frozenset()
    quirks: frozenset[Quirk] = frozenset()
    bad_names: tuple[str, ...] = ("../up", "a/../../up", "..")
    any_path: str = "x"
    wrong_location: Location | None = None

    @property
    def network(self) -> Network:
        """How connections are opened."""
        return Network()

    @abstractmethod
    def fresh_source(
        self, objects: Mapping[str, bytes], *, attributes: Attributes = NO_ATTRIBUTES
    ) -> Endpoint:
        """Make a new place that holds these objects, by name; written without the mechanism's own code."""

    @abstractmethod
    def single(self, source: Endpoint, name: str) -> Endpoint:
        """Return the place that is exactly one object of a fresh source (or of a fresh sink)."""

    @abstractmethod
    def fresh_sink(self) -> Endpoint:
        """Make a new, empty place."""

    @abstractmethod
    def contents(self, place: Endpoint) -> dict[str, bytes]:
        """Return what is visible in a place, by name; read without the mechanism's own code."""

    @abstractmethod
    def replace(self, source: Endpoint, name: str, data: bytes) -> None:
        """Replace an object of a source behind the mechanism's back, so that its version changes."""

    @abstractmethod
    def missing_root(self) -> Endpoint | None:
        """Return a place whose bucket, container or root does not exist; None if there are no roots."""

    def source_without_lengths(
        self,
        objects: Mapping[str, bytes],  # noqa: ARG002 - for those that override it
        *,
        breaks_off: bool = False,  # noqa: ARG002
    ) -> Endpoint | None:
        """Make a place that holds these objects and does not say how long they are.

        Args:
            objects: By name.
            breaks_off: Each body ends in the middle, without a mark of its end.

        Returns:
            None if the mechanism always says it.
        """
        return None

    def strangers(self, source: Endpoint) -> list[Endpoint]:
        """Return ways to a fresh source from which a fresh sink's store must not copy by itself.

        Needed with ``COPY``: other credentials, another store, a place that a message named.
        """
        del source
        return []

    def grantable(self, objects: Mapping[str, bytes]) -> Endpoint | None:
        """Make a new place that holds these objects, of which scoped grants that end can be made.

        Returns:
            None if the rig has nothing that enforces them.
        """
        del objects
        return None

    def ungrantable(self) -> Endpoint:
        """Return a place whose credentials may not make grants; needed with ``grantable``."""
        raise NotImplementedError

    def redirected(self, address: DataAddress, other: Endpoint) -> Endpoint:
        """Return another place as a granted address's credentials find it; needed with ``grantable``."""
        raise NotImplementedError

    def end_grants(self) -> None:
        """Let all grants that were made until now have ended; needed with ``grantable``."""
        raise NotImplementedError

    def faulty_source(self, fault: Fault, objects: Mapping[str, bytes]) -> Endpoint:
        """Make a source that suffers from a fault of ``source_faults``."""
        raise NotImplementedError(fault)

    def faulty_sink(self, fault: Fault) -> Endpoint:
        """Make a sink that suffers from a fault of ``sink_faults``."""
        raise NotImplementedError(fault)


class MechanismCases:
    """What the cases share. A subclass overrides the fixture ``rig``."""

    @pytest.fixture
    def rig(self) -> MechanismRig:
        """Return the mechanism's rig."""
        raise NotImplementedError("override the fixture rig in the mechanism's test class")

    @pytest.fixture(autouse=True)
    def _close_all(self) -> Iterator[None]:
        """Close what a case opened, in the reverse order."""
        with ExitStack() as self._opened:
            yield

    def source(self, rig: MechanismRig, endpoint: Endpoint) -> Source:
        """Open a source."""
        return self._opened.enter_context(closing(rig.mechanism.open_source(endpoint, rig.network)))

    def sink(self, rig: MechanismRig, endpoint: Endpoint) -> Sink:
        """Open a sink."""
        return self._opened.enter_context(closing(rig.mechanism.open_sink(endpoint, rig.network)))

    def reader(self, source: Source) -> Reader:
        """Open a reader."""
        return self._opened.enter_context(closing(source.reader()))

    def writer(self, sink: Sink) -> Writer:
        """Open a writer."""
        return self._opened.enter_context(closing(sink.writer()))

    def begin(self, sink: Sink, data: bytes) -> tuple[Writer, Upload]:
        """Open an upload of an object called ``x``."""
        writer = self.writer(sink)
        key = sink.place("x", single=False)
        return writer, writer.create_upload(key, size_bytes=len(data), attributes=NO_ATTRIBUTES)


def needs(rig: MechanismRig, capability: Capability) -> None:
    """Skip a case of something that is not declared: that it is refused is a case of its own."""
    if capability not in rig.mechanism.source_capabilities | rig.mechanism.sink_capabilities:
        pytest.skip(f"{rig.mechanism.name} does not declare {capability.value}")


def skip_on(rig: MechanismRig, quirk: Quirk) -> None:
    """Skip a case that the rig's server can't meet."""
    if quirk in rig.quirks:
        pytest.skip(f"on this server {quirk}")


def pattern(size_bytes: int, *, seed: int = 0) -> bytes:
    """Return bytes of which no two stretches are alike, the same ones for the same seed."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size_bytes)


def drain(stream: ByteStream) -> bytes:
    """Read a stream to its end and close it."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    data = bytearray()
    try:
        while count := stream.readinto(buffer):
            data += buffer[:count]
    finally:
        stream.close()
    return bytes(data)


def read(
    reader: Reader, info: ObjectInfo, *, offset_bytes: int = 0, length_bytes: int | None = None
) -> bytes:
    """Read a range of an object."""
    return drain(reader.open(info, offset_bytes=offset_bytes, length_bytes=length_bytes))


def find_one(source: Source, name: str) -> ObjectInfo:
    """Return one listed object by its name.

    A source that can't list is one object; its readers find others beside it by name.
    """
    if Capability.LIST not in source.capabilities:
        with closing(source.reader()) as reader:
            return reader.stat(ObjectInfo(name=name, key=name, size_bytes=None))
    return next(info for info in source.list() if info.name == name)


def send(body: PartWrite, data: bytes) -> PartReceipt:
    """Send a whole body in pieces and finish it; a body that fails is cancelled, as the engine does it."""
    view = memoryview(data)
    try:
        for offset in range(0, len(data), BUFFER_BYTES):
            body.send(view[offset : offset + BUFFER_BYTES])
        return body.finish()
    except BaseException:
        body.cancel()
        raise


def put(
    writer: Writer,
    key: str,
    data: bytes,
    *,
    attributes: Attributes = NO_ATTRIBUTES,
    only_if_absent: bool = False,
) -> PartReceipt:
    """Write a whole object."""
    body = writer.put(key, length_bytes=len(data), attributes=attributes, only_if_absent=only_if_absent)
    return send(body, data)


def put_part(writer: Writer, upload: Upload, data: bytes, number: int, part_size_bytes: int) -> PartReceipt:
    """Write one part of an object whose bytes are ``data``."""
    offset = (number - 1) * part_size_bytes
    piece = data[offset : offset + part_size_bytes]
    body = writer.put_part(upload, number=number, offset_bytes=offset, length_bytes=len(piece))
    return send(body, piece)


def checksum(data: bytes) -> int:
    """CRC-64/NVME of some bytes."""
    return int(crc64nvme(data))
