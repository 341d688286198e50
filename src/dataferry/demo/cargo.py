"""What the demo moves: a bucket of many small objects and one large one, made on the spot."""

from __future__ import annotations

import hashlib
import os
import queue
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from dataferry.demo.servers import JuiceFs
from dataferry.demo.witness import Witness

Item = TypeVar("Item")

MIB = 1024 * 1024
BLOCK_BYTES = 4 * MIB
PART_BYTES = 32 * MIB
THREADS = 4
LARGE_KEY = "scans/volume-0001.raw"
SEED = 2026


@dataclass(frozen=True, slots=True, kw_only=True)
class CargoSize:
    """How much to make.

    Attributes:
        small_objects: Of 4 to 64 KiB each.
        large_bytes: Of the one large object; a multiple of 32 MiB.
    """

    small_objects: int = 2_000
    large_bytes: int = 1024 * MIB


FULL = CargoSize()
SMALL = CargoSize(small_objects=200, large_bytes=64 * MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was made: ``(size in bytes, SHA-256)`` of every object, by key."""

    objects: dict[str, tuple[int, str]]

    @property
    def total_bytes(self) -> int:
        """Of all objects."""
        return sum(size for size, _ in self.objects.values())


def make(server: JuiceFs, bucket: str, size: CargoSize) -> Manifest:
    """Make the bucket and its objects."""
    with Witness(server) as witness:
        witness.make_bucket(bucket)
        upload_id = witness.begin(bucket, LARGE_KEY)
    digests = _make_small(server, bucket, size.small_objects)
    large = _LargeObject(size.large_bytes)
    etags: dict[int, str] = {}

    def put_part(witness: Witness, part: tuple[int, bytes]) -> None:
        number, body = part
        etags[number] = witness.put_part(bucket, LARGE_KEY, upload_id, number, body)

    _in_threads(server, large.parts(), put_part)
    with Witness(server) as witness:
        witness.finish(bucket, LARGE_KEY, upload_id, [etags[number] for number in sorted(etags)])
    digests[LARGE_KEY] = (size.large_bytes, large.sha256)
    return Manifest(objects=digests)


def _make_small(server: JuiceFs, bucket: str, count: int) -> dict[str, tuple[int, str]]:
    """Put the small objects: the same sizes in each run, so that runs compare."""
    sizes = random.Random(SEED)  # noqa: S311 - sizes, no secret
    block = os.urandom(BLOCK_BYTES)
    digests: dict[str, tuple[int, str]] = {}

    def bodies() -> Iterable[tuple[str, bytes]]:
        for number in range(count):
            size_bytes = sizes.randint(4, 64) * 1024
            start = sizes.randrange(BLOCK_BYTES - size_bytes)
            yield f"readings/2026-{number % 12 + 1:02}/{number:05}.bin", block[start : start + size_bytes]

    def put(witness: Witness, item: tuple[str, bytes]) -> None:
        key, body = item
        witness.put(bucket, key, body)
        digests[key] = (len(body), hashlib.sha256(body).hexdigest())

    _in_threads(server, bodies(), put)
    return digests


class _LargeObject:
    """Random blocks, each made different from all others by its number: quick, and no two parts are equal."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._block = os.urandom(BLOCK_BYTES)
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what ``parts`` has given."""
        return self._digest.hexdigest()

    def parts(self) -> Iterable[tuple[int, bytes]]:
        """The parts in order, numbers from 1."""
        for number in range(1, self._size_bytes // PART_BYTES + 1):
            blocks = range(PART_BYTES // BLOCK_BYTES)
            body = b"".join(_mark(number * len(blocks) + block) + self._block[8:] for block in blocks)
            self._digest.update(body)
            yield number, body


def _mark(number: int) -> bytes:
    return number.to_bytes(8, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a look at a bucket showed.

    Attributes:
        wrong: Keys that are missing, too many, or of other bytes.
    """

    objects: int
    bytes: int
    wrong: tuple[str, ...]


def compare(server: JuiceFs, bucket: str, expected: dict[str, tuple[int, str]]) -> Comparison:
    """Read every object of a bucket from its server, and compare size and SHA-256 with what was made."""
    with Witness(server) as witness:
        found = set(witness.keys(bucket))
    wrong = sorted(found ^ expected.keys())
    sizes: list[int] = []

    def check(witness: Witness, key: str) -> None:
        actual = witness.digest(bucket, key)
        sizes.append(actual[0])
        if actual != expected[key]:
            wrong.append(key)

    # The largest first: it takes longest.
    ordered = sorted(found & expected.keys(), key=lambda key: -expected[key][0])
    _in_threads(server, ordered, check)
    return Comparison(objects=len(sizes), bytes=sum(sizes), wrong=tuple(wrong))


def _in_threads(server: JuiceFs, items: Iterable[Item], act: Callable[[Witness, Item], None]) -> None:
    """Do something with each item in a few threads, each with its own connection; raise the first error."""
    waiting: queue.Queue[Item | None] = queue.Queue(maxsize=THREADS)
    failed: list[Exception] = []
    threads = [
        threading.Thread(target=_work, args=(server, waiting, act, failed), daemon=True)
        for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    try:
        for item in items:
            waiting.put(item)
            if failed:
                break
    finally:
        for _ in threads:
            waiting.put(None)
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


def _work(
    server: JuiceFs,
    waiting: queue.Queue[Item | None],
    act: Callable[[Witness, Item], None],
    failed: list[Exception],
) -> None:
    """Take items until None comes; after an error only empty the queue."""
    with Witness(server) as witness:
        while (item := waiting.get()) is not None:
            if failed:
                continue
            try:
                act(witness, item)
            except Exception as error:  # noqa: BLE001 - the boundary of a thread; its starter raises it
                failed.append(error)
