"""Places behind URLs: how they are written, and how a name becomes a part of one.

The path of a URL is percent-encoded text and is sent as it was written. The path of a location, and the
names of objects, are plain text: every character is itself and is encoded here. Nothing of either leads out
of where it was put: ``.`` and ``..`` as segments are refused, encoded once or several times too, since
servers and proxies differ in how often they decode.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from dataferry.domain.errors import AddressError
from dataferry.domain.location import Provenance
from dataferry.mechanisms.abilities import AccessTokens
from dataferry.net.connections import DEFAULT_PORTS
from dataferry.net.routes import USUAL, Route

MAX_URL_CHARS = 8_000  # Source: RFC 9110, section 4.1, "Implementations": what is safe to send
MAX_NAME_CHARS = 2_000
_DECODINGS = 3
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
_QUERY_SAFE = _PATH_SAFE + "?"
_DOTS = frozenset({".", ".."})
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Scheme, host and port: what credentials belong to."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The host and port as the ``Host`` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if DEFAULT_PORTS[self.scheme] == self.port else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The origin as a URL without a path."""
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """A URL, parted: ``path`` begins with ``/``, and both are percent-encoded."""

    origin: Origin
    path: str
    query: str = field(default="", repr=False)

    @property
    def target(self) -> str:
        """What stands in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def __str__(self) -> str:
        """Without the query, which may hold a signature."""
        return f"{self.origin.url}{self.path}" + ("?..." if self.query else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An endpoint of this mechanism: a URL, and what is sent along with requests there.

    Attributes:
        headers: Credentials and headers of an address; sent to this origin only.
        method: What an address asks for; None is GET to read and PUT to write.
        is_listing: As a source it is a listing, with the objects below it; else one object.
        takes_parts: As a sink it is another plane's gateway, which takes objects in parts for one flow.
        route: What the operator says about the way to this host.
        token: The bare token of an address that does not settle how tokens are shown.
        schemes: How tokens are shown: the words before them, the likeliest first; empty is none.
        tokens: Renewed ones, in place of the ``Authorization`` among ``headers``.
    """

    url: Url
    provenance: Provenance
    headers: Headers = field(default=(), repr=False, compare=False)
    method: str | None = None
    is_listing: bool = False
    takes_parts: bool = False
    route: Route = field(default=USUAL, compare=False)
    token: str | None = field(default=None, repr=False, compare=False)
    schemes: tuple[str, ...] = field(default=("Bearer",), compare=False)
    tokens: AccessTokens | None = field(default=None, repr=False, compare=False)
    exclusive: bool = field(default=False, init=False)
    mechanism: str = field(default="http", init=False)

    @property
    def is_single(self) -> bool:
        """True unless the path ends in ``/``: then a sink takes several objects below it.

        A URL with a query is always one object, since a name has no place behind it.
        """
        return bool(self.url.query) or not self.url.path.endswith("/")

    @property
    def root(self) -> str:
        """The path up to its last ``/``."""
        return self.url.path[: self.url.path.rfind("/") + 1]

    @property
    def own_key(self) -> str:
        """The key of the URL itself: its last segment, empty for a prefix."""
        return self.url.path[len(self.root) :] if self.is_single else ""

    @property
    def name(self) -> str:
        """The last segment, decoded: one name without ``/``, whatever was encoded in it; else the host."""
        segments = [segment for segment in self.url.path.split("/") if segment]
        if not segments:
            return self.url.origin.host
        decoded = unquote(segments[-1], errors="replace")
        return decoded if _is_name(decoded) else segments[-1]

    @property
    def root_identity(self) -> str:
        """Origin and root; a query is there as a digest: it says which object, and may hold a secret."""
        return self.url.origin.url + self.root + self._query_digest

    @property
    def identity(self) -> str:
        """The URL without credentials."""
        return self.url.origin.url + self.url.path + self._query_digest

    @property
    def _query_digest(self) -> str:
        query = self.url.query
        return f"?{hashlib.sha256(query.encode()).hexdigest()[:16]}" if query else ""

    def at(self, key: str) -> Url:
        """Return the URL of a key: the place's own, or a name below its root."""
        if key == self.own_key:
            return self.url
        return Url(origin=self.url.origin, path=self.root + encoded(key))

    def __str__(self) -> str:
        return str(self.url)


def parse_url(text: str) -> Url:
    """Read an absolute URL.

    Raises:
        AddressError: It is not ``http(s)://host[:port]/...``, has a user, a fragment or steps upwards.
    """
    if len(text) > MAX_URL_CHARS:
        raise AddressError(f"the URL is longer than {MAX_URL_CHARS} characters")
    if "\\" in text or not text.isprintable() or " " in text:
        raise AddressError(
            "the URL has blanks, backslashes or control characters: write them percent-encoded"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise AddressError("the address is not a URL") from exc
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise AddressError("the address must be http(s)://host[:port]/...")
    if not _HOST.fullmatch(parts.hostname):
        raise AddressError("the URL's host is not a host name (write international names in punycode)")
    if "@" in parts.netloc:
        raise AddressError("the URL must name no user: put username and password into a location")
    if "#" in text:
        raise AddressError("the URL must have no fragment (write # in a path as %23)")
    if port == 0:
        raise AddressError("0 is no TCP port")
    origin = Origin(
        scheme=parts.scheme, host=parts.hostname.rstrip("."), port=port or DEFAULT_PORTS[parts.scheme]
    )
    return Url(origin=origin, path=url_path(parts.path), query=url_query(parts.query))


def url_path(path: str) -> str:
    """Return a percent-encoded path; what is not ASCII is encoded.

    Raises:
        AddressError: It has ``.`` or ``..`` as a segment, or an escape that is none.
    """
    refuse_steps(path)
    return _quoted(path, _PATH_SAFE) or "/"


def url_query(query: str) -> str:
    """Return a percent-encoded query.

    Raises:
        AddressError: It has control characters, or an escape that is none.
    """
    if not query.isprintable() or " " in query or "#" in query:
        raise AddressError("the URL's query has characters that it can't have")
    return _quoted(query, _QUERY_SAFE)


def _quoted(text: str, safe: str) -> str:
    if _ESCAPE.search(text):
        raise AddressError("the URL has a % that begins no escape: write it as %25")
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError as exc:
        raise AddressError("the URL is not valid Unicode") from exc


def below(base: Url, path: str) -> Url:
    """Return the URL of a plain path below a base URL, whose own path is taken as a directory.

    Raises:
        AddressError: The path would leave the base, or can't be one.
    """
    root = base.path if base.path.endswith("/") else f"{base.path}/"
    if not path:
        return Url(origin=base.origin, path=root)
    checked_name(path.removesuffix("/"))
    return Url(origin=base.origin, path=root + encoded(path))


def checked_name(name: str) -> str:
    """Return a plain name, ``/`` between its levels.

    Raises:
        AddressError: It has an empty segment or steps, control characters, or is too long.
    """
    if not name or name.startswith("/") or name.endswith("/") or "//" in name:
        raise AddressError(
            f"the name {name[:200]!r} has an empty segment: servers may take a//b for a/b, and / for nothing"
        )
    if len(name) > MAX_NAME_CHARS:
        raise AddressError(f"the name is longer than {MAX_NAME_CHARS} characters")
    if any(ord(char) < ord(" ") or ord(char) == 0x7F for char in name):  # noqa: PLR2004 - DEL
        raise AddressError("the name has control characters")
    refuse_steps(name)
    encoded(name)
    return name


def encoded(name: str) -> str:
    """Percent-encode a plain name; ``/`` stays."""
    try:
        return quote(name, safe="/-._~")
    except UnicodeEncodeError as exc:
        raise AddressError("the name is not valid Unicode") from exc


def refuse_steps(text: str) -> None:
    """Refuse ``.`` and ``..`` as segments, however often they are encoded, up to three times.

    Raises:
        AddressError: There are some.
    """
    for _ in range(_DECODINGS + 1):
        if not _DOTS.isdisjoint(re.split(r"[/\\]", text)):
            raise AddressError(
                "'.' or '..' as a segment of a path is refused: servers resolve them differently"
            )
        decoded = unquote(text)
        if decoded == text:
            return
        text = decoded


def _is_name(text: str) -> bool:
    """Say if a decoded segment can be a file's name."""
    return text not in _DOTS and text.isprintable() and not {"/", "\\"} & set(text)


def joined(url: Url, paths: Sequence[str], query: str | None) -> Url:
    """Return a URL with plain paths appended, and a raw query in the place of none or behind its own.

    Raises:
        AddressError: They can't be part of one.
    """
    for path in paths:
        stem = path.removeprefix("/")
        if stem:
            url = Url(origin=url.origin, path=below(url, stem).path, query=url.query)
    if query:
        more = url_query(query.removeprefix("?"))
        url = Url(origin=url.origin, path=url.path, query=f"{url.query}&{more}" if url.query else more)
    return url
