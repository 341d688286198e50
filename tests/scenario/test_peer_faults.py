"""Faults that were found in another data plane, and must not be in this one.

Elsewhere: kills and orphans in test_kill.py, a changing source in test_source_changed.py, parallel starts in
test_parallel_starts.py, an absent control plane in test_outage.py, secrets in test_secrets.py.
"""

from __future__ import annotations

import random
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.servers.plane import MIB, PART_BYTES, PUSH, Rig, running, s3_address, s3_location
from tests.servers.proxy import Proxy
from tests.servers.recorder import Recorder
from tests.servers.s3_client import digests, keys, open_uploads, s3_client

from dataferry.demo.control_plane import message
from dataferry.demo.servers import JuiceFs
from dataferry.engine.attempt.course import Course
from dataferry.engine.objects.parts import parts_of
from dataferry.engine.transfer import EngineLimits

AMBIENT = {
    "AWS_ACCESS_KEY_ID": "AKIAAMBIENT000000001",
    "AWS_SECRET_ACCESS_KEY": "ambient-secret-0123456789abcdefghijklmno",
    "AWS_SESSION_TOKEN": "ambient-session-token-0123456789",
}


@pytest.mark.parametrize("size_bytes", [0, 1, 1 * MIB, 8 * MIB - 1])
def test_objects_under_8_mib_cross_between_servers(
    size_bytes: int,
    rig: Rig,
    juicefs_b: JuiceFs,
    source: Any,
    sink: Any,
    bucket: str,
    seeded: random.Random,
) -> None:
    """Small objects arrive where source and destination are different servers."""
    source.put_object(Bucket=bucket, Key="small", Body=seeded.randbytes(size_bytes))
    rig.wait_finished(rig.start_push(bucket, s3_address(juicefs_b, bucket)))
    assert digests(sink, bucket) == digests(source, bucket)


def test_five_hundred_small_objects_arrive(
    rig: Rig, juicefs_b: JuiceFs, source: Any, sink: Any, bucket: str, seeded: random.Random
) -> None:
    """A bucket of 500 objects of 100 kB is copied whole."""
    for number in range(500):
        source.put_object(Bucket=bucket, Key=f"a/{number:03}", Body=seeded.randbytes(100_000))
    process_id = rig.start_push(bucket, s3_address(juicefs_b, bucket))
    view = rig.wait_finished(process_id)
    assert (view["objectsDone"], view["bytesTransferred"]) == (500, 50_000_000)
    assert digests(sink, bucket) == digests(source, bucket)


def test_content_type_and_user_metadata_are_kept(
    rig: Rig, juicefs_b: JuiceFs, source: Any, sink: Any, bucket: str
) -> None:
    """In one request and in parts alike."""
    for key, size_bytes in (("small", 10), ("large", 3 * PART_BYTES)):
        source.put_object(
            Bucket=bucket,
            Key=key,
            Body=bytes(size_bytes),
            ContentType="text/csv",
            Metadata={"unit": "kelvin"},
        )
    rig.wait_finished(rig.start_push(bucket, s3_address(juicefs_b, bucket)))
    for key in ("small", "large"):
        head = sink.head_object(Bucket=bucket, Key=key)
        assert (head["ContentType"], head["Metadata"]) == ("text/csv", {"unit": "kelvin"})


def test_a_failure_is_told_without_being_asked(
    rig: Rig, juicefs_b: JuiceFs, source: Any, sink: Any, bucket: str, seeded: random.Random
) -> None:
    """A destination that goes away is reported with ``errored``; a resume goes on when it is back."""
    source.put_object(Bucket=bucket, Key="large", Body=seeded.randbytes(3 * PART_BYTES))
    with Proxy(juicefs_b.port) as proxy:
        proxy.faults.rate_bytes_per_s = 8 * MIB
        process_id = rig.start_push(bucket, s3_address(juicefs_b, bucket, endpoint_url=proxy.endpoint_url))
        rig.wait_moved(process_id, MIB)
        proxy.faults.refuse = True
        proxy.cut()
        errored = rig.control_plane.wait_for("errored", process_id)
        assert errored.body["state"] == "STARTED"
        assert errored.body["error"]
        proxy.faults.refuse = False
        proxy.faults.rate_bytes_per_s = None
        rig.notify(process_id, "resume")
        rig.wait_finished(process_id)
    assert digests(sink, bucket) == digests(source, bucket)
    assert open_uploads(sink, bucket, "large") == []


def test_terminate_stops_the_bytes(
    rig: Rig, juicefs_b: JuiceFs, juicefs: JuiceFs, seeded: random.Random
) -> None:
    """No byte moves after the answer, no callback comes, and the upload is aborted."""
    bucket = f"slow-{uuid.uuid4().hex[:16]}"
    source, sink = s3_client(juicefs), s3_client(juicefs_b)
    for client in (source, sink):
        client.create_bucket(Bucket=bucket)
    source.put_object(Bucket=bucket, Key="large", Body=seeded.randbytes(60 * MIB))
    with Proxy(juicefs_b.port) as proxy:
        process_id = rig.start_push(bucket, s3_address(juicefs_b, bucket, endpoint_url=proxy.endpoint_url))
        rig.wait_moved(process_id, 2 * PART_BYTES)
        rig.notify(process_id, "terminate", reason="contract ended")
        rig.wait_for(lambda: open_uploads(sink, bucket, "large") == [], what="aborted")
        sent = proxy.bytes_up
        view = rig.view(process_id)
        assert view is not None
        assert (view["state"], view["running"]) == ("TERMINATED", False)
        # Another flow comes and goes; meanwhile nothing of the terminated one moves.
        rig.wait_finished(rig.start_push(bucket, s3_address(juicefs_b, bucket, "again/")))
        # A look at what is left there may still come; no data does.
        assert proxy.bytes_up - sent < 16 * 1024
    assert keys(sink, bucket) == ["again/large"]
    assert rig.kinds(process_id) == []


def test_a_callers_endpoint_never_gets_our_credentials(
    juicefs: JuiceFs, source: Any, bucket: str, tmp_path: Path
) -> None:
    """With AWS credentials around the process, another's endpoint sees only what its own address brought."""
    source.put_object(Bucket=bucket, Key="one", Body=b"1")
    rig = Rig(
        tmp_path,
        locations={"here": s3_location(juicefs)},
        datasets=[{"id": "data", "source": f"here:{bucket}/"}],
        engine={"attempts": 2, "backoff_s": 0.01},
        environment=AMBIENT,
    )
    with Recorder() as recorder, running(rig):
        address = s3_address(
            juicefs, bucket, endpoint_url=recorder.endpoint_url, accessKeyId="AKIATHEIRS000000001"
        )
        anonymous = {
            **address,
            "endpointProperties": [
                entry
                for entry in address["endpointProperties"]
                if entry["name"] not in {"accessKeyId", "secretAccessKey"}
            ],
        }
        refused = rig.control_plane.start_flow(
            rig.address, message("process-1", "data", PUSH, dataAddress=anonymous)
        )
        assert refused.status == 400
        assert recorder.requests == []
        rig.control_plane.start_flow(rig.address, message("process-2", "data", PUSH, dataAddress=address))
        rig.wait_for(lambda: bool(recorder.requests), what="called")
    seen = "\n".join(recorder.requests)
    assert "AKIATHEIRS000000001" in seen
    for secret in (*AMBIENT.values(), juicefs.access_key_id):
        assert secret not in seen


@pytest.mark.parametrize("size_bytes", [1, 160_000 * MIB, 5 * 1024 * 1024 * MIB])
def test_no_object_has_more_than_ten_thousand_parts(size_bytes: int) -> None:
    """Up to S3's largest object, the plan stays below S3's bound and covers every byte once."""
    sink = SimpleNamespace(max_parts=10_000, min_part_size_bytes=5 * MIB)
    transfer: Any = SimpleNamespace(limits=EngineLimits(), sink=sink)
    nothing = cast("Any", None)
    course = Course(
        transfer=transfer,
        ledger=nothing,
        attempt=nothing,
        observer=nothing,
        clock=nothing,
        halt=nothing,
        retrier=nothing,
        tally=nothing,
        tags=nothing,
        bandwidth=None,
        route=nothing,
    )
    parts = parts_of(size_bytes, course.part_size_bytes(size_bytes))
    assert len(parts) <= 9_000
    assert sum(part.length_bytes for part in parts) == size_bytes
