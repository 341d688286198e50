"""Heads of replies: what is read, and what is refused."""

from __future__ import annotations

import http.client
import io

import pytest

from dataferry.net import heads
from dataferry.net.heads import Headers, closes, read_head, write_head


def read(text: str) -> tuple[int, int, str, Headers]:
    return read_head(io.BufferedReader(io.BytesIO(text.encode("latin-1"))))


def test_a_head_is_read_as_the_standard_library_reads_it() -> None:
    """Status, reason and every field, whatever blanks, folds, case and repetitions it has."""
    fields = (
        'Content-Length: 5\r\nETag:\t"a:b" \r\nX-Empty:\r\nX-Fold: a\r\n  b\r\n\tc\r\n'
        "set-cookie: 1\r\nSet-Cookie: 2\r\nX-Latin: gr\xfc\xdfe\nX-Amz-Meta-N: v\r\n\r\nbody"
    )
    version, status, reason, found = read("HTTP/1.1 206 Partial Content\r\n" + fields)
    expected = http.client.parse_headers(io.BytesIO(fields.encode("latin-1")))
    assert (version, status, reason) == (11, 206, "Partial Content")
    plain = {"X-Fold": "a b c", "ETag": '"a:b"'}
    assert list(dict.fromkeys(name.lower() for name in expected)) == list(found)
    for name in expected:
        assert found.get_all(name) == [plain.get(name, value) for value in expected.get_all(name, [])]
    assert (found.get("set-cookie"), found["ETAG"], found.get("none"), found.get("none", "d")) == (
        "1",
        '"a:b"',
        None,
        "d",
    )
    assert "x-empty" in found
    assert "x-none" not in found
    assert len(found) == len(list(found)) == len(found.items())


def test_interim_replies_are_passed_over() -> None:
    """``100 Continue`` with its fields comes before the reply, a few times at most."""
    interim = "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"
    assert read(f"{interim * 2}HTTP/1.0 200\r\n\r\n")[:3] == (10, 200, "")
    with pytest.raises(http.client.HTTPException, match="interim"):
        read(interim * heads.MAX_INTERIM_REPLIES)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", http.client.RemoteDisconnected),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1", http.client.RemoteDisconnected),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n", http.client.RemoteDisconnected),
        ("garbage\r\n\r\n", http.client.BadStatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", http.client.BadStatusLine),
        ("HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n", http.client.BadStatusLine),
        ("HTTP/2 200 OK\r\n\r\n", http.client.UnknownProtocol),
        ("HTTP/1.1 200 OK\r\nno field\r\n\r\n", http.client.HTTPException),
        ("HTTP/1.1 200 OK\r\nName : v\r\n\r\n", http.client.HTTPException),
        ("HTTP/1.1 200 OK\r\n: v\r\n\r\n", http.client.HTTPException),
        ("HTTP/1.1 200 OK\r\n folded: onto nothing\r\n\r\n", http.client.HTTPException),
        ("HTTP/1.1 200 OK\r\na: b\rContent-Length: 5\r\n\r\n", http.client.HTTPException),
        ("HTTP/1.1 200 OK\r\n" + "a: b\r\n" * 101 + "\r\n", http.client.HTTPException),
        ("HTTP/1.1 200 OK\r\na: " + "b" * 65_536 + "\r\n\r\n", http.client.LineTooLong),
        ("HTTP/1.1 200 " + "b" * 65_536 + "\r\n\r\n", http.client.LineTooLong),
    ],
)
def test_what_is_no_head_is_refused(text: str, error: type[Exception]) -> None:
    """Broken, ambiguous and endless heads are errors, never guessed at."""
    with pytest.raises(error):
        read(text)


def test_fields_are_written_as_given() -> None:
    """Each on a line of its own, Latin-1 included."""
    head = write_head("GET", "/a?b", {"Host": "a", "x-amz-meta-n": "gr\xfc\tx"})
    assert head == b"GET /a?b HTTP/1.1\r\nHost: a\r\nx-amz-meta-n: gr\xfc\tx\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a", "b\r\nInjected: c"),
        ("a", "b\nInjected: c"),
        ("a", "b\rc"),
        ("a", "b\0"),
        ("a", "\u20ac"),
        ("a: b\r\nc", "d"),
        ("a b", "c"),
        ("", "c"),
    ],
)
def test_no_field_can_hold_another(name: str, value: str) -> None:
    """What would end a line, or is no name, is refused."""
    with pytest.raises(ValueError, match=r"can't|encode"):
        write_head("GET", "/", {"Host": "a", name: value})


@pytest.mark.parametrize(
    ("version", "wish", "expected"),
    [(11, None, False), (11, "Close", True), (10, None, True), (10, "Keep-Alive", False)],
)
def test_who_keeps_a_connection(version: int, wish: str | None, *, expected: bool) -> None:
    """HTTP/1.1 keeps it unless told otherwise, HTTP/1.0 the other way round."""
    assert closes(version, Headers([("Connection", wish)] if wish else [])) is expected
