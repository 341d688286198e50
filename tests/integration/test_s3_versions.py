"""Buckets that keep versions: the planned one is read to its end, and an older one can be named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.servers.faulty_s3 import FaultyS3
from tests.servers.moto import MotoServer
from tests.servers.s3_client import S3Server, s3_client
from tests.unit.engine.memory import Witness

from dataferry.domain.errors import AddressError, DataFerryError, ObjectArchivedError, StoppedError
from dataferry.domain.location import Location
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Overwrite, Result, Transfer
from dataferry.mechanisms.base import GrantMode
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.mechanisms.s3.address import Place
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy
from dataferry.store.local import open_local_ledger

MIB = 1024 * 1024
PART = 5 * MIB
OLD = bytes(range(256)) * (2 * PART // 256) + b"tail"
NEW = OLD[::-1]
LIMITS = EngineLimits(
    workers=1,
    part_size_bytes=PART,
    multipart_threshold_bytes=PART,
    attempts=3,
    backoff_s=0.01,
    max_backoff_s=0.02,
)


def location(server: S3Server, **settings: Any) -> Location:
    own = {
        "endpoint_url": server.endpoint_url,
        "access_key_id": server.access_key_id,
        "secret_access_key": server.secret_access_key,
        "exclusive": True,
    }
    return Location(name="it", mechanism="s3", settings={**own, **settings})


@dataclass
class Versioned:
    """A bucket that keeps versions, and a server to copy to."""

    server: MotoServer
    bucket: str
    client: Any
    target: FaultyS3

    def put(self, key: str, body: bytes) -> str:
        """Write a version; return its id."""
        version: str = self.client.put_object(Bucket=self.bucket, Key=key, Body=body)["VersionId"]
        return version

    def place(self, path: str = "") -> Place:
        """A place in it."""
        return MECHANISM.at_location(location(self.server), f"{self.bucket}/{path}")

    def copy(
        self, ledger: Path, path: str = "", *, stop: Stop | None = None, place: Place | None = None
    ) -> Result:
        """Run one attempt at copying a place; the newest attempt of the same transfer."""
        network = Network(EgressGuard(EgressPolicy(allow_private_networks=True)))
        with ExitStack() as stack:
            source = MECHANISM.open_source(place or self.place(path), network)
            stack.enter_context(closing(source))
            sink = MECHANISM.open_sink(MECHANISM.at_location(location(self.target), "target/"), network)
            stack.enter_context(closing(sink))
            rows = stack.enter_context(closing(open_local_ledger(ledger)))
            transfer = Transfer(
                id="t",
                epoch=rows.begin("t").epoch,
                source=source,
                sink=sink,
                limits=LIMITS,
                overwrite=Overwrite.ALWAYS,
            )
            return run(transfer, rows, stop=stop or Stop(), observer=Witness())

    def after_first(self, call: str, change: Callable[[], object]) -> None:
        """Do something once, right after the target has answered a call of a name."""
        done: list[bool] = []

        def watch(name: str, moment: str) -> None:
            if (name, moment) == (call, "after") and not done:
                done.append(True)
                change()

        self.target.watch = watch


@pytest.fixture
def versioned(moto_s3: MotoServer, bucket: str) -> Iterator[Versioned]:
    with closing(s3_client(moto_s3)) as client, FaultyS3() as target:
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        target.make_bucket("target")
        yield Versioned(moto_s3, bucket, client, target)


@pytest.fixture
def unlisted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions can't be looked for, as without ``s3:ListBucketVersions``: those that replies told must do."""
    monkeypatch.setattr("dataferry.mechanisms.s3.versions.MAX_PAGES", 0)


def change(versioned: Versioned, key: str, how: str) -> None:
    if how == "replaced":
        versioned.put(key, NEW)
    else:
        versioned.client.delete_object(Bucket=versioned.bucket, Key=key)


@pytest.mark.parametrize(
    ("path", "how"), [("", "replaced"), ("big", "deleted")], ids=["listed-replaced", "single-deleted"]
)
@pytest.mark.usefixtures("unlisted")
def test_an_object_that_changes_in_the_middle_is_copied_as_planned(
    versioned: Versioned, tmp_path: Path, path: str, how: str
) -> None:
    """The version that was begun stays readable, so it arrives whole: no failure, and never a mixture."""
    versioned.put("big", OLD)
    versioned.after_first("UploadPart", lambda: change(versioned, "big", how))
    result = versioned.copy(tmp_path / "ledger.db", path)
    assert result.is_complete
    assert versioned.target.body("target", "big") == OLD


def test_small_objects_that_change_before_they_are_read_are_copied_as_listed(
    versioned: Versioned, tmp_path: Path
) -> None:
    """A listing names no versions: those that were listed are looked for."""
    for key in ("a", "replaced", "deleted"):
        versioned.put(key, b"as listed")

    def meanwhile() -> None:
        change(versioned, "replaced", "replaced")
        change(versioned, "deleted", "deleted")

    versioned.after_first("PutObject", meanwhile)
    assert versioned.copy(tmp_path / "ledger.db").is_complete
    assert [it.body for it in versioned.target.buckets["target"].values()] == [b"as listed"] * 3


@pytest.mark.usefixtures("unlisted")
def test_a_resume_goes_on_with_the_version_that_was_begun(versioned: Versioned, tmp_path: Path) -> None:
    """What was sent before the stop counts, though the object was replaced meanwhile."""
    versioned.put("big", OLD)
    stop = Stop()
    versioned.after_first("UploadPart", stop.set)
    with pytest.raises(StoppedError):
        versioned.copy(tmp_path / "ledger.db", stop=stop)
    versioned.put("big", NEW)
    result = versioned.copy(tmp_path / "ledger.db")
    assert result.is_complete
    assert versioned.target.body("target", "big") == OLD
    assert versioned.copy(tmp_path / "other.db").is_complete
    assert versioned.target.body("target", "big") == NEW


def test_an_older_version_can_be_named(versioned: Versioned, tmp_path: Path) -> None:
    """In a location's path, in an address and in what a grant hands out; each is a place of its own."""
    first = versioned.put("dir/key", b"first")
    versioned.put("dir/key", b"second")
    place = versioned.place(f"dir/key?versionId={first}")
    assert place.identity != versioned.place("dir/key").identity
    shared = location(
        versioned.server,
        share_access_key_id=versioned.server.access_key_id,
        share_secret_access_key=versioned.server.secret_access_key,
    )
    granted = MECHANISM.grant(
        MECHANISM.at_location(shared, f"{versioned.bucket}/dir/key?versionId={first}"),
        MECHANISM.profiles[1],
        GrantMode.READ,
        Network(),
        ttl_s=60,
        purpose="a flow",
    )
    for number, named in enumerate((place, MECHANISM.at_address(granted))):
        assert versioned.copy(tmp_path / f"{number}.db", place=named).is_complete
        assert versioned.target.buckets["target"].pop("key").body == b"first"


def test_what_was_deleted_is_not_there_and_why_is_said(versioned: Versioned) -> None:
    """A delete marker, as the current version and named as a version; and a version that never was."""
    versioned.put("key", b"x")
    marker = versioned.client.delete_object(Bucket=versioned.bucket, Key="key")["VersionId"]
    for path, words in (
        ("key", "delete marker"),
        (f"key?versionId={marker}", "delete marker"),
        ("key?versionId=00000000-0000-0000-0000-000000000000", "key"),
    ):
        with closing(MECHANISM.open_source(versioned.place(path), Network())) as source:
            with pytest.raises(DataFerryError, match=words) as caught:
                source.probe()
            assert not caught.value.is_temporary


def test_a_version_is_of_one_object_and_only_read(versioned: Versioned) -> None:
    """Prefixes have none, ids are ids, and nothing is written to one."""
    for path in ("dir/?versionId=abc", "key?versionId=", "key?versionId=a b"):
        with pytest.raises(AddressError, match="versionId"):
            versioned.place(path)
    with pytest.raises(AddressError, match="not be written"):
        MECHANISM.open_sink(versioned.place("key?versionId=abc"), Network())
    assert versioned.place("key?versionId=a/b").path == "key?versionId=a/b"


def test_who_may_not_ask_for_versions_reads_the_current_one(tmp_path: Path) -> None:
    """A permission of its own, which keys made for reading often lack: the ETag still binds what is read."""
    with FaultyS3(refuses_versions=True) as source, FaultyS3() as target:
        source.make_bucket("source")
        source.put("source", "big", OLD)
        target.make_bucket("target")
        network = Network()
        with ExitStack() as stack:
            place = MECHANISM.at_location(location(source), "source/big")
            reads = stack.enter_context(closing(MECHANISM.open_source(place, network)))
            place = MECHANISM.at_location(location(target), "target/")
            writes = stack.enter_context(closing(MECHANISM.open_sink(place, network)))
            rows = stack.enter_context(closing(open_local_ledger(tmp_path / "ledger.db")))
            transfer = Transfer(
                id="t",
                epoch=rows.begin("t").epoch,
                source=reads,
                sink=writes,
                limits=LIMITS,
            )
            assert run(transfer, rows, stop=Stop(), observer=Witness()).is_complete
        assert target.body("target", "big") == OLD


def test_an_archived_object_is_told_with_the_way_out(versioned: Versioned) -> None:
    """It is there, and can't be read before it is restored."""
    versioned.client.put_object(Bucket=versioned.bucket, Key="cold", Body=b"x", StorageClass="DEEP_ARCHIVE")
    with closing(MECHANISM.open_source(versioned.place("cold"), Network())) as source:
        (info,) = source.list()
        with closing(source.reader()) as reader, pytest.raises(ObjectArchivedError, match="restore"):
            reader.open(info)
