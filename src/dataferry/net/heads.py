"""The heads of HTTP/1.1: a reply's is read within bounds, a request's fields are written.

The standard library reads it with its parser for mail, which takes as long as all else about a small object.

Source: RFC 9112, sections 4 and 5; its errors are those of ``http.client``.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import ItemsView, Iterator, Mapping
from functools import lru_cache
from typing import Any, Protocol, TypeVar, overload

MAX_LINE_BYTES = 65_536
MAX_HEADERS = 100
MAX_INTERIM_REPLIES = 10
CONTINUE = 100
T = TypeVar("T")
_ENDS = frozenset({"\r\n", "\n"})
_FOLD = re.compile(r"\r?\n[ \t]+")  # a folded line goes on with the last one
_FIELDS = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")
_TARGET = re.compile(r"[\x21-\x7e]+")
_FIELD = re.compile(r"^([^\s:]+):[ \t]*([^\r\n]*?)[ \t]*\r?\n", re.MULTILINE)


class LineReader(Protocol):
    """What a head is read from."""

    def readline(self, limit: int, /) -> bytes:
        """Return a line with its end; shorter at the end of the connection, or when ``limit`` is reached."""
        ...


class Headers(Mapping[str, str]):
    """The fields of a reply, in their order; names are found whatever their case.

    Args:
        pairs: Name and value of each line.

    Attributes:
        first: The first value of each name, in lower case; the quick way where an object has many looks.
    """

    __slots__ = ("_pairs", "first")

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs
        self.first = {name.lower(): value for name, value in pairs}
        if len(self.first) != len(pairs):  # a name came twice: its first value stays
            for name, value in reversed(pairs):
                self.first[name.lower()] = value

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: str | T) -> str | T: ...
    def get(self, name: str, /, default: Any = None) -> Any:
        """Return the first value of a name."""
        return self.first.get(name.lower(), default)

    def get_all(self, name: str) -> list[str]:
        """Return all values of a name."""
        wanted = name.lower()
        return [value for found, value in self._pairs if found.lower() == wanted]

    def __getitem__(self, name: str) -> str:
        return self.first[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self.first

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[str]:
        return iter(self.first)

    def items(self) -> ItemsView[str, str]:
        """Return names, in lower case, and values."""
        return self.first.items()


def parse_head(block: bytes) -> tuple[int, int, str, Headers] | None:
    """Read a reply's head that has come in one piece; None for an interim one, which is not the reply.

    Args:
        block: To the blank line, that included.

    Raises:
        HTTPException: It is no head.
    """
    first, _, fields = block.decode("latin-1").partition("\n")
    found = _status(first)
    if found[1] == CONTINUE:
        return None
    return *found, _headers(fields[: -2 if fields.endswith("\r\n") else -1])


def read_head(file: LineReader) -> tuple[int, int, str, Headers]:
    """Read a reply's head line by line, and pass over interim ones.

    Returns:
        10 or 11 for HTTP/1.0 or 1.1, the status, the reason, and the fields.

    Raises:
        RemoteDisconnected: The connection ended before the last line.
        HTTPException: It is no head, or longer than allowed.
    """
    for _ in range(MAX_INTERIM_REPLIES):
        version, status, reason = _status(_line(file, "status line"))
        lines: list[str] = []
        while (line := _line(file, "header line")) not in _ENDS:
            lines.append(line)
            if len(lines) > MAX_HEADERS:
                raise http.client.HTTPException(f"got more than {MAX_HEADERS} headers")
        headers = _headers("".join(lines))
        if status != CONTINUE:
            return version, status, reason, headers
    raise http.client.HTTPException("too many interim replies")


def write_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Write a request's head, to the blank line.

    Raises:
        ValueError: Something has characters that it can't have, such as the end of a line.
    """
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or not _FIELDS.fullmatch(text):
        raise ValueError("a header has characters that it can't have")
    if not _TARGET.fullmatch(target):
        raise ValueError("a target has characters that it can't have")
    return f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


def closes(version: int, headers: Headers) -> bool:
    """Say whether the connection ends with the reply, by version and ``Connection``."""
    wish = headers.first.get("connection", "").lower()
    return "close" in wish if version == 11 else "keep-alive" not in wish  # noqa: PLR2004 - HTTP/1.1


@lru_cache(maxsize=64)  # a server has few of them
def _status(line: str) -> tuple[int, int, str]:
    version, _, rest = line.rstrip().partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/") or not (len(code) == 3 and code.isascii() and code.isdigit()):  # noqa: PLR2004
        raise http.client.BadStatusLine(line[:100])
    if not version.startswith(("HTTP/1.", "HTTP/0.9")):
        raise http.client.UnknownProtocol(version[:20])
    return 10 if version in {"HTTP/1.0", "HTTP/0.9"} else 11, int(code), reason.strip()


def _headers(text: str) -> Headers:
    """Read the fields in one go: a loop over lines would take twice as long."""
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    pairs = _FIELD.findall(text)
    if len(pairs) != text.count("\n"):
        raise http.client.HTTPException("a line of the head is no header")
    if len(pairs) > MAX_HEADERS:
        raise http.client.HTTPException(f"got more than {MAX_HEADERS} headers")
    return Headers(pairs)


def _line(file: LineReader, what: str) -> str:
    line = file.readline(MAX_LINE_BYTES + 1)
    if len(line) > MAX_LINE_BYTES:
        raise http.client.LineTooLong(what)
    if not line.endswith(b"\n"):
        raise http.client.RemoteDisconnected("the connection ended within the head of a reply, or before")
    return line.decode("latin-1")
