"""What messages may ask of a transfer, and what locations do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.flows.world import QUICK, World, until

from dataferry.domain.dataflow import State
from dataferry.domain.errors import InputError
from dataferry.domain.limits import MIB, LocationLimits, split_settings
from dataferry.domain.objects import Verification
from dataferry.engine.selection import Selection
from dataferry.engine.transfer import EngineLimits, Overwrite, Verify
from dataferry.flows.transfer_options import AskedOptions, TransferOptions, located

LIMITS = EngineLimits(workers=8, part_size_bytes=16 * MIB, multipart_threshold_bytes=16 * MIB)
OPTIONS = TransferOptions(limits=LIMITS, overwrite=Overwrite.IF_DIFFERENT)
NUMBERS = ("workers", "partSizeBytes", "multipartThresholdBytes", "bandwidthBytesPerSecond")


def ask(options: TransferOptions = OPTIONS, **metadata: Any) -> TransferOptions:
    return options.asked(AskedOptions.of(metadata), max_part_size_bytes=64 * MIB)


def test_what_is_within_bounds_is_done() -> None:
    """Each key has its effect, and nothing is said about it."""
    options = ask(
        workers=3,
        partSizeBytes=32 * MIB,
        multipartThresholdBytes=5 * MIB,
        bandwidthBytesPerSecond=1000,
        overwrite="never",
        another="key",
    )
    assert options.lowered == ()
    assert options.overwrite is Overwrite.NEVER
    assert options.limits == replace(
        LIMITS,
        workers=3,
        part_size_bytes=32 * MIB,
        multipart_threshold_bytes=5 * MIB,
        bandwidth_bytes_per_s=1000,
    )


def test_what_lies_beyond_a_bound_is_done_up_to_it_and_said() -> None:
    """More threads, bytes a second or risk than the operator allows are never had."""
    bounded = replace(OPTIONS, limits=replace(LIMITS, bandwidth_bytes_per_s=500))
    options = ask(
        bounded,
        workers=9,
        partSizeBytes=65 * MIB,
        multipartThresholdBytes=1,
        bandwidthBytesPerSecond=501,
        overwrite="always",
    )
    assert options.overwrite is Overwrite.IF_DIFFERENT
    assert (options.limits.workers, options.limits.bandwidth_bytes_per_s) == (8, 500)
    assert (options.limits.part_size_bytes, options.limits.multipart_threshold_bytes) == (64 * MIB, 5 * MIB)
    assert options.lowered == (
        "metadata asks for workers 9; this plane allows at most 8, which holds",
        f"metadata asks for partSizeBytes {65 * MIB}; this plane allows at most {64 * MIB}, which holds",
        f"metadata asks for multipartThresholdBytes 1; this plane allows at least {5 * MIB}, which holds",
        "metadata asks for bandwidthBytesPerSecond 501; this plane allows at most 500, which holds",
        "metadata asks for overwrite always; this plane does no less than if-different",
    )


def test_sizes_that_the_operator_configured_may_be_asked_for() -> None:
    """Parts of the configuration's own size are within bounds, however small or large."""
    for size in (MIB, 500 * MIB):
        own = replace(OPTIONS, limits=replace(LIMITS, part_size_bytes=size, multipart_threshold_bytes=size))
        assert ask(own, partSizeBytes=size, multipartThresholdBytes=size) == own


@given(workers=st.integers(1, 2**53), bandwidth=st.integers(1, 2**53), overwrite=st.sampled_from(Overwrite))
def test_a_message_never_widens(workers: int, bandwidth: int, overwrite: Overwrite) -> None:
    """Whatever is asked: no more threads, no more bytes a second, no more risk than without asking."""
    bounded = replace(OPTIONS, limits=replace(LIMITS, bandwidth_bytes_per_s=10**6))
    options = ask(bounded, workers=workers, bandwidthBytesPerSecond=bandwidth, overwrite=overwrite.value)
    assert 1 <= options.limits.workers <= LIMITS.workers
    assert 1 <= (options.limits.bandwidth_bytes_per_s or 0) <= 10**6
    assert options.overwrite is not Overwrite.ALWAYS


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "x", "", "-1", True, [], {}, 2**60, "1" * 5000, float("inf")])
def test_what_is_no_number_is_refused(key: str, value: Any) -> None:
    """A value that the key can't have is an error of the message, which repeats no value."""
    with pytest.raises(InputError, match=f"metadata: {key} must be a whole number"):
        AskedOptions.of({key: value})


@pytest.mark.parametrize("value", [4, 4.0, "4"])
def test_numbers_may_be_written_as_control_planes_write_them(value: Any) -> None:
    """As a number, as one with a fraction of zero, or as text."""
    assert AskedOptions.of({"workers": value}).workers == 4


def test_null_is_as_absent() -> None:
    """Explicit nulls, as EDC sends them, ask nothing."""
    words = ("overwrite", "verify", "include", "exclude", "manifest")
    assert AskedOptions.of(dict.fromkeys((*NUMBERS, *words))) == AskedOptions()


@pytest.mark.parametrize("value", ["sometimes", 1, ["never"]])
def test_an_unknown_policy_is_refused(value: Any) -> None:
    """Overwrite is one of three words, verify one of two."""
    with pytest.raises(InputError, match="overwrite must be one of if-different, never, always"):
        AskedOptions.of({"overwrite": value})
    with pytest.raises(InputError, match="verify must be one of best, readback"):
        AskedOptions.of({"verify": value})


def test_a_message_may_ask_for_more_proof_never_for_less() -> None:
    """Readback may be asked for; where the operator wants it, best is not less."""
    assert ask(verify="readback").verify is Verify.READBACK
    strict = replace(OPTIONS, verify=Verify.READBACK)
    assert (ask(strict).verify, ask(strict).lowered) == (Verify.READBACK, ())
    best = ask(strict, verify="best")
    assert best.verify is Verify.READBACK
    assert best.lowered == ("metadata asks for verify best; this plane does no less than readback",)


def test_patterns_choose_within_what_is_offered() -> None:
    """A name must be selected by the place's own patterns and by those of the message."""
    own = replace(OPTIONS, selection=Selection.of(exclude=["secret/**"]))
    selection = ask(own, include=["*.csv"], exclude="old/*").selection
    names = ["a.csv", "a.txt", "secret/a.csv", "old/a.csv"]
    assert [name for name in names if selection.selects(name)] == ["a.csv"]
    assert not ask(own).selection.selects("secret/a.csv")
    assert ask().selection == Selection()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"include": 7}, "include must be a pattern"),
        ({"exclude": ["a", None]}, "exclude must be a pattern"),
        ({"include": {"a": 1}}, "include must be a pattern"),
        ({"include": ["[a"]}, "malformed at character 1"),
        ({"exclude": ["a"] * 201}, "more than 200"),
        ({"manifest": "yes"}, "manifest must be true or false"),
        ({"manifest": 3}, "manifest must be true or false"),
        ({"manifest": []}, "manifest must be true or false"),
    ],
)
def test_wrong_patterns_and_flags_are_refused(metadata: dict[str, Any], message: str) -> None:
    """Before there is a flow, with what is wrong."""
    with pytest.raises(InputError, match=message):
        AskedOptions.of(metadata)


def test_between_two_locations_the_fewest_threads_and_the_sinks_parts_hold() -> None:
    """Threads: the least of all. Parts: as the sink's says, else the source's, else the engine's."""
    source = LocationLimits(workers=20, part_size_bytes=2 * MIB, multipart_threshold_bytes=3 * MIB)
    sink = LocationLimits(workers=5, part_size_bytes=4 * MIB)
    found = located(LIMITS, source, sink)
    assert (found.workers, found.part_size_bytes, found.multipart_threshold_bytes) == (5, 4 * MIB, 3 * MIB)
    assert located(LIMITS, LocationLimits(workers=20), LocationLimits()) == LIMITS


@pytest.mark.parametrize(
    ("key", "value"),
    [("workers", 0), ("workers", 257), ("workers", True), ("workers", "8"), ("part_size_bytes", MIB - 1),
     ("multipart_threshold_bytes", 6 * 1024 * MIB), ("bandwidth_bytes_per_s", 0)],
)  # fmt: skip
def test_a_locations_own_bounds_are_checked(key: str, value: Any) -> None:
    """What no transfer can have is refused, with the bounds."""
    with pytest.raises(InputError, match=f"location plant: {key} must be a whole number from"):
        split_settings("plant", {key: value})


def test_limits_of_a_location_are_parted_from_its_mechanisms_settings() -> None:
    """The mechanism sees its own settings only."""
    limits, own = split_settings("plant", {"root": "/data", "workers": 2, "part_size_bytes": None})
    assert limits == LocationLimits(workers=2)
    assert own == {"root": "/data"}
    assert limits.as_settings() == {"workers": 2}


def test_a_message_with_a_wrong_value_makes_no_flow(still: World) -> None:
    """It is refused before anything is written."""
    still.write("out/data")
    message = still.message(data_address=still.their_address("got/"), metadata={"workers": "many"})
    with pytest.raises(InputError, match="workers"):
        still.signaling.start(still.caller, message)
    assert still.rows() == 0


def test_a_flow_runs_as_its_message_asks_within_its_locations_bounds(
    make_world: Callable[..., World],
) -> None:
    """Threads of the message and parts of the location; what was not done as asked is an event."""
    world = make_world(
        policy=replace(QUICK, limits=replace(LIMITS, workers=4)),
        location_limits=LocationLimits(workers=3, part_size_bytes=MIB, multipart_threshold_bytes=MIB),
    )
    world.write("out/data", bytes(3 * MIB + 1))
    asked = {"workers": 9, "partSizeBytes": 2 * MIB, "bandwidthBytesPerSecond": 4_000_000}
    world.signaling.start(
        world.caller, world.message(data_address=world.their_address("got/"), metadata=asked)
    )
    (size,) = until(lambda: [row.part_size_bytes for row in world.management.objects("p1")])
    assert until(lambda: size or world.management.objects("p1")[0].part_size_bytes) == 2 * MIB
    until(lambda: world.flow().state is State.COMPLETED)
    reasons = {event.kind: event.reason for event in world.events()}
    assert reasons["options"] == "metadata asks for workers 9; this plane allows at most 3, which holds"
    assert "3 workers" in (reasons["strategy"] or "")


def test_a_flow_moves_what_its_message_selects_and_writes_a_manifest(world: World) -> None:
    """Patterns, readback and manifest of the message reach the engine."""
    for name in ("a.csv", "b.txt", "x/c.csv", "x/d.csv"):
        world.write(f"out/data/{name}", name.encode())
    asked = {"include": "*.csv", "exclude": ["x/d*"], "manifest": "true", "verify": "readback"}
    world.signaling.start(
        world.caller, world.message(data_address=world.their_address("got/"), metadata=asked)
    )
    until(lambda: world.flow().state is State.COMPLETED)
    got = {str(path.relative_to(world.theirs / "got")) for path in (world.theirs / "got").rglob("*.*")}
    assert got == {"a.csv", "x/c.csv", "objects.jsonl"}
    levels = {row.source.name: row.verification for row in world.management.objects("p1")}
    assert levels == {"a.csv": Verification.DESTINATION, "x/c.csv": Verification.DESTINATION}
