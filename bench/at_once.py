"""Sends one request over many connections at once, and takes the time until each is answered.

A process of its own, without a thread and without an HTTP library: on a small machine, what a client costs is
taken from the server it measures. The connections are open beforehand, and have been used once.

Run by ``bench/orchestrate.py`` as ``python bench/at_once.py HOST PORT REQUESTS < REQUEST``; prints JSON.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from dataclasses import dataclass

PIECE_BYTES = 256 * 1024
SEND_BUFFER_BYTES = 1024 * 1024
TIMEOUT_S = 60.0
WARM_UP = b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"


@dataclass(slots=True)
class Sending:
    """One request under way.

    Attributes:
        left: What is still to be sent.
        sent_at: When the last byte was handed to the system; seconds of ``time.perf_counter``.
        answered_at: When the whole head of the answer was there.
        answer: As far as it is there.
    """

    left: memoryview
    sent_at: float = 0.0
    answered_at: float = 0.0
    answer: bytes = b""


def connected(host: str, port: int) -> socket.socket:
    """Open a connection, and use it once, so that neither side has to set anything up."""
    connection = socket.create_connection((host, port), timeout=TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    connection.sendall(WARM_UP)
    answer = b""
    while not answer.endswith(b"}"):  # the end of its JSON
        piece = connection.recv(PIECE_BYTES)
        answer += piece
        if not piece or not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"/healthz was not answered with 200: {answer!r}")
    connection.settimeout(0)
    return connection


def exchanged(connections: list[socket.socket], request: bytes) -> tuple[float, list[Sending]]:
    """Send the request on all connections, and wait for all answers; return when that began, and each."""
    selector = selectors.DefaultSelector()
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    sendings = [Sending(memoryview(request)) for _ in connections]
    for connection, sending in zip(connections, sendings, strict=True):
        selector.register(connection, both, sending)
    waiting, began = len(connections), time.perf_counter()
    while waiting:
        ready = selector.select(TIMEOUT_S)
        if not ready:
            raise SystemExit(f"{waiting} requests were not answered within {TIMEOUT_S:g} s")
        for key, events in ready:
            connection, sending = key.fileobj, key.data
            if events & selectors.EVENT_WRITE:
                sending.left = sending.left[connection.send(sending.left) :]
                if not sending.left:
                    sending.sent_at = time.perf_counter()
                    selector.modify(connection, selectors.EVENT_READ, sending)
            if events & selectors.EVENT_READ:
                sending.answer += connection.recv(PIECE_BYTES)
                if not sending.answer or b"\r\n\r\n" in sending.answer:
                    sending.answered_at = time.perf_counter()
                    selector.unregister(connection)
                    waiting -= 1
    return began, sendings


def main() -> None:
    """Do it, and print milliseconds: of each answer, and of all together."""
    host, port, requests = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    request = sys.stdin.buffer.read()
    connections = [connected(host, port) for _ in range(requests)]
    cpu_before_s = time.process_time()
    began, sendings = exchanged(connections, request)
    cpu_s = time.process_time() - cpu_before_s
    wrong = [sending.answer[:500] for sending in sendings if not sending.answer.startswith(b"HTTP/1.1 200")]
    if wrong:
        raise SystemExit(f"{len(wrong)} of {requests} were refused; the first: {wrong[0]!r}")
    found = {
        "answered_ms": sorted((one.answered_at - one.sent_at) * 1000 for one in sendings),
        "all_sent_ms": (max(one.sent_at for one in sendings) - began) * 1000,
        "all_answered_ms": (max(one.answered_at for one in sendings) - began) * 1000,
        "client_cpu_ms": cpu_s * 1000,
    }
    print(json.dumps(found))
    for connection in connections:
        connection.close()


if __name__ == "__main__":
    main()
