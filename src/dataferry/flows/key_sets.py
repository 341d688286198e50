"""Keys of control planes and their issuers, fetched from where they are published, and kept for a while.

A key that was withdrawn is believed until the set is fetched again. One that is not known makes the set be
fetched again at once, but not more often than every few seconds, whoever asks: strangers can't have a
publisher asked again and again. While a publisher does not answer, what was fetched last is believed for an
hour.

Source: Data Plane Signaling, "OAuth 2 Client Credentials Grant".
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from dataferry.domain.clock import Clock
from dataferry.domain.errors import AddressError, ConnectionFailedError, DataFerryError, UnauthorizedError
from dataferry.domain.location import Provenance
from dataferry.net.answers import fetch_json
from dataferry.net.connections import Network
from dataferry.net.httpx_transport import guarded_client
from dataferry.secrets.did import is_this_machine
from dataferry.secrets.jwks import KeySet
from dataferry.telemetry.logs import get_logger

FETCH_TIMEOUT_S = 5.0
MAX_DOCUMENT_BYTES = 256 * 1024
# As long as keys of DID documents are.
KEPT_S = 300.0
MOST_STALE_S = 3600.0
# So often at once, and then once in so many seconds: a key that was changed right after the set was fetched
# is found at once all the same.
ASKED_AT_ONCE = 5
ASKED_AGAIN_S = 5.0
MAX_KEPT = 256
Jwk = Mapping[str, Any]
_UNAVAILABLE = "the keys that the token is checked with can't be had now"

_log = get_logger("flows.key_sets")


class _Published:
    """One publisher: what was fetched, and when, in monotonic seconds."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.set: KeySet | None = None
        self.fetched_at = 0.0
        # When all that was asked will be forgotten.
        self.quiet_at = 0.0
        # How often it was asked, and whether the last time was in vain.
        self.asked = 0
        self.failed = False

    def may_be_asked(self, now: float) -> bool:
        """Return whether it may be asked now; counts as asked then."""
        quiet_at = max(self.quiet_at, now) + ASKED_AGAIN_S
        if quiet_at - now > ASKED_AT_ONCE * ASKED_AGAIN_S:
            return False
        self.quiet_at = quiet_at
        self.asked += 1
        return True

    def is_younger(self, age_s: float, now: float) -> bool:
        """Return whether there is a set that was fetched so recently."""
        return self.set is not None and now - self.fetched_at < age_s


class KeySets:
    """Finds keys by the URLs that they are published at. Thread-safe.

    Args:
        network: Whose egress guard and certificates are used.
        clock: Time.
        may_be_plain: Whether places on this machine that a message named are asked by plain http: for
            development. What the operator named is asked as it is written.
    """

    def __init__(self, network: Network, clock: Clock, *, may_be_plain: bool = False) -> None:
        self._clients = {
            provenance: guarded_client(network, provenance, timeout_s=FETCH_TIMEOUT_S)
            for provenance in Provenance
        }
        self._clock = clock
        self._may_be_plain = may_be_plain
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, Provenance], _Published] = OrderedDict()

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def keys(self, uri: str, provenance: Provenance, kid: str | None, algorithm: str) -> Sequence[Jwk]:
        """Return the keys that a token may be signed with, at least one.

        Args:
            uri: Where they are published.
            provenance: Whose word that is.
            kid: Which one the token names; None names none.
            algorithm: By which it is signed.

        Raises:
            UnauthorizedError: The publisher has none that fits.
            ConnectionFailedError: The publisher does not answer, and nothing that fits is known.
        """
        published = self._published(uri, provenance)
        known = published.set
        if known is not None and published.is_younger(KEPT_S, self._clock.monotonic()):
            found = known.named(kid, algorithm)
            if found:
                return found
        asked_before = published.asked
        with published.turn:
            # Who waited while it was asked takes what came of it: many that wait for a slow publisher do not
            # ask it one after the other.
            may_ask = published.asked == asked_before
            self._renew(published, uri, provenance, kid, algorithm, may_ask=may_ask)
            found = [] if published.set is None else published.set.named(kid, algorithm)
            if not found and published.failed:
                raise ConnectionFailedError(_UNAVAILABLE)
        if not found:
            raise UnauthorizedError("the token is signed with a key that is not among those published")
        return found

    def fetch(self, uri: str) -> KeySet:
        """Return what is published at a place that the operator named, now; for who only wants to see.

        Raises:
            DataFerryError: It can't be had, or is no key set.
        """
        return self._fetched(uri, Provenance.OPERATOR)

    def _published(self, uri: str, provenance: Provenance) -> _Published:
        with self._lock:
            published = self._kept.setdefault((uri, provenance), _Published())
            self._kept.move_to_end((uri, provenance))
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return published

    def _renew(
        self,
        published: _Published,
        uri: str,
        provenance: Provenance,
        kid: str | None,
        algorithm: str,
        *,
        may_ask: bool,
    ) -> None:
        """Fetch the set again where that is due; who waited for another to do so finds it done."""
        now = self._clock.monotonic()
        known = published.set is not None and published.set.named(kid, algorithm)
        if known and published.is_younger(KEPT_S, now):
            return
        if may_ask and published.may_be_asked(now):
            try:
                published.failed = True
                published.set = self._fetched(uri, provenance)
                published.fetched_at, published.failed = now, False
            except DataFerryError as exc:
                _log.warning("keys_not_fetched", host=urlsplit(uri).hostname, reason=str(exc))
        if not published.is_younger(MOST_STALE_S, now):
            published.set = None
            raise ConnectionFailedError(_UNAVAILABLE)

    def _fetched(self, uri: str, provenance: Provenance) -> KeySet:
        parts = urlsplit(uri)
        is_plain = parts.scheme == "http"
        here = self._may_be_plain and is_this_machine(parts.hostname or "")
        if provenance is Provenance.EXTERNAL and is_plain and not here:
            raise AddressError("keys of others are fetched by https")
        what = f"the keys at {parts.hostname}"
        document = fetch_json(self._clients[provenance], uri, what=what, max_bytes=MAX_DOCUMENT_BYTES)
        return KeySet.of(document)
