"""One caller's slow requests keep nobody else waiting, and nobody is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import anyio
import pytest

from dataferry.api.admission import Admission


class Slow:
    """An application that answers when it is let."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.gate = anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Note the path, and wait."""
        del receive, send
        self.began.append(scope["path"])
        await self.gate.wait()


def scope(path: str, *, peer: str = "10.0.0.1", **headers: str) -> dict[str, Any]:
    """A request."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "path": path, "headers": raw, "client": (peer, 1)}


async def nothing(*_: Any) -> Any:
    """Stand in for what an application would read from and write to."""


async def _turns() -> None:
    slow = Slow()
    admission = Admission(slow, per_caller=2)
    async with anyio.create_task_group() as tasks:
        requests = (
            *(scope(f"/a{number}", authorization="Bearer a") for number in range(4)),
            scope("/b", authorization="Bearer b"),
            scope("/key", x_api_key="k"),
            *(scope(f"/peer{number}") for number in range(3)),
            scope("/other", peer="10.0.0.2"),
            scope("/healthz"),
            scope("/management/events"),
        )
        for request in requests:
            tasks.start_soon(admission, request, nothing, nothing)
            await anyio.wait_all_tasks_blocked()
        began = ["/a0", "/a1", "/b", "/key", "/peer0", "/peer1", "/other", "/healthz", "/management/events"]
        assert began == slow.began
        slow.gate.set()
    assert slow.began[len(began) :] == ["/a2", "/a3", "/peer2"]
    assert admission._callers == {}


def test_a_caller_has_its_places_and_waits_for_them() -> None:
    """Of each credential, or address without one, two at once; the rest in order; nothing is kept of them."""
    anyio.run(_turns)


def jwt(subject: str, number: int) -> str:
    """A token that is another one each time; nobody has signed it."""
    parts = ({"alg": "ES256"}, {"iss": "idp", "sub": subject, "jti": number})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return f"Bearer {'.'.join(encoded)}.AA"


async def _tokens() -> None:
    slow = Slow()
    admission = Admission(slow, per_caller=2)
    async with anyio.create_task_group() as tasks:
        for number in range(4):
            for subject in "ab":
                request = scope(f"/{subject}{number}", authorization=jwt(subject, number))
                tasks.start_soon(admission, request, nothing, nothing)
                await anyio.wait_all_tasks_blocked()
        tasks.start_soon(
            admission, scope("/there", peer="10.0.0.2", authorization=jwt("a", 9)), nothing, nothing
        )
        await anyio.wait_all_tasks_blocked()
        assert slow.began == ["/a0", "/b0", "/a1", "/b1", "/there"]
        slow.gate.set()
    assert admission._callers == {}


def test_a_fresh_token_for_each_call_gives_no_places_more() -> None:
    """They are counted together; who forges tokens elsewhere takes none of them."""
    anyio.run(_tokens)


async def _failing() -> None:
    async def fails(*_: Any) -> None:
        raise RuntimeError("no")

    admission = Admission(fails, per_caller=1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            await admission(scope("/a"), nothing, nothing)
    assert admission._callers == {}


def test_a_request_that_fails_gives_its_place_back() -> None:
    """As does one that is cancelled."""
    anyio.run(_failing)


async def _data() -> None:
    slow = Slow()
    admission = Admission(slow, per_caller=1, most_data=3)
    statuses: list[int] = []

    async def send(sent: Any) -> None:
        if sent["type"] == "http.response.start":
            statuses.append(sent["status"])

    async with anyio.create_task_group() as tasks:
        for number, path in enumerate(["/data/a", "/data/a/x", "/data/a", "/data/b/", "/data/c", "/verb"]):
            request = scope(path, authorization="Bearer of-the-flow", x_api_key=f"varied-{number}")
            tasks.start_soon(admission, request, nothing, send)
            await anyio.wait_all_tasks_blocked()
        assert slow.began == ["/data/a", "/data/b/", "/verb"]
        assert statuses == [503, 503]
        slow.gate.set()
    assert slow.began[3:] == ["/data/a/x"]


def test_who_fetches_data_leaves_connections_for_others() -> None:
    """Requests for data are counted by flow, whatever credentials they show; beyond the bounds it is 503."""
    anyio.run(_data)
