"""Names that a file system takes for one are never lost: they are refused, before a byte moves."""

from __future__ import annotations

import itertools
import os
import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.attempts import LIMITS, Rig
from tests.unit.engine.memory import MemoryLedger, MemorySource, Witness
from tests.unit.file.folding import by_case, by_case_and_composition, by_composition, fold_names

from dataferry.domain.errors import AddressError, NoSpaceError
from dataferry.domain.ledger import ObjectState
from dataferry.domain.objects import Attributes
from dataferry.engine.preview import preview
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import Overwrite, Result, Transfer
from dataferry.flows.gateway import GatewayAccess
from dataferry.flows.ingest import Ingest, Receiving
from dataferry.flows.shared import Shared
from dataferry.mechanisms.file import MECHANISM, spelling
from dataferry.mechanisms.file.collisions import folded, refuse_folded
from dataferry.mechanisms.file.sink import FileSink
from dataferry.net.connections import Network

COMPOSED, APART = "caf\u00e9", "cafe\u0301"


def open_sink(url: str) -> FileSink:
    sink = MECHANISM.open_sink(MECHANISM.at_url(url), Network())
    assert isinstance(sink, FileSink)
    return sink


class Copy:
    """Copies objects of a memory into a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ledger = MemoryLedger()
        self.witness = Witness()
        self.numbers = itertools.count()

    def go(self, objects: dict[str, bytes], *, overwrite: Overwrite = Overwrite.IF_DIFFERENT) -> Result:
        """Run a transfer of its own."""
        transfer_id = str(next(self.numbers))
        transfer = Transfer(
            id=transfer_id,
            epoch=self.ledger.begin(transfer_id).epoch,
            source=MemorySource(objects),
            sink=open_sink(f"{self.root}/"),
            limits=LIMITS,
            overwrite=overwrite,
        )
        result = run(transfer, self.ledger, stop=Stop(), observer=self.witness)
        self.failed = self.ledger.objects(transfer_id, state=ObjectState.FAILED)
        return result

    @property
    def there(self) -> dict[str, bytes]:
        """What is in the directory, temporary files too."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """Copy into an empty directory."""
    (tmp_path / "to").mkdir()
    return Copy(tmp_path / "to")


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold names as APFS does."""
    fold_names(monkeypatch, by_case_and_composition)


@pytest.mark.parametrize(
    ("same", "names"),
    [
        (by_case_and_composition, ["cs/README", "cs/readme"]),
        (by_case, ["cs/README", "cs/readme"]),
        (by_case_and_composition, [COMPOSED, APART]),
        (by_composition, [COMPOSED, APART]),
        (by_case_and_composition, ["Data/a", "data/b"]),
        (by_case_and_composition, ["A", "a/b"]),
    ],
)
def test_names_that_the_destination_takes_for_one_are_refused_before_a_byte_moves(
    copy: Copy, monkeypatch: pytest.MonkeyPatch, same: Callable[[str], str], names: list[str]
) -> None:
    """Whatever it folds, case or composition or both: the error names both, and nothing is written."""
    fold_names(monkeypatch, same)

    with pytest.raises(AddressError) as caught:
        copy.go({name: name.encode() for name in ["b", "other/c", *names]})

    assert all(name in str(caught.value) for name in names)
    assert copy.there == {}


def test_names_are_all_written_where_nothing_folds(copy: Copy) -> None:
    """Here, every spelling is a file of its own, and nothing of the probe stays."""
    names = ["cs/README", "cs/readme", COMPOSED, APART, "Data/a", "data/b", "x.", "x"]

    result = copy.go({name: name.encode() for name in names})

    assert (result.objects, result.objects_failed) == (len(names), 0)
    assert copy.there == {name: name.encode() for name in names}


def test_nothing_but_a_probe_is_asked_where_nothing_folds(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No directory is listed and no key folded: it costs four calls a transfer."""
    monkeypatch.setattr(os, "scandir", None)
    monkeypatch.setattr(spelling, "Spelling", None)

    assert copy.go({"A": b"1", "a": b"2"}).objects == 2


@pytest.mark.usefixtures("folding")
def test_other_names_are_copied_where_names_fold(copy: Copy) -> None:
    """Names that do not collide arrive, and a second run finds them and replaces them."""
    objects = {"Docs/Readme": b"1", f"{COMPOSED}/x": b"2", "Docs/more/B": b"3" * 300_000}
    assert copy.go(objects).objects_failed == 0
    assert copy.there == objects

    changed = {name: data + b"!" for name, data in objects.items()}
    assert copy.go(changed).objects_failed == 0
    assert copy.there == changed


@pytest.mark.usefixtures("folding")
@pytest.mark.parametrize("overwrite", list(Overwrite))
@pytest.mark.parametrize("there", ["in/readme", "IN/README"])
def test_a_file_of_another_spelling_is_never_replaced(copy: Copy, overwrite: Overwrite, there: str) -> None:
    """Under every policy it stays, the object fails and says why, and the others arrive."""
    path = copy.root / there
    path.parent.mkdir()
    path.write_bytes(b"theirs")

    result = copy.go({"in/README": b"ours", "other": b"2"}, overwrite=overwrite)

    assert copy.there == {there: b"theirs", "other": b"2"}
    assert (result.objects, result.objects_failed) == (1, 1)
    [failed] = copy.failed
    assert failed.error_kind == "invalid_address"
    assert there.split("/", maxsplit=1)[0] in str(failed.error)
    assert "exclude" in str(failed.error)


@pytest.mark.usefixtures("folding")
@pytest.mark.parametrize("size", [1, 1000])
def test_a_file_of_another_spelling_that_appears_meanwhile_is_not_replaced(tmp_path: Path, size: int) -> None:
    """It is looked for once more before what was sent becomes visible, whole or in parts."""
    sink = open_sink(f"{tmp_path}/")
    sink.learn_names()
    key, writer = sink.place("README", single=False), sink.writer()
    whole = writer.put(key, length_bytes=size, attributes=Attributes())
    whole.send(memoryview(bytes(size)))
    upload = writer.create_upload(key, size_bytes=size, attributes=Attributes())
    part = writer.put_part(upload, number=1, offset_bytes=0, length_bytes=size)
    part.send(memoryview(bytes(size)))
    receipt = part.finish()
    (tmp_path / "readme").write_bytes(b"theirs")

    with pytest.raises(AddressError, match="readme"):
        whole.finish()
    with pytest.raises(AddressError, match="readme"):
        writer.complete(upload, [receipt], size_bytes=size, crc64nvme=None)
    writer.abort_upload(upload)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"readme": b"theirs"}


@pytest.mark.usefixtures("folding")
def test_the_way_that_the_operator_wrote_may_be_of_any_spelling(tmp_path: Path) -> None:
    """The directory that was named is the operator's word; a file that was named is looked at."""
    (tmp_path / "Documents").mkdir()
    (tmp_path / "Documents" / "Notes").write_bytes(b"theirs")
    sink = open_sink(f"{tmp_path}/documents/")
    sink.learn_names()
    assert sink.place("a", single=False).endswith("/documents/a")

    single = open_sink(f"{tmp_path}/documents/notes")
    single.learn_names()
    with pytest.raises(AddressError, match="Notes"):
        single.place("x", single=True)


@pytest.mark.usefixtures("folding")
@pytest.mark.parametrize(("name", "listed"), [(COMPOSED, APART), (APART, COMPOSED)])
def test_a_name_that_is_written_down_in_another_form_is_the_same(
    tmp_path: Path, name: str, listed: str
) -> None:
    """HFS+ writes every name down with its accents apart: a second run finds its own files."""
    (tmp_path / listed).write_bytes(b"ours")
    sink = open_sink(f"{tmp_path}/")
    sink.learn_names()

    assert sink.place(name, single=False).endswith(name)


def test_a_place_that_can_not_be_written_to_is_taken_as_it_is(tmp_path: Path) -> None:
    """Learning names never raises: neither without a root, nor where the probe can't be written."""
    missing = open_sink(f"{tmp_path}/no/")
    missing.learn_names()
    assert missing.place("A", single=False).endswith("no/A")
    descriptor = os.open("/proc/self", os.O_RDONLY)
    try:
        assert not spelling.folds_names(descriptor)
    finally:
        os.close(descriptor)


def test_a_file_system_without_accents_apart_is_probed_by_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a letter can't be written apart from its accent, case alone tells."""
    fold_names(monkeypatch, by_case)
    call = os.open

    def narrow(path: str, *arguments: int, **options: int) -> int:
        if not path.isascii():
            raise OSError(22, "Invalid argument")
        return call(path, *arguments, **options)

    monkeypatch.setattr(os, "open", narrow)
    descriptor = os.open(str(tmp_path), os.O_RDONLY)
    try:
        assert spelling.folds_names(descriptor)
    finally:
        os.close(descriptor)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("folding")
def test_a_directory_is_not_listed_for_each_file_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found of many files is found in one listing."""
    names = [f"File-{number}" for number in range(100)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    listed: list[int] = []
    scandir = os.scandir

    def counting(at: int) -> Any:
        listed.append(at)
        return scandir(at)

    monkeypatch.setattr(os, "scandir", counting)
    sink = open_sink(f"{tmp_path}/")
    sink.learn_names()

    for name in names:
        sink.place(name, single=False)
        with pytest.raises(AddressError):
            sink.place(name.upper(), single=False)

    assert len(listed) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("README", "readme"),
        (COMPOSED, APART),
        ("CAF\u00c9", APART),
        ("Stra\u00dfe", "STRASSE"),
        ("\u03a3\u03c2", "\u03c3\u03c3"),
        ("\uac00", "\u1100\u1161"),
        ("\u212a", "k"),
        ("a\u00adb", "ab"),
        ("x\ufe0f", "x"),
        ("a. .", "a"),
        ("D\u0130/x", "di\u0307/X"),
    ],
)
def test_folded_names_are_equal(one: str, other: str) -> None:
    """Case, composition, what is not seen, and ends that are dropped."""
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a", "b"), ("a/b", "ab"), ("e", "\u00e9"), ("a b", "ab"), (".a", "a"), ("a", "\uff41")],
)
def test_different_names_stay_different(one: str, other: str) -> None:
    """What no file system takes for one is not folded; levels stay levels."""
    assert folded(one) != folded(other)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
def test_folding_is_stable_and_keeps_levels(name: str) -> None:
    """Folded twice is folded once, and has as many levels as before."""
    assert folded(folded(name)) == folded(name)
    assert folded(name).count("/") == name.count("/")


STEPS = st.lists(st.sampled_from(["a", "A", "b", "a-", COMPOSED, APART]), min_size=1, max_size=3)


@given(st.lists(STEPS.map("/".join), unique=True, max_size=8))
def test_colliding_keys_are_found_wherever_they_stand(keys: list[str]) -> None:
    """As comparing each key with each other finds them."""

    def collide(one: str, other: str) -> bool:
        pairs = list(zip(one.split("/"), other.split("/"), strict=False))
        for step, its in pairs:
            if folded(step) != folded(its):
                return False
            if step != its:
                return True
        return True  # one is the beginning of the other

    expected = any(collide(one, other) for at, one in enumerate(keys) for other in keys[:at])
    if expected:
        with pytest.raises(AddressError):
            refuse_folded(keys)
    else:
        refuse_folded(keys)


def test_many_keys_are_sorted_in_little_memory() -> None:
    """What Python holds does not grow with them: they are in SQLite's file."""
    tracemalloc.start()
    try:
        refuse_folded(f"Directory-{number % 97}/{'x' * 80}{number}" for number in range(5_000))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 300_000


def test_no_room_to_sort_is_an_error_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite says becomes ours."""

    def refuse(_path: str) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(NoSpaceError, match="TMPDIR"):
        refuse_folded(["a"])


def test_the_engine_learns_names_only_to_write() -> None:
    """An attempt asks the sink once; a dry run writes nothing, so it does not."""
    rig = Rig({"a": b"1"})
    epoch = rig.ledger.begin("t").epoch
    preview(Transfer(id="t", epoch=epoch, source=rig.source, sink=rig.sink), rig.ledger, rig.witness)
    assert rig.sink.learnt == 0
    assert rig.go().objects == 1
    assert rig.sink.learnt == 1


@pytest.mark.usefixtures("folding")
def test_a_push_is_refused_where_another_spelling_has_come(tmp_path: Path) -> None:
    """A push has no plan: each of its connections learns names, and looks at what has come."""
    endpoint = MECHANISM.at_url(f"{tmp_path}/")
    receiving = SimpleNamespace(
        flow_id=uuid4(), place=SimpleNamespace(mechanism=MECHANISM, endpoint=endpoint)
    )
    ingest = Ingest(cast("Shared", SimpleNamespace(network=Network())), cast("GatewayAccess", None))
    (tmp_path / "README").write_bytes(b"first")

    lent = ingest.lend(cast("Receiving", receiving))

    with pytest.raises(AddressError, match="README"):
        lent.sink.place("readme", single=False)
