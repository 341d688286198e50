"""What S3 servers do wrong, each fault as the error that the engine acts on."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

import pytest
from awscrt.checksums import crc64nvme
from tests.servers.faulty_s3 import BLANKS_S, Fault, FaultyS3

from dataferry.domain.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    DataFerryError,
    DestinationExistsError,
    IntegrityError,
    ProtocolError,
    ServerError,
    ShortBodyError,
    SourceChangedError,
    StallError,
    ThrottledError,
    UnsupportedError,
    UploadGoneError,
    WrongRangeError,
)
from dataferry.domain.location import Location
from dataferry.domain.objects import Attributes, ObjectInfo, PartReceipt, Upload
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.mechanisms.s3.sink import S3Sink
from dataferry.mechanisms.s3.source import S3Reader, S3Source
from dataferry.mechanisms.s3.writer import S3Writer
from dataferry.net.connections import Network

BODY = bytes(range(256)) * 40
PLAIN = Attributes()
_open: list[Closable] = []
Opened = TypeVar("Opened", bound="Closable")


class Closable(Protocol):
    """Sources, sinks, readers and writers."""

    def close(self) -> None:
        """Close it."""


@pytest.fixture(autouse=True)
def _close_all() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


def opened(it: Opened) -> Opened:
    """Have something closed when the test ends."""
    _open.append(it)
    return it


@pytest.fixture
def server() -> Iterator[FaultyS3]:
    with FaultyS3() as server:
        server.make_bucket("data")
        server.put("data", "in/key", BODY)
        yield server


def location(server: FaultyS3) -> Location:
    return Location(
        name="faulty",
        mechanism="s3",
        settings={
            "endpoint_url": server.endpoint_url,
            "access_key_id": server.access_key_id,
            "secret_access_key": server.secret_access_key,
        },
    )


def source(server: FaultyS3, path: str = "data/in/key", *, stall_timeout_s: float = 5.0) -> S3Source:
    network = Network(stall_timeout_s=stall_timeout_s)
    return opened(MECHANISM.open_source(MECHANISM.at_location(location(server), path), network))


def sink(server: FaultyS3, path: str = "data/out/", *, stall_timeout_s: float = 5.0) -> S3Sink:
    network = Network(stall_timeout_s=stall_timeout_s)
    place = MECHANISM.at_location(location(server), path)
    return opened(MECHANISM.open_sink(place, network))


def only(of: S3Source) -> ObjectInfo:
    (info,) = of.list()
    return info


def read(reader: S3Reader, info: ObjectInfo, offset: int = 0, length: int | None = None) -> bytes:
    stream = reader.open(info, offset_bytes=offset, length_bytes=length)
    buffer, whole = memoryview(bytearray(1000)), b""
    try:
        while count := stream.readinto(buffer):
            whole += bytes(buffer[:count])
    finally:
        stream.close()
    return whole


def put(writer: S3Writer, key: str, body: bytes, *, only_if_absent: bool = False) -> PartReceipt:
    write = writer.put(key, length_bytes=len(body), attributes=PLAIN, only_if_absent=only_if_absent)
    write.send(memoryview(body))
    return write.finish()


def two_parts(writer: S3Writer, key: str = "out/big") -> tuple[Upload, list[PartReceipt]]:
    upload = writer.create_upload(key, size_bytes=len(BODY) * 2, attributes=PLAIN)
    receipts = []
    for number in (1, 2):
        write = writer.put_part(
            upload, number=number, offset_bytes=(number - 1) * len(BODY), length_bytes=len(BODY)
        )
        write.send(memoryview(BODY))
        receipts.append(write.finish())
    return upload, receipts


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.IGNORE_RANGE, WrongRangeError),
        (Fault.SHIFT_RANGE, WrongRangeError),
        (Fault.CHANGE_ETAG, SourceChangedError),
        (Fault.TRUNCATE, ShortBodyError),
        (Fault.STALL, StallError),
    ],
)
def test_a_read_that_is_not_what_was_asked_fails(
    server: FaultyS3, fault: Fault, error: type[DataFerryError]
) -> None:
    """Ranges, ETags and lengths of replies are compared, and the reader's next read is right again."""
    it = source(server, stall_timeout_s=0.3)
    info, reader = only(it), opened(it.reader())
    server.inject("GetObject", fault)
    with pytest.raises(error):
        read(reader, info, 100, 5000)
    assert read(reader, info, 100, 5000) == BODY[100:5100]


def test_a_whole_read_that_another_version_answers_fails(server: FaultyS3) -> None:
    """Without a range too, the reply's ETag is compared, for servers that ignore If-Match."""
    it = source(server)
    info = only(it)
    server.inject("GetObject", Fault.CHANGE_ETAG)
    with pytest.raises(SourceChangedError):
        read(opened(it.reader()), info)


def test_a_source_replaced_by_another_of_the_same_size_is_noticed(server: FaultyS3) -> None:
    """If-Match names the version that was listed."""
    it = source(server)
    info = only(it)
    server.put("data", "in/key", bytes(len(BODY)))
    with pytest.raises(SourceChangedError):
        read(opened(it.reader()), info, 10, 10)


@pytest.mark.parametrize(
    ("how", "error", "retry_after_s"),
    [
        ({"status": 503, "code": "SlowDown", "retry_after": "7"}, ThrottledError, 7.0),
        ({"status": 429, "code": ""}, ThrottledError, None),
        ({"status": 500, "code": "InternalError"}, ServerError, None),
        ({"status": 403, "code": "ExpiredToken"}, AccessDeniedError, None),
        ({"status": 403, "code": "RequestTimeTooSkewed"}, AccessDeniedError, None),
        ({"status": 501, "code": "NotImplemented"}, UnsupportedError, None),
        ({"status": 301, "code": "PermanentRedirect"}, ProtocolError, None),
    ],
)
def test_an_error_reply_is_translated(
    server: FaultyS3, how: dict[str, object], error: type[DataFerryError], retry_after_s: float | None
) -> None:
    """Code and status choose the error, and Retry-After travels with it."""
    it = source(server)
    info = only(it)
    server.inject("GetObject", Fault.ERROR, **how)
    with pytest.raises(error) as caught:
        read(opened(it.reader()), info)
    assert caught.value.retry_after_s == retry_after_s
    assert server.access_key_id not in str(caught.value)


def test_a_reply_cut_off_is_a_failed_connection(server: FaultyS3) -> None:
    """A fresh connection that is closed without a reply is not tried again behind the engine's back."""
    it = source(server)
    info = only(it)
    server.inject("GetObject", Fault.RESET)
    with pytest.raises(ConnectionFailedError):
        read(opened(it.reader()), info)
    assert server.count("GetObject") == 1


def test_an_idle_connection_that_died_is_dialled_anew_once(server: FaultyS3) -> None:
    """A reader whose connection was closed meanwhile does not bother the engine."""
    it = source(server)
    info, reader = only(it), opened(it.reader())
    assert read(reader, info) == BODY
    server.inject("GetObject", Fault.RESET)
    assert read(reader, info) == BODY
    assert server.count("GetObject") == 3


def test_a_body_is_not_sent_into_an_idle_connection_that_died(server: FaultyS3) -> None:
    """A body can't be sent twice, so the connection is looked at before it begins."""
    writer = opened(sink(server).writer())
    server.inject("PutObject", Fault.CLOSE)
    put(writer, "out/one", BODY)
    deadline = time.monotonic() + 5
    while not writer._client.is_answered() and time.monotonic() < deadline:
        pass
    put(writer, "out/two", BODY)
    assert server.body("data", "out/two") == BODY


def test_another_size_is_another_object_where_there_is_no_validator(server: FaultyS3) -> None:
    """Of a server without ETags, at least the total size is compared."""
    it = source(server)
    info, reader = dataclasses.replace(only(it), validator=None), opened(it.reader())
    server.put("data", "in/key", BODY + b"more")
    with pytest.raises(SourceChangedError):
        read(reader, info, 10, 10)
    with pytest.raises(SourceChangedError):
        read(reader, info)


def test_a_hang_ends_with_the_stall_timeout(server: FaultyS3) -> None:
    """A server that answers nothing costs the stall timeout, no more."""
    it = source(server, stall_timeout_s=0.3)
    info = only(it)
    server.inject("GetObject", Fault.HANG)
    began = time.monotonic()
    with pytest.raises(StallError):
        read(opened(it.reader()), info)
    assert time.monotonic() - began < 5


def test_abort_from_another_thread_ends_a_blocked_read_at_once(server: FaultyS3) -> None:
    """Stopping does not wait for the stall timeout, and the reader stays shut."""
    it = source(server, stall_timeout_s=30)
    info, reader = only(it), opened(it.reader())
    server.inject("GetObject", Fault.HANG)
    errors: list[Exception] = []

    def blocked() -> None:
        try:
            read(reader, info)
        except DataFerryError as exc:
            errors.append(exc)

    thread = threading.Thread(target=blocked, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while server.count("GetObject") == 0 and time.monotonic() < deadline:
        thread.join(0.01)
    reader.abort()
    thread.join(5)
    assert not thread.is_alive()
    assert [type(it) for it in errors] == [ConnectionFailedError]
    with pytest.raises(ConnectionFailedError):
        read(reader, info)


def test_checksums_are_kept_compared_and_sent_on_completion(server: FaultyS3) -> None:
    """A store that keeps CRC-64/NVME confirms each part, and the whole object on completion."""
    writer = opened(sink(server).writer())
    upload, receipts = two_parts(writer)
    crc = crc64nvme(BODY + BODY)
    info = writer.complete(upload, receipts, size_bytes=len(BODY) * 2, crc64nvme=crc)
    assert upload.keeps_crc64nvme
    assert [it.confirmed for it in receipts] == [True, True]
    assert info.crc64nvme == crc
    assert server.body("data", "out/big") == BODY + BODY


@pytest.mark.parametrize("rejects", [False, True])
def test_a_store_without_checksums_is_used_without(rejects: bool) -> None:
    """A server that ignores or rejects the request for checksums gets the upload all the same."""
    with FaultyS3(keeps_checksums=False, rejects_checksums=rejects) as server:
        server.make_bucket("data")
        writer = opened(sink(server).writer())
        upload, receipts = two_parts(writer)
        info = writer.complete(upload, receipts, size_bytes=len(BODY) * 2, crc64nvme=crc64nvme(BODY + BODY))
        assert not upload.keeps_crc64nvme
        assert [it.confirmed for it in receipts] == [False, False]
        assert [it.crc64nvme for it in receipts] == [crc64nvme(BODY)] * 2
        assert info.size_bytes == len(BODY) * 2


@pytest.mark.parametrize("fault", [Fault.WRONG_CHECKSUM, Fault.CORRUPT])
@pytest.mark.parametrize("call", ["PutObject", "UploadPart"])
def test_a_body_that_arrived_otherwise_is_an_integrity_error(
    server: FaultyS3, call: str, fault: Fault
) -> None:
    """The checksum that the store returns is that of the bytes sent, or the write has failed."""
    server.inject(call, fault)
    writer = opened(sink(server).writer())
    with pytest.raises(IntegrityError):
        put(writer, "out/key", BODY) if call == "PutObject" else two_parts(writer)


@pytest.mark.parametrize(
    ("code", "error"), [("InternalError", ServerError), ("NoSuchUpload", UploadGoneError)]
)
def test_a_200_with_an_error_in_its_body_is_an_error(
    server: FaultyS3, code: str, error: type[DataFerryError]
) -> None:
    """CompleteMultipartUpload may fail after its status was sent."""
    writer = opened(sink(server).writer())
    upload, receipts = two_parts(writer)
    server.inject("CompleteMultipartUpload", Fault.ERROR_IN_200, code=code)
    with pytest.raises(error):
        writer.complete(upload, receipts, size_bytes=len(BODY) * 2, crc64nvme=None)
    assert server.body("data", "out/big") is None


def test_a_bad_object_is_withdrawn_where_there_are_versions() -> None:
    """A body that the store took otherwise is deleted as the version it is; the one before it is back."""
    with FaultyS3(keeps_versions=True) as server:
        server.make_bucket("data")
        server.put("data", "out/key", b"former")
        server.inject("PutObject", Fault.CORRUPT)
        with pytest.raises(IntegrityError):
            put(opened(sink(server, "data/out/").writer()), "out/key", b"new")
        assert server.body("data", "out/key") == b"former"


def test_a_bad_object_is_not_deleted_where_there_are_no_versions(server: FaultyS3) -> None:
    """Without versions nothing is deleted: it could be somebody else's object by then."""
    server.inject("PutObject", Fault.CORRUPT)
    with pytest.raises(IntegrityError):
        put(opened(sink(server).writer()), "out/key", b"new")
    assert server.count("DeleteObject") == 0


def test_a_wrong_object_checksum_refuses_completion(server: FaultyS3) -> None:
    """The full-object checksum is sent, and a store that has other bytes makes no object."""
    writer = opened(sink(server).writer())
    upload, receipts = two_parts(writer)
    with pytest.raises(IntegrityError):
        writer.complete(upload, receipts, size_bytes=len(BODY) * 2, crc64nvme=1)
    assert server.body("data", "out/big") is None


def test_a_completion_that_takes_long_and_sends_blanks_is_waited_for(server: FaultyS3) -> None:
    """A large object takes a store minutes to put together; blanks show that it is alive."""
    writer = opened(sink(server, stall_timeout_s=BLANKS_S / 3).writer())
    upload, receipts = two_parts(writer)
    server.inject("CompleteMultipartUpload", Fault.BLANKS)
    done = writer.complete(upload, receipts, size_bytes=len(BODY) * 2, crc64nvme=None)
    assert done.size_bytes == len(BODY) * 2


def test_a_completion_that_is_never_answered_ends(server: FaultyS3) -> None:
    """No watchdog looks at completions: the socket's time-out ends them."""
    writer = opened(sink(server, stall_timeout_s=0.3).writer())
    upload, receipts = two_parts(writer)
    server.inject("CompleteMultipartUpload", Fault.HANG)
    began = time.monotonic()
    with pytest.raises(StallError):
        writer.complete(upload, receipts, size_bytes=len(BODY) * 2, crc64nvme=None)
    assert time.monotonic() - began < 5


def test_completion_whose_reply_was_lost_says_that_the_upload_is_gone(server: FaultyS3) -> None:
    """The engine is told to look at the object and compare."""
    writer = opened(sink(server).writer())
    upload, receipts = two_parts(writer)
    server.inject("CompleteMultipartUpload", Fault.RESET_AFTER)
    with pytest.raises(UploadGoneError):
        writer.complete(upload, receipts, size_bytes=len(BODY) * 2, crc64nvme=None)
    assert server.body("data", "out/big") == BODY + BODY


def test_only_if_absent_refuses_what_is_there(server: FaultyS3) -> None:
    """If-None-Match is sent for whole objects and for completions."""
    server.put("data", "out/big", b"other")
    writer = opened(sink(server).writer())
    with pytest.raises(DestinationExistsError):
        put(writer, "out/big", BODY, only_if_absent=True)
    upload, receipts = two_parts(writer)
    with pytest.raises(DestinationExistsError):
        writer.complete(upload, receipts, size_bytes=len(BODY) * 2, crc64nvme=None, only_if_absent=True)
    assert server.body("data", "out/big") == b"other"


def test_a_cancelled_body_makes_no_object(server: FaultyS3) -> None:
    """Half of what was announced is nothing, and the writer goes on."""
    writer = opened(sink(server).writer())
    write = writer.put("out/half", length_bytes=len(BODY), attributes=PLAIN)
    write.send(memoryview(BODY)[:100])
    write.cancel()
    with pytest.raises(ShortBodyError):
        writer.put("out/half", length_bytes=10, attributes=PLAIN).finish()
    put(writer, "out/next", BODY)
    assert server.body("data", "out/half") is None
    assert server.body("data", "out/next") == BODY


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.REFUSE])
def test_a_refusal_in_the_middle_of_a_body_is_told_as_what_it_is(server: FaultyS3, fault: Fault) -> None:
    """A server that answers 503 is throttling, also if it closes without reading on."""
    server.inject("PutObject", fault, status=503, code="SlowDown", retry_after="3")
    with pytest.raises(ThrottledError) as caught:
        put(opened(sink(server).writer()), "out/key", bytes(30_000_000))
    assert caught.value.retry_after_s == 3


def test_what_a_head_cannot_say_is_asked_for(server: FaultyS3) -> None:
    """Amazon answers HEAD with a bare 400 for an expired token: another request has the reason."""
    server.inject("HeadObject", Fault.ERROR, status=400)
    server.inject("GetObject", Fault.ERROR, status=400, code="ExpiredToken")
    with pytest.raises(AccessDeniedError, match="ExpiredToken"):
        source(server).probe()


def test_keys_that_may_not_be_looked_at_are_not_found(server: FaultyS3) -> None:
    """Who may write but not list gets 403 for what is not there: that is no reason not to write."""
    server.inject("HeadObject", Fault.ERROR, status=403, code="AccessDenied", times=20)
    server.inject("ListObjectsV2", Fault.ERROR, status=403, code="AccessDenied", times=20)
    assert sink(server).find(["out/a"]) == {}
    assert sink(server).find([f"out/{number:02}" for number in range(12)]) == {}


def test_listing_goes_by_pages_and_from_a_name(server: FaultyS3) -> None:
    """More than a page is listed in order, and a listing can begin after any name."""
    for number in range(1500):
        server.put("data", f"many/{number:05}", b"")
    it = source(server, "data/many/")
    names = [info.name for info in it.list()]
    assert names == [f"{number:05}" for number in range(1500)]
    assert [info.name for info in it.list(start_after="01497")] == ["01498", "01499"]


def test_a_server_that_begins_every_listing_at_the_beginning(server: FaultyS3) -> None:
    """What comes again is not taken for more, over pages too."""
    server.starts_after = False
    for number in range(1500):
        server.put("data", f"many/{number:05}", b"")
    it = source(server, "data/many/")
    assert [info.name for info in it.list(start_after="01200")] == [f"{n:05}" for n in range(1201, 1500)]


def test_finding_many_keys_takes_few_requests(server: FaultyS3) -> None:
    """A thousand keys are looked up by a listing, not by a thousand HEADs."""
    keys = [f"out/{number:05}" for number in range(1000)]
    for key in keys[::2]:
        server.put("data", key, b"x")
    found = sink(server).find(keys)
    assert sorted(found) == keys[::2]
    assert len(server.requests) < 10


def test_keys_far_apart_are_still_found(server: FaultyS3) -> None:
    """Where the range of keys holds too much else, each key is asked for."""
    for number in range(5000):
        server.put("data", f"out/m{number:05}", b"")
    keys = ["out/a", *(f"out/n{number}" for number in range(10)), "out/z"]
    server.put("data", "out/n5", b"x")
    server.put("data", "out/z", b"x")
    assert sorted(sink(server).find(keys)) == ["out/n5", "out/z"]


def test_uploads_of_exactly_a_key_since_a_time_are_listed(server: FaultyS3) -> None:
    """Uploads of other keys and older ones are somebody else's."""
    writer = opened(sink(server).writer())
    now = datetime.now(UTC)
    mine = writer.create_upload("out/key", size_bytes=1, attributes=PLAIN)
    writer.create_upload("out/key2", size_bytes=1, attributes=PLAIN)
    old = writer.create_upload("out/key", size_bytes=1, attributes=PLAIN)
    server.uploads[old.upload_id].initiated_at = now - timedelta(hours=1)
    found = writer.list_uploads("out/key", since=now)
    assert [it.upload_id for it in found or []] == [mine.upload_id]


def test_what_may_not_be_listed_is_unknown_not_empty(server: FaultyS3) -> None:
    """None is "can't tell": the ledger's word stands."""
    writer = opened(sink(server).writer())
    upload, _ = two_parts(writer)
    server.inject("ListMultipartUploads", Fault.ERROR, status=403, code="AccessDenied")
    server.inject("ListParts", Fault.ERROR, status=403, code="AccessDenied")
    assert writer.list_uploads("out/big", since=datetime.now(UTC)) is None
    assert writer.list_parts(upload) is None
    assert sorted(writer.list_parts(upload) or {}) == [1, 2]


def test_an_aborted_upload_is_gone_and_aborting_again_is_no_error(server: FaultyS3) -> None:
    """Cleaning up may be repeated."""
    writer = opened(sink(server).writer())
    upload, _ = two_parts(writer)
    writer.abort_upload(upload)
    writer.abort_upload(upload)
    assert server.open_uploads("data") == []
    with pytest.raises(UploadGoneError):
        writer.list_parts(upload)


def test_more_parts_than_a_page_are_listed(server: FaultyS3) -> None:
    """Of an upload with two and a half pages of parts, none is missing."""
    writer = opened(sink(server).writer())
    upload, receipts = two_parts(writer)
    parts = server.uploads[upload.upload_id].parts
    parts.update(dict.fromkeys(range(3, 2501), parts[2]))
    listed = writer.list_parts(upload)
    assert listed is not None
    assert sorted(listed) == list(range(1, 2501))
    assert (listed[2500].etag, listed[2500].size_bytes) == (receipts[1].etag, receipts[1].size_bytes)


def test_pages_are_followed_by_odd_tokens(server: FaultyS3) -> None:
    """Tokens and keys with every sign that means something in URLs and XML come through, page by page."""
    names = sorted((f"{sign}{number:04}" for sign in " +/=&%?#<é" for number in range(250)), key=str.encode)
    for name in names:
        server.put("data", f"odd/{name}", b"")
    assert [info.name for info in source(server, "data/odd/").list()] == names
    assert [info.name for info in source(server, "data/odd/").list(start_after=names[1500])] == names[1501:]


@pytest.mark.parametrize(("form", "is_strong"), [('"{}"', True), ("{}", True), ('W/"{}"', False)])
def test_etags_are_taken_in_every_form_and_weak_ones_for_none(
    server: FaultyS3, form: str, *, is_strong: bool
) -> None:
    """A weak ETag names no bytes: nothing is read in ranges on its word; quotes are no part of one."""
    server.etag_form = form
    stored = server.put("data", "in/key", BODY)
    info = only(source(server))
    assert info.validator == (stored.etag if is_strong else None)
    assert read(opened(source(server).reader()), info) == BODY
