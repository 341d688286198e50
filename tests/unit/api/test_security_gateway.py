"""The gateway against slow stores, and readers that go away: nothing waits for them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import cast
from uuid import uuid4

import pytest

from dataferry.api.gateway.objects import PIECE_BYTES, OpenedObject, told
from dataferry.api.gateway.threads import GatewayThreads
from dataferry.api.gateway.visits import described
from dataferry.domain.errors import (
    AccessDeniedError,
    AddressError,
    DataFerryError,
    ForbiddenError,
    NotFoundError,
    ServerError,
    StorageError,
    ThrottledError,
)
from dataferry.domain.objects import Attributes, ObjectInfo
from dataferry.flows.gateway import Served, Watch
from dataferry.flows.readers import Readers
from dataferry.flows.resolution import Place
from dataferry.mechanisms.http import MECHANISM
from dataferry.net.connections import Network

SIZE = PIECE_BYTES + 10_000
HEAD = f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nAccept-Ranges: bytes\r\n\r\n".encode()


@pytest.fixture
def stalled() -> Iterator[str]:
    """An origin that answers each GET with the first piece, and then stands still; gives a URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                held.append(sock)
                is_head = sock.recv(65_536).startswith(b"HEAD")
                sock.sendall(HEAD if is_head else HEAD + bytes(PIECE_BYTES))

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/one"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for sock in held:
            sock.close()


def test_giving_up_an_object_waits_for_no_store(stalled: str) -> None:
    """A body of which little is left is dropped, not read to its end: that is done where verbs are served."""
    place = Place(mechanism=MECHANISM, endpoint=MECHANISM.at_url(stalled))
    served = Served(flow_id=uuid4(), place=place)
    opened = OpenedObject(served, "", Readers(Network(stall_timeout_s=60)))
    info = opened.look_up()
    opened.read(info, cast("Watch", None), offset_bytes=0, length_bytes=SIZE)

    closing = threading.Thread(target=opened.close)
    closing.start()
    closing.join(timeout=20)
    waited = closing.is_alive()
    opened.abort()
    closing.join()

    assert not waited


def test_work_that_nobody_waits_for_is_aborted() -> None:
    """Who goes away frees the thread that reads for it, whatever the store does."""
    aborted, began = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        aborted.wait(30)

    async def leave() -> bool:
        threads = GatewayThreads(1)
        place = Place(mechanism=MECHANISM, endpoint=MECHANISM.at_url("http://127.0.0.1:9/"))
        asking = asyncio.ensure_future(threads.run(place, work, aborted.set))
        await asyncio.to_thread(began.wait)
        asking.cancel()
        await asyncio.wait([asking])
        return asking.cancelled() and threads.busy == 0

    assert asyncio.run(leave())
    assert aborted.is_set()


def test_a_store_that_stands_still_does_not_hold_all_threads() -> None:
    """Whatever waits for it, half of the threads are left for what lies elsewhere, also of the same kind."""
    aborted = threading.Event()

    async def serve() -> str:
        threads = GatewayThreads(4)
        dead, alive = (
            Place(mechanism=MECHANISM, endpoint=MECHANISM.at_url(f"http://127.0.0.1:{port}/"))
            for port in (9, 10)
        )
        waiting = [asyncio.ensure_future(threads.run(dead, aborted.wait)) for _ in range(20)]
        await asyncio.sleep(0.05)
        try:
            assert threads.busy == 2
            return await asyncio.wait_for(threads.run(alive, lambda: "served"), timeout=10)
        finally:
            aborted.set()
            await asyncio.wait(waiting)

    assert asyncio.run(serve()) == "served"


def test_what_a_store_says_of_an_object_stays_in_its_header() -> None:
    """Blanks at the ends, which no header can have, go; what can't be a value is left out."""
    attributes = Attributes(
        content_type=" text/plain\t", content_language="de\r\nX-Other: 1", content_disposition=" "
    )
    headers = described(ObjectInfo(name="a", key="a", size_bytes=1, attributes=attributes), None)

    assert headers["Content-Type"] == "text/plain"
    assert not {"Content-Language", "Content-Disposition", "ETag"} & set(headers)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AccessDeniedError("s3://hidden/key: HTTP 403"), StorageError),
        (ThrottledError("hidden:9000 says so"), ServerError),
        (AddressError("'hidden/pipe' is no file"), NotFoundError),
        (NotFoundError("there is no location hidden"), NotFoundError),
    ],
)
def test_strangers_are_not_told_where_data_lies(error: DataFerryError, kind: type[DataFerryError]) -> None:
    """A consumer learns whether to come back, and no bucket, path or host of ours."""
    shown = told(error)

    assert type(shown) is kind
    assert "hidden" not in str(shown)


def test_strangers_are_told_that_a_flow_is_suspended() -> None:
    """What concerns the flow itself is said as it is."""
    error = ForbiddenError("the transfer is SUSPENDED")

    assert told(error) is error
