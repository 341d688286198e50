"""The only place that retries: exponential back-off with full jitter, bounded, and stoppable."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from dataferry.domain.errors import (
    BucketNotFoundError,
    ConfigError,
    ConnectionFailedError,
    CredentialsExpiredError,
    DatabaseUnavailableError,
    DataFerryError,
    EgressDeniedError,
    ExhaustedError,
    NoSpaceError,
    StallError,
    StoppedError,
    ThrottledError,
    TimedOutError,
    UnauthorizedError,
    UntrustedCertificateError,
    UploadGoneError,
)
from dataferry.engine.rates.bandwidth import WindowClosedError
from dataferry.engine.rates.pause import Pause
from dataferry.engine.stop import Stop
from dataferry.engine.transfer import EngineLimits, Observer

T = TypeVar("T")

# However long the other side asks us to wait; a store that wants an hour is treated as one that fails.
MAX_RETRY_AFTER_S = 300.0
# Of one event of the flow.
MAX_NOTED_RETRIES = 200


class UnreachableError(ExhaustedError):
    """A place could not be reached too often, while nothing else worked: it is not one object's fault."""


DOOMS = (
    BucketNotFoundError,
    CredentialsExpiredError,
    NoSpaceError,
    EgressDeniedError,
    ConfigError,
    UnauthorizedError,
    UntrustedCertificateError,
    UnreachableError,
    DatabaseUnavailableError,
    WindowClosedError,
)


def dooms_attempt(error: DataFerryError) -> bool:
    """Return True if no object can succeed after this: then the attempt ends instead of failing them all."""
    return isinstance(error, DOOMS)


class Retrier:
    """Runs operations again while that can help.

    ``throttled`` and ``failed`` count what is tried again because the store asked for patience, and for other
    causes.

    Args:
        limits: Attempts and delays.
        stop: Ends every wait, and turns what an aborted call raised into ``StoppedError``.
        pause: Shared by all workers; throttling extends it.
        observer: Told of each retry, up to a bound.
        uniform: ``random.uniform``; tests choose.
    """

    def __init__(
        self,
        limits: EngineLimits,
        stop: Stop,
        pause: Pause,
        observer: Observer,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._limits = limits
        self._stop = stop
        self._pause = pause
        self._observer = observer
        self._uniform = uniform
        self._successes = 0
        self.throttled = 0
        self.failed = 0
        self._noted = 0

    def run(
        self,
        what: str,
        operation: Callable[[], T],
        *,
        renew: Callable[[], None] = lambda: None,
        judge: Callable[[DataFerryError], DataFerryError] = lambda error: error,
        at_once: tuple[type[DataFerryError], ...] = (UploadGoneError,),
    ) -> T:
        """Return what ``operation`` returns, retrying temporary errors.

        Args:
            what: For events and the last error, e.g. ``part 3 of a/b.bin``.
            operation: Called up to ``limits.attempts`` times.
            renew: Called before each retry: drops connections.
            judge: Turns an error into its real cause, e.g. a stall that the watchdog ended.
            at_once: Temporary errors that need another look instead of another try.

        Raises:
            ExhaustedError: Temporary errors came too often; ``UnreachableError`` if a place seems down,
                ``TimedOutError`` if the last was a stall.
            StoppedError: We were told to stop.
            DataFerryError: Permanent, at once.
        """
        successes_before = self._successes
        for number in range(1, self._limits.attempts + 1):
            self._pause.wait()
            try:
                result = operation()
            except DataFerryError as caught:
                error = judge(caught)
                if self._stop.is_set:
                    raise StoppedError(f"stopped during {what}") from caught
                # Nothing that is sent can be written down without the database: sending again is no help.
                if not error.is_temporary or isinstance(error, (DatabaseUnavailableError, *at_once)):
                    raise error from caught.__cause__
                if number == self._limits.attempts:
                    raise self._exhausted(what, error, alone=self._successes == successes_before) from error
                self._back_off(what, error, number)
                renew()
            else:
                self._successes += 1
                return result
        raise ExhaustedError(f"{what}: no attempt is allowed")

    def _exhausted(self, what: str, error: DataFerryError, *, alone: bool) -> ExhaustedError:
        kind = TimedOutError if isinstance(error, StallError) else ExhaustedError
        if alone and isinstance(error, ConnectionFailedError | ThrottledError):
            kind = UnreachableError
        exhausted = kind(
            f"{what} failed {self._limits.attempts} times, at last: {error}", operation=error.operation
        )
        exhausted.of_sink = error.of_sink
        return exhausted

    def _back_off(self, what: str, error: DataFerryError, number: int) -> None:
        ceiling = min(self._limits.max_backoff_s, self._limits.backoff_s * 2 ** (number - 1))
        delay_s = self._uniform(0.0, ceiling)
        if error.retry_after_s is not None:
            # Jitter on top: all workers were told the same moment.
            delay_s += min(error.retry_after_s, MAX_RETRY_AFTER_S)
        if self._noted < MAX_NOTED_RETRIES:
            self._noted += 1
            self._observer.noted("retry", f"{what}: {error.kind}: {error}; again in {delay_s:.1f} s")
        if isinstance(error, ThrottledError):
            self.throttled += 1
            self._pause.extend(delay_s)
        else:
            self.failed += 1
        if self._stop.wait(delay_s):
            raise StoppedError(f"stopped while waiting to retry {what}") from error
