"""Server-side copies: what the store does by itself, what it refuses, and what it does wrongly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.servers.faulty_s3 import Fault, FaultyS3
from tests.servers.moto import MotoServer
from tests.servers.proxy import Proxy
from tests.servers.s3_client import S3Server, digests, open_uploads, s3_client
from tests.unit.engine.memory import Witness

from dataferry.demo.servers import JuiceFs
from dataferry.domain.address import DataAddress
from dataferry.domain.errors import NoSpaceError
from dataferry.domain.location import Location
from dataferry.domain.objects import Verification
from dataferry.engine.preview import preview
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Overwrite, Result, Transfer, Verify
from dataferry.mechanisms.base import Endpoint
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy
from dataferry.store.local import open_local_ledger

MIB = 1024 * 1024
PART = 5 * MIB
BIG = bytes(range(256)) * (2 * PART // 256) + b"tail"
SMALL = {"small": b"hello", "empty": b"", "odd ?#%+.txt": b"odd"}
LIMITS = EngineLimits(
    workers=2,
    part_size_bytes=PART,
    multipart_threshold_bytes=PART,
    attempts=3,
    backoff_s=0.01,
    max_backoff_s=0.02,
)
ONE = replace(LIMITS, workers=1)
ALWAYS: dict[str, Any] = {"times": 1_000}


@pytest.fixture
def server() -> Iterator[FaultyS3]:
    """A server with small objects in a bucket, and an empty bucket."""
    with FaultyS3() as server:
        fill(server)
        yield server


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no store copy more than a part in one request."""
    monkeypatch.setattr("dataferry.mechanisms.s3.sink.MAX_COPY_BYTES", PART)


def fill(server: FaultyS3) -> None:
    """Make two buckets, and objects in one."""
    server.make_bucket("source")
    server.make_bucket("target")
    for name, body in SMALL.items():
        server.put("source", name, body, content_type="text/x-odd")


def place(server: S3Server, path: str, **more: str | bool) -> Endpoint:
    """A place in a location of that server."""
    settings = {
        "endpoint_url": server.endpoint_url,
        "access_key_id": server.access_key_id,
        "secret_access_key": server.secret_access_key,
        "exclusive": True,
        **more,
    }
    return MECHANISM.at_location(Location(name="it", mechanism="s3", settings=settings), path)


def named(server: S3Server, bucket: str) -> Endpoint:
    """A place as a message names it."""
    keys = (("accessKeyId", server.access_key_id), ("secretAccessKey", server.secret_access_key))
    return MECHANISM.at_address(
        DataAddress(endpoint_type="AmazonS3", endpoint=f"{server.endpoint_url}/{bucket}/", properties=keys)
    )


def go(
    source: Endpoint,
    sink: Endpoint,
    path: Path,
    *,
    limits: EngineLimits = LIMITS,
    network: Network | None = None,
    overwrite: Overwrite = Overwrite.IF_DIFFERENT,
    verify: Verify = Verify.BEST,
) -> tuple[Result, Witness]:
    """Run one attempt."""
    witness = Witness()
    network = network or Network()
    with (
        closing(open_local_ledger(path / "ledger.db")) as ledger,
        closing(MECHANISM.open_source(source, network)) as opened,
        closing(MECHANISM.open_sink(sink, network)) as target,
    ):
        transfer = Transfer(
            id="t",
            epoch=ledger.begin("t").epoch,
            source=opened,
            sink=target,
            limits=limits,
            overwrite=overwrite,
            verify=verify,
        )
        return run(transfer, ledger, stop=Stop(), observer=witness), witness


def within(server: FaultyS3, path: Path, **more: Any) -> tuple[Result, Witness]:
    """Run one attempt from one bucket to the other."""
    return go(place(server, "source/"), place(server, "target/"), path, **more)


def arrived(server: FaultyS3) -> bool:
    """True if the target has exactly what the source has, and no upload is open."""
    bodies = [{key: it.body for key, it in server.buckets[name].items()} for name in ("source", "target")]
    return bodies[0] == bodies[1] and server.open_uploads("target") == []


def strategies(witness: Witness) -> list[str]:
    """What was said of the way."""
    return [message for kind, message in witness.notes if kind == "strategy"]


def after(server: FaultyS3, call: str, change: Callable[[], object]) -> None:
    """Change something right after the first call of a name."""
    due = [change]

    def watch(name: str, moment: str) -> None:
        if (name, moment) == (call, "after") and due:
            due.pop()()

    server.watch = watch


def test_the_store_copies_by_itself(server: FaultyS3, tmp_path: Path) -> None:
    """One request an object, no byte of it passes here, and checksums of both ends are compared."""
    result, witness = within(server, tmp_path)
    assert arrived(server)
    assert (server.count("CopyObject"), server.count("GetObject"), server.count("PutObject")) == (3, 0, 0)
    assert result.strategy == "server-side copy"
    assert (result.bytes_moved, result.bytes_copied, result.bytes) == (0, 8, 8)
    assert result.verification is Verification.DESTINATION
    assert server.buckets["target"]["small"].headers["content-type"] == "text/x-odd"
    assert strategies(witness)[0].startswith("server-side copy by up to 2 workers: one set of credentials")
    assert witness.progress[-1].bytes_transferred == 8


@pytest.mark.usefixtures("in_parts")
def test_large_objects_are_copied_in_parts(server: FaultyS3, tmp_path: Path) -> None:
    """The store copies ranges, and the whole is what the source keeps a checksum of."""
    server.put("source", "big", BIG, content_type="text/x-big")
    result, _ = within(server, tmp_path)
    assert arrived(server)
    assert (server.count("UploadPartCopy"), server.count("GetObject")) == (3, 0)
    assert (result.strategy, result.bytes_moved) == ("server-side copy", 0)
    assert result.verification is Verification.DESTINATION
    assert server.buckets["target"]["big"].headers["content-type"] == "text/x-big"


@pytest.mark.usefixtures("in_parts")
def test_a_dry_run_tells_the_route_and_its_requests(server: FaultyS3, tmp_path: Path) -> None:
    """What it counts is what is then sent, and nothing was sent by it."""
    server.put("source", "big", BIG)
    ends = place(server, "source/"), place(server, "target/")
    with (
        closing(open_local_ledger(tmp_path / "plan.db")) as ledger,
        closing(MECHANISM.open_source(ends[0], Network())) as source,
        closing(MECHANISM.open_sink(ends[1], Network())) as sink,
    ):
        epoch = ledger.begin("t").epoch
        transfer = Transfer(id="t", epoch=epoch, source=source, sink=sink, limits=LIMITS)
        plan = preview(transfer, ledger, Witness()).as_json()
    assert server.buckets["target"] == {}
    assert (plan["strategy"], plan["requests"]["destination"]["copy"]) == ("server-side copy", 3)
    before = len(server.requests)
    go(*ends, tmp_path)
    moving = {"copy": "CopyObject", "copy_part": "UploadPartCopy", "create": "CreateMultipartUpload"}
    moving |= {"list_parts": "ListParts", "complete": "CompleteMultipartUpload"}
    told = {call: plan["requests"]["destination"][name] for name, call in moving.items()}
    assert told == {call: server.count(call) for call in moving.values()}
    checks = 2  # of both ends, which the command makes
    assert plan["requests"]["least"] <= len(server.requests) - before + checks <= plan["requests"]["most"]
    assert "read" not in plan["requests"]["source"]


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        (Fault.ERROR, {"status": 403, "code": "AccessDenied"}),
        (Fault.ERROR, {"status": 501, "code": "NotImplemented"}),
        (Fault.ERROR, {"status": 400, "code": "InvalidRequest"}),
        (Fault.ERROR, {"status": 404, "code": "NoSuchBucket"}),
        (Fault.ERROR, {"status": 404, "code": "NoSuchKey"}),
        (Fault.ERROR, {"status": 412, "code": "PreconditionFailed"}),
        (Fault.ERROR, {"status": 500, "code": "InternalError"}),
        (Fault.ERROR_IN_200, {"code": "AccessDenied"}),
        (Fault.CORRUPT, {}),
    ],
    ids=lambda value: value.value if isinstance(value, Fault) else value.get("code", ""),
)
def test_what_the_store_refuses_is_streamed(
    server: FaultyS3, tmp_path: Path, fault: Fault, how: dict[str, Any]
) -> None:
    """Everything arrives, the reason is told, and the store is not asked for ever."""
    for number in range(1, 6):
        server.put("source", f"and-{number}", b"x" * number)
    server.inject("CopyObject", fault, **ALWAYS, **how)
    result, witness = within(server, tmp_path, limits=ONE)
    assert arrived(server)
    assert (result.objects_failed, result.strategy) == (0, "streaming")
    assert server.count("CopyObject") <= LIMITS.attempts
    assert strategies(witness)[-1].startswith("streaming from here on, since the store did not copy: ")
    assert witness.progress[-1].bytes_transferred == result.bytes


def test_a_server_that_knows_no_copies_leaves_no_empty_objects(tmp_path: Path) -> None:
    """A store that takes a copy for a write of nothing is noticed, and what it made is replaced."""
    with FaultyS3(copies=False) as server:
        fill(server)
        result, witness = within(server, tmp_path, limits=ONE)
        assert arrived(server)
    assert result.strategy == "streaming"
    assert "the reply is not XML" in strategies(witness)[-1]


def test_one_refused_object_does_not_end_copies(server: FaultyS3, tmp_path: Path) -> None:
    """The others are still copied, and the result names both ways."""
    server.inject("CopyObject", Fault.ERROR, status=403, code="AccessDenied", key="small")
    result, witness = within(server, tmp_path, limits=ONE)
    assert arrived(server)
    assert result.strategy == "server-side copy and streaming"
    assert (result.bytes_moved, result.bytes_copied) == (5, 3)
    assert "copy_refused" in witness.kinds()
    assert strategies(witness)[-1] == "server-side copy: 2 objects; streaming: 1"


@pytest.mark.usefixtures("in_parts")
def test_parts_that_are_refused_are_streamed_into_the_same_upload(server: FaultyS3, tmp_path: Path) -> None:
    """An object that was begun by copies ends by streaming; no part is made twice."""
    server.put("source", "big", BIG)
    server.inject("UploadPartCopy", Fault.ERROR, **ALWAYS, skip=1, status=501, code="NotImplemented")
    result, _ = within(server, tmp_path, limits=ONE)
    assert arrived(server)
    assert (server.count("CreateMultipartUpload"), server.count("UploadPart")) == (1, 2)
    assert result.bytes_moved == len(BIG) - PART
    assert result.strategy == "server-side copy and streaming"
    assert result.verification is Verification.DESTINATION


@pytest.mark.usefixtures("in_parts")
def test_large_objects_are_streamed_in_parts_where_whole_copies_are_refused(
    server: FaultyS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be one request of the store is asked for once, and becomes an upload."""
    monkeypatch.setattr("dataferry.mechanisms.s3.sink.MAX_COPY_BYTES", len(BIG))
    server.put("source", "a/first", b"1")
    server.put("source", "big", BIG)
    server.inject("CopyObject", Fault.ERROR, **ALWAYS, key="big", status=403, code="AccessDenied")
    server.inject("UploadPartCopy", Fault.ERROR, status=403, code="AccessDenied")
    result, _ = within(server, tmp_path, limits=ONE)
    assert arrived(server)
    assert (server.count("CopyObject"), server.count("UploadPartCopy")) == (5, 3)
    assert (server.count("UploadPart"), result.strategy) == (1, "server-side copy and streaming")


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("honest", [True, False], ids=["condition kept", "condition ignored"])
def test_a_source_that_changes_while_its_parts_are_copied_fails(
    server: FaultyS3, tmp_path: Path, *, honest: bool
) -> None:
    """Never a mixture: nothing is visible and no upload is left, also at stores that ignore conditions."""
    server.keeps_checksums = False  # they would tell too
    server.put("source", "big", BIG)
    if not honest:
        server.inject("UploadPartCopy", Fault.IGNORE_CONDITION, **ALWAYS)
    after(server, "UploadPartCopy", lambda: server.put("source", "big", bytes(len(BIG))))
    result, _ = within(server, tmp_path, limits=ONE)
    assert (result.objects_failed, getattr(result.first_error, "kind", "")) == (1, "source_changed")
    assert "big" not in server.buckets["target"]
    assert server.open_uploads("target") == []


@pytest.mark.parametrize("honest", [True, False], ids=["condition kept", "condition ignored"])
def test_a_source_that_changed_before_it_was_copied_fails(
    server: FaultyS3, tmp_path: Path, *, honest: bool
) -> None:
    """Another version than the listed one is told as such, whatever the store makes of the condition."""
    if not honest:
        server.inject("CopyObject", Fault.IGNORE_CONDITION, **ALWAYS)
    after(server, "ListObjectsV2", lambda: server.put("source", "small", b"other"))
    result, _ = within(server, tmp_path, limits=ONE)
    assert (result.objects, result.objects_failed) == (2, 1)
    assert getattr(result.first_error, "kind", "") == "source_changed"


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("overwrite", [Overwrite.IF_DIFFERENT, Overwrite.NEVER])
@pytest.mark.parametrize("fault", [Fault.CORRUPT, Fault.IGNORE_RANGE])
def test_a_part_that_is_copied_wrongly_is_noticed_before_it_is_visible(
    server: FaultyS3, tmp_path: Path, fault: Fault, overwrite: Overwrite
) -> None:
    """The object begins anew by streaming; where nothing may be overwritten, nothing had to be."""
    server.keeps_checksums = fault is Fault.CORRUPT
    server.put("source", "big", BIG)
    server.inject("UploadPartCopy", fault)
    result, witness = within(server, tmp_path, limits=ONE, overwrite=overwrite)
    assert arrived(server)
    assert (result.objects, result.objects_skipped) == (4, 0)
    assert "object_restarted" in witness.kinds()
    assert result.bytes_moved >= len(BIG)


def test_where_nothing_may_be_overwritten_nothing_is_copied_whole(server: FaultyS3, tmp_path: Path) -> None:
    """Small objects are streamed, whose requests can be conditional; large ones are copied in parts."""
    server.put("source", "big", BIG)
    server.put("target", "small", b"theirs")
    result, _ = within(server, tmp_path, overwrite=Overwrite.NEVER)
    assert (server.count("CopyObject"), server.count("UploadPartCopy"), server.count("PutObject")) == (
        0,
        3,
        2,
    )
    assert server.body("target", "small") == b"theirs"
    assert (result.objects, result.objects_skipped) == (4, 1)


@pytest.mark.usefixtures("in_parts")
def test_what_is_to_be_read_back_is_streamed(server: FaultyS3, tmp_path: Path) -> None:
    """Also what an attempt that was not to read it back had begun by copies: nobody saw their bytes."""
    server.put("source", "big", BIG)
    server.inject("UploadPartCopy", Fault.ERROR, **ALWAYS, skip=2, status=507, code="InsufficientStorage")
    with pytest.raises(NoSpaceError):
        within(server, tmp_path, limits=ONE)
    assert server.open_uploads("target") == ["big"]
    result, witness = within(server, tmp_path, limits=ONE, verify=Verify.READBACK)
    assert arrived(server)
    assert strategies(witness)[0].endswith(
        "what is read back is compared with bytes that were sent from here"
    )
    assert (server.count("UploadPart"), server.count("UploadPartCopy")) == (3, 3)
    assert (result.strategy, result.verification) == ("streaming", Verification.END_TO_END)


@pytest.mark.parametrize("ours", [True, False], ids=["kept", "left out"])
def test_tags_and_storage_are_as_the_locations_say(server: FaultyS3, tmp_path: Path, *, ours: bool) -> None:
    """The store copies tags but where ``tags = false``; how it keeps objects is the destination's word."""
    server.put("source", "tagged", b"1", x_amz_tagging="a=b")
    go(place(server, "source/"), place(server, "target/", tags=ours, storage_class="GLACIER_IR"), tmp_path)
    assert server.count("CopyObject") == 4
    headers = server.buckets["target"]["tagged"].headers
    assert headers.get("x-amz-tagging") == ("a=b" if ours else None)
    assert headers["x-amz-storage-class"] == "GLACIER_IR"


@pytest.mark.parametrize(
    "more",
    [
        {"secret_access_key": "another-secret-access-key"},
        {"region": "eu-central-1"},
        {"server_side_copy": False},
        {"endpoint_url": "elsewhere"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_store_is_only_asked_for_pairs_that_one_set_of_credentials_serves(
    server: FaultyS3, tmp_path: Path, more: dict[str, str | bool]
) -> None:
    """Other credentials, region or endpoint: streamed from the first byte, and it is said why."""
    if "endpoint_url" in more:
        more = {"endpoint_url": server.endpoint_url.replace("127.0.0.1", "localhost")}
    result, witness = go(place(server, "source/"), place(server, "target/", **more), tmp_path)
    assert arrived(server)
    assert (server.count("CopyObject"), result.strategy) == (0, "streaming")
    assert [message.split(", since ")[1] for message in strategies(witness)]


@pytest.mark.parametrize(
    "theirs", [{"source"}, {"target"}, {"source", "target"}], ids=["source", "target", "both"]
)
def test_a_locations_credentials_never_copy_for_a_place_that_a_message_named(
    server: FaultyS3, tmp_path: Path, theirs: set[str]
) -> None:
    """Not even with the same keys at the same endpoint; two places of messages are one party's own."""
    network = Network(EgressGuard(EgressPolicy(allow=("127.0.0.1/32",))))
    ends = {
        bucket: named(server, bucket) if bucket in theirs else place(server, f"{bucket}/")
        for bucket in ("source", "target")
    }
    result, _ = go(ends["source"], ends["target"], tmp_path, network=network)
    assert arrived(server)
    asked = 3 if len(theirs) == 2 else 0
    assert (server.count("CopyObject"), server.count("PutObject")) == (asked, 3 - asked)
    assert result.strategy == ("server-side copy" if asked else "streaming")


def test_a_store_that_is_silent_while_it_copies_has_time(server: FaultyS3, tmp_path: Path) -> None:
    """The watchdog of byte streams does not end it."""
    busy = threading.Event()

    def watch(name: str, moment: str) -> None:
        if (name, moment) == ("CopyObject", "before"):
            busy.wait(0.8)

    server.watch = watch
    limits = replace(LIMITS, workers=3, stall_timeout_s=0.3)
    result, witness = within(server, tmp_path, limits=limits, network=Network(stall_timeout_s=1.0))
    assert arrived(server)
    assert result.strategy == "server-side copy"
    assert "retry" not in witness.kinds()


def test_a_store_that_never_answers_a_copy_is_streamed_from(server: FaultyS3, tmp_path: Path) -> None:
    """The bound of its own is met once, not once an attempt."""
    server.inject("CopyObject", Fault.HANG, **ALWAYS)
    result, _ = within(server, tmp_path, limits=ONE, network=Network(stall_timeout_s=0.1))
    assert arrived(server)
    assert (server.count("CopyObject"), result.strategy) == (1, "streaming")


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in parts"])
def test_no_byte_passes_here_at_a_real_server(
    juicefs: JuiceFs, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> None:
    """By the count of a proxy: heads and lists are all that crosses the wire."""
    if not whole:
        monkeypatch.setattr("dataferry.mechanisms.s3.sink.MAX_COPY_BYTES", PART)
    client = s3_client(juicefs)
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="in/big", Body=BIG, ContentType="text/x-big", Metadata={"a": "b"})
    client.put_object(Bucket=bucket, Key="in/ü ?#%+&.txt", Body=b"odd")
    with Proxy(juicefs.port) as proxy:
        settings = {"endpoint_url": proxy.endpoint_url}
        result, _ = go(
            place(juicefs, f"{bucket}/in/", **settings),
            place(juicefs, f"{bucket}/out/", **settings),
            tmp_path,
        )
        crossed = proxy.bytes_up + proxy.bytes_down
    found = digests(client, bucket)
    for key in ("big", "ü ?#%+&.txt"):
        assert found[f"in/{key}"] == found[f"out/{key}"]
    assert crossed < 64 * 1024
    assert (result.strategy, result.bytes_moved) == ("server-side copy", 0)
    assert result.verification is (Verification.DESTINATION if whole else Verification.SIZE)
    head = client.head_object(Bucket=bucket, Key="out/big")
    assert (head["ContentType"], head["Metadata"]) == ("text/x-big", {"a": "b"})
    assert open_uploads(client, bucket, "out/big") == []


@pytest.mark.usefixtures("in_parts")
def test_parts_are_copied_at_a_server_that_does_not_look_at_conditions(
    moto_s3: MotoServer, bucket: str, tmp_path: Path
) -> None:
    """Another real server, whose ETags of uploads are its own: the bytes are the same."""
    with closing(s3_client(moto_s3)) as client:
        client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key="in/big", Body=BIG)
        result, _ = go(place(moto_s3, f"{bucket}/in/"), place(moto_s3, f"{bucket}/out/"), tmp_path)
        assert (result.strategy, result.bytes_moved) == ("server-side copy", 0)
        found = digests(client, bucket)
    assert found["in/big"] == found["out/big"]
