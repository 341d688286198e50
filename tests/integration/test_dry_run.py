"""What ``--dry-run`` estimates, against what a server then sees."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.faulty_s3 import FaultyS3
from tests.servers.plane import s3_location

from dataferry.app.copy import copy, plan
from dataferry.app.outcome import CopyOptions
from dataferry.cli.progress import Silent
from dataferry.cli.transfers import estimated
from dataferry.demo.planes import toml
from dataferry.engine.selection import Selection
from dataferry.engine.transfer import Overwrite, Verify

MIB = 1024 * 1024
CALLS = {
    "read": "GetObject",
    "write": "PutObject",
    "create": "CreateMultipartUpload",
    "part": "UploadPart",
    "complete": "CompleteMultipartUpload",
    "list_parts": "ListParts",
}


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultyS3, FaultyS3]]:
    """A server with small and large objects, and an empty one, both known to the configuration here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with FaultyS3() as source, FaultyS3() as sink:
        source.make_bucket("data")
        sink.make_bucket("data")
        for number in range(110):
            source.put("data", f"in/{number:04}.txt", b"x")
        for number in range(2):
            source.put("data", f"in/large-{number}.bin", os.urandom(11 * MIB + number))
        config = {
            "locations": {"here": s3_location(source), "there": s3_location(sink)},
            "engine": {"part_size_bytes": 5 * MIB, "multipart_threshold_bytes": 5 * MIB},
        }
        (tmp_path / "dataferry.toml").write_text(toml(config))
        yield source, sink


def seen(server: FaultyS3) -> Counter[str]:
    """What a server was asked since the last look."""
    with server.lock:
        calls = Counter(name for name, _, _ in server.requests)
        server.requests.clear()
    return calls


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"overwrite": Overwrite.NEVER, "selection": Selection.of(["*.bin", "?00*"])},
        {"overwrite": Overwrite.ALWAYS, "manifest": True, "verify": Verify.READBACK},
    ],
    ids=["default", "selected", "readback"],
)
def test_a_real_run_makes_the_requests_that_were_estimated(
    pair: tuple[FaultyS3, FaultyS3], options: dict[str, Any]
) -> None:
    """Each kind is exact; with look-ups, which a store answers as it can, the sum is within the range."""
    source, sink = pair
    made = CopyOptions(workers=4, **options)
    found = plan("here:data/in/", "there:data/out/", made, Silent())
    assert not seen(sink).keys() & {"PutObject", "CreateMultipartUpload", "UploadPart"}
    assert "GetObject" not in seen(source)

    assert copy("here:data/in/", "there:data/out/", made, Silent()).state == "completed"

    here, there, requests = seen(source), seen(sink), found.requests
    assert requests.objects_in_parts == 2
    for counts, calls in ((requests.source, here), (requests.destination, there)):
        assert {kind: counts.get(kind, 0) for kind in CALLS} == {kind: calls[CALLS[kind]] for kind in CALLS}
    assert requests.least <= here.total() + there.total() <= requests.most
    assert found.as_json()["requests"]["least"] == requests.least


def test_an_estimate_says_what_it_is_said_from(pair: tuple[FaultyS3, FaultyS3]) -> None:
    """The latency of requests made now and the bound that is set; the time is never below either."""
    made = CopyOptions(workers=2, bandwidth_bytes_per_s=11 * MIB)
    found = plan("here:data/in/", "there:data/out/", made, Silent())
    duration = found.duration
    assert duration is not None
    assert duration.least_s >= 2.0
    assert min(duration.source_latency_s, duration.destination_latency_s) > 0
    text = "\n".join(estimated(found))
    assert "route: streaming" in text
    assert "2 at once, at most 11.0 MiB/s" in text
    assert "in parts: 2 objects, 6 parts" in text
