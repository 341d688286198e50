"""What a file source reads is one version of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataferry.domain.errors import AddressError, SourceChangedError
from dataferry.domain.names import refuse_bytes
from dataferry.domain.objects import Attributes, ObjectInfo
from dataferry.mechanisms.base import Reader, Source
from dataferry.mechanisms.file import MECHANISM
from dataferry.mechanisms.file.source import guess_attributes
from dataferry.net.connections import Network

NAMES = st.lists(st.sampled_from(["a", "b", "a-", "a.", "a0", "é", " "]), min_size=1, max_size=4)


def open_source(path: Path | str) -> Source:
    return MECHANISM.open_source(MECHANISM.at_url(str(path)), Network())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Make a file of 1 MiB."""
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(1 << 20))
    return path


@pytest.fixture
def reader(file: Path) -> Iterator[Reader]:
    """Open a reader of it."""
    reader = open_source(file).reader()
    yield reader
    reader.close()


def only(path: Path) -> ObjectInfo:
    [info] = open_source(path).list()
    return info


def test_a_file_written_to_while_it_is_read_is_an_error(file: Path, reader: Reader) -> None:
    """Bytes written into the file during a read fail that read at its end."""
    stream = reader.open(only(file))
    buffer = memoryview(bytearray(1 << 19))
    assert len(buffer) == stream.readinto(buffer)
    with file.open("r+b") as other:
        other.write(b"changed")
    os.utime(file, ns=(1, 1))
    with pytest.raises(SourceChangedError):
        stream.readinto(buffer)


def test_a_file_cut_short_while_it_is_read_is_an_error(file: Path, reader: Reader) -> None:
    """A file that was truncated during a read is a changed source, not a short body to be tried again."""
    stream = reader.open(only(file))
    os.truncate(file, 1 << 19)
    buffer = memoryview(bytearray(1 << 20))
    assert stream.readinto(buffer) == 1 << 19
    with pytest.raises(SourceChangedError):
        stream.readinto(buffer)


def test_a_file_put_in_its_place_between_two_parts_is_an_error(
    file: Path, reader: Reader, tmp_path: Path
) -> None:
    """Another file of the same name, size and time is another version."""
    info = only(file)
    reader.open(info, offset_bytes=0, length_bytes=10).close()
    other = tmp_path / "other"
    other.write_bytes(bytes(1 << 20))
    status = file.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    with pytest.raises(SourceChangedError):
        reader.open(info, offset_bytes=10, length_bytes=10)


@given(names=st.lists(NAMES.map("/".join), unique=True, max_size=12), start=NAMES.map("/".join))
def test_any_tree_is_listed_in_string_order(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], start: str
) -> None:
    """The names of any tree are listed sorted, from any name on."""
    root = tmp_path_factory.mktemp("tree")
    made = set()
    for name in names:
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(b"")
                made.add(name)
        except (FileExistsError, NotADirectoryError):
            continue
    source = open_source(f"{root}/")
    assert sorted(made) == [info.name for info in source.list()]
    assert [name for name in sorted(made) if name > start] == [
        info.name for info in source.list(start_after=start)
    ]


def test_names_that_are_not_utf_8_are_listed_as_they_are(tmp_path: Path) -> None:
    """Patterns may leave them out; whoever takes what is left refuses them, so that none is lost unseen."""
    for raw in (b"a", b"bad\xff", b"d\xfe/x", b"z"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + raw))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    source = open_source(f"{tmp_path}/")

    names = [info.name for info in source.list()]

    assert names == ["a", "bad\udcff", "d\udcfe/x", "z"]
    for name in names[1:3]:
        with pytest.raises(AddressError, match="not UTF-8"):
            refuse_bytes(name)


def test_temporary_files_of_transfers_are_not_listed(tmp_path: Path) -> None:
    """What another transfer is writing is no object yet."""
    sink = MECHANISM.open_sink(MECHANISM.at_url(f"{tmp_path}/"), Network())
    sink.writer().create_upload(sink.place("x", single=False), size_bytes=1, attributes=Attributes())
    assert len(list(tmp_path.iterdir())) == 1
    assert list(open_source(f"{tmp_path}/").list()) == []


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.json", "application/json"),
        ("a.txt", "text/plain"),
        ("a.tar.gz", "application/gzip"),
        ("a", None),
        ("a.unheardof", None),
    ],
)
def test_the_content_type_is_guessed_from_the_name(name: str, content_type: str | None) -> None:
    """A name's ending says the content type; compressed files are what they are, not what is in them."""
    attributes = guess_attributes(name)
    assert content_type == attributes.content_type
    assert attributes.content_encoding is None


def test_a_link_that_the_operator_names_is_followed(tmp_path: Path, file: Path) -> None:
    """The operator's own path may be a link: its bytes are read, under the name that was written."""
    link = tmp_path / "latest.bin"
    link.symlink_to(file)
    info = only(link)
    assert (info.name, info.size_bytes) == ("latest.bin", 1 << 20)
