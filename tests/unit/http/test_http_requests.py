"""What is asked of servers, what is made of their answers, and where redirects may lead."""

from __future__ import annotations

import gzip
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.servers.http_store import Fault, HttpStore, Kept

from dataferry.domain.address import DataAddress
from dataferry.domain.errors import (
    AccessDeniedError,
    AddressError,
    BucketNotFoundError,
    ConnectionFailedError,
    DataFerryError,
    EgressDeniedError,
    ObjectNotFoundError,
    ProtocolError,
    ServerError,
    SourceChangedError,
    UnsupportedError,
    WrongRangeError,
)
from dataferry.domain.location import Location
from dataferry.domain.objects import Attributes, Capability, ObjectInfo
from dataferry.mechanisms.base import Endpoint
from dataferry.mechanisms.http import MECHANISM
from dataferry.mechanisms.http.sink import HttpWriter
from dataferry.mechanisms.http.source import HttpReader
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy
from dataferry.testing.mechanism_rig import pattern, put, read

TOKEN = "token-that-nobody-else-may-see-0123456789"
DATA = pattern(100_000)
OPEN = Network(EgressGuard(EgressPolicy(allow_private_networks=True)))


@pytest.fixture
def store() -> Iterator[HttpStore]:
    """A server that wants the token, with one object."""
    with HttpStore(token=TOKEN) as server:
        server.objects["/d/x.bin"] = Kept(DATA)
        yield server


@pytest.fixture
def other() -> Iterator[HttpStore]:
    """Another server, with an object for everybody."""
    with HttpStore() as server:
        server.objects["/x"] = Kept(DATA)
        yield server


def place(server: HttpStore, path: str = "d/x.bin") -> Endpoint:
    """A place of a location, with the token."""
    settings = {"base_url": server.url, "bearer_token": TOKEN}
    return MECHANISM.at_location(Location(name="here", mechanism="http", settings=settings), path)


def looked_up(endpoint: Endpoint, network: Network = OPEN) -> ObjectInfo:
    """List the one object."""
    with closing(MECHANISM.open_source(endpoint, network)) as source:
        [info] = source.list()
        return info


def fetched(endpoint: Endpoint, network: Network = OPEN, **how: Any) -> bytes:
    """Look an object up and read it."""
    info = looked_up(endpoint, network)
    with closing(MECHANISM.open_source(endpoint, network)) as source, closing(source.reader()) as reader:
        return read(reader, info, **how)


@pytest.fixture
def reader(store: HttpStore) -> Iterator[HttpReader]:
    """A reader of the store's object."""
    with (
        closing(MECHANISM.open_source(place(store), OPEN)) as source,
        closing(source.reader()) as opened,
    ):
        yield opened


@pytest.fixture
def writer(store: HttpStore) -> Iterator[HttpWriter]:
    """A writer into a directory of the store."""
    with closing(MECHANISM.open_sink(place(store, "in/"), OPEN)) as sink, closing(sink.writer()) as opened:
        yield opened


def test_a_range_names_its_version_twice(store: HttpStore, reader: HttpReader) -> None:
    """``If-Match`` and ``If-Range`` go with a range, ``If-Match`` with a whole; no encoding is asked for."""
    info = looked_up(place(store))
    assert read(reader, info, offset_bytes=10, length_bytes=5) == DATA[10:15]
    sent = store.requests[-1].headers
    etag = f'"{info.validator}"'
    assert (sent["Range"], sent["If-Match"], sent["If-Range"]) == ("bytes=10-14", etag, etag)
    assert sent["Accept-Encoding"] == "identity"
    assert read(reader, info) == DATA
    sent = store.requests[-1].headers
    assert (sent.get("Range"), sent["If-Match"], sent.get("If-Range")) == (None, etag, None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 501])
def test_a_refused_head_is_asked_again_as_a_get(store: HttpStore, status: int) -> None:
    """A server that answers GET only still says size and version, by the first byte."""
    store.refuse_head = status
    store.objects["/d/empty"] = Kept(b"")
    info = looked_up(place(store))
    assert (info.size_bytes, info.validator) == (len(DATA), store.objects["/d/x.bin"].etag)
    assert fetched(place(store), offset_bytes=99_999, length_bytes=1) == DATA[-1:]
    assert looked_up(place(store, "d/empty")).size_bytes == 0


def test_a_head_that_is_always_refused_is_asked_once(store: HttpStore, reader: HttpReader) -> None:
    """A reader remembers that its server does not answer HEAD."""
    store.refuse_head = 405
    info = ObjectInfo(name="x.bin", key="x.bin", size_bytes=None)
    assert reader.stat(info) == reader.stat(info)
    assert store.methods() == ["HEAD", "GET", "GET"]


@pytest.mark.parametrize("etags", ["weak", None])
def test_without_a_strong_etag_there_is_no_validator(store: HttpStore, etags: str | None) -> None:
    """A weak ETag, or only a time, names no version: nothing is read in ranges by it."""
    store.etags = etags
    store.objects["/d/x.bin"].headers["Last-Modified"] = "Mon, 23 Nov 2026 01:00:00 GMT"
    info = looked_up(place(store))
    assert (info.validator, info.size_bytes) == (None, len(DATA))
    assert info.modified_at == datetime(2026, 11, 23, 1, tzinfo=UTC)
    assert fetched(place(store)) == DATA


@pytest.mark.parametrize("says", [True, False])
def test_a_server_that_may_know_ranges_is_tried(store: HttpStore, says: bool) -> None:
    """Ranges that are not announced are found out with the first byte; without them is no validator."""
    store.says_ranges = says
    assert looked_up(place(store)).validator is not None
    store.ranges = False
    info = looked_up(place(store))
    assert (info.validator, info.size_bytes) == (None, len(DATA))
    assert fetched(place(store)) == DATA


def test_no_ranges_are_announced(store: HttpStore) -> None:
    """``Accept-Ranges: none`` is believed."""
    store.ranges = False
    store.objects["/d/x.bin"].headers["Accept-Ranges"] = "none"
    assert looked_up(place(store)).validator is None
    assert store.methods() == ["HEAD"]


def test_an_unknown_length_is_said(store: HttpStore, reader: HttpReader) -> None:
    """A body in chunks has no size beforehand, and is read to its end."""
    store.chunked, store.ranges = True, False
    info = looked_up(place(store))
    assert info.size_bytes is None
    stream = reader.open(info)
    assert stream.length_bytes is None
    stream.close()
    assert read(reader, info) == DATA


def test_an_object_without_a_length_is_read_in_the_version_that_was_found(
    store: HttpStore, reader: HttpReader
) -> None:
    """Its strong ETag is asked for and compared, though the server knows no ranges."""
    store.chunked, store.ranges = True, False
    info = looked_up(place(store))
    assert info.validator == store.objects["/d/x.bin"].etag
    store.if_match = False
    store.objects["/d/x.bin"] = Kept(b"another")
    with pytest.raises(SourceChangedError):
        read(reader, info)
    assert store.requests[-1].headers["If-Match"] == f'"{info.validator}"'


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_body_whose_end_nobody_marks_is_refused(store: HttpStore, reader: HttpReader, version: str) -> None:
    """Neither length nor chunks: it would be whole wherever the connection broke."""
    store.refuse_head = 405
    store.raw["/d/x.bin"] = f"HTTP/{version} 200 OK\r\nConnection: close\r\n\r\n12345".encode()
    info = ObjectInfo(name="x.bin", key="x.bin", size_bytes=None)
    for ask in (lambda: reader.stat(info), lambda: read(reader, info)):
        with pytest.raises(UnsupportedError, match="broke off"):
            ask()


def test_a_body_without_marks_is_taken_where_its_length_is_known(
    store: HttpStore, reader: HttpReader
) -> None:
    """A HEAD may say what the reply to a GET does not; the engine counts."""
    store.etags = None
    info = looked_up(place(store))
    store.raw["/d/x.bin"] = b"HTTP/1.0 200 OK\r\n\r\n" + DATA
    assert read(reader, info) == DATA


def test_a_chunked_range_is_measured(store: HttpStore, reader: HttpReader) -> None:
    """A range in chunks has the length that its Content-Range says."""
    info = looked_up(place(store))
    store.chunked = True
    assert read(reader, info, offset_bytes=5, length_bytes=70_000) == DATA[5:70_005]
    store.inject("GET", Fault.TRUNCATE)
    with pytest.raises(DataFerryError) as caught:
        read(reader, info, offset_bytes=5, length_bytes=70_000)
    assert caught.value.kind == "short_body"


def test_the_whole_may_answer_a_range_of_all(store: HttpStore, reader: HttpReader) -> None:
    """200 to a range is wrong, unless the range was everything."""
    store.ranges = False
    info = ObjectInfo(name="x.bin", key="x.bin", size_bytes=None)
    assert read(reader, info, offset_bytes=0, length_bytes=len(DATA)) == DATA
    for offset, length in ((0, len(DATA) - 1), (1, len(DATA) - 1), (0, len(DATA) + 1)):
        with pytest.raises(WrongRangeError):
            read(reader, info, offset_bytes=offset, length_bytes=length)


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 1-5/9",
        "bytes 0-3/9",
        "bytes 0-5/9",
        "bytes */9",
        "items 0-4/9",
        "bytes 0-4/9x",
        "bytes 00-04",
        "",
    ],
)
def test_another_range_than_asked_for_is_refused(
    store: HttpStore, reader: HttpReader, content_range: str
) -> None:
    """A 206 is compared with what was asked, exactly, whatever bytes come with it."""
    for length in (b"Content-Length: 5\r\n", b""):
        store.raw["/d/x.bin"] = (
            f"HTTP/1.1 206 Partial\r\nContent-Range: {content_range}\r\n".encode() + length + b"\r\n12345"
        )
        with pytest.raises(WrongRangeError):
            read(reader, ObjectInfo(name="x", key="x.bin", size_bytes=None), offset_bytes=0, length_bytes=5)


def test_the_end_of_a_range_is_not_the_range(store: HttpStore, reader: HttpReader) -> None:
    """A reply that begins later than asked for is refused, though it ends where it should."""
    head = b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 1-4/9\r\nContent-Length: 4\r\n\r\n"
    store.raw["/d/x.bin"] = head + b"2345"
    with pytest.raises(WrongRangeError):
        read(reader, ObjectInfo(name="x", key="x.bin", size_bytes=None), offset_bytes=0, length_bytes=5)


@pytest.mark.parametrize("total", ["9", "*"])
def test_the_range_asked_for_is_taken(store: HttpStore, reader: HttpReader, total: str) -> None:
    """Also from a server that does not know the size."""
    head = f"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-4/{total}\r\nContent-Length: 5\r\n\r\n"
    store.raw["/d/x.bin"] = head.encode() + b"12345"
    info = ObjectInfo(name="x", key="x.bin", size_bytes=None)
    assert read(reader, info, offset_bytes=0, length_bytes=5) == b"12345"
    with pytest.raises(WrongRangeError):
        read(reader, info)


def test_a_range_with_more_bytes_than_it_has_is_refused(store: HttpStore, reader: HttpReader) -> None:
    """A body in chunks that goes on behind its range is not taken."""
    head = b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-4/9\r\nTransfer-Encoding: chunked\r\n\r\n"
    store.raw["/d/x.bin"] = head + b"6\r\n123456\r\n0\r\n\r\n"
    with pytest.raises(WrongRangeError):
        read(reader, ObjectInfo(name="x", key="x.bin", size_bytes=None), offset_bytes=0, length_bytes=5)


def test_several_ranges_are_not_the_one_asked_for(store: HttpStore, reader: HttpReader) -> None:
    """The boundaries between them would be taken for bytes of the object, whatever else the head says."""
    head = b"HTTP/1.1 206 Partial\r\nContent-Type: Multipart/ByteRanges; boundary=x\r\nContent-Length: 5\r\n"
    store.raw["/d/x.bin"] = head + b"Content-Range: bytes 0-4/9\r\n\r\n--x\r\n"
    with pytest.raises(WrongRangeError, match="several"):
        read(reader, ObjectInfo(name="x", key="x.bin", size_bytes=None), offset_bytes=0, length_bytes=5)


def test_an_encoded_object_is_taken_as_it_is(store: HttpStore) -> None:
    """What comes with a Content-Encoding is neither decoded nor loses the attribute."""
    squeezed = gzip.compress(DATA)
    store.objects["/d/x.bin"] = Kept(squeezed, {"Content-Encoding": "gzip", "Content-Type": "text/csv"})
    info = looked_up(place(store))
    assert info.attributes == Attributes(content_encoding="gzip", content_type="text/csv")
    assert fetched(place(store)) == squeezed


def test_a_reply_never_names_the_object(store: HttpStore) -> None:
    """Content-Disposition is kept as an attribute, and decides nothing."""
    store.objects["/d/x.bin"].headers["Content-Disposition"] = 'attachment; filename="../../etc/passwd"'
    info = looked_up(place(store))
    assert info.name == "x.bin"
    assert info.attributes is not None
    assert info.attributes.content_disposition == 'attachment; filename="../../etc/passwd"'


@pytest.mark.parametrize(
    "headers",
    [
        *(
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: gzip",
            "Content-Length: 5\r\nContent-Length: 7",
        ),
        *("Transfer-Encoding: chunked\r\nContent-Length: 5", "Content-Length: 5, 5", "Content-Length: -5"),
        *("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Content-Length: 5x"),
    ],
)
def test_a_reply_whose_end_is_not_plain_is_refused(
    store: HttpStore, reader: HttpReader, headers: str
) -> None:
    """A body whose end two readers could see at different places is not read."""
    store.raw["/d/x.bin"] = f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n5\r\n12345\r\n0\r\n\r\n".encode()
    with pytest.raises(ProtocolError):
        read(reader, ObjectInfo(name="x", key="x.bin", size_bytes=None))


def test_an_early_hint_is_no_reply_to_the_next_request(store: HttpStore, reader: HttpReader) -> None:
    """A reply before the reply is refused, and what follows it answers nothing else."""
    info = looked_up(place(store))
    for status in (b"103 Early Hints", b"101 Switching Protocols"):
        store.raw["/d/x.bin"] = (
            b"HTTP/1.1 %b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345" % status
        )
        with pytest.raises(ProtocolError):
            read(reader, info)
    store.raw.clear()
    assert read(reader, info) == DATA


def test_more_headers_than_a_bound_are_refused(store: HttpStore, reader: HttpReader) -> None:
    """A head without an end is no reply."""
    for lines in (b"X: y\r\n" * 200, b"X: " + b"y" * 100_000 + b"\r\n"):
        store.raw["/d/x.bin"] = b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n"
        with pytest.raises(ProtocolError):
            read(reader, ObjectInfo(name="x", key="x.bin", size_bytes=None))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_read_follows_a_redirect_without_credentials(
    store: HttpStore, other: HttpStore, status: int
) -> None:
    """Another origin sees the request, and neither the token nor a header of ours."""
    store.redirects["/d/x.bin"] = (status, f"{other.url}/x")
    assert fetched(place(store)) == DATA
    assert other.requests
    for request in other.requests:
        assert TOKEN not in str(request.headers)
        assert request.headers["Host"] == f"127.0.0.1:{other.port}"


def test_a_redirect_within_the_origin_keeps_the_credentials(store: HttpStore) -> None:
    """The same scheme, host and port is the same server; a relative target is one of it."""
    store.redirects["/d/old"] = (302, "x.bin")
    assert fetched(place(store, "d/old")) == DATA


def test_a_redirect_that_comes_back_has_no_credentials(store: HttpStore, other: HttpStore) -> None:
    """A chain that has left its origin was led by a stranger: it returns as one."""
    store.redirects["/d/old"] = (302, f"{other.url}/away")
    other.redirects["/away"] = (302, f"{store.url}/d/x.bin")
    with pytest.raises(AccessDeniedError):
        looked_up(place(store, "d/old"))


def test_headers_of_an_address_stay_with_its_origin(other: HttpStore, store: HttpStore) -> None:
    """What an address lets us send goes nowhere else."""
    store.token = None
    store.redirects["/a"] = (307, f"{other.url}/x")
    properties = (("header:X-Api-Key", TOKEN), ("header:Accept", "text/csv"))
    found = MECHANISM.at_address(
        DataAddress(endpoint_type="HttpData", endpoint=f"{store.url}/a", properties=properties)
    )
    assert fetched(found) == DATA
    assert store.requests[-1].headers["X-Api-Key"] == TOKEN
    assert store.requests[-1].headers["Accept"] == "text/csv"
    assert {"X-Api-Key"} & set(other.requests[-1].headers) == set()


def test_five_redirects_are_followed_and_no_more(store: HttpStore) -> None:
    """A chain has an end."""
    for number in range(6):
        store.redirects[f"/r{number}"] = (302, f"/r{number + 1}")
    store.redirects["/r5"] = (302, "/d/x.bin")
    assert fetched(place(store, "r1")) == DATA
    with pytest.raises(ProtocolError, match="more than 5"):
        looked_up(place(store, "r0"))


@pytest.mark.parametrize(
    "target",
    [
        *(
            "",
            "ftp://127.0.0.1/x",
            "file:///etc/passwd",
            "http://user:pw@127.0.0.1/x",
            "http://[",
            "/a/%2e%2e/x",
        ),
        *("javascript:alert(1)", "http://127.0.0.1:99999/x"),
    ],
)
def test_a_redirect_to_no_usable_url_is_refused(store: HttpStore, target: str) -> None:
    """Other schemes, users and steps are no targets."""
    store.redirects["/d/x.bin"] = (302, target)
    with pytest.raises(ProtocolError):
        looked_up(place(store))


def test_a_redirect_to_another_host_passes_the_guard(store: HttpStore) -> None:
    """Also the operator's own server can't lead us to a private address of another name."""
    store.redirects["/d/x.bin"] = (302, f"http://localhost:{store.port}/d/x.bin")
    with pytest.raises(EgressDeniedError):
        looked_up(place(store), Network())
    store.redirects["/d/x.bin"] = (302, "http://169.254.169.254/latest/meta-data")
    with pytest.raises(EgressDeniedError):
        looked_up(place(store), OPEN)


def test_an_address_from_outside_passes_the_guard(store: HttpStore) -> None:
    """A message can't name a place on this machine, unless the operator allows it."""
    found = MECHANISM.at_address(DataAddress(endpoint_type="HttpData", endpoint=f"{store.url}/d/x.bin"))
    with pytest.raises(EgressDeniedError):
        looked_up(found, Network())
    with closing(MECHANISM.open_sink(found, Network())) as sink, pytest.raises(EgressDeniedError):
        sink.probe()
    assert store.requests == []


def test_https_never_leads_to_http(other: HttpStore, tmp_path: Path) -> None:
    """What was asked for in secret is not asked for in the open."""
    path = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    network = Network(EgressGuard(EgressPolicy(allow_private_networks=True)), ca_file=str(path))
    with HttpStore(tls=context) as secret:
        secret.objects["/x"] = Kept(DATA)
        secret.redirects["/old"] = (302, f"{other.url}/x")
        assert fetched(MECHANISM.at_url(f"{secret.url}/x"), network) == DATA
        with pytest.raises(ProtocolError, match="https to http"):
            looked_up(MECHANISM.at_url(f"{secret.url}/old"), network)
    assert other.requests == []


def test_a_write_is_never_redirected(store: HttpStore, other: HttpStore, writer: HttpWriter) -> None:
    """Bytes go where they were meant to go, or nowhere."""
    store.redirects["/in/x"] = (307, f"{other.url}/x")
    with pytest.raises(ProtocolError):
        put(writer, "x", b"secret bytes")
    assert writer.stat("x") is None
    assert other.requests == []


def test_a_write_says_what_it_brings(store: HttpStore, writer: HttpWriter) -> None:
    """Length and type are said, what would speak of the request is not, and broken values are left out."""
    attributes = Attributes(
        content_type="text/csv", content_encoding="gzip", cache_control="no-store", content_language="d\r\ne"
    )
    receipt = put(writer, "x", b"12345", attributes=attributes)
    sent = store.requests[-1].headers
    assert (sent["Content-Length"], sent["Content-Type"], sent["Content-Encoding"]) == (
        "5",
        "text/csv",
        "gzip",
    )
    assert {"Cache-Control", "Content-Language", "Transfer-Encoding"} & set(sent) == set()
    assert receipt.etag == store.objects["/in/x"].etag
    put(writer, "y", b"")
    assert store.requests[-1].headers["Content-Type"] == "application/octet-stream"


def test_a_post_is_a_write_that_nobody_looks_for(store: HttpStore) -> None:
    """With the method POST nothing is looked up: what it makes lies elsewhere."""
    store.token = None
    found = MECHANISM.at_address(
        DataAddress(endpoint_type="HttpData", endpoint=f"{store.url}/in", properties=(("method", "POST"),))
    )
    with closing(MECHANISM.open_sink(found, OPEN)) as sink, closing(sink.writer()) as writer:
        key = sink.place("any name", single=True)
        assert put(writer, key, b"12345").etag == ""
        assert sink.find([key]) == {}
    assert store.posted == [b"12345"]
    assert store.methods() == ["POST"]
    assert Capability.READ_BACK not in sink.capabilities


@pytest.mark.parametrize(
    ("status", "key", "kind"),
    [
        (401, "x", AccessDeniedError),
        (404, "x", BucketNotFoundError),
        (409, "x", BucketNotFoundError),
        (409, "d/x", ObjectNotFoundError),
        (405, "x", UnsupportedError),
        (413, "x", UnsupportedError),
        (423, "x", ServerError),
        (418, "x", ProtocolError),
        (599, "x", ServerError),
    ],
)
def test_a_refused_write_says_why(
    store: HttpStore, writer: HttpWriter, status: int, key: str, kind: type[DataFerryError]
) -> None:
    """Each status is an error of its kind, also one that comes before the body is read."""
    for fault, size in ((Fault.STATUS, 5), (Fault.REFUSE, 40_000_000)):
        store.inject("PUT", fault, status=status)
        with pytest.raises(DataFerryError) as caught:
            put(writer, key, bytes(size))
        if fault is Fault.STATUS or not caught.value.is_temporary:
            assert type(caught.value) is kind
        assert TOKEN not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_write_that_was_taken_is_a_success(store: HttpStore, writer: HttpWriter, status: int) -> None:
    """Stored, made, taken over or nothing to say."""
    store.inject("PUT", Fault.STATUS, status=status)
    assert put(writer, "x", b"12345").size_bytes == 5


@pytest.mark.parametrize("status", [203, 205, 206, 207, 226, 299])
def test_a_success_that_is_none_of_a_write_is_refused(
    store: HttpStore, writer: HttpWriter, status: int
) -> None:
    """Such as WebDAV's 207, whose body may say that nothing was stored."""
    store.inject("PUT", Fault.STATUS, status=status)
    with pytest.raises(ProtocolError, match=str(status)):
        put(writer, "x", b"12345")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_no_error_quotes_a_server(
    store: HttpStore, reader: HttpReader, writer: HttpWriter, method: str
) -> None:
    """A server that sends our token back, in an error or instead of HTTP, does not get it into our errors."""
    calls: dict[str, Callable[[], object]] = {
        "GET": lambda: read(reader, ObjectInfo(name="x", key="x.bin", size_bytes=None)),
        "HEAD": lambda: writer.stat("x"),
        "PUT": lambda: put(writer, "x", b"1"),
    }
    for fault, status in ((Fault.GARBAGE, 0), (Fault.STATUS, 500), (Fault.STATUS, 418)):
        store.inject(method, fault, status=status)
        with pytest.raises(DataFerryError) as caught:
            calls[method]()
        cause: BaseException | None = caught.value
        while cause is not None:
            assert TOKEN not in f"{cause} {cause!r}"
            cause = cause.__cause__


def test_a_connection_that_died_idle_is_dialled_anew(store: HttpStore, reader: HttpReader) -> None:
    """A server that closes an idle connection without a word costs nothing."""
    info = looked_up(place(store))
    store.inject("GET", Fault.CLOSE_IDLE, times=3)
    for _ in range(4):
        assert read(reader, info) == DATA


def test_a_connection_that_dies_with_a_request_is_dialled_anew_once(
    store: HttpStore, reader: HttpReader
) -> None:
    """An idle connection may end just then; a fresh one that ends is a fault."""
    info = looked_up(place(store))
    assert read(reader, info) == DATA
    store.inject("GET", Fault.HANG_UP)
    assert read(reader, info) == DATA
    store.inject("GET", Fault.HANG_UP, times=2)
    with pytest.raises(ConnectionFailedError):
        read(reader, info)


def test_more_bytes_than_said_are_not_sent(store: HttpStore, writer: HttpWriter) -> None:
    """They would be the beginning of another request."""
    body = writer.put("x", length_bytes=5, attributes=Attributes())
    body.send(memoryview(b"1234"))
    with pytest.raises(ProtocolError):
        body.send(memoryview(b"5DELETE / HTTP/1.1"))


def test_a_changed_object_is_noticed_by_if_range_too(store: HttpStore, reader: HttpReader) -> None:
    """A server that looks at If-Range only answers with the whole of the new version, which is not taken."""
    info = looked_up(place(store))
    store.if_match = False
    store.objects["/d/x.bin"] = Kept(pattern(100_000, seed=1))
    for how in ({}, {"offset_bytes": 5, "length_bytes": 5}):
        with pytest.raises(SourceChangedError):
            read(reader, info, **how)


@pytest.mark.parametrize("path", ["/in/one.bin", "/in/?sig=1"])
def test_a_single_sink_takes_one_object(store: HttpStore, path: str) -> None:
    """Several objects need a URL that ends in a slash, and has no query."""
    store.token = None
    with closing(MECHANISM.open_sink(MECHANISM.at_url(store.url + path), OPEN)) as sink:
        with pytest.raises(AddressError):
            sink.place("other", single=False)
        with closing(sink.writer()) as writer:
            put(writer, sink.place("other", single=True), b"1")
    assert store.requests[-1].target == path


def certificate(folder: Path) -> Path:
    """Write a self-signed certificate of 127.0.0.1 with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "cert.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path
