"""Keys of operators: who calls the management API, and what the key is good for.

Those of the configuration are known from the start. Those in the database are looked up for each request, so
that one that is revoked, by whichever process, opens nothing from then on.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from starlette.requests import HTTPConnection

from dataferry.api.authorization import bearer_token, digest_of, is_local
from dataferry.domain.clock import Clock
from dataferry.domain.errors import DataFerryError, UnauthorizedError
from dataferry.domain.purview import ALL_SCOPES, EVERYTHING, Operator, Purview, Scope
from dataferry.store import records
from dataferry.store.store import Store
from dataferry.telemetry.logs import get_logger

LOCAL_OPERATOR = "operator"
# A write for each request would wait for the disk.
USE_NOTED_EVERY = timedelta(minutes=1)

_log = get_logger("api")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key of the configuration.

    Attributes:
        operator: Whose it is, and what it is good for.
        digest: SHA-256 of the key.
    """

    operator: Operator
    digest: bytes = field(repr=False)

    @classmethod
    def of(
        cls,
        name: str,
        key: str,
        *,
        scopes: frozenset[Scope] = ALL_SCOPES,
        purview: Purview = EVERYTHING,
    ) -> ApiKey:
        """Make one of a key in plain."""
        return cls(operator=Operator(name=name, scopes=scopes, purview=purview), digest=digest_of(key))

    @classmethod
    def of_sha256(
        cls,
        name: str,
        hexadecimal: str,
        *,
        scopes: frozenset[Scope] = ALL_SCOPES,
        purview: Purview = EVERYTHING,
    ) -> ApiKey:
        """Make one of a key's SHA-256 in hexadecimal."""
        operator = Operator(name=name, scopes=scopes, purview=purview)
        return cls(operator=operator, digest=bytes.fromhex(hexadecimal))


class StoredKeys:
    """Keys in the database. Thread-safe.

    Args:
        store: Has them.
        clock: Time.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._noted_at: dict[str, float] = {}
        self._exist = False

    def exist(self) -> bool:
        """Return whether there ever was one, in force or not."""
        if not self._exist:
            with self._store.snapshot() as tx:
                self._exist = tx.api_keys.exist()
        return self._exist

    def operator(self, digest: bytes) -> Operator | None:
        """Return whose key it is that has this digest; None if none in force has."""
        with self._store.snapshot() as tx:
            key = tx.api_keys.by_digest(digest.hex())
        if key is None or not hmac.compare_digest(key.digest, digest.hex()):
            return None
        if not key.is_in_force(self._clock.now()):
            return None
        self._note_use(key)
        return Operator(name=key.name, scopes=key.scopes, purview=key.purview)

    def _note_use(self, key: records.ApiKey) -> None:
        """Write that a key was used, at most once a minute; that this fails is no reason to refuse it."""
        now, moment = self._clock.now(), self._clock.monotonic()
        if key.last_used_at is not None and now - key.last_used_at < USE_NOTED_EVERY:
            return
        with self._lock:
            noted_at = self._noted_at.get(key.id)
            if noted_at is not None and moment - noted_at < USE_NOTED_EVERY.total_seconds():
                return
            self._noted_at[key.id] = moment
        try:
            with self._store.transaction() as tx:
                tx.api_keys.used(key.id, now)
        except DataFerryError as exc:
            _log.warning("the use of an API key was not noted", key=key.name, error=str(exc))


class ApiKeys:
    """The operators' keys. Thread-safe.

    Args:
        keys: Of the configuration.
        stored: In the database; none of either, ever: only this machine may call.
    """

    def __init__(self, keys: Iterable[ApiKey] = (), stored: StoredKeys | None = None) -> None:
        self._keys = tuple(keys)
        self._stored = stored

    @property
    def are_configured(self) -> bool:
        """True if there is one, or was: who revokes the last one does not open the doors by that."""
        return bool(self._keys) or (self._stored is not None and self._stored.exist())

    def require(self, connection: HTTPConnection, scope: Scope) -> Operator:
        """Let an operator pass who may do what the scope says.

        Raises:
            UnauthorizedError: It is no operator.
            ForbiddenError: Its key lacks the scope.
        """
        operator = self.identify(connection)
        operator.require(scope)
        return operator

    def identify(self, connection: HTTPConnection) -> Operator:
        """Return which operator calls (key in ``X-Api-Key`` or as bearer token), whatever it may do.

        Raises:
            UnauthorizedError: It is none.
        """
        presented = connection.headers.get("x-api-key") or bearer_token(connection)
        operator = self._operator(digest_of(presented)) if presented else None
        if operator is not None:
            return operator
        if self.are_configured:
            raise UnauthorizedError("send an API key in X-Api-Key")
        if not is_local(connection):
            raise UnauthorizedError("there are no API keys: only this machine may call")
        return Operator(name=LOCAL_OPERATOR)

    def _operator(self, digest: bytes) -> Operator | None:
        """Return whose key it is. Every one is compared, so that time does not tell which was near."""
        found = [key.operator for key in self._keys if hmac.compare_digest(digest, key.digest)]
        if found:
            return found[0]
        return None if self._stored is None else self._stored.operator(digest)
