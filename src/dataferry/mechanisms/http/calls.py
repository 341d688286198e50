"""Requests to one place, and where its redirects lead.

A client belongs to one worker thread; ``abort`` may come from any. It keeps two connections: one to the
place's origin, one to where it was last redirected. An idle connection that the server has closed is dialled
anew once, without a word; everything else is an error for the engine to judge.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import urljoin

from dataferry.domain.errors import (
    AddressError,
    ConnectionFailedError,
    DataFerryError,
    ProtocolError,
    ServerError,
    StallError,
)
from dataferry.domain.location import Provenance
from dataferry.mechanisms.http.address import Headers, Origin, Place, Url, parse_url
from dataferry.mechanisms.http.errors import error_of
from dataferry.mechanisms.http.headers import BEARER, presented, retry_after
from dataferry.net.connections import Network, PinnedConnection
from dataferry.net.replies import MAX_DRAIN_BYTES, REPLY_STALLS, PinnedResponse

MAX_REDIRECTS = 5
# A list of 10,000 parts has a tenth of it.
MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
_REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Others of the 2xx speak of several results, of a part, or of something else than what was sent.
_OK = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT})
_ALWAYS_SENT = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "DataFerry"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hop:
    """One request of a chain: its URL, whose word that is, and the credentials that go there."""

    url: Url
    provenance: Provenance
    headers: Headers = field(default=(), repr=False)
    # Of the headers: the token, how it is shown, and how else it may be.
    token: str | None = field(default=None, repr=False)
    scheme: str = BEARER
    others: tuple[str, ...] = ()
    # Whether another token may follow it if it is refused.
    is_first: bool = True


class Client:
    """Requests to one place.

    Args:
        place: The URL and its credentials.
        network: Dials.
    """

    def __init__(self, place: Place, network: Network) -> None:
        self.place = place
        self._network = network
        self._lock = threading.Lock()
        self._shut = False
        self._home = self._connection(place.url.origin, place.provenance)
        self._away: PinnedConnection | None = None
        self._away_to: tuple[Origin, Provenance] | None = None
        # How the token may be shown; what was taken once is what is shown from then on.
        self._schemes = place.schemes
        # The token of the write that is on its way, if it may be replaced.
        self._shown: str | None = None

    def where(self, key: str) -> str:
        """Name an object for people, without its query."""
        return str(self.place.at(key))

    def ask(
        self, method: str, key: str, headers: Mapping[str, str], *, follow: bool = True, query: str = ""
    ) -> PinnedResponse:
        """Send a GET or HEAD, follow its redirects, and return the reply with its body unread.

        Headers that an address brought replace ours of the same name; those of ``_OURS`` it can't bring.

        Raises:
            StorageError: There is no reply, or the redirects are too many or lead where they must not.
        """
        hop = self._first(key, query)
        operation = f"http.{method}"
        redirects = 0
        while redirects <= MAX_REDIRECTS:
            connection = self._to(hop)
            response = self._exchange(connection, operation, method, hop, headers)
            if not redirects and (other := self._instead(hop, response.status)) is not None:
                self.discard(response, connection)
                hop = other()
                continue
            redirects += 1
            if not follow or response.status not in _REDIRECTS:
                return response
            location = response.headers.get("Location")
            self.discard(response, connection)
            hop = self._next(operation, hop, location)
        raise ProtocolError(f"{self.where(key)}: more than {MAX_REDIRECTS} redirects", operation=operation)

    def refuse(self, method: str, key: str, response: PinnedResponse, *, writing: bool = False) -> NoReturn:
        """Raise what a reply says that is none of success."""
        seconds = retry_after(response.headers)
        self.discard(response)
        shown, self._shown = self._shown, None
        if response.status == HTTPStatus.UNAUTHORIZED and self.place.tokens is not None and shown is not None:
            self.place.tokens.after(shown)
            raise ServerError(f"{self.where(key)}: the token had ended", operation=f"http.{method}")
        raise error_of(
            operation=f"http.{method}",
            where=self.where(key),
            status=response.status,
            retry_after_s=seconds,
            key=key if writing else None,
            takes_parts=self.place.takes_parts,
        )

    def begin(
        self, method: str, key: str, *, length_bytes: int, headers: Mapping[str, str], query: str = ""
    ) -> None:
        """Send the head of a write; the body follows by ``send`` and the reply by ``answer``."""
        hop = self._first(key, query)
        self._shown = hop.token
        try:
            self._head(self._home, method, hop, {**headers, "Content-Length": str(length_bytes)})
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self._failed(f"http.{method}", self._home, exc)

    def send(self, method: str, key: str, data: memoryview) -> None:
        """Send bytes of a body.

        Raises:
            StorageError: What the server said, if it answered instead of reading on; else what failed.
        """
        try:
            self._home.send(data)
        except (OSError, http.client.HTTPException) as exc:
            self._refused_early(method, key)
            self._failed(f"http.{method}", self._home, exc)

    def answer(self, method: str, key: str) -> PinnedResponse:
        """Read the reply of what ``begin`` began; its body is of no interest.

        Raises:
            StorageError: It is none of success. A redirect is none: writes are not sent elsewhere.
        """
        response = self._answer(method, key)
        self.discard(response)
        return response

    def _answer(self, method: str, key: str) -> PinnedResponse:
        try:
            response = self._home.getresponse()
        except (OSError, http.client.HTTPException) as exc:
            self._failed(f"http.{method}", self._home, exc)
        if response.status not in _OK:
            self.refuse(method, key, response, writing=True)
        return response

    def document(
        self,
        method: str,
        key: str,
        *,
        query: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send a request about an object, with a JSON body if there is one, and return the JSON that answers.

        Raises:
            StorageError: The reply is none of success.
            ProtocolError: It is no JSON object, or too long.
        """
        content = b"" if body is None else json.dumps(body).encode()
        said = {} if body is None else {"Content-Type": "application/json"}
        self.begin(method, key, length_bytes=len(content), headers={**said, **(headers or {})}, query=query)
        if content:
            self.send(method, key, memoryview(content))
        response = self._answer(method, key)
        try:
            response.limit(REPLY_STALLS)
            answer = response.read(MAX_DOCUMENT_BYTES)
        except (OSError, http.client.HTTPException) as exc:
            self._failed(f"http.{method}", self._home, exc)
        if not response.isclosed():
            response.close()
            self.drop()
            raise ProtocolError(f"{self.where(key)}: the answer is too long", operation=f"http.{method}")
        return _document(answer, f"http.{method}")

    def discard(self, response: PinnedResponse, connection: PinnedConnection | None = None) -> None:
        """Read a little of a body that is of no interest, so that the connection is good; else drop it."""
        try:
            response.limit(REPLY_STALLS)
            response.read(MAX_DRAIN_BYTES)
        except (OSError, http.client.HTTPException, ValueError):
            self.drop()
        if response.status < HTTPStatus.OK:
            self.drop()  # the reply proper is still to come, for a request that has its answer
        if not response.isclosed():
            response.close()
            if connection is None:
                self.drop()
            else:
                connection.close()

    def drop(self) -> None:
        """Close the connections; the next request dials anew."""
        self._home.close()
        if self._away is not None:
            self._away.close()

    def abort(self) -> None:
        """Make a blocked call fail at once, and all later ones. Any thread."""
        with self._lock:
            self._shut = True
            away = self._away
        self._home.shut()
        if away is not None:
            away.shut()

    def _first(self, key: str, query: str = "") -> _Hop:
        """Return the request that every chain begins with, with a token that is good now."""
        place = self.place
        url = replace(place.at(key), query=query) if query else place.at(key)
        hop = _Hop(url=url, provenance=place.provenance, headers=place.headers)
        token = place.token if place.tokens is None else place.tokens.current()
        return hop if token is None else _carrying(hop, token, self._schemes)

    def _instead(self, hop: _Hop, status: int) -> Callable[[], _Hop] | None:
        """Return how a request may be made once more whose token was refused; None if it may not.

        The same token is shown in another way first, until one was taken; then the token is asked for that
        follows it, and that one is the last.
        """
        token, tokens = hop.token, self.place.tokens
        if token is None:
            return None
        if status not in _REFUSALS:
            if status < HTTPStatus.BAD_REQUEST:
                self._schemes = (hop.scheme,)
            return None
        if hop.others:
            return lambda: _carrying(hop, token, hop.others)
        if tokens is None or not hop.is_first or status not in tokens.refusals:
            return None
        return lambda: replace(_carrying(hop, tokens.after(token), self._schemes), is_first=False)

    def _connection(self, origin: Origin, provenance: Provenance) -> PinnedConnection:
        return self._network.connect(
            scheme=origin.scheme,
            host=origin.host,
            port=origin.port,
            provenance=provenance,
            # Another host is a place from outside: the network ignores the route there.
            route=self.place.route,
        )

    def _to(self, hop: _Hop) -> PinnedConnection:
        """Return the connection for a hop."""
        origin = hop.url.origin
        if origin == self.place.url.origin:
            return self._home
        if self._away is None or self._away_to != (origin, hop.provenance):
            if self._away is not None:
                self._away.close()
            with self._lock:
                self._away = self._connection(origin, hop.provenance)
                self._away_to = (origin, hop.provenance)
                if self._shut:
                    self._away.shut()
        return self._away

    def _next(self, operation: str, hop: _Hop, location: str | None) -> _Hop:
        """Return where a redirect leads.

        Another host is a place from outside, whoever named the first one. Another origin gets no credentials,
        and so does the first one again once the chain has left it: a stranger chose that path.

        Raises:
            ProtocolError: It leads nowhere, or from https to http.
        """
        try:
            url = parse_url(
                urljoin(f"{hop.url.origin.url}{hop.url.target}", (location or "").partition("#")[0])
            )
        except (AddressError, ValueError):
            url = None
        if url is None or not location:
            raise ProtocolError(f"{hop.url}: a redirect to no usable URL", operation=operation)
        if hop.url.origin.scheme == "https" and url.origin.scheme != "https":
            raise ProtocolError(
                f"{hop.url}: a redirect from https to http is not followed", operation=operation
            )
        same_host = url.origin.host.lower() == self.place.url.origin.host.lower()
        return _Hop(
            url=url,
            provenance=hop.provenance if same_host else Provenance.EXTERNAL,
            headers=hop.headers if url.origin == hop.url.origin else (),
        )

    def _exchange(
        self,
        connection: PinnedConnection,
        operation: str,
        method: str,
        hop: _Hop,
        headers: Mapping[str, str],
    ) -> PinnedResponse:
        """Send a request and read the reply's head; once more if an idle connection turned out dead."""
        for attempt in (1, 2):
            reused = connection.sock is not None
            try:
                self._head(connection, method, hop, headers)
                return connection.getresponse()
            except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as exc:
                # A fresh connection that is closed at once is a failure; an old one was idle for too long.
                if attempt == 2 or not reused or connection.is_shut:  # noqa: PLR2004
                    self._failed(operation, connection, exc)
                connection.close()
            except (OSError, http.client.HTTPException, ValueError) as exc:
                self._failed(operation, connection, exc)
        raise AssertionError(operation)

    def _head(self, connection: PinnedConnection, method: str, hop: _Hop, headers: Mapping[str, str]) -> None:
        """Send a request's head, dialling first where needed."""
        if connection.is_answered:
            connection.close()  # nothing is due on an idle connection: it was closed, or is out of step
        sent = {name.lower(): (name, value) for name, value in {**_ALWAYS_SENT, **headers}.items()}
        sent |= {name.lower(): (name, value) for name, value in hop.headers}
        try:
            fields = {"Host": hop.url.origin.authority, **dict(sent.values())}
            connection.send_head(method, hop.url.target, fields)
        except DataFerryError:
            connection.close()  # not dialled: the request it had begun must not be in the way of the next
            raise

    def _refused_early(self, method: str, key: str) -> None:
        """Raise what the server answered before it had read the body, if it did."""
        if not self._home.is_answered:
            return
        try:
            response = self._home.getresponse()
            if response.status not in _OK:
                self.refuse(method, key, response, writing=True)
        except (OSError, http.client.HTTPException):
            return
        finally:
            self.drop()

    def _failed(self, operation: str, connection: PinnedConnection, exc: Exception) -> NoReturn:
        """Translate what broke on the wire; the connection is of no use after it.

        The cause of an answer that is no HTTP is left out: it quotes the server, which may quote us.
        """
        shut = connection.is_shut
        self.drop()
        server = f"{connection.host}:{connection.port}"
        if isinstance(exc, DataFerryError):
            raise exc
        if shut:
            raise ConnectionFailedError("stopped: the connection was shut down", operation=operation) from exc
        if isinstance(exc, TimeoutError):
            raise StallError(f"{server}: no byte for {connection.timeout:g} s", operation=operation) from exc
        if isinstance(exc, ValueError):
            raise ProtocolError(
                f"{server}: a header has characters that it can't have", operation=operation
            ) from None
        if isinstance(exc, http.client.HTTPException) and not isinstance(exc, OSError):
            raise ProtocolError(f"{server}: the answer is no HTTP/1.1", operation=operation) from None
        raise ConnectionFailedError(f"{server}: {type(exc).__name__}", operation=operation) from exc


def _document(body: bytes, operation: str) -> dict[str, Any]:
    """Read an answer that is to be a JSON object; nothing is one without fields.

    Raises:
        ProtocolError: It is none.
    """
    try:
        found = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ProtocolError("the answer is no JSON object", operation=operation)
    return found


def _carrying(hop: _Hop, token: str, schemes: tuple[str, ...]) -> _Hop:
    """Return a request with another token, shown in the first of these ways."""
    headers = tuple(header for header in hop.headers if header[0].lower() != "authorization")
    scheme, *others = schemes
    return replace(
        hop, headers=(*headers, presented(token, scheme)), token=token, scheme=scheme, others=tuple(others)
    )
