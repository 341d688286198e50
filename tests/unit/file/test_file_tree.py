"""A file root is never left, by names or by links."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataferry.domain.errors import (
    AddressError,
    BucketNotFoundError,
    DestinationExistsError,
    ObjectNotFoundError,
)
from dataferry.domain.location import Location
from dataferry.domain.objects import Attributes, ObjectInfo
from dataferry.mechanisms.base import Sink, Source
from dataferry.mechanisms.file import MECHANISM
from dataferry.mechanisms.file.sink import FileSink
from dataferry.mechanisms.file.tree import describe, segments
from dataferry.net.connections import Network


def location(root: Path) -> Location:
    return Location(name="here", mechanism="file", settings={"root": str(root)})


def source(root: Path, path: str = "") -> Source:
    return MECHANISM.open_source(MECHANISM.at_location(location(root), path), Network())


def sink(root: Path, path: str = "") -> Sink:
    return MECHANISM.open_sink(MECHANISM.at_location(location(root), path), Network())


def write(to: Sink, key: str, data: bytes, *, only_if_absent: bool = False) -> None:
    body = to.writer().put(
        key, length_bytes=len(data), attributes=Attributes(), only_if_absent=only_if_absent
    )
    try:
        body.send(memoryview(data))
        body.finish()
    finally:
        body.cancel()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Make a directory that nobody may reach, with a file in it."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "secret").write_bytes(b"secret")
    return directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a root."""
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@given(st.lists(st.sampled_from(["..", ".", "", "a", "\0", "b"]), max_size=5))
def test_a_name_is_plain_steps_or_refused(steps: list[str]) -> None:
    """Whatever a name is made of, it is refused unless every step is a plain file name."""
    name = "/".join(steps)
    if name and all(step in {"a", "b"} for step in steps):
        assert tuple(steps) == segments(name)
    else:
        with pytest.raises(AddressError):
            segments(name)


def test_a_linked_directory_is_no_way_out(root: Path, outside: Path) -> None:
    """A link to a directory outside is refused by place, by every write and by every read."""
    (root / "out").symlink_to(outside)
    to = sink(root)
    with pytest.raises(AddressError):
        to.place("out/x", single=False)
    with pytest.raises(AddressError):
        write(to, "out/x", b"x")
    with pytest.raises(AddressError):
        to.writer().create_upload("out/x", size_bytes=1, attributes=Attributes())
    with pytest.raises(AddressError):
        source(root).reader().open(ObjectInfo(name="x", key="out/secret", size_bytes=None))
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_a_link_inside_the_root_is_refused_too(root: Path) -> None:
    """A link to a directory inside would give one file two names, so it is refused as well."""
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    with pytest.raises(AddressError):
        sink(root).place("link/x", single=False)


def test_a_listing_leaves_out_links_and_special_files(
    root: Path, outside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Links, pipes and sockets are not listed; how many were left out is logged."""
    (root / "file").write_bytes(b"x")
    (root / "link").symlink_to(outside / "secret")
    (root / "dir").symlink_to(outside)
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        assert [info.name for info in source(root).list()] == ["file"]
    assert "4 links and special files" in caplog.text


@pytest.mark.parametrize("name", ["link", "pipe"])
def test_a_link_or_pipe_is_no_source(root: Path, outside: Path, name: str) -> None:
    """Naming a link or a pipe as the source is refused at once, without waiting for a writer of the pipe."""
    (root / "link").symlink_to(outside / "secret")
    os.mkfifo(root / "pipe")
    with pytest.raises(AddressError):
        source(root, name).probe()


def test_a_directory_or_link_is_not_written_over(root: Path, outside: Path) -> None:
    """A name that is taken by a directory or a link is refused before anything is sent."""
    (root / "dir").mkdir()
    (root / "link").symlink_to(outside / "secret")
    for name in ("dir", "link"):
        with pytest.raises(AddressError):
            sink(root).place(name, single=False)
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_missing_root_is_never_made(tmp_path: Path) -> None:
    """A root that is not there may be a missing mount: it is an error, and stays missing."""
    missing = tmp_path / "mount"
    with pytest.raises(BucketNotFoundError):
        write(sink(missing), "a", b"x")
    assert not missing.exists()


def test_the_root_itself_may_be_a_link(tmp_path: Path, root: Path) -> None:
    """The operator's own root may be reached through a link."""
    link = tmp_path / "link"
    link.symlink_to(root)
    write(sink(link), "a/b", b"x")
    assert (root / "a" / "b").read_bytes() == b"x"


def test_colliding_keys_are_found_in_one_pass() -> None:
    """Of sorted keys, a file that another needs as a directory is found across what sorts between them."""
    endpoint = MECHANISM.at_url("/nowhere/")
    to = MECHANISM.open_sink(endpoint, Network())
    assert isinstance(to, FileSink)
    to.check_keys(["a", "a-", "a-b/c", "a.txt", "ab/c", "b/a"])
    with pytest.raises(AddressError, match="'a' and 'a/x'"):
        to.check_keys(["a", "a-", "a.txt", "a/x"])
    with pytest.raises(AddressError):
        to.check_keys(["d/e", "d/e!", "d/e/f/g"])


def test_only_if_absent_respects_a_file_that_appears_meanwhile(root: Path) -> None:
    """A file that appears while the body is sent is kept."""
    to = sink(root)
    body = to.writer().put("a", length_bytes=1, attributes=Attributes(), only_if_absent=True)
    body.send(memoryview(b"x"))
    (root / "a").write_bytes(b"theirs")
    with pytest.raises(DestinationExistsError):
        body.finish()
    assert (root / "a").read_bytes() == b"theirs"
    assert [path.name for path in root.iterdir()] == ["a"]


def test_errors_name_no_path_outside_the_root(root: Path) -> None:
    """An error tells the place below the root, never where the root is."""
    with pytest.raises(ObjectNotFoundError) as caught:
        source(root, "no/such").probe()
    assert "no/such" in str(caught.value)
    assert str(root) not in str(caught.value)


@pytest.mark.parametrize("seconds", [2**40, -(2**40), 2**70])
def test_a_file_of_an_impossible_time_has_none(seconds: int) -> None:
    """A time that no calendar here has, which anybody may give a file, does not stop a listing."""
    status = SimpleNamespace(
        st_mode=stat.S_IFREG, st_mtime=seconds, st_mtime_ns=seconds * 10**9, st_size=1, st_ino=1
    )

    assert describe("a", "a", cast("os.stat_result", status), None).modified_at is None
