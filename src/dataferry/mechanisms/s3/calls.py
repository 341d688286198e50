"""One connection to S3, and signed requests on it.

A client belongs to one worker thread; ``abort`` may come from any. An idle connection that the server has
closed is dialled anew once, without a word; everything else is an error for the engine to judge.
"""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn
from xml.etree import ElementTree as ET

from dataferry.domain.errors import (
    ConnectionFailedError,
    CredentialsExpiredError,
    DataFerryError,
    ProtocolError,
    StallError,
)
from dataferry.mechanisms.s3 import replies
from dataferry.mechanisms.s3.address import Place
from dataferry.mechanisms.s3.attributes import http_date
from dataferry.mechanisms.s3.errors import EXPIRED, error_of
from dataferry.mechanisms.s3.signing import EMPTY_SHA256, UNSIGNED_PAYLOAD, Signer, encode_query
from dataferry.net.connections import Network, PinnedConnection
from dataferry.net.heads import Headers
from dataferry.net.replies import REPLY_STALLS, PinnedResponse

_MAX_RETRY_AFTER_S = 3600.0
_OK = range(200, 300)
_REFUSED = frozenset({400, 401, 403})
Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole reply, read."""

    status: int
    headers: Headers
    body: bytes

    def xml(self, operation: str) -> ET.Element:
        """Parse the body."""
        return replies.parse(self.body, operation)


class Client:
    """Signed requests to one place.

    Args:
        place: Server, bucket and credentials.
        network: Dials.
        timeout_s: No byte for this long is a ``StallError``; None is the network's default.
    """

    def __init__(self, place: Place, network: Network, *, timeout_s: float | None = None) -> None:
        self.place = place
        self.clock_skew = timedelta()
        self._date: str | None = None
        self._signer = Signer(place.server.region)
        self._connection: PinnedConnection = network.connect(
            scheme=place.server.scheme,
            host=place.host,
            port=place.server.port,
            provenance=place.provenance,
            timeout_s=timeout_s,
            route=place.route,
        )
        default = self._connection.default_port == place.server.port
        host = f"[{place.host}]" if ":" in place.host else place.host
        self._host = host if default else f"{host}:{place.server.port}"

    def where(self, key: str = "") -> str:
        """Name a bucket or object for people."""
        return f"s3://{self.place.bucket}/{key}" if key else f"bucket {self.place.bucket}"

    def call(
        self,
        operation: str,
        method: str,
        *,
        key: str = "",
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        writing: bool = False,
    ) -> Reply:
        """Send a request with a small body and read the whole reply.

        Raises:
            StorageError: The reply is not 2xx, or there is none.
        """
        digest = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        sent = {
            **(headers or {}),
            **({"Content-Length": str(len(body))} if body or method in {"PUT", "POST"} else {}),
        }
        response = self._exchange(operation, method, key, query, sent, body, digest)
        return self.settle(operation, response, key=key, writing=writing)

    def open(
        self, operation: str, *, key: str, query: Query = (), headers: Mapping[str, str] | None = None
    ) -> PinnedResponse:
        """Send a GET and return the reply with its body unread.

        Raises:
            StorageError: The reply is not 2xx, or there is none.
        """
        response = self._exchange(operation, "GET", key, query, headers or {}, b"", EMPTY_SHA256)
        if response.status not in _OK:
            self.settle(operation, response, key=key)
        return response

    def begin(
        self,
        operation: str,
        *,
        key: str,
        length_bytes: int,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        payload_sha256: str = UNSIGNED_PAYLOAD,
    ) -> None:
        """Send a PUT's head; the body follows by ``send`` and the reply by ``answer``."""
        sent = {**(headers or {}), "Content-Length": str(length_bytes)}
        try:
            self._head("PUT", key, query, sent, payload_sha256, with_body=True)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self._failed(operation, exc)

    def send(self, operation: str, data: memoryview, *, key: str) -> None:
        """Send bytes of a body.

        Raises:
            StorageError: What the server said, if it answered instead of reading on; else what failed.
        """
        try:
            self._connection.send(data)
        except (OSError, http.client.HTTPException) as exc:
            self._refused_early(operation, key)
            self._failed(operation, exc)

    def answer(self, operation: str, *, key: str, writing: bool = True) -> Reply:
        """Read the reply of what ``begin`` began."""
        try:
            response = self._connection.getresponse()
        except (OSError, http.client.HTTPException) as exc:
            self._failed(operation, exc)
        return self.settle(operation, response, key=key, writing=writing)

    def settle(self, operation: str, response: PinnedResponse, *, key: str, writing: bool = False) -> Reply:
        """Read a reply's body; raise what it says if it is not 2xx, or is an error document all the same."""
        response.limit(REPLY_STALLS)
        try:
            body = response.read(replies.MAX_XML_BYTES + 1)
        except (OSError, http.client.HTTPException) as exc:
            self._failed(operation, exc)
        if len(body) > replies.MAX_XML_BYTES:
            self.drop()
            raise ProtocolError(f"{self.where(key)}: the reply is larger than allowed", operation=operation)
        self._note_clock(response)
        failure = replies.error_in(body)
        if response.status in _OK and failure is None:
            return Reply(status=response.status, headers=response.headers, body=body)
        code, message = (self._masked(words) for words in failure or ("", ""))
        if 300 <= response.status < 400:  # noqa: PLR2004 - redirects are never followed
            code = code or "PermanentRedirect"
        status = 500 if response.status in _OK else response.status
        error = error_of(
            operation=operation,
            where=self.where(key),
            status=status,
            code=code,
            message=message,
            retry_after_s=_retry_after(response.headers.get("Retry-After")),
            writing=writing,
            is_delete_marker=response.headers.get("x-amz-delete-marker") == "true",
        )
        # Not every store says that this is why it does not know credentials, and no HEAD can say it.
        if status in _REFUSED and self.place.has_expired(datetime.now(UTC) + self.clock_skew):
            raise CredentialsExpiredError(f"{self.where(key)}: {EXPIRED}", operation=operation) from error
        raise error

    def drop(self) -> None:
        """Close the connection; the next request dials anew."""
        self._connection.close()

    def abort(self) -> None:
        """Make a blocked call fail at once, and all later ones. Any thread."""
        self._connection.shut()

    def is_answered(self) -> bool:
        """Say if there is something to read, or the other side has closed."""
        return self._connection.is_answered

    def _exchange(
        self,
        operation: str,
        method: str,
        key: str,
        query: Query,
        headers: Mapping[str, str],
        body: bytes,
        digest: str,
    ) -> PinnedResponse:
        """Send a request whole and read the reply's head; once more if an idle connection turned out dead."""
        for attempt in (1, 2):
            reused = self._connection.sock is not None
            try:
                self._head(method, key, query, headers, digest, with_body=bool(body))
                if body:
                    self._connection.send(body)
                return self._connection.getresponse()
            except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as exc:
                # A fresh connection that is closed at once is a failure; an old one was idle for too long.
                if attempt == 2 or not reused or self._connection.is_shut:  # noqa: PLR2004
                    self._failed(operation, exc)
                self.drop()
            except (OSError, http.client.HTTPException, ValueError) as exc:
                self._failed(operation, exc)
        raise AssertionError(operation)

    def _head(
        self,
        method: str,
        key: str,
        query: Query,
        headers: Mapping[str, str],
        digest: str,
        *,
        with_body: bool = False,
    ) -> None:
        """Sign and send a request's head, dialling first where needed."""
        if self.is_answered():
            self.drop()  # nothing is due on an idle connection: it was closed, or is out of step
        path = self.place.request_path(key)
        text = encode_query(query) if query else ""
        signed = self._signer.sign(
            method,
            path,
            text,
            {"Host": self._host, **headers},
            credentials=self.place.credentials(),
            now=datetime.now(UTC),
            payload_sha256=digest,
        )
        target = f"{path}?{text}" if text else path
        try:
            self._connection.send_head(method, target, signed, with_body=with_body)
        except DataFerryError:
            self.drop()  # not dialled: the request it had begun must not be in the way of the next
            raise

    def _refused_early(self, operation: str, key: str) -> None:
        """Raise what the server answered before it had read the body, if it did."""
        if not self.is_answered():
            return
        try:
            response = self._connection.getresponse()
            if response.status not in _OK:
                self.settle(operation, response, key=key, writing=True)
        except (OSError, http.client.HTTPException):
            return
        finally:
            self.drop()

    def _failed(self, operation: str, exc: Exception) -> NoReturn:
        """Translate what broke on the wire; the connection is of no use after it."""
        shut = self._connection.is_shut
        self.drop()
        server = self.place.server.url
        if shut:
            raise ConnectionFailedError("stopped: the connection was shut down", operation=operation) from exc
        if isinstance(exc, TimeoutError):
            raise StallError(
                f"{server}: no byte for {self._connection.timeout:g} s", operation=operation
            ) from exc
        if isinstance(exc, ValueError):
            raise ProtocolError(
                f"{server}: a header has characters that it can't have", operation=operation
            ) from exc
        if isinstance(exc, DataFerryError):
            raise exc
        raise ConnectionFailedError(f"{server}: {type(exc).__name__}", operation=operation) from exc

    def _masked(self, words: str) -> str:
        """Cut our credentials out of a stranger's words: errors travel to logs, callbacks and operators."""
        used = self._signer.used
        for value in (used.secret_access_key, used.session_token, used.access_key_id) if used else ():
            if value:
                words = words.replace(value, "***")
        return words

    def _note_clock(self, response: PinnedResponse) -> None:
        """Remember how far the server's clock is from ours: times of its listings are its own."""
        said = response.headers.get("Date")
        if said == self._date:
            return  # the same second
        self._date = said
        stamp = http_date(said)
        if stamp is not None:
            self.clock_skew = stamp - datetime.now(UTC)


def true_absence(client: Client, operation: str, key: str, query: Query = ()) -> None:
    """Raise what a HEAD without a body could not say: asks again in a way that has one.

    Args:
        client: Asks.
        operation: For errors.
        key: The object's; empty asks for the bucket.
        query: Of the object, such as its version.

    Raises:
        BucketNotFoundError, ObjectNotFoundError, AccessDeniedError: The true reason.
    """
    if key:
        client.open(operation, key=key, query=query)
        client.drop()
        return
    client.call(operation, "GET", query=[("list-type", "2"), ("max-keys", "1")])


def _retry_after(text: str | None) -> float | None:
    """Read ``Retry-After``: seconds or a date, bounded."""
    if not text:
        return None
    if text.strip().isdigit():
        return min(float(text), _MAX_RETRY_AFTER_S)
    when = http_date(text)
    if when is None:
        return None
    return min(max((when - datetime.now(UTC)).total_seconds(), 0.0), _MAX_RETRY_AFTER_S)
