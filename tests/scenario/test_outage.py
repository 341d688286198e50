"""A control plane that is away: what it is to be told waits for it, in order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.servers.plane import MIB, PUSH, Rig, running, s3_address, s3_location
from tests.servers.s3_client import digests

from dataferry.demo.control_plane import message
from dataferry.demo.servers import JuiceFs


def test_registration_and_callbacks_arrive_after_outages(
    juicefs_pair: tuple[JuiceFs, JuiceFs],
    source: Any,
    sink: Any,
    bucket: str,
    seeded: random.Random,
    tmp_path: Path,
) -> None:
    """Down when the plane starts, and while flows begin and end: nothing is lost or out of order."""
    source.put_object(Bucket=bucket, Key="one", Body=seeded.randbytes(3 * MIB))
    rig = Rig(
        tmp_path,
        locations={"here": s3_location(juicefs_pair[0])},
        # No time to prepare: each start is answered with 202, and has two callbacks.
        datasets=[{"id": "data", "source": f"here:{bucket}/", "prepare_wait_s": 0}],
    )
    rig.control_plane.stop()
    with running(rig):
        assert rig.control_plane.received == ()
        rig.control_plane.start()
        registration = rig.control_plane.wait_for("registration")
        assert PUSH in registration.body["profiles"]

        rig.control_plane.stop()
        processes = [f"process-{number}" for number in range(3)]
        for process_id in processes:
            address = s3_address(juicefs_pair[1], bucket, f"{process_id}/")
            reply = rig.control_plane.start_flow(
                rig.address, message(process_id, "data", PUSH, dataAddress=address)
            )
            assert (reply.status, reply.state) == (202, "STARTING")
        for process_id in processes:
            rig.wait_finished(process_id)
        assert rig.kinds(processes[0]) == []
        rig.control_plane.start()
        for process_id in processes:
            rig.control_plane.wait_for("completed", process_id)
            assert rig.kinds(process_id) == ["started", "completed"]
    assert set(digests(sink, bucket).values()) == set(digests(source, bucket).values())


def test_a_callback_that_is_too_early_is_repeated_unchanged(
    juicefs_pair: tuple[JuiceFs, JuiceFs], source: Any, sink: Any, bucket: str, tmp_path: Path
) -> None:
    """404, 409 and 503 are answered by the same message again, later; it is accepted once."""
    source.put_object(Bucket=bucket, Key="one", Body=b"1")
    rig = Rig(
        tmp_path,
        locations={"here": s3_location(juicefs_pair[0])},
        datasets=[{"id": "data", "source": f"here:{bucket}/"}],
    )
    statuses = [404, 409, 503]
    rig.control_plane.answer = lambda kind, _: statuses.pop(0) if kind == "completed" and statuses else 200
    with running(rig):
        process_id = rig.start_push("data", s3_address(juicefs_pair[1], bucket))
        rig.control_plane.wait_for("completed", process_id)
        rig.wait_for(
            lambda: {one["state"] for one in rig.plane.manage("GET", "/callbacks")["items"]} == {"sent"},
            what="settled",
        )
    told = [one for one in rig.control_plane.received if one.kind == "completed"]
    assert [one.answered for one in told] == [404, 409, 503, 200]
    assert len({one.body["messageId"] for one in told}) == 1
