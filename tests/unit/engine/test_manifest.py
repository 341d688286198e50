"""The manifest: what it says, when it is there, and what it never says."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from typing import Any

import pytest
from awscrt.checksums import crc64nvme
from tests.unit.engine.attempts import LIMITS, ONE, PART, Rig, content, times

from dataferry.domain.errors import (
    AccessDeniedError,
    AddressError,
    ConflictError,
    FencedError,
    ThrottledError,
)
from dataferry.engine.selection import Selection
from dataferry.engine.transfer import Overwrite

KEY = "in/objects.jsonl"


def lines(rig: Rig) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The manifest's objects, and its summary."""
    *objects, last = map(json.loads, rig.sink.objects[KEY].splitlines())
    return objects, last["summary"]


def test_a_manifest_lists_what_has_arrived_with_its_checksum() -> None:
    """Name, key, size, the checksum as S3 writes it, level and validator; its bytes count as nobody's."""
    rig = Rig({"a \u00e9\n.bin": content(PART * 3), "deep/b": b"b", "empty": b""})

    result = rig.go(manifest=True)

    objects, summary = lines(rig)
    assert [(entry["name"], entry["key"], entry["size"]) for entry in objects] == [
        (name, f"in/{name}", len(data)) for name, data in rig.source.objects.items()
    ]
    for entry in objects:
        data = rig.sink.objects[entry["key"]]
        assert b64decode(entry["checksum"]["crc64nvme"]) == crc64nvme(data).to_bytes(8, "big")
        assert entry["verification"] == ("destination" if entry["size"] > PART else "end_to_end")
        assert entry["etag"]
    assert summary == {
        "objects": 3,
        "bytes": PART * 3 + 1,
        "failed": 0,
        "kept": 0,
        "verification": "destination",
    }
    assert (result.objects, result.bytes_moved) == (3, PART * 3 + 1)
    assert rig.witness.progress[-1].percent_complete == 100.0


def test_a_manifest_longer_than_a_page_is_whole() -> None:
    """Every object has its line, in order, whatever the buffer's size."""
    rig = Rig({f"{n:05}": b"x" for n in range(1203)})

    rig.go(manifest=True)

    objects, summary = lines(rig)
    assert [entry["name"] for entry in objects] == sorted(rig.source.objects)
    assert summary["objects"] == 1203


def test_objects_that_failed_or_were_kept_are_not_claimed() -> None:
    """They are counted in the last line only; a later attempt writes the manifest anew."""
    rig = Rig({"a": b"a", "b": b"b", "c": b"c"})
    rig.sink.objects["in/c"] = b"somebody's"
    rig.source.fault = times(1, lambda: AccessDeniedError("no"), "open", "b")

    rig.go(manifest=True, overwrite=Overwrite.NEVER)
    objects, summary = lines(rig)
    assert [entry["name"] for entry in objects] == ["a"]
    assert (summary["objects"], summary["failed"], summary["kept"]) == (1, 1, 1)

    rig.calm()
    rig.go(manifest=True, overwrite=Overwrite.NEVER)
    objects, summary = lines(rig)
    assert [entry["name"] for entry in objects] == ["a", "b"]
    assert (summary["failed"], summary["kept"]) == (0, 1)


def test_what_was_unchanged_keeps_its_checksum_from_run_to_run() -> None:
    """A third run that moves nothing knows as much of an object as the first, which moved it."""
    rig = Rig({"a": b"a", "b": content(PART * 3)})
    rig.go(manifest=True)
    first, _ = lines(rig)

    for earlier, transfer_id in (("t", "t2"), ("t2", "t3")):
        assert rig.go(manifest=True, earlier=earlier, transfer_id=transfer_id).objects_skipped == 2
        assert lines(rig)[0] == first


def test_what_a_copy_brought_is_no_stranger_to_the_next_one() -> None:
    """``never`` looks at nothing again, and yet knows what it found: the manifest stays what it was."""
    rig = Rig({"a": b"a", "b": content(PART * 3)})
    rig.go(manifest=True)
    first, summary = lines(rig)

    rig.go(manifest=True, earlier="t", transfer_id="t2", overwrite=Overwrite.NEVER)

    assert lines(rig) == (first, summary)


@pytest.mark.parametrize("limits", [LIMITS, ONE])
def test_a_manifest_that_can_not_be_written_leaves_the_transfer_open(limits: Any) -> None:
    """Its error ends the attempt; the next one moves nothing, and writes it."""
    rig = Rig({"a": b"a", "b": b"b"})
    rig.sink.fault = times(99, lambda: AccessDeniedError("no"), "put", KEY)

    with pytest.raises(AccessDeniedError):
        rig.go(manifest=True, limits=limits)
    assert KEY not in rig.sink.objects

    rig.calm()
    assert rig.go(manifest=True, limits=limits).bytes_moved == 0
    assert len(lines(rig)[0]) == 2


def test_a_manifest_is_tried_again() -> None:
    """As any object is, where that can help."""
    rig = Rig({"a": b"a"})
    rig.sink.fault = times(2, lambda: ThrottledError("slow down"), "put", KEY)

    rig.go(manifest=True)

    assert lines(rig)[1]["objects"] == 1


def test_an_object_of_that_name_is_refused_before_a_byte_moves() -> None:
    """Though a first page of others could move before it is listed; one that is left out is none."""
    rig = Rig({f"a{n:04}": b"a" for n in range(2500)} | {"objects.jsonl": b"x", "z": b"z"})

    with pytest.raises(ConflictError, match="leave it out"):
        rig.go(manifest=True)
    assert rig.sink.objects == {}

    rig.go(manifest=True, selection=Selection.of([], ["/objects.jsonl"]))
    assert lines(rig)[1]["objects"] == 2501


def test_an_object_that_came_meanwhile_is_not_overwritten_by_the_manifest() -> None:
    """A run that brought an object of that name without a manifest can't be given one."""
    rig = Rig({"a": b"a", "objects.jsonl": b"x"})
    rig.go()
    del rig.source.objects["objects.jsonl"]

    with pytest.raises(ConflictError):
        rig.go(manifest=True)
    assert rig.sink.objects[KEY] == b"x"


def test_an_object_that_becomes_the_manifest_by_the_sinks_names_is_refused_before_it_moves() -> None:
    """Its own name is another: only its key at the destination is the manifest's."""
    rig = Rig({"Objects.jsonl": b"x"})
    rig.sink.folds_case = True

    with pytest.raises(ConflictError, match="leave it out"):
        rig.go(manifest=True)
    assert rig.sink.objects == {}


def test_a_fenced_attempt_writes_no_manifest() -> None:
    """A newer attempt began once the last object was written down: it is its own to write (rule 6)."""
    rig = Rig({"a": b"a"})

    def fault(operation: str, _key: str, _number: int) -> None:
        if operation == "finish committed":
            rig.ledger.begin("t")

    rig.ledger.fault = fault
    with pytest.raises(FencedError):
        rig.go(manifest=True, limits=ONE)
    assert set(rig.sink.objects) == {"in/a"}


def test_keys_are_checked_together_with_the_manifests() -> None:
    """A sink whose names may collide is shown the manifest's key in its place among them."""
    rig = Rig({"a": b"a", "z": b"z"})
    rig.sink.folds_case = True
    rig.sink.capabilities -= {next(c for c in rig.sink.capabilities if c == "injective_names")}

    rig.go(manifest=True)

    assert rig.sink.checked == ["in/a", KEY, "in/z"]


def test_a_destination_of_one_object_has_no_room_for_a_manifest() -> None:
    """It is refused before a byte moves."""
    rig = Rig({"a": b"a"})
    rig.sink.place = lambda name, *, single: "one" if single else f"one/{name}"  # type: ignore[method-assign]

    with pytest.raises(AddressError, match="end it with /"):
        rig.go(manifest=True)
    assert rig.sink.objects == {}


def test_a_kill_while_the_manifest_is_sent_costs_nothing_but_the_manifest() -> None:
    """The next attempt moves no byte, and writes it."""
    rig = Rig({"a": b"a", "b": b"b"})

    def fault(operation: str, key: str, _number: int) -> None:
        if operation == "put" and key == KEY:
            raise KeyboardInterrupt

    rig.sink.fault = fault
    with pytest.raises(KeyboardInterrupt):
        rig.go(manifest=True)
    rig.calm()

    assert rig.go(manifest=True, limits=replace(LIMITS, workers=1)).bytes_moved == 0
    assert len(lines(rig)[0]) == 2
