"""Retries, throttling, stalls and places that are down."""

# ruff: noqa: ARG005 - faults are told more than each needs
from __future__ import annotations

import time
from dataclasses import replace

import pytest
from tests.unit.engine.attempts import LIMITS, ONE, PART, Rig, content, times
from tests.unit.engine.memory import BlockedError, Witness

from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    ConnectionFailedError,
    CredentialsExpiredError,
    DataFerryError,
    ExhaustedError,
    NoSpaceError,
    ServerError,
    ShortBodyError,
    StoppedError,
    ThrottledError,
)
from dataferry.domain.ledger import ObjectRow, ObjectState
from dataferry.domain.objects import ObjectInfo
from dataferry.engine.attempt.retry import Retrier
from dataferry.engine.objects.work import BigObject, WholeObject
from dataferry.engine.rates.pause import Pause
from dataferry.engine.stop import Stop
from dataferry.engine.workers.feed import Feed

OPERATIONS = ("list", "find", "stat", "open", "read", "create", "send", "finish", "complete")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("error", [ConnectionFailedError, ServerError, ShortBodyError, ThrottledError])
def test_temporary_errors_are_retried(operation: str, error: type[DataFerryError]) -> None:
    """Twice is not too often: the transfer goes on, whatever failed."""
    rig = Rig({"big": content(4 * PART), "small": b"x"})
    rig.source.fault = rig.sink.fault = times(2, lambda: error("injected"), operation)

    result = rig.go()

    assert result.is_complete
    assert rig.arrived
    assert rig.sink.uploads == {}
    assert rig.witness.kinds().count("retry") == 2


def test_what_failed_in_flight_is_taken_back_and_counted_when_sent_again() -> None:
    """Bytes of a failed part count once in progress, and as retransferred when they are sent again."""
    rig = Rig({"big": content(4 * PART)})
    rig.sink.fault = times(2, lambda: ServerError("injected"), "finish")

    result = rig.go(limits=ONE)

    assert result.bytes == 4 * PART
    assert result.bytes_retransferred == 2 * PART
    assert rig.witness.progress[-1].bytes_transferred == 4 * PART


@pytest.mark.parametrize("name", ["big", "small0"])
def test_an_object_that_fails_too_often_fails_alone(name: str) -> None:
    """One object is exhausted; the others arrive, and its upload is aborted."""
    rig = Rig({"big": content(4 * PART)} | {f"small{number}": b"x" for number in range(9)})
    rig.sink.fault = times(10**6, lambda: ServerError("injected"), "send", f"in/{name}")

    result = rig.go()

    assert (result.objects, result.objects_failed) == (9, 1)
    assert result.first_error is not None
    assert result.first_error.kind == "exhausted"
    assert f"in/{name}" not in rig.sink.objects
    assert rig.sink.uploads == {}


def test_an_object_that_is_refused_fails_at_once() -> None:
    """A permanent error is not retried."""
    rig = Rig({"a": b"1", "b": b"2"})
    rig.source.fault = times(10**6, lambda: AccessDeniedError("no"), "open", "a")

    result = rig.go()

    assert (result.objects, result.objects_failed) == (1, 1)
    assert "retry" not in rig.witness.kinds()


def test_a_source_that_is_down_ends_the_attempt() -> None:
    """Connections refused longer than the attempts allow: the attempt ends, and no object is failed."""
    rig = Rig({f"small{number}": b"x" for number in range(9)})
    rig.source.fault = times(10**6, lambda: ConnectionFailedError("refused"), "open")

    with pytest.raises(ExhaustedError):
        rig.go()

    assert rig.ledger.totals("t").objects_failed == 0
    rig.calm()
    assert rig.go().is_complete


@pytest.mark.parametrize(
    ("error", "operation"),
    [(BucketNotFoundError, "put"), (NoSpaceError, "send"), (AccessDeniedError, "list")],
)
def test_what_no_object_can_survive_ends_the_attempt(error: type[DataFerryError], operation: str) -> None:
    """A bucket that is gone, a full sink, a denied listing: raised, instead of failing every object."""
    rig = Rig({f"small{number}": b"x" for number in range(9)})
    rig.source.fault = rig.sink.fault = times(10**6, lambda: error("injected"), operation)

    with pytest.raises(error):
        rig.go()

    assert rig.ledger.totals("t").objects_failed == 0


def test_bytes_of_a_small_object_that_failed_do_not_count() -> None:
    """What was sent in vain is no progress."""
    rig = Rig({"a": bytes(1000), "b": b"x"})
    rig.sink.fault = times(10**6, lambda: ServerError("injected"), "finish", "in/a")

    result = rig.go()

    assert (result.objects, result.bytes) == (1, 1)
    assert rig.witness.progress[-1].bytes_transferred == 1


def test_an_unexpected_error_ends_the_attempt_and_all_threads() -> None:
    """A fault in our own code is raised by run, not lost in a thread."""
    rig = Rig({"a": b"1"})
    rig.source.fault = times(1, lambda: ZeroDivisionError("bug"), "open")

    with pytest.raises(ZeroDivisionError):
        rig.go()


def test_a_stalled_read_is_ended_and_retried() -> None:
    """No byte for the stall timeout: the call is aborted and the part sent again."""
    rig = Rig({"big": content(4 * PART)})
    rig.source.fault = times(1, BlockedError, "read")

    result = rig.go(limits=replace(LIMITS, stall_timeout_s=0.3))

    assert result.is_complete
    assert rig.arrived
    assert any("stalled" in message for kind, message in rig.witness.notes if kind == "retry")


def test_throttling_pauses_every_worker() -> None:
    """While one worker waits as long as the store asked, no other begins a request."""
    rig = Rig({f"small{number:02}": bytes(16 * 1024) for number in range(40)})
    begun: list[float] = []
    throttled_at: list[float] = []

    def fault(operation: str, key: str, number: int) -> None:
        if operation != "open":
            return
        begun.append(time.monotonic())
        if not throttled_at:
            throttled_at.append(begun[-1])
            raise ThrottledError("slow down", retry_after_s=0.4)

    rig.source.fault = fault

    # Slow enough that there would be much to begin in that time.
    assert rig.go(limits=replace(LIMITS, bandwidth_bytes_per_s=1024 * 1024)).is_complete
    quiet = [moment for moment in begun if throttled_at[0] + 0.05 < moment < throttled_at[0] + 0.4]
    assert quiet == []


def test_back_off_grows_with_full_jitter_and_honours_retry_after() -> None:
    """Ceilings double up to the bound; what the store asked for comes on top."""
    stop, witness = Stop(), Witness()
    ceilings: list[float] = []

    def uniform(low: float, high: float) -> float:
        ceilings.append(high)
        return low

    limits = replace(LIMITS, attempts=6, backoff_s=0.2, max_backoff_s=1.0)
    retrier = Retrier(limits, stop, Pause(SystemClock(), stop), witness, uniform)

    def fail() -> None:
        raise ServerError("injected", retry_after_s=0.01)

    with pytest.raises(ExhaustedError):
        retrier.run("it", fail)

    assert ceilings == [0.2, 0.4, 0.8, 1.0, 1.0]
    assert "again in 0.0 s" in witness.notes[0][1]


def test_waiting_to_retry_ends_when_stopped() -> None:
    """A stop during back-off is a stop, not a failure."""
    stop = Stop()
    limits = replace(LIMITS, backoff_s=60.0, max_backoff_s=60.0)
    retrier = Retrier(limits, stop, Pause(SystemClock(), stop), Witness(), lambda low, high: high)

    def fail() -> None:
        stop.set()
        raise ServerError("injected")

    with pytest.raises(StoppedError):
        retrier.run("it", fail)


def test_bandwidth_is_kept_within_a_tenth() -> None:
    """All workers together move no more than allowed, and not much less."""
    rate = 2 * 1024 * 1024
    rig = Rig({"big": content(24 * PART), "other": content(8 * PART)})

    result = rig.go(limits=replace(LIMITS, bandwidth_bytes_per_s=rate))

    assert result.bytes / rate * 0.9 < result.seconds < result.bytes / rate * 1.1 + 0.3


def test_big_objects_do_not_starve_small_ones() -> None:
    """Small objects planned after huge ones end long before these do."""
    rig = Rig({f"a-big{number}": content(20 * PART, number) for number in range(6)} | {"z-small": b"x"})
    order: list[str] = []

    def fault(operation: str, key: str, number: int) -> None:
        if operation in {"put", "put_part"}:
            order.append(key)

    rig.sink.fault = fault

    rig.go()

    assert order.index("in/z-small") < 40
    assert rig.sink.most_open <= LIMITS.workers // 2 + 1


def test_small_objects_do_not_starve_big_ones() -> None:
    """A big object planned after many small ones is begun at once, beside them."""
    feed = Feed(4, lambda row: (row.source.size_bytes or 0) > 1)
    rows = [
        ObjectRow(
            ordinal=ordinal,
            source=ObjectInfo(name=str(ordinal), key="", size_bytes=2 if ordinal == 400 else 1),
            target_key="",
            target_identity="",
            state=ObjectState.PENDING,
        )
        for ordinal in range(1, 401)
    ]
    feed.offer(rows)

    first = [feed.take(1), feed.take(1)]

    assert {type(work) for work in first} == {BigObject, WholeObject}


def test_one_worker_moves_everything() -> None:
    """No task waits for another worker."""
    rig = Rig({f"{number}": content(number * PART // 2, number) for number in range(12)})

    assert rig.go(limits=ONE).is_complete
    assert rig.arrived


def test_credentials_that_expired_end_the_attempt_instead_of_failing_everything() -> None:
    """So many refusals in a row are not the objects' fault; a later attempt tries all again."""
    rig = Rig({f"{number:03}": b"x" for number in range(200)})
    rig.source.fault = times(10**6, lambda: AccessDeniedError("expired"), "open")

    with pytest.raises(AccessDeniedError):
        rig.go()

    assert rig.ledger.totals("t").objects_failed < 30
    rig.calm()
    assert rig.go().is_complete


def test_credentials_that_are_known_to_have_expired_end_the_attempt_at_once() -> None:
    """No object is failed for it, parts that arrived stay, and the next attempt goes on from there."""
    rig = Rig({"big": content(6 * PART), **{f"{number:03}": b"x" for number in range(200)}})
    asked: list[str] = []

    def fault(operation: str, key: str, number: int) -> None:
        if operation == "put_part" and number == 4:
            rig.source.fault = expired
            raise CredentialsExpiredError("over")

    def expired(operation: str, key: str, number: int) -> None:
        asked.append(key)
        raise CredentialsExpiredError("over")

    rig.sink.fault = fault
    with pytest.raises(CredentialsExpiredError):
        rig.go()

    assert rig.ledger.totals("t").objects_failed == 0
    assert len(asked) <= 3 * LIMITS.workers
    rig.calm()
    assert rig.go().is_complete
    assert rig.arrived


@pytest.mark.parametrize("error", [AccessDeniedError, CredentialsExpiredError])
def test_who_may_only_write_sends_again_what_may_have_been_completed(error: type[DataFerryError]) -> None:
    """An upload that is gone, and nobody may look: the object begins anew; expired credentials end it."""
    rig = Rig({"big": content(6 * PART)})
    rig.crash("completed")
    rig.sink.fault = times(10**6, lambda: error("no"), "stat")

    if error is CredentialsExpiredError:
        with pytest.raises(CredentialsExpiredError):
            rig.go()
        assert rig.ledger.totals("t").objects_failed == 0
        rig.calm()
    assert rig.go().is_complete
    assert rig.arrived


def test_an_object_that_fails_late_gives_its_bytes_back() -> None:
    """Committed parts of an object that failed count neither as moved nor as resumed."""
    rig = Rig({"big": content(6 * PART), "small": b"x"})
    rig.crash("put_part", 4)
    rig.sink.fault = times(10**6, lambda: AccessDeniedError("no"), "put_part")

    result = rig.go()

    assert (result.objects, result.objects_failed, result.bytes) == (1, 1, 1)
    assert (result.bytes_resumed, rig.witness.progress[-1].bytes_transferred) == (0, 1)


def test_an_observer_that_fails_ends_the_attempt() -> None:
    """What an observer raises is raised by run, and every thread has ended."""
    rig = Rig({"a": b"1"})

    def progressed(progress: object) -> None:
        raise ZeroDivisionError

    rig.witness.progressed = progressed  # type: ignore[method-assign]

    with pytest.raises(ZeroDivisionError):
        rig.go()
