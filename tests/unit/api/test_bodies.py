"""Bounds of request bodies: whatever is sent, the answer is a 4xx that says what is wrong."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.api.api_rig import Plane, message

from dataferry.api.bodies import MAX_JSON_DEPTH, check_json
from dataferry.domain.errors import InputError

PREPARE = "/api/v1/dataflows/prepare"


def refused(api: Plane, content: bytes, *, content_type: str | None = "application/json") -> tuple[int, str]:
    """Send a body, and return the status and kind of the problem."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = api.client.post(PREPARE, content=content, headers=headers)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def test_a_body_above_the_bound_is_refused_by_its_declared_length(open_api: Plane) -> None:
    """Two megabytes are 413."""
    assert refused(open_api, b" " * 2_000_000) == (413, "too_large")


def test_a_body_above_the_bound_is_refused_by_counting(open_api: Plane) -> None:
    """A body sent in chunks declares no length, and is counted."""

    def chunks() -> Iterator[bytes]:
        for _ in range(8):
            yield b" " * 1000

    answer = open_api.client.post(PREPARE, content=chunks(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:dataferry:problem:too_large")


def test_a_declared_length_is_refused_before_the_body_comes(open_api: Plane) -> None:
    """Nobody waits for bytes that will not be taken."""
    place = urlsplit(open_api.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        request = (
            f"POST {PREPARE} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"
        )
        connection.sendall(request.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 4")


def test_a_body_at_the_bound_is_read(open_api: Plane) -> None:
    """The bound itself is allowed: what is refused then is the content."""
    assert refused(open_api, b"x" * 4096) == (400, "invalid_json")
    assert refused(open_api, b"x" * 4097) == (413, "too_large")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "json"])
def test_what_does_not_say_that_it_is_json_is_refused(open_api: Plane, content_type: str | None) -> None:
    """415, also for the types that a web page may send without asking."""
    expected = (415, "unsupported_media_type")
    assert expected == refused(open_api, json.dumps(message()).encode(), content_type=content_type)


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/ld+json", "Application/JSON"]
)
def test_json_by_its_other_names_is_read(open_api: Plane, content_type: str) -> None:
    """Parameters, case and +json types do not matter."""
    assert refused(open_api, b"{}", content_type=content_type) == (400, "invalid_input")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "invalid_json"),
        (b"\xff\xfe{}", "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": 1e999}', "invalid_input"),
        (b'{"a": "\\u0000"}', "invalid_input"),
        (b'{"a": "\\ud800"}', "invalid_input"),
        (b'{"\\ud800": 1}', "invalid_input"),
        (b"9" * 4000 + b"9" * 96, "invalid_input"),
        (b"[" * 2000 + b"]" * 2000, "invalid_input"),
        (b"[]", "invalid_input"),
        (b"null", "invalid_input"),
        (b'"text"', "invalid_input"),
    ],
)
def test_a_body_that_is_no_message_is_400(open_api: Plane, content: bytes, kind: str) -> None:
    """Broken JSON, and JSON that can't be kept or is no object."""
    assert (400, kind) == refused(open_api, content)


def test_the_depth_is_bounded_exactly() -> None:
    """The deepest allowed nesting passes, one more does not."""
    deep: object = "leaf"
    for _ in range(MAX_JSON_DEPTH):
        deep = [deep]
    check_json(deep)
    with pytest.raises(InputError, match="nested"):
        check_json({"one more": deep})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text("aé€😀"), st.lists))
def test_ordinary_json_passes(document: object) -> None:
    """Nothing that UTF-8 can say is refused."""
    check_json(document)
