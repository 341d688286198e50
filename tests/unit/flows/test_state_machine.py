"""The verbs in any order, as control planes, operators and time may bring them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.flows.world import PULL, PUSH, World

from dataferry.domain.dataflow import SATISFIED, TRANSITIONS, DataFlow, Event, Role, Run, State
from dataferry.domain.errors import ConflictError, DataFerryError, NotFoundError
from dataferry.domain.location import ControlPlane, Dataset, LandingZone, OnFailure
from dataferry.engine.stop import Stop

PROCESSES = ("p1", "p2")
# After these, no other callback may follow.
LAST = {"completed"}

VERBS = {
    "suspend": Event.SUSPEND,
    "resume": Event.RESUME,
    "terminate": Event.TERMINATE,
    "completed": Event.COMPLETE,
    "started": Event.STARTED,
}


class Verbs(RuleBasedStateMachine):
    """One data plane with two processes; attempts and callbacks happen when the rules say so."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(
            Path(self.folder.name),
            plane=ControlPlane(id="cp", endpoint="http://control.example", on_failure=OnFailure.TERMINATE),
            working=False,
            datasets=(
                Dataset(match="later", source="here:out/data", prepare_wait_s=0),
                Dataset(match="missing", source="here:out/missing"),
                Dataset(match="*", source="here:out/data"),
            ),
            zones=(
                LandingZone(name="later", sink="here:in/", datasets=("later",), prepare_wait_s=0),
                LandingZone(name="all", sink="here:in/{processId}/"),
            ),
        )
        self.world.write("out/data", b"content")
        (self.world.theirs / "offer").write_bytes(b"offer")
        self.states: dict[str, State] = {}

    def teardown(self) -> None:
        """End all threads."""
        self.world.close()
        self.folder.cleanup()

    def row(self, process: str) -> DataFlow | None:
        """A process's flow as it is now."""
        try:
            return self.world.management.get(process)
        except NotFoundError:
            return None

    @rule(
        process=st.sampled_from(PROCESSES),
        profile=st.sampled_from([PUSH, PULL]),
        verb=st.sampled_from(["prepare", "start"]),
        dataset=st.sampled_from(["data", "later", "missing"]),
        addressed=st.booleans(),
    )
    def begin(self, process: str, profile: str, verb: str, dataset: str, *, addressed: bool) -> None:
        """Prepare or start: a new row, or a client's error and no row."""
        before = self.row(process)
        address = self.world.their_address("got/") if addressed else None
        message = self.world.message(process, profile, dataset_id=dataset, data_address=address)
        try:
            answer = getattr(self.world.signaling, verb)(self.world.caller, message)
        except DataFerryError:
            assert before == self.row(process)
        else:
            assert before is None
            assert answer.later == (answer.flow.state in {State.PREPARING, State.STARTING})

    @rule(
        process=st.sampled_from(PROCESSES),
        verb=st.sampled_from(sorted(VERBS)),
        addressed=st.booleans(),
    )
    def verb(self, process: str, verb: str, *, addressed: bool) -> None:
        """Any verb: the state that the table says, the same state if it is there already, or a refusal."""
        before = self.row(process)
        extra: tuple[Any, ...] = ()
        if verb in {"started", "resume"}:
            extra = (self.world.their_address("offer") if addressed else None,)
        event = VERBS[verb]
        try:
            answer = getattr(self.world.signaling, verb)(self.world.caller, process, *extra)
        except NotFoundError:
            assert before is None
        except ConflictError:
            assert before is not None
            assert before == self.row(process)
            refused = (before.state, event) not in TRANSITIONS and before.state not in SATISFIED[event]
            mover = event is Event.COMPLETE and before.moves_bytes
            provider = event is Event.STARTED and before.role is Role.PROVIDER
            assert refused or mover or provider
        else:
            assert before is not None
            expected = before.state if before.state in SATISFIED[event] else TRANSITIONS[before.state, event]
            assert expected == answer.flow.state
            assert answer.data_address is None or answer.flow.owns_address

    @rule(
        process=st.sampled_from(PROCESSES), verb=st.sampled_from(["pause", "unpause", "retry", "terminate"])
    )
    def operate(self, process: str, verb: str) -> None:
        """An operator's verb changes ``run``, or is refused; only terminate changes ``state``."""
        before = self.row(process)
        try:
            after = getattr(self.world.management, verb)(process)
        except (ConflictError, NotFoundError):
            assert before == self.row(process)
        else:
            assert before is not None
            assert after.state is (State.TERMINATED if verb == "terminate" else before.state)

    @rule(process=st.sampled_from(PROCESSES), cut=st.booleans())
    @precondition(lambda self: any(self.row(process) for process in PROCESSES))
    def attempt(self, process: str, *, cut: bool) -> None:
        """The executor gets round to it, or is stopped at once."""
        flow = self.row(process)
        if flow is not None:
            stop = Stop()
            if cut:
                stop.set()
            self.world.attempts.run(flow.id, stop)
            after = self.row(process)
            assert after is not None
            assert after.run is not Run.RUNNING

    @rule()
    def deliver(self) -> None:
        """The outbox gets round to it."""
        self.world.outbox.tick()

    @invariant()
    def states_follow_the_table(self) -> None:
        """A state changes only along the table; an attempt may take two steps at once, a verb one."""
        for process in PROCESSES:
            flow = self.row(process)
            if flow is None:
                assert process not in self.states
                continue
            before = self.states.get(process, State.INITIALIZED)
            assert flow.state is before or flow.state in _reachable(before)
            self.states[process] = flow.state
            if flow.state.is_final:
                assert flow.run in {Run.DONE, Run.IDLE, Run.FAILED}

    @invariant()
    def callbacks_are_in_order(self) -> None:
        """Nothing follows ``completed``, and what tells of preparation comes first."""
        for process in PROCESSES:
            kinds = self.world.notebook.kinds(process)
            assert not LAST & set(kinds[:-1])
            assert not {"prepared", "started"} & set(kinds[1:])


def _reachable(state: State) -> set[State]:
    """States within two steps of the table."""
    once = {target for (origin, _), target in TRANSITIONS.items() if origin is state}
    return once | {target for (origin, _), target in TRANSITIONS.items() if origin in once}


TestVerbs = Verbs.TestCase
TestVerbs.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
