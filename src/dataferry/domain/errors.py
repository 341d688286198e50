"""The one tree of errors.

::

    DataFerryError
    ├── InputError                 what a caller sent is wrong                      permanent
    │   ├── AddressError           a DataAddress, URL or object name
    │   ├── ProfileError           a profile that no mechanism offers
    │   └── TooLargeError          more than a bound allows
    ├── ConfigError                what the operator wrote is wrong                 permanent
    ├── NotFoundError              no such flow, dataset, location, control plane   permanent
    ├── ConflictError              right, but not now                               permanent
    │   ├── TransitionError        the state machine has no such step
    │   ├── DuplicateProcessError  a start or prepare for a process that exists
    │   └── StaleVersionError      somebody else wrote the row first                temporary
    ├── UnauthorizedError          no credentials, or wrong ones                    permanent
    ├── ForbiddenError             known, but not allowed                           permanent
    ├── GoneError                  it was there, and is over                        permanent
    ├── EgressDeniedError          a place outside that policy does not let us reach permanent
    ├── UnsupportedError           this mechanism cannot do that                    permanent
    ├── StorageError               what a source or a sink answered
    │   ├── ObjectNotFoundError    no such object                                   permanent
    │   ├── BucketNotFoundError    no such bucket, root or container                permanent
    │   ├── AccessDeniedError      credentials refused                              permanent
    │   │   └── CredentialsExpiredError  they were good, for their time            permanent
    │   ├── SourceChangedError     the source is no longer the version we began     permanent
    │   ├── WrongRangeError        another range than asked for                     permanent
    │   ├── DestinationExistsError overwrite = never, and it is there               permanent
    │   ├── IntegrityError         a checksum or size does not agree                temporary
    │   ├── UploadGoneError        the multipart upload is not there                temporary
    │   ├── NoSpaceError           the sink is full                                 permanent
    │   ├── ConnectionFailedError  refused, reset, timed out, not resolved          temporary
    │   ├── UntrustedCertificateError  no authority that we trust vouches for it    permanent
    │   ├── ObjectArchivedError    it must be restored before it can be read        permanent
    │   ├── ThrottledError         asked to slow down                               temporary
    │   ├── ServerError            5xx                                              temporary
    │   ├── ShortBodyError         fewer bytes than promised                        temporary
    │   ├── StallError             no byte for too long                             temporary
    │   └── ProtocolError          an answer that the protocol does not allow       permanent
    ├── DatabaseUnavailableError   our own database does not answer                 temporary
    ├── ExhaustedError             temporary too often                              exhausted
    │   └── TimedOutError          at last, because nothing came for too long       exhausted
    ├── StoppedError               we were asked to stop                            permanent
    └── FencedError                a newer attempt owns this transfer               permanent

Adapters translate at their edge with ``raise ... from exc``; only the retry layer retries; one table in
``api`` maps kinds to HTTP statuses. No message holds a secret or a signed URL.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class RetryClass(StrEnum):
    """Whether trying again can help."""

    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    EXHAUSTED = "exhausted"


class DataFerryError(Exception):
    """The root: everything that this product raises on purpose.

    Args:
        message: One sentence for an operator; names what and where, never a secret.
        operation: What was being done, e.g. ``s3.PutObject``.
        retry_after_s: Seconds that the other side asked us to wait, where it did.

    Attributes:
        of_sink: Whether a transfer met it where it writes; else where it reads, or neither.
    """

    kind: ClassVar[str] = "error"
    retry: ClassVar[RetryClass] = RetryClass.PERMANENT

    def __init__(self, message: str, *, operation: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.retry_after_s = retry_after_s
        self.of_sink = False

    def __str__(self) -> str:
        return f"{self.operation}: {self.message}" if self.operation else self.message

    @property
    def is_temporary(self) -> bool:
        """True if the same call may succeed later."""
        return self.retry is RetryClass.TEMPORARY

    def retold(self, kind: type[DataFerryError] | None = None) -> DataFerryError:
        """Return the same as an object of its own, so that of many who are told each raises another.

        Args:
            kind: What to tell it as, where that is not what it is.
        """
        told_as = kind or type(self)
        told = told_as(self.message, operation=self.operation, retry_after_s=self.retry_after_s)
        told.of_sink = self.of_sink
        return told


class InputError(DataFerryError):
    """What a caller sent is wrong."""

    kind = "invalid_input"


class AddressError(InputError):
    """A DataAddress, URL or object name that cannot be used."""

    kind = "invalid_address"


class ProfileError(InputError):
    """A profile that no mechanism offers in this role."""

    kind = "unknown_profile"


class TooLargeError(InputError):
    """More than a bound allows."""

    kind = "too_large"


class ConfigError(DataFerryError):
    """What the operator wrote is wrong."""

    kind = "invalid_config"


class NotFoundError(DataFerryError):
    """No such flow, dataset, location, landing zone or control plane in the caller's scope."""

    kind = "not_found"


class ConflictError(DataFerryError):
    """The request is right, but not now."""

    kind = "conflict"


class TransitionError(ConflictError):
    """The state machine has no such step from here."""

    kind = "illegal_transition"


class DuplicateProcessError(ConflictError):
    """A data flow exists already for this process."""

    kind = "duplicate_process"


class StaleVersionError(ConflictError):
    """Somebody else wrote the row first."""

    kind = "stale_version"
    retry = RetryClass.TEMPORARY


class UnauthorizedError(DataFerryError):
    """No credentials, or wrong ones."""

    kind = "unauthorized"


class ForbiddenError(DataFerryError):
    """The caller is known, but not allowed."""

    kind = "forbidden"


class GoneError(DataFerryError):
    """What was there is over, and does not come back."""

    kind = "gone"


class EgressDeniedError(DataFerryError):
    """Policy does not let us reach that place."""

    kind = "egress_denied"


class UnsupportedError(DataFerryError):
    """This mechanism cannot do that, and says so before a byte moves."""

    kind = "unsupported"


class StorageError(DataFerryError):
    """What a source or a sink answered."""

    kind = "storage"


class ObjectNotFoundError(StorageError):
    """No such object."""

    kind = "object_not_found"


class BucketNotFoundError(StorageError):
    """No such bucket, root or container."""

    kind = "bucket_not_found"


class AccessDeniedError(StorageError):
    """The store refused the credentials, or what they may do."""

    kind = "access_denied"


class CredentialsExpiredError(AccessDeniedError):
    """The credentials were good for a time, and that is over: others are needed, and nothing is lost."""

    kind = "credentials_expired"


class SourceChangedError(StorageError):
    """The source is no longer the version that the transfer began with."""

    kind = "source_changed"


class WrongRangeError(StorageError):
    """The source answered with another range than asked for."""

    kind = "wrong_range"


class DestinationExistsError(StorageError):
    """The destination has an object of this name, and the policy is never to overwrite."""

    kind = "destination_exists"


class IntegrityError(StorageError):
    """A checksum or a size does not agree."""

    kind = "integrity"
    retry = RetryClass.TEMPORARY


class UploadGoneError(StorageError):
    """The store does not know the multipart upload (any more)."""

    kind = "upload_gone"
    retry = RetryClass.TEMPORARY


class NoSpaceError(StorageError):
    """The sink is full."""

    kind = "no_space"


class ConnectionFailedError(StorageError):
    """Refused, reset, timed out or not resolved."""

    kind = "connection_failed"
    retry = RetryClass.TEMPORARY


class UntrustedCertificateError(StorageError):
    """The other side's certificate is not one that we trust, or is of another name."""

    kind = "untrusted_certificate"


class ObjectArchivedError(StorageError):
    """The store keeps the object in an archive: it must be restored before it can be read."""

    kind = "object_archived"


class ThrottledError(StorageError):
    """The store asked us to slow down."""

    kind = "throttled"
    retry = RetryClass.TEMPORARY


class ServerError(StorageError):
    """The store failed by itself: 5xx."""

    kind = "server_error"
    retry = RetryClass.TEMPORARY


class ShortBodyError(StorageError):
    """Fewer bytes than promised."""

    kind = "short_body"
    retry = RetryClass.TEMPORARY


class StallError(StorageError):
    """No byte for longer than ``stall_timeout_s``."""

    kind = "stalled"
    retry = RetryClass.TEMPORARY


class ProtocolError(StorageError):
    """An answer that the protocol does not allow."""

    kind = "protocol"


class DatabaseUnavailableError(DataFerryError):
    """Our own database does not answer, or not this process: nothing can be read or promised now."""

    kind = "database_unavailable"
    retry = RetryClass.TEMPORARY


class ExhaustedError(DataFerryError):
    """A temporary error came too often; ``__cause__`` is the last one."""

    kind = "exhausted"
    retry = RetryClass.EXHAUSTED


class TimedOutError(ExhaustedError):
    """Nothing came for too long, too often."""

    kind = "timed_out"


class StoppedError(DataFerryError):
    """We were asked to stop; not a fault."""

    kind = "stopped"


class FencedError(DataFerryError):
    """A newer attempt owns this transfer: this one must not complete or abort anything."""

    kind = "fenced"
