"""The engine between real places, with the real ledger: files, and S3 servers through a proxy that breaks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.servers.proxy import Faults, Proxy
from tests.servers.s3_client import digests, open_uploads, s3_client

from dataferry.demo.servers import JuiceFs
from dataferry.domain.errors import StoppedError
from dataferry.domain.location import Location
from dataferry.domain.objects import Verification
from dataferry.domain.progress import Progress
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Result, Transfer
from dataferry.mechanisms.base import Sink, Source
from dataferry.mechanisms.registry import Registry
from dataferry.net.connections import Network
from dataferry.store.local import LocalLedger, open_local_ledger

MIB = 1024 * 1024
LIMITS = EngineLimits(
    workers=4,
    part_size_bytes=5 * MIB,
    multipart_threshold_bytes=8 * MIB,
    attempts=8,
    backoff_s=0.05,
    max_backoff_s=0.5,
)


@dataclass
class Watcher:
    """Keeps what it is told, and lets a test wait for bytes."""

    notes: list[tuple[str, str]] = field(default_factory=list)
    last: Progress = field(default_factory=Progress)

    def progressed(self, progress: Progress) -> None:
        """Keep the last."""
        self.last = progress

    def noted(self, kind: str, message: str) -> None:
        """Keep all."""
        self.notes.append((kind, message))


@dataclass
class Pair:
    """Two places and a ledger; each attempt opens them anew, as a new process would."""

    source: Callable[[], Source]
    sink: Callable[[], Sink]
    ledger: LocalLedger
    watcher: Watcher = field(default_factory=Watcher)

    def go(self, limits: EngineLimits = LIMITS, stop: Stop | None = None) -> Result:
        """Run one attempt."""
        attempt = self.ledger.begin("pair")
        source, sink = self.source(), self.sink()
        try:
            transfer = Transfer(id="pair", epoch=attempt.epoch, source=source, sink=sink, limits=limits)
            return run(transfer, self.ledger, stop=stop or Stop(), observer=self.watcher)
        finally:
            source.close()
            sink.close()

    def stopped_after(
        self, count_bytes: int, limits: EngineLimits, *, before: Callable[[], None] = lambda: None
    ) -> float:
        """Run an attempt that is stopped once so many bytes moved; return how long stopping took.

        Args:
            count_bytes: When.
            limits: Of the attempt.
            before: Called just before the stop.
        """
        stop = Stop()
        ended = threading.Event()

        def attempt() -> None:
            with pytest.raises(StoppedError):
                self.go(limits, stop)
            ended.set()

        thread = threading.Thread(target=attempt)
        thread.start()
        until(lambda: self.watcher.last.bytes_transferred >= count_bytes)
        before()
        began = time.monotonic()
        stop.set()
        thread.join(20)
        assert ended.is_set()
        return time.monotonic() - began


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Poll until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LocalLedger]:
    """A ledger in a file."""
    opened = open_local_ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def files(tmp_path: Path, ledger: LocalLedger) -> tuple[Path, Path, Pair]:
    """Two directories."""
    mechanism = Registry().get("file")
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    pair = Pair(
        source=lambda: mechanism.open_source(mechanism.at_url(f"file://{here}/"), Network()),
        sink=lambda: mechanism.open_sink(mechanism.at_url(f"file://{there}/"), Network()),
        ledger=ledger,
    )
    return here, there, pair


@dataclass
class S3Pair:
    """Two buckets on two servers, the sink behind a proxy."""

    pair: Pair
    proxy: Proxy
    faults: Faults
    from_client: Any
    to_client: Any
    bucket: str

    @property
    def arrived(self) -> bool:
        """True if the sink's bucket has exactly what the source's has."""
        return digests(self.from_client, self.bucket) == digests(self.to_client, self.bucket)


@pytest.fixture
def s3(juicefs_pair: tuple[JuiceFs, JuiceFs], bucket: str, ledger: LocalLedger) -> Iterator[S3Pair]:
    """A pair of real S3 servers."""
    mechanism = Registry().get("s3")
    provider, consumer = juicefs_pair
    from_client, to_client = s3_client(provider), s3_client(consumer)
    from_client.create_bucket(Bucket=bucket)
    to_client.create_bucket(Bucket=bucket)
    faults = Faults()

    def location(server: JuiceFs, endpoint_url: str) -> Location:
        settings = {
            "endpoint_url": endpoint_url,
            "access_key_id": server.access_key_id,
            "secret_access_key": server.secret_access_key,
            "exclusive": True,
        }
        return Location(name="s3", mechanism="s3", settings=settings)

    with Proxy(urlsplit(consumer.endpoint_url).port or 0, faults) as proxy:
        source = mechanism.at_location(location(provider, provider.endpoint_url), f"{bucket}/")
        sink = mechanism.at_location(location(consumer, proxy.endpoint_url), f"{bucket}/")
        pair = Pair(
            source=lambda: mechanism.open_source(source, Network()),
            sink=lambda: mechanism.open_sink(sink, Network()),
            ledger=ledger,
        )
        yield S3Pair(pair, proxy, faults, from_client, to_client, bucket)


def put(s3: S3Pair, key: str, size: int, **attributes: Any) -> None:
    """Put an object of chance bytes at the source."""
    body = random.Random(key).randbytes(size)
    s3.from_client.put_object(Bucket=s3.bucket, Key=key, Body=body, **attributes)


def test_files_of_all_sizes_arrive(files: tuple[Path, Path, Pair]) -> None:
    """A tree of files arrives byte for byte, and a second run moves nothing."""
    here, there, pair = files
    (here / "deep" / "er").mkdir(parents=True)
    for name, size in {"zero": 0, "one": 1, "deep/er/big": 17 * MIB + 3, "deep/odd ?#% ü": 1000}.items():
        (here / name).write_bytes(random.Random(name).randbytes(size))

    result = pair.go()

    found = {str(path.relative_to(there)): path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert found == {
        str(path.relative_to(here)): path.read_bytes() for path in here.rglob("*") if path.is_file()
    }
    assert (result.objects, result.objects_failed) == (4, 0)
    assert result.verification >= Verification.TRANSPORT
    assert pair.go().bytes_resumed == result.bytes


def test_a_stopped_file_transfer_goes_on_where_it_was(files: tuple[Path, Path, Pair]) -> None:
    """A stop in the middle of a big file costs at most the parts in flight."""
    here, there, pair = files
    (here / "big").write_bytes(random.Random(1).randbytes(40 * MIB))
    limits = replace(LIMITS, part_size_bytes=MIB, bandwidth_bytes_per_s=20 * MIB)

    assert pair.stopped_after(15 * MIB, limits) < 1.0
    assert not (there / "big").exists()
    result = pair.go(replace(limits, bandwidth_bytes_per_s=None))

    assert (there / "big").read_bytes() == (here / "big").read_bytes()
    assert result.bytes_resumed >= 15 * MIB - 4 * MIB
    assert [path.name for path in there.iterdir()] == ["big"]


def test_a_bucket_arrives_with_its_attributes(s3: S3Pair) -> None:
    """Small and big objects with odd names arrive whole, with content type and metadata."""
    for number in range(40):
        put(s3, f"small/{number:02} ?#%+ ü", number * 100)
    put(s3, "big", 17 * MIB + 1, ContentType="text/csv", Metadata={"station": "a"}, CacheControl="no-store")
    put(s3, "note", 3, ContentType="text/markdown", Metadata={"station": "b"})

    result = s3.pair.go()

    assert (result.objects, result.objects_failed, result.first_error) == (42, 0, None)
    assert s3.arrived
    big = s3.to_client.head_object(Bucket=s3.bucket, Key="big")
    assert (big["ContentType"], big["CacheControl"], big["Metadata"]) == (
        "text/csv",
        "no-store",
        {"station": "a"},
    )
    note = s3.to_client.head_object(Bucket=s3.bucket, Key="note")
    assert (note["ContentType"], note["Metadata"]) == ("text/markdown", {"station": "b"})
    assert open_uploads(s3.to_client, s3.bucket, "big") == []


def test_a_stop_while_the_network_is_dead_takes_less_than_a_second(s3: S3Pair) -> None:
    """Sockets that block are shut; the next attempt finds what was committed."""
    put(s3, "big", 40 * MIB)
    s3.faults.rate_bytes_per_s = 20.0 * MIB

    def die() -> None:
        s3.faults.blackhole = True

    took = s3.pair.stopped_after(20 * MIB, LIMITS, before=die)
    s3.faults.blackhole, s3.faults.rate_bytes_per_s = False, None

    result = s3.pair.go()

    assert took < 1.0
    assert s3.arrived
    assert result.bytes_resumed >= 20 * MIB - 5 * 5 * MIB
    assert result.bytes_resumed % (5 * MIB) == 0
    assert open_uploads(s3.to_client, s3.bucket, "big") == []


def test_connections_that_are_cut_cost_only_their_parts(s3: S3Pair) -> None:
    """Every connection reset in mid transfer: retried, whole, nothing left open."""
    put(s3, "big", 40 * MIB)
    s3.faults.rate_bytes_per_s = 30.0 * MIB

    def cut() -> None:
        for mark in (8, 20, 30):
            until(lambda mark=mark: s3.pair.watcher.last.bytes_transferred >= mark * MIB)  # type: ignore[misc]
            s3.proxy.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    result = s3.pair.go()
    cutter.join()

    assert result.is_complete
    assert s3.arrived
    assert result.bytes_retransferred <= 3 * LIMITS.workers * LIMITS.part_size_bytes
    assert "retry" in [kind for kind, _ in s3.pair.watcher.notes]
    assert open_uploads(s3.to_client, s3.bucket, "big") == []


def test_a_destination_that_swallows_bytes_is_a_stall(s3: S3Pair) -> None:
    """Bytes that go nowhere end with the stall timeout, and are sent again."""
    put(s3, "big", 20 * MIB)
    s3.faults.rate_bytes_per_s = 20.0 * MIB

    def mend() -> None:
        until(lambda: s3.pair.watcher.last.bytes_transferred >= 8 * MIB)
        s3.faults.blackhole = True
        until(lambda: any(kind == "retry" for kind, _ in s3.pair.watcher.notes))
        s3.faults.blackhole, s3.faults.rate_bytes_per_s = False, None

    mender = threading.Thread(target=mend)
    mender.start()
    result = s3.pair.go(replace(LIMITS, stall_timeout_s=1.0))
    mender.join()

    assert result.is_complete
    assert s3.arrived
