"""Nobody who queues many flows keeps the others out."""

from __future__ import annotations

import threading
from uuid import UUID, uuid4

from tests.unit.flows.world import until

from dataferry.engine.stop import Stop
from dataferry.execution.embedded import EmbeddedExecutor


class Gated:
    """Work that notes what began, and ends when it is let."""

    def __init__(self) -> None:
        self.began: list[UUID] = []
        self.gate = threading.Semaphore(0)

    def run(self, flow_id: UUID, stop: Stop) -> None:
        """Begin, and wait."""
        del stop
        self.began.append(flow_id)
        self.gate.acquire()


def test_another_owners_flow_begins_next() -> None:
    """Ten wait of one who has both threads already: the other's, who came last, takes the next free one."""
    greedy, modest = [uuid4() for _ in range(10)], uuid4()
    work = Gated()
    executor = EmbeddedExecutor(
        work, concurrency=2, owner_of=lambda flow_id: "modest" if flow_id == modest else "greedy"
    )
    executor.start()
    try:
        for flow_id in greedy[:2]:
            executor.submit(flow_id)
        until(lambda: len(work.began) == 2)
        for flow_id in (*greedy[2:], modest):
            executor.submit(flow_id)
        work.gate.release()
        until(lambda: len(work.began) == 3)
        assert work.began[2] == modest
        for _ in range(20):
            work.gate.release()
        until(lambda: len(work.began) == 11)
        assert set(work.began) == {*greedy, modest}
    finally:
        work.gate.release(20)
        assert executor.close()


def test_long_flows_of_one_owner_leave_a_place_to_others() -> None:
    """None of the greedy one's flows ends, and still the other's begins; theirs follow."""
    greedy, modest = [uuid4() for _ in range(5)], uuid4()
    work = Gated()
    executor = EmbeddedExecutor(
        work,
        concurrency=3,
        owner_of=lambda flow_id: "modest" if flow_id == modest else "greedy",
        most_of_one=lambda: 2,
    )
    executor.start()
    try:
        for flow_id in greedy:
            executor.submit(flow_id)
        until(lambda: len(work.began) == 2)
        executor.submit(modest)
        until(lambda: len(work.began) == 3)
        assert work.began == [*greedy[:2], modest]
        work.gate.release(20)
        until(lambda: len(work.began) == 6)
        assert work.began[3:] == greedy[2:]
    finally:
        work.gate.release(20)
        assert executor.close()


def test_the_bound_of_one_owner_follows_how_many_there_are() -> None:
    """What has come to be allowed is used at once: nothing waits beside a free place."""
    bound = [1]
    flows = [uuid4() for _ in range(3)]
    work = Gated()
    executor = EmbeddedExecutor(work, concurrency=3, most_of_one=lambda: bound[0])
    executor.start()
    try:
        executor.submit(flows[0])
        executor.submit(flows[1])
        until(lambda: len(work.began) == 1)
        bound[0] = 3
        executor.submit(flows[2])
        until(lambda: len(work.began) == 3)
    finally:
        work.gate.release(20)
        assert executor.close()
