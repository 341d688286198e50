"""What others do to a source, a destination and a clock while the engine moves bytes from S3 to S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from tests.servers.faulty_s3 import Fault, FaultyS3
from tests.unit.engine.memory import Witness

from dataferry.domain.errors import BucketNotFoundError
from dataferry.domain.location import Location
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Result, Transfer
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.net.connections import Network
from dataferry.store.local import open_local_ledger

MIB = 1024 * 1024
PART = 5 * MIB
BODY = bytes(range(256)) * (2 * PART // 256) + b"tail"
LIMITS = EngineLimits(
    workers=1,
    part_size_bytes=PART,
    multipart_threshold_bytes=PART,
    attempts=3,
    backoff_s=0.01,
    max_backoff_s=0.02,
)


@pytest.fixture
def server() -> Iterator[FaultyS3]:
    """A server with one large object in a bucket, and an empty bucket."""
    with FaultyS3() as server:
        server.make_bucket("source")
        server.make_bucket("target")
        server.put("source", "big", BODY)
        yield server


def go(server: FaultyS3, path: Path) -> tuple[Result, Witness]:
    """Run one attempt."""
    settings = {
        "endpoint_url": server.endpoint_url,
        "access_key_id": server.access_key_id,
        "secret_access_key": server.secret_access_key,
        "exclusive": True,
        "server_side_copy": False,
    }
    location = Location(name="it", mechanism="s3", settings=settings)
    witness = Witness()
    with (
        closing(open_local_ledger(path)) as ledger,
        closing(MECHANISM.open_source(MECHANISM.at_location(location, "source/"), Network())) as source,
        closing(MECHANISM.open_sink(MECHANISM.at_location(location, "target/"), Network())) as sink,
    ):
        attempt = ledger.begin("t")
        transfer = Transfer(id="t", epoch=attempt.epoch, source=source, sink=sink, limits=LIMITS)
        return run(transfer, ledger, stop=Stop(), observer=witness), witness


def at(server: FaultyS3, call: str, number: int, change: Callable[[], object]) -> None:
    """Change something right after the n-th call of a name."""
    left = [number]

    def watch(name: str, moment: str) -> None:
        if (name, moment) == (call, "after"):
            left[0] -= 1
            if left[0] == 0:
                change()

    server.watch = watch


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda server: server.put("source", "big", bytes(len(BODY))), "source_changed"),
        (lambda server: server.buckets["source"].pop("big"), "object_not_found"),
    ],
    ids=["replaced", "deleted"],
)
def test_a_source_that_changes_in_the_middle_fails_its_object(
    server: FaultyS3, tmp_path: Path, change: Callable[[FaultyS3], object], kind: str
) -> None:
    """Never a mixture: nothing is visible, no upload is left, and the reason is told."""
    at(server, "UploadPart", 1, lambda: change(server))
    result, _ = go(server, tmp_path / "ledger.db")
    assert (result.objects, result.objects_failed) == (0, 1)
    assert getattr(result.first_error, "kind", "") == kind
    assert server.buckets["target"] == {}
    assert server.open_uploads("target") == []


def test_a_destination_bucket_that_is_deleted_ends_the_attempt(server: FaultyS3, tmp_path: Path) -> None:
    """It is told as what it is, and the transfer goes on once the bucket is back."""
    bucket: list[dict[str, object]] = []
    at(server, "UploadPart", 1, lambda: bucket.append(server.buckets.pop("target")))  # type: ignore[arg-type]
    with pytest.raises(BucketNotFoundError):
        go(server, tmp_path / "ledger.db")
    server.make_bucket("target")
    server.uploads.clear()
    result, _ = go(server, tmp_path / "ledger.db")
    assert result.is_complete
    assert server.body("target", "big") == BODY


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_lost_upload_is_found_though_clocks_differ(server: FaultyS3, tmp_path: Path, hours: int) -> None:
    """The store's own clock says when an upload was begun."""
    server.clock_skew = timedelta(hours=hours)
    server.inject("CreateMultipartUpload", Fault.RESET_AFTER)
    result, witness = go(server, tmp_path / "ledger.db")
    assert result.is_complete
    assert "lost_uploads" in witness.kinds()
    assert server.open_uploads("target") == []
    assert server.body("target", "big") == BODY
