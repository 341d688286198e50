"""Requests that two servers could read differently are refused, and end their connection."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
from tests.unit.api.api_rig import Plane


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_two_lengths_are_refused(open_api: Plane, method: str) -> None:
    """With both Content-Length and Transfer-Encoding nothing after the head is taken for a request."""
    place = urlsplit(open_api.url)
    request = (
        f"{method} /healthz HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 4\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
    )
    answer = b""
    with socket.create_connection((place.hostname, place.port), timeout=10) as sock:
        sock.sendall(request.encode())
        while chunk := sock.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1
