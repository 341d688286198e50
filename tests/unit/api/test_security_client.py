"""A control plane that answers maliciously holds nobody up, and gets no words of its own into our errors."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from tests.unit.token_rig import token_source

from dataferry.api.signaling.client import HttpControlPlaneClient
from dataferry.domain.dataflow import Dialect, State
from dataferry.domain.errors import ConnectionFailedError, DataFerryError
from dataferry.domain.location import ControlPlane, Provenance
from dataferry.flows.messages import Callback
from dataferry.net.connections import Network

TOKEN = "planted-callback-token-0123456789"
TIMEOUT_S = 0.4


class Hostile:
    """Answers one request with ``lead``, then a byte of ``drip`` now and then."""

    def __init__(self, lead: bytes, drip: bytes) -> None:
        self._lead, self._drip = lead, drip
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            sock, _ = self._listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(self._lead)
                for byte in self._drip:
                    sock.send(bytes([byte]))
                    time.sleep(TIMEOUT_S / 4)

    def close(self) -> None:
        """Join."""
        self._listener.close()
        self._thread.join(30)


def told(server: Hostile) -> DataFerryError | None:
    """Send it a callback; return what that fails with."""
    plane = ControlPlane(id="cp", endpoint=server.url, callback_token=TOKEN, provenance=Provenance.OPERATOR)
    callback = Callback(
        message_id="m",
        kind="completed",
        process_id="p",
        data_flow_id="d",
        dialect=Dialect.HEAD,
        state=State.COMPLETED,
    )
    with closing(
        HttpControlPlaneClient(
            Network(),
            data_plane_id="dp",
            base_url="http://dp",
            signaling_path="",
            tokens=token_source(Network()),
            profiles=tuple,
            timeout_s=TIMEOUT_S,
        )
    ) as client:
        try:
            client.send(plane, callback)
        except DataFerryError as error:
            return error
    return None


@pytest.fixture(params=["head", "body"])
def dripping(request: pytest.FixtureRequest) -> Iterator[Hostile]:
    """A server whose head, or body, does not come to its end."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    server = Hostile(b"", head + b"x" * 100) if request.param == "head" else Hostile(head, b"x" * 100)
    yield server
    server.close()


def test_an_answer_that_drips_holds_nobody_up(dripping: Hostile) -> None:
    """A byte now and then never times out by itself; the exchange as a whole does."""
    began = time.monotonic()
    error = told(dripping)
    assert time.monotonic() - began < 20 * TIMEOUT_S
    assert error is None or isinstance(error, ConnectionFailedError)


def test_a_reason_phrase_that_quotes_the_token_is_not_repeated() -> None:
    """Errors of callbacks are shown to operators and stand in the database."""
    phrase = f"HTTP/1.1 400 Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
    server = Hostile(phrase.encode(), b"")
    with closing(server):
        error = told(server)
    assert error is not None
    assert TOKEN not in str(error)
    assert "400 Bad Request" in str(error)
