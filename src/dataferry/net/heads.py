"""The heads of HTTP/1.1: a reply's is read within bounds, a request's fields are written.

The standard library reads it with its parser for mail, which takes as long as all else about a small object.

Source: RFC 9112, sections 4 and 5; its errors are those of ``http.client``.
"""

from __future__ import annotations

import http.client
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, overload

MAX_LINE_BYTES = 65_536
MAX_HEADERS = 100
MAX_INTERIM_REPLIES = 10
CONTINUE = 100
_ENDS = frozenset({"\r\n", "\n"})
_FOLD = re.compile(r"\r?\n[ \t]+")  # a folded line goes on with the last one
_FIELDS = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")
_FIELD = re.compile(r"^([^\s:]+):[ \t]*([^\r\n]*?)[ \t]*\r?\n", re.MULTILINE)


class Headers(http.client.HTTPMessage):
    """The fields of a reply, in their order; names are found whatever their case.

    Args:
        pairs: Name and value of each line.
    """

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__()
        self._pairs = pairs
        # Backwards, so that the first of a name stays.
        self._first = {name.lower(): value for name, value in reversed(pairs)}

    @overload
    def get(self, name: str, failobj: None = None) -> str | None: ...
    @overload
    def get(self, name: str, failobj: Any) -> Any: ...
    def get(self, name: str, failobj: Any = None) -> Any:
        """Return the first value of a name."""
        return self._first.get(name.lower(), failobj)

    def get_all(self, name: str, failobj: Any = None) -> Any:
        """Return all values of a name."""
        wanted = name.lower()
        return [value for found, value in self._pairs if found.lower() == wanted] or failobj

    def __getitem__(self, name: str) -> Any:
        return self._first.get(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._first

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._pairs)

    def keys(self) -> list[str]:
        """Return all names."""
        return [name for name, _ in self._pairs]

    def values(self) -> list[Any]:
        """Return all values."""
        return [value for _, value in self._pairs]

    def items(self) -> list[tuple[str, Any]]:
        """Return all names and values."""
        return list(self._pairs)


def read_head(file: io.BufferedReader) -> tuple[int, int, str, Headers]:
    """Read a reply's head, and pass over interim ones.

    Returns:
        10 or 11 for HTTP/1.0 or 1.1, the status, the reason, and the fields.

    Raises:
        RemoteDisconnected: The connection ended before the last line.
        HTTPException: It is no head, or longer than allowed.
    """
    for _ in range(MAX_INTERIM_REPLIES):
        version, status, reason = _status(file)
        headers = _headers(file)
        if status != CONTINUE:
            return version, status, reason, headers
    raise http.client.HTTPException("too many interim replies")


def write_fields(headers: Mapping[str, str]) -> bytes:
    """Write the fields of a request's head.

    Raises:
        ValueError: A name or value has characters that it can't have, such as the end of a line.
    """
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or not _FIELDS.fullmatch(text):
        raise ValueError("a header has characters that it can't have")
    return text.encode("latin-1")


def closes(version: int, headers: Headers) -> bool:
    """Say whether the connection ends with the reply, by version and ``Connection``."""
    wish = (headers.get("connection") or "").lower()
    return "close" in wish if version == 11 else "keep-alive" not in wish  # noqa: PLR2004 - HTTP/1.1


def _status(file: io.BufferedReader) -> tuple[int, int, str]:
    line = _line(file, "status line")
    version, _, rest = line.rstrip().partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/") or not (len(code) == 3 and code.isascii() and code.isdigit()):  # noqa: PLR2004
        raise http.client.BadStatusLine(line[:100])
    if not version.startswith(("HTTP/1.", "HTTP/0.9")):
        raise http.client.UnknownProtocol(version[:20])
    return 10 if version in {"HTTP/1.0", "HTTP/0.9"} else 11, int(code), reason.strip()


def _headers(file: io.BufferedReader) -> Headers:
    """Read the fields in one go: a loop over lines would take twice as long."""
    lines: list[str] = []
    while (line := _line(file, "header line")) not in _ENDS:
        lines.append(line)
        if len(lines) > MAX_HEADERS:
            raise http.client.HTTPException(f"got more than {MAX_HEADERS} headers")
    text = _FOLD.sub(" ", "".join(lines))
    pairs = _FIELD.findall(text)
    if len(pairs) != text.count("\n"):
        raise http.client.HTTPException("a line of the head is no header")
    return Headers(pairs)


def _line(file: io.BufferedReader, what: str) -> str:
    line = file.readline(MAX_LINE_BYTES + 1)
    if len(line) > MAX_LINE_BYTES:
        raise http.client.LineTooLong(what)
    if not line.endswith(b"\n"):
        raise http.client.RemoteDisconnected("the connection ended within the head of a reply, or before")
    return line.decode("latin-1")
