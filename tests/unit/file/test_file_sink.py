"""Files appear whole or not at all, on systems with and without Linux's ways."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dataferry.domain.errors import AddressError, NoSpaceError
from dataferry.domain.objects import Attributes
from dataferry.mechanisms.base import Sink
from dataferry.mechanisms.file import MECHANISM
from dataferry.mechanisms.file.temporary import begun_at, new_upload_id, temporary_name
from dataferry.net.connections import Network

PIB = 1 << 50

BEGINS_AND_WAITS = """
import sys, time
from dataferry.domain.objects import Attributes
from dataferry.mechanisms.file import MECHANISM
from dataferry.net.connections import Network
writer = MECHANISM.open_sink(MECHANISM.at_url(sys.argv[1] + "/"), Network()).writer()
body = writer.put(sys.argv[2], length_bytes=2_000_000, attributes=Attributes())
body.send(memoryview(bytes(1_000_000)))
print("sent", flush=True)
time.sleep(60)
"""


def open_sink(directory: Path) -> Sink:
    return MECHANISM.open_sink(MECHANISM.at_url(f"{directory}/"), Network())


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(params=["this system", "neither unnamed files nor allocation"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what macOS has not."""
    if request.param != "this system":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
        monkeypatch.delattr(os, "posix_fallocate", raising=False)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("only_if_absent", [False, True])
def test_a_write_leaves_its_file_and_nothing_else(tmp_path: Path, *, only_if_absent: bool) -> None:
    """A finished write leaves one file; a cancelled one leaves none."""
    sink = open_sink(tmp_path)
    key, writer = sink.place("x", single=False), sink.writer()
    for sent in (5, 10):
        body = writer.put(key, length_bytes=10, attributes=Attributes(), only_if_absent=only_if_absent)
        body.send(memoryview(bytes(sent)))
        if sent == 10:
            body.finish()
        body.cancel()
        assert names(tmp_path) == (["x"] if sent == 10 else [])
    assert (tmp_path / "x").read_bytes() == bytes(10)


@pytest.mark.usefixtures("system")
def test_an_upload_without_allocation_is_whole(tmp_path: Path) -> None:
    """Where room can't be allocated beforehand, an upload still has its size and becomes the file."""
    sink = open_sink(tmp_path)
    key, writer = sink.place("x", single=False), sink.writer()
    upload = writer.create_upload(key, size_bytes=10, attributes=Attributes())
    body = writer.put_part(upload, number=1, offset_bytes=0, length_bytes=10)
    body.send(memoryview(b"0123456789"))
    writer.complete(upload, [body.finish()], size_bytes=10, crc64nvme=None)
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"0123456789"


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="macOS can't allocate room beforehand")
def test_no_room_is_noticed_before_a_byte_is_sent(tmp_path: Path) -> None:
    """A size that the disk can't hold is refused when the write is opened, and leaves nothing."""
    sink = open_sink(tmp_path)
    key, writer = sink.place("x", single=False), sink.writer()
    with pytest.raises(NoSpaceError):
        writer.create_upload(key, size_bytes=PIB, attributes=Attributes())
    with pytest.raises(NoSpaceError):
        writer.put(key, length_bytes=PIB, attributes=Attributes())
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name are Linux's")
def test_a_kill_in_a_whole_write_leaves_nothing(tmp_path: Path) -> None:
    """A process killed in the middle of a small file leaves neither it nor a temporary one."""
    command = [sys.executable, "-c", BEGINS_AND_WAITS, str(tmp_path), str(tmp_path / "x")[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sent\n"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert names(tmp_path) == []


def test_the_longest_name_has_a_temporary_one(tmp_path: Path) -> None:
    """A name of 255 bytes can be uploaded in parts: its temporary name is shortened, and found again."""
    sink = open_sink(tmp_path)
    key, writer = sink.place("ü" * 127 + "x", single=False), sink.writer()
    upload = writer.create_upload(key, size_bytes=0, attributes=Attributes())
    assert upload.started_at is not None
    found = writer.list_uploads(key, since=upload.started_at)
    assert found == [upload]
    writer.complete(upload, [], size_bytes=0, crc64nvme=None)
    assert names(tmp_path) == ["ü" * 127 + "x"]


def test_an_upload_says_when_it_was_begun() -> None:
    """The time in an upload's id is that of its making."""
    before = time.time()
    begun = begun_at(new_upload_id()).timestamp()
    assert before - 0.001 <= begun <= time.time()


def test_names_of_temporary_files_are_refused(tmp_path: Path) -> None:
    """An object from outside can't take the name of a temporary file, and so not its place."""
    with pytest.raises(AddressError):
        open_sink(tmp_path).place(f"d/{temporary_name('x', new_upload_id())}", single=False)


def test_a_forged_upload_id_leads_nowhere(tmp_path: Path) -> None:
    """An id that is not one of ours removes nothing."""
    sink = open_sink(tmp_path)
    (tmp_path / "victim").write_bytes(b"x")
    writer = sink.writer()
    upload = writer.create_upload(sink.place("x", single=False), size_bytes=1, attributes=Attributes())
    from dataclasses import replace

    writer.abort_upload(replace(upload, upload_id="/../victim"))
    assert "victim" in names(tmp_path)
    writer.abort_upload(upload)
    assert names(tmp_path) == ["victim"]
