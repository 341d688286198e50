"""S3 against real servers: one checks signatures, one keeps all attributes and enforces conditions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from awscrt.checksums import crc64nvme
from tests.servers.moto import MotoServer
from tests.servers.s3_client import S3Server, s3_client

from dataferry.demo.servers import JuiceFs
from dataferry.domain.errors import (
    AccessDeniedError,
    AddressError,
    BucketNotFoundError,
    DataFerryError,
    DestinationExistsError,
    EgressDeniedError,
    ObjectNotFoundError,
    SourceChangedError,
    UploadGoneError,
)
from dataferry.domain.location import Location
from dataferry.domain.objects import Attributes
from dataferry.mechanisms.base import GrantMode
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.mechanisms.s3.address import Place
from dataferry.mechanisms.s3.sink import S3Sink
from dataferry.mechanisms.s3.source import S3Reader, S3Source
from dataferry.mechanisms.s3.writer import S3Writer
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy

MIB = 1024 * 1024
ODD_NAMES = [
    "plain", "with space", "question?mark", "hash#mark", "percent%41", "percent%", "plus+plus", "ünïcödé €",
    "日本/語", "~tilde", 'quote"<&>', "a/b/c", "semi;colon&amp=x", "star*()!'", "comma,dollar$@:", "k" * 200,
]  # fmt: skip


@dataclass
class Bucket:
    """A bucket on a server, with our readers and writers of it and botocore as the witness."""

    server: S3Server
    name: str
    witness: Any
    stack: ExitStack

    def location(self, **settings: Any) -> Location:
        """Its server as a location."""
        own = {
            "endpoint_url": self.server.endpoint_url,
            "access_key_id": self.server.access_key_id,
            "secret_access_key": self.server.secret_access_key,
        }
        return Location(name="it", mechanism="s3", settings={**own, **settings})

    def place(self, path: str = "", **settings: Any) -> Place:
        """A place in it."""
        return MECHANISM.at_location(self.location(**settings), f"{self.name}/{path}")

    def source(self, path: str = "", **settings: Any) -> S3Source:
        """Our source, closed when the test ends."""
        return self.stack.enter_context(
            closing(MECHANISM.open_source(self.place(path, **settings), Network()))
        )

    def sink(self, path: str = "", **settings: Any) -> S3Sink:
        """Our sink, closed likewise."""
        return self.stack.enter_context(closing(MECHANISM.open_sink(self.place(path, **settings), Network())))

    def writer(self, path: str = "", **settings: Any) -> S3Writer:
        """Our writer, closed likewise."""
        return self.stack.enter_context(closing(self.sink(path, **settings).writer()))

    def reader(self, of: S3Source) -> S3Reader:
        """Our reader, closed likewise."""
        return self.stack.enter_context(closing(of.reader()))

    def body(self, key: str) -> bytes:
        """The bytes that the witness reads."""
        return bytes(self.witness.get_object(Bucket=self.name, Key=key)["Body"].read())


@pytest.fixture
def make(bucket: str) -> Iterator[Callable[[S3Server], Bucket]]:
    with ExitStack() as stack:

        def make(server: S3Server) -> Bucket:
            witness = s3_client(server)
            stack.callback(witness.close)
            witness.create_bucket(Bucket=bucket)
            return Bucket(server, bucket, witness, stack)

        yield make


@pytest.fixture
def strict(juicefs: JuiceFs, make: Callable[[S3Server], Bucket]) -> Bucket:
    """A bucket where signatures count."""
    return make(juicefs)


@pytest.fixture
def faithful(moto_s3: MotoServer, make: Callable[[S3Server], Bucket]) -> Bucket:
    """A bucket where attributes and conditions count."""
    return make(moto_s3)


@pytest.fixture(params=["strict", "faithful"])
def either(request: pytest.FixtureRequest) -> Bucket:
    """A bucket on each."""
    found: Bucket = request.getfixturevalue(request.param)
    return found


def test_a_server_that_folds_names_is_never_told_two(strict: Bucket) -> None:
    """Written by others, a//b replaces a/b without a word; we refuse such names there, and say why."""
    strict.witness.put_object(Bucket=strict.name, Key="d/e", Body=b"one")
    strict.witness.put_object(Bucket=strict.name, Key="d//e", Body=b"two")
    assert strict.body("d/e") == b"two"
    with pytest.raises(AddressError, match="exact_keys"):
        strict.sink().place("d//e", single=False)


def put(writer: S3Writer, key: str, body: bytes, attributes: Attributes | None = None, **how: Any) -> str:
    write = writer.put(key, length_bytes=len(body), attributes=attributes or Attributes(), **how)
    for start in range(0, len(body), MIB):
        write.send(memoryview(body)[start : start + MIB])
    return write.finish().etag


def whole(reader: S3Reader, source: S3Source) -> dict[str, bytes]:
    """Read all objects, by name."""
    found = {}
    for info in source.list():
        with closing(reader.open(info)) as stream:
            buffer = memoryview(bytearray(MIB))
            body = b""
            while count := stream.readinto(buffer):
                body += bytes(buffer[:count])
        found[info.name] = body
    return found


def test_odd_names_are_written_listed_and_read_as_they_are(either: Bucket) -> None:
    """What stands in a key is the key: botocore sees the same names and bytes."""
    sink, writer = either.sink("in put/"), either.writer("in put/")
    for name in ODD_NAMES:
        put(writer, sink.place(name, single=False), name.encode())
    source = either.source("in put/")
    assert whole(either.reader(source), source) == {name: name.encode() for name in ODD_NAMES}
    assert {name: either.body(f"in put/{name}") for name in ODD_NAMES} == {
        name: name.encode() for name in ODD_NAMES
    }
    keys = sorted((sink.place(name, single=False) for name in ODD_NAMES), key=str.encode)
    assert set(sink.find([*keys, "in put/zz", "in put/zzz"])) == set(keys)
    for key in keys:
        single = either.source(key)
        assert list(whole(either.reader(single), single).values()) == [key.removeprefix("in put/").encode()]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB])
def test_whole_objects_of_any_size(strict: Bucket, size: int, signed: bool) -> None:
    """Empty ones too, with payloads signed or not."""
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    put(strict.writer(payload_signing=signed), "key", body)
    assert strict.body("key") == body
    source = strict.source("key")
    assert whole(strict.reader(source), source) == {"key": body}


def test_attributes_round_trip(faithful: Bucket) -> None:
    """Content headers and user metadata, non-ASCII ones too, for whole objects and uploads alike."""
    attributes = Attributes(
        content_type="text/csv; charset=utf-8",
        cache_control="max-age=60",
        content_disposition='attachment; filename="größe.csv"',
        content_encoding="gzip",
        content_language="de",
        expires="Wed, 21 Oct 2026 07:28:00 GMT",
        user_metadata=(("name", "Prüfstand 7: " + "größe " * 30 + "€"), ("plain", "a  b=?c")),
    )
    writer = faithful.writer()
    put(writer, "whole", b"x", attributes)
    upload = writer.create_upload("parts", size_bytes=1, attributes=attributes)
    write = writer.put_part(upload, number=1, offset_bytes=0, length_bytes=1)
    write.send(memoryview(b"x"))
    writer.complete(upload, [write.finish()], size_bytes=1, crc64nvme=crc64nvme(b"x"))
    found = [info for key in ("whole", "parts") if (info := writer.stat(key)) is not None]
    assert [info.attributes for info in found] == [attributes, attributes]
    source = faithful.source("whole")
    with closing(faithful.reader(source).open(next(source.list()))) as stream:
        assert stream.info.attributes == attributes


def test_parts_in_any_order_make_the_object(either: Bucket) -> None:
    """Uploads are listed with their parts, a part may be sent again, and completion answers the object."""
    body = bytes(range(256)) * (6 * MIB // 256)
    halves = {1: body[: 5 * MIB], 2: body[5 * MIB :]}
    writer, began = either.writer(), datetime.now(UTC)
    upload = writer.create_upload("in/big", size_bytes=len(body), attributes=Attributes())
    receipts = {}
    for number in (2, 1, 2):
        write = writer.put_part(
            upload, number=number, offset_bytes=(number - 1) * 5 * MIB, length_bytes=len(halves[number])
        )
        write.send(memoryview(halves[number]))
        receipts[number] = write.finish()
    listed = writer.list_parts(upload)
    assert {number: (it.etag, it.size_bytes) for number, it in (listed or {}).items()} == {
        number: (it.etag, it.size_bytes) for number, it in receipts.items()
    }
    if isinstance(either.server, JuiceFs):  # moto's uploads all begin in 2010
        open_uploads = writer.list_uploads("in/big", since=began) or []
        assert [it.upload_id for it in open_uploads] == [upload.upload_id]
        assert writer.list_uploads("in/bi", since=began) == []
    parts = list(receipts.values())
    done = writer.complete(upload, parts, size_bytes=len(body), crc64nvme=crc64nvme(body))
    assert done.size_bytes == len(body)
    assert either.body("in/big") == body


def test_an_upload_is_gone_after_it_was_aborted(strict: Bucket) -> None:
    """Its parts can't be listed, sent or completed, and aborting again is no error."""
    writer = strict.writer()
    upload = writer.create_upload("big", size_bytes=1, attributes=Attributes())
    write = writer.put_part(upload, number=1, offset_bytes=0, length_bytes=1)
    write.send(memoryview(b"x"))
    part = write.finish()
    writer.abort_upload(upload)
    writer.abort_upload(upload)
    with pytest.raises(UploadGoneError):
        writer.list_parts(upload)
    with pytest.raises(UploadGoneError):
        writer.complete(upload, [part], size_bytes=1, crc64nvme=None)
    assert writer.stat("big") is None
    assert writer.list_uploads("big", since=datetime(2020, 1, 1, tzinfo=UTC)) == []


def test_ranges_of_the_version_that_was_listed(either: Bucket) -> None:
    """Reads name the ETag; another object of the same size under the key is refused."""
    put(either.writer(), "key", b"0123456789")
    source = either.source("key")
    info, reader = next(source.list()), either.reader(source)
    buffer = memoryview(bytearray(10))
    with closing(reader.open(info, offset_bytes=3, length_bytes=4)) as stream:
        assert (stream.readinto(buffer), bytes(buffer[:4]), stream.length_bytes) == (4, b"3456", 4)
        assert stream.info.size_bytes == 10
    with closing(reader.open(info, offset_bytes=8)) as stream:
        assert (stream.readinto(buffer), bytes(buffer[:2])) == (2, b"89")
    put(either.writer(), "key", b"abcdefghij")
    with pytest.raises(SourceChangedError):
        reader.open(info, offset_bytes=3, length_bytes=4)
    assert reader.stat(info).validator != info.validator
    with pytest.raises(ObjectNotFoundError):
        reader.open(dataclasses.replace(info, key="nothing"))


def test_only_if_absent(faithful: Bucket) -> None:
    """A conditional write of what is there fails and leaves it."""
    writer = faithful.writer()
    put(writer, "key", b"first", only_if_absent=True)
    with pytest.raises(DestinationExistsError):
        put(writer, "key", b"second", only_if_absent=True)
    assert faithful.body("key") == b"first"


@pytest.mark.parametrize(
    ("path", "settings", "error"),
    [
        ("key", {"secret_access_key": "a-wrong-secret-value"}, AccessDeniedError),
        ("in/", {"secret_access_key": "a-wrong-secret-value"}, AccessDeniedError),
        ("in/", {"access_key_id": "AKIAWRONGWRONGWRONG"}, AccessDeniedError),
        ("nothing", {}, ObjectNotFoundError),
    ],
)
def test_probing_a_source_says_what_is_wrong(
    strict: Bucket, path: str, settings: dict[str, str], error: type[DataFerryError]
) -> None:
    """Wrong credentials and missing objects are told apart, though a HEAD says neither."""
    strict.source("in/").probe()
    with pytest.raises(error) as caught:
        strict.source(path, **settings).probe()
    assert "a-wrong-secret-value" not in str(caught.value)


def test_probing_a_sink_says_what_is_wrong(strict: Bucket) -> None:
    """Missing buckets and wrong credentials, before a byte moves."""
    strict.sink().probe()
    with pytest.raises(AccessDeniedError):
        strict.sink(secret_access_key="a-wrong-secret-value").probe()
    missing = dataclasses.replace(strict.place(), bucket="no-such-bucket-here")
    for of in (MECHANISM.open_sink(missing, Network()), MECHANISM.open_source(missing, Network())):
        with closing(of), pytest.raises(BucketNotFoundError):
            of.probe()


def test_a_granted_address_works_and_passes_the_guard(strict: Bucket) -> None:
    """A grant can be written to, and only where the egress policy lets places from outside be."""
    place = strict.place(
        "shared/",
        exclusive=True,
        share_access_key_id=strict.server.access_key_id,
        share_secret_access_key=strict.server.secret_access_key,
    )
    theirs = MECHANISM.at_address(
        MECHANISM.grant(place, MECHANISM.profiles[0], GrantMode.WRITE, Network(), ttl_s=60, purpose="a flow")
    )
    with closing(MECHANISM.open_sink(theirs, Network())) as sink, pytest.raises(EgressDeniedError):
        sink.probe()
    network = Network(EgressGuard(EgressPolicy(allow=("127.0.0.1/32",))))
    with closing(MECHANISM.open_sink(theirs, network)) as sink, closing(sink.writer()) as writer:
        sink.probe()
        put(writer, sink.place("a", single=False), b"granted")
    assert sink.exclusive
    assert strict.body("shared/a") == b"granted"


def test_ambient_credentials_and_endpoint(strict: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """``s3://bucket/key`` is read with the machine's own AWS settings."""
    from dataferry.mechanisms.s3 import ambient

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", strict.server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", strict.server.secret_access_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", strict.server.endpoint_url)
    ambient._session.cache_clear()
    put(strict.writer(), "key", b"ambient")
    with closing(MECHANISM.open_source(MECHANISM.at_url(f"s3://{strict.name}/key"), Network())) as source:
        assert whole(strict.reader(source), source) == {"key": b"ambient"}
    ambient._session.cache_clear()
