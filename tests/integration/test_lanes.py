"""Processes beside ours that send small objects: what they are given, and what their end does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from tests.servers.faulty_s3 import Etags, Fault, FaultyS3
from tests.unit.engine.memory import Witness

from dataferry.domain.errors import FencedError, StoppedError
from dataferry.domain.ledger import ObjectRow, ObjectState
from dataferry.domain.location import Location
from dataferry.engine.run import run
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Result, Transfer, Verify
from dataferry.engine.workers import lanes
from dataferry.engine.workers.lane import Lane, Report, receive_message, send_message, slips
from dataferry.mechanisms.base import Sink, Source
from dataferry.mechanisms.s3 import MECHANISM
from dataferry.net.connections import Network
from dataferry.store.local import LocalLedger, open_local_ledger

OBJECTS = 200
NAMES = [f"object-{number:04}" for number in range(OBJECTS)]
LIMITS = EngineLimits(workers=4, attempts=2, backoff_s=0.01, max_backoff_s=0.02)
SOON_S = 20.0


class Bench:
    """A server with many small objects, whose GETs wait until a lane is there."""

    def __init__(self, server: FaultyS3, path: Path) -> None:
        self.server = server
        self.path = path
        self.pids: list[int] = []
        self.reports: list[Report] = []
        self.witness = Witness()
        # Done once, when a lane has reported for the first time.
        self.when: Callable[[], object] = lambda: None
        self.ready = Event()
        server.watch = self._watch

    def _watch(self, call: str, moment: str) -> None:
        """Hold the first reads until a lane waits for work."""
        if (call, moment) != ("GetObject", "before") or self.ready.is_set():
            return
        until(lambda: self.ready.is_set() or (bool(self.pids) and threads_of(self.pids[0]) > 1))
        self.ready.set()

    @contextmanager
    def ends(self, user: str = "AKIAOTHER") -> Iterator[tuple[Source, Sink]]:
        """Open both ends; another user's sink, so that the store can't copy by itself."""
        settings = {
            "endpoint_url": self.server.endpoint_url,
            "access_key_id": "AKIAIT",
            "secret_access_key": self.server.secret_access_key,
        }
        location = Location(name="it", mechanism="s3", settings=settings)
        other = Location(name="to", mechanism="s3", settings={**settings, "access_key_id": user})
        with (
            closing(MECHANISM.open_source(MECHANISM.at_location(location, "source/"), Network())) as source,
            closing(MECHANISM.open_sink(MECHANISM.at_location(other, "target/"), Network())) as sink,
        ):
            yield source, sink

    def go(self, stop: Stop | None = None, *, user: str = "AKIAOTHER", **how: Any) -> Result:
        """Run one attempt."""
        with closing(open_local_ledger(self.path)) as ledger, self.ends(user) as (source, sink):
            attempt = ledger.begin("t")
            transfer = Transfer(id="t", epoch=attempt.epoch, source=source, sink=sink, limits=LIMITS)
            return run(replace(transfer, **how), ledger, stop=stop or Stop(), observer=self.witness)

    @property
    def arrived(self) -> bool:
        """True if the target has exactly what the source has, and the ledger has each object once."""
        with closing(open_local_ledger(self.path)) as ledger:
            rows = ledger.objects("t", limit=OBJECTS + 1, state=ObjectState.DONE)
            done = ledger.totals("t").objects_done
        target = {key: stored.body for key, stored in self.server.buckets["target"].items()}
        source = {key: stored.body for key, stored in self.server.buckets["source"].items()}
        return target == source and sorted(row.target_key for row in rows) == NAMES and done == OBJECTS


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is bound to happen."""
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def threads_of(pid: int) -> int:
    """How many threads a process has; a lane that is told its transfer has more than one."""
    with suppress(OSError):
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    return 0


def is_alive(pid: int) -> bool:
    """True if the process runs, and is no zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench on which a hundred and fifty objects are many and there are three processors."""
    if not Path("/proc/self/task").exists():
        pytest.skip("looks at /proc")
    monkeypatch.setattr(lanes, "MANY_OBJECTS", OBJECTS - 50)
    monkeypatch.setattr(lanes, "processors", lambda: 3)
    with FaultyS3() as server:
        server.make_bucket("source")
        server.make_bucket("target")
        for name in NAMES:
            server.put("source", name, f"{name} has this".encode() * 20, **{"x-amz-meta-of": name})
        bench = Bench(server, tmp_path / "ledger.db")
        begin, heard = lanes.Lanes._begin, lanes.Lanes.heard

        def begun(self: lanes.Lanes, message: bytes) -> None:
            begin(self, message)
            bench.pids.append(self._lanes[-1].process.pid)

        def told(self: lanes.Lanes, report: Report) -> None:
            bench.reports.append(report)
            heard(self, report)
            when, bench.when = bench.when, lambda: None
            when()

        monkeypatch.setattr(lanes.Lanes, "_begin", begun)
        monkeypatch.setattr(lanes.Lanes, "heard", told)
        yield bench
    assert not any(map(is_alive, bench.pids))


@pytest.mark.parametrize("verify", list(Verify))
def test_a_lane_does_its_share(bench: Bench, verify: Verify) -> None:
    """All arrive with their attributes, each once in the ledger, proved as far as without lanes."""
    result = bench.go(verify=verify)
    assert result.is_complete
    assert bench.arrived
    apart = sum(len(report.outcomes) for report in bench.reports)
    assert 0 < apart < OBJECTS
    size = sum(len(stored.body) for stored in bench.server.buckets["source"].values())
    assert (result.bytes, result.bytes_moved, result.bytes_retransferred) == (size, size, 0)
    assert result.verification.word == "end_to_end"
    assert bench.server.buckets["target"][NAMES[-1]].headers["x-amz-meta-of"] == NAMES[-1]
    assert sum(call == "PutObject" for call, _, _ in bench.server.requests) == OBJECTS
    assert any(kind == "lanes" for kind, _ in bench.witness.notes)


def test_a_lane_that_is_killed_costs_nothing(bench: Bench) -> None:
    """Others send again what it had in hand; the attempt tells that it is gone."""
    killed = Event()

    def watch(call: str, moment: str) -> None:
        bench._watch(call, moment)
        if bench.reports and not killed.is_set() and (call, moment) == ("PutObject", "after"):
            killed.set()
            os.kill(bench.pids[0], signal.SIGKILL)

    bench.server.watch = watch
    assert bench.go().is_complete
    assert bench.arrived
    assert killed.is_set()
    assert [kind for kind, _ in bench.witness.notes].count("lane_lost") == 1


def test_a_lane_that_stands_still_is_ended(bench: Bench) -> None:
    """A stopped process closes no socket: after the stall time-out it is killed, and others send again."""

    def stop() -> None:
        os.kill(bench.pids[0], signal.SIGSTOP)

    bench.when = stop
    assert bench.go(limits=replace(LIMITS, stall_timeout_s=1.0)).is_complete
    assert bench.arrived
    kinds = [kind for kind, _ in bench.witness.notes]
    assert (kinds.count("lane_stalled"), kinds.count("lane_lost")) == (1, 1)


def test_a_lane_that_is_busy_is_left_alone(bench: Bench) -> None:
    """Its store lets it wait as long as a lane may show no life; that is the lane's own to judge."""
    bench.when = lambda: bench.server.inject("PutObject", Fault.HANG, times=2)
    assert bench.go(limits=replace(LIMITS, stall_timeout_s=1.0, attempts=4)).is_complete
    assert bench.arrived
    kinds = [kind for kind, _ in bench.witness.notes]
    assert ("retry" in kinds, "lane_stalled" in kinds) == (True, False)


def test_a_lane_that_does_not_start_costs_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers send on by themselves."""
    monkeypatch.setattr(lanes, "PROGRAM", "raise SystemExit(3)")
    bench.ready.set()
    assert bench.go().is_complete
    assert bench.arrived
    assert bench.reports == []


def test_what_fails_in_a_lane_fails_alone(bench: Bench) -> None:
    """Kind and text are the engine's own, the other objects arrive, and the next attempt mends it."""
    changed = NAMES[160:]

    def change() -> None:
        for name in changed:
            bench.server.put("source", name, b"another one")

    bench.when = change
    result = bench.go()
    assert (result.objects, result.objects_failed) == (OBJECTS - len(changed), len(changed))
    outcomes = [outcome for report in bench.reports for outcome in report.outcomes]
    assert "source_changed" in {getattr(outcome, "kind", "done") for outcome in outcomes}
    with closing(open_local_ledger(bench.path)) as ledger:
        rows = ledger.objects("t", limit=OBJECTS, state=ObjectState.FAILED)
    assert {(row.error_kind, (row.error or "").partition(":")[0]) for row in rows} == {
        ("source_changed", "s3.GetObject")
    }
    assert bench.go().is_complete
    assert bench.arrived


def test_a_passing_error_is_tried_again_in_the_lane_and_told(bench: Bench) -> None:
    """The events of a lane are the attempt's."""
    bench.when = lambda: bench.server.inject("PutObject", Fault.ERROR, status=500, times=20)
    result = bench.go(limits=replace(LIMITS, attempts=30))
    assert result.is_complete
    assert bench.arrived
    assert [kind for kind, _ in bench.witness.notes].count("retry") == 20


@pytest.mark.parametrize(
    ("call", "fault", "verify"),
    [
        ("GetObject", Fault.FLIP_SENT, Verify.BEST),
        ("PutObject", Fault.CORRUPT, Verify.BEST),
        ("PutObject", Fault.FLIP_STORED, Verify.READBACK),
    ],
)
def test_a_lane_catches_a_flipped_bit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, call: str, fault: Fault, verify: Verify
) -> None:
    """What is read wrong, spoiled on the wire, or kept wrong, the lane itself sends again."""
    bench.server.etags = Etags.OPAQUE  # so that nothing but the CRC-64/NVME tells
    spoiled: list[str] = []
    send = lanes.Seat.send

    def sent(self: lanes.Seat, rows: Sequence[ObjectRow]) -> Report | None:
        # The first is tried in any case, and nobody else asks for it.
        spoiled.append(rows[0].source.name)
        bench.server.inject(call, fault, key=rows[0].source.name)
        return send(self, rows)

    monkeypatch.setattr(lanes.Seat, "send", sent)
    result = bench.go(verify=verify)
    assert result.is_complete
    assert bench.arrived
    assert spoiled
    assert bench.server.faults_left == 0, "nothing was flipped"
    told = [kind for report in bench.reports for kind, _ in report.notes]
    assert sum(told.count(kind) for kind in ("retry", "object_restarted")) == len(spoiled)
    assert result.verification.word == "end_to_end"


def test_a_stop_ends_lanes_at_once(bench: Bench) -> None:
    """Also one whose store does not answer; the next attempt does what is left."""
    stop = Stop()
    bench.when = lambda: bench.server.inject("PutObject", Fault.HANG, times=OBJECTS)

    def progressed(_: object) -> None:
        if bench.reports and bench.server.count("PutObject") - len(bench.server.buckets["target"]) > 1:
            stop.set()

    bench.witness.progressed = progressed  # type: ignore[assignment, method-assign]
    with pytest.raises(StoppedError):
        bench.go(stop)
    assert not any(map(is_alive, bench.pids))
    bench.server.clear()
    bench.server.release()
    assert bench.go().is_complete
    assert bench.arrived


def test_an_attempt_that_is_fenced_ends_its_lanes(bench: Bench) -> None:
    """Nothing is written down any more."""
    fenced: list[LocalLedger] = []

    def fence() -> None:
        with closing(open_local_ledger(bench.path)) as ledger:
            ledger.begin("t")
            fenced.append(ledger)

    bench.when = fence
    with pytest.raises(FencedError):
        bench.go()
    assert fenced
    assert not any(map(is_alive, bench.pids))
    assert bench.go().is_complete
    assert bench.arrived


def test_two_processors_have_no_lanes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor has a transfer with a bound on its bandwidth, which processes could not share."""
    bench.ready.set()
    assert bench.go(limits=replace(LIMITS, bandwidth_bytes_per_s=10**9)).is_complete
    bench.server.buckets["target"].clear()
    monkeypatch.setattr(lanes, "processors", lambda: 2)
    bench.path = bench.path.with_name("other.db")
    assert bench.go().is_complete
    assert bench.pids == []


def test_there_are_two_lanes_at_most(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many processors there are: each has memory of its own."""
    monkeypatch.setattr(lanes, "processors", lambda: 16)
    bench.ready.set()
    assert bench.go().is_complete
    assert bench.arrived
    assert len(bench.pids) == 2


def copying(bench: Bench, *options: str) -> list[str]:
    """The command of a copy with a lane, in a process of its own."""
    config = bench.path.with_name("dataferry.toml")
    lines = (
        f'[locations.{name}]\ntype = "s3"\nendpoint_url = "{bench.server.endpoint_url}"\n'
        f'access_key_id = "AKIA{name}"\nsecret_access_key = "{bench.server.secret_access_key}"\n'
        for name in ("it", "to")
    )
    config.write_text("".join(lines))
    program = (
        "from dataferry.engine.workers import lanes; lanes.processors = lambda: 3; lanes.MANY_OBJECTS = 150\n"
        "from dataferry.cli.main import run; run()"
    )
    command = [sys.executable, "-c", program, "copy", "it:source/", "to:target/"]
    return [*command, "--config", str(config), "--ledger", str(bench.path), "--quiet", "--json", *options]


@contextmanager
def begun(bench: Bench, command: list[str]) -> Iterator[int]:
    """A copy whose reads wait until its lane is there, whose number is given; killed at the end."""

    def lane_of(pid: int) -> list[int]:
        found = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
        return [int(child) for line in found for child in line]

    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        bench.server.watch = lambda call, moment: (
            until(lambda: bool(bench.pids)) if (call, moment) == ("GetObject", "before") else None
        )
        until(lambda: any(threads_of(pid) > 1 for pid in lane_of(process.pid)))
        bench.pids.append(lane_of(process.pid)[0])
        try:
            yield bench.pids[0]
        finally:
            process.kill()
    until(lambda: not is_alive(bench.pids[0]))


def gone_on(bench: Bench, command: list[str]) -> None:
    """Run a copy again, to its end."""
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert (outcome["state"], outcome["objects"]) == ("completed", len(bench.server.buckets["source"]))
    target = {key: stored.body for key, stored in bench.server.buckets["target"].items()}
    assert target == {key: stored.body for key, stored in bench.server.buckets["source"].items()}


def test_lanes_die_with_their_parent(bench: Bench) -> None:
    """A copy is killed, and its lane writes nothing any more; its command and environment held no secret."""
    command = copying(bench)
    with begun(bench, command) as lane:
        for name in ("cmdline", "environ"):
            assert bench.server.secret_access_key.encode() not in Path(f"/proc/{lane}/{name}").read_bytes()
        until(lambda: bench.server.count("PutObject") > 50)
    gone_on(bench, command)


def test_a_lane_never_has_more_than_a_part_in_hand(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was given and has not reported is what a kill may cost (rule 2)."""
    part, size = 1024 * 1024, 64 * 1024
    for name in NAMES:
        bench.server.put("source", name, name.encode() * (size // len(name)))
    in_hand: list[int] = []
    send = lanes.Seat.send

    def sent(self: lanes.Seat, rows: Sequence[ObjectRow]) -> Report | None:
        in_hand.append(sum(row.source.size_bytes or 0 for row in rows))
        return send(self, rows)

    monkeypatch.setattr(lanes.Seat, "send", sent)
    limits = replace(LIMITS, part_size_bytes=part, multipart_threshold_bytes=part)
    assert bench.go(limits=limits).is_complete
    assert part - size <= max(in_hand) <= part


def test_a_kill_costs_no_more_with_lanes(bench: Bench) -> None:
    """What is sent twice is at most a part for each worker, whoever sent it (rule 2)."""
    workers, size = 4, 64 * 1024
    for name in NAMES:
        bench.server.put("source", name, name.encode() * (size // len(name)))
    command = copying(bench, "--workers", str(workers), "--part-size", "1M")
    with begun(bench, command):
        until(lambda: bench.server.count("PutObject") > OBJECTS // 2)
    gone_on(bench, command)
    again = bench.server.count("PutObject") - OBJECTS
    assert again * size <= workers * 1024 * 1024


def test_a_large_object_never_goes_by_a_lane(bench: Bench) -> None:
    """One that the store was to copy whole, and that is streamed after all, goes in parts (rule 2)."""
    part = 5 * 1024 * 1024
    for name in NAMES[60:66]:
        bench.server.put("source", name, bytes(part + 1))
    bench.server.copies = False
    result = bench.go(
        limits=replace(LIMITS, part_size_bytes=part, multipart_threshold_bytes=part), user="AKIAIT"
    )
    assert result.is_complete
    assert bench.arrived
    assert bench.reports
    assert bench.server.count("UploadPart") == 2 * 6


def test_a_worker_that_rests_leaves_nothing_open_in_its_lane(bench: Bench) -> None:
    """A lane lives as long as its attempt, and workers come and go: each takes its connections with it."""
    bench.ready.set()
    with bench.ends() as (source, sink):
        lane = Lane(Transfer(id="t", epoch=1, source=source, sink=sink, limits=LIMITS))
        rows = [
            ObjectRow(
                ordinal=number,
                source=info,
                target_key=info.name,
                target_identity=sink.identity,
                state=ObjectState.PENDING,
            )
            for number, info in enumerate(islice(source.list(), 2))
        ]
        descriptors = Path("/proc/self/fd")
        open_before = len(list(descriptors.iterdir()))
        for _ in range(3):
            ours, theirs = socket.socketpair()
            thread = Thread(target=lane.serve, args=(theirs,))
            thread.start()
            with ours:
                send_message(ours, slips(rows))
                assert len(receive_message(ours).outcomes) == len(rows)
            thread.join()
        until(lambda: len(list(descriptors.iterdir())) <= open_before)
