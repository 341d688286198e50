"""What S3 answers, as errors of our tree.

Source: Amazon S3 API Reference, "Error responses".
"""

from __future__ import annotations

import re

from dataferry.domain.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    CredentialsExpiredError,
    DestinationExistsError,
    IntegrityError,
    NoSpaceError,
    ObjectArchivedError,
    ObjectNotFoundError,
    ProtocolError,
    ServerError,
    SourceChangedError,
    StorageError,
    ThrottledError,
    UnsupportedError,
    UploadGoneError,
)


class NotPermittedError(AccessDeniedError):
    """The store knows the credentials, and they may not do this."""


_BY_CODE: dict[str, type[StorageError]] = {
    "NoSuchBucket": BucketNotFoundError,
    "NoSuchKey": ObjectNotFoundError,
    "NoSuchVersion": ObjectNotFoundError,
    "NoSuchUpload": UploadGoneError,
    "InvalidObjectState": ObjectArchivedError,
    "AccessDenied": NotPermittedError,
    "AllAccessDisabled": AccessDeniedError,
    "AccountProblem": AccessDeniedError,
    "InvalidAccessKeyId": AccessDeniedError,
    "SignatureDoesNotMatch": AccessDeniedError,
    "AuthorizationHeaderMalformed": AccessDeniedError,
    "ExpiredToken": CredentialsExpiredError,
    "ExpiredTokenException": CredentialsExpiredError,
    "InvalidToken": AccessDeniedError,
    "InvalidClientTokenId": AccessDeniedError,
    "UnrecognizedClientException": AccessDeniedError,
    "TokenRefreshRequired": AccessDeniedError,
    "RequestTimeTooSkewed": AccessDeniedError,
    "SlowDown": ThrottledError,
    "SlowDownRead": ThrottledError,
    "SlowDownWrite": ThrottledError,
    "Throttling": ThrottledError,
    "ThrottlingException": ThrottledError,
    "RequestLimitExceeded": ThrottledError,
    "BandwidthLimitExceeded": ThrottledError,
    "TooManyRequests": ThrottledError,
    "ServiceUnavailable": ThrottledError,
    "InternalError": ServerError,
    "OperationAborted": ServerError,
    "ConditionalRequestConflict": ServerError,
    "RequestTimeout": ServerError,
    "InvalidRange": SourceChangedError,
    "BadDigest": IntegrityError,
    "XAmzContentSHA256Mismatch": IntegrityError,
    "XAmzContentChecksumMismatch": IntegrityError,
    "IncompleteBody": IntegrityError,
    "InvalidPart": IntegrityError,
    "QuotaExceeded": NoSpaceError,
    "XMinioStorageFull": NoSpaceError,
    "XMinioAdminBucketQuotaExceeded": NoSpaceError,
    "InsufficientStorage": NoSpaceError,
}
EXPIRED = (
    "the credentials have expired, what was moved stays: those of a data address come anew with a resume of"
    " the flow, those of a location must be given anew"
)
_ADVICE = {
    "NoSuchBucket": "there is no such bucket: check its name, or create it first",
    "InvalidObjectState": "it is archived (Glacier, Deep Archive or an archive tier): restore it with"
    " `aws s3api restore-object`, wait until that is done, then retry",
    "InvalidAccessKeyId": "the access key is not known there",
    "InvalidClientTokenId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret access key or the region is not right",
    "AuthorizationHeaderMalformed": "the region is not right",
    "ExpiredToken": EXPIRED,
    "ExpiredTokenException": EXPIRED,
    "RequestTimeTooSkewed": "the clocks differ by more than 15 minutes: set this machine's clock (NTP)",
    "PermanentRedirect": "the bucket is in another region: set region or endpoint_url",
    "EntityTooLarge": "larger than the store takes in one piece: raise or lower part_size_bytes",
    "EntityTooSmall": "a part is smaller than the store's 5 MiB: raise part_size_bytes",
}

_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ABOUT_CREDENTIALS = re.compile(r"signature|credential|authorization|x-amz-", re.IGNORECASE)


class DeleteMarkerError(ObjectNotFoundError):
    """The object was deleted in a bucket that keeps versions."""


def error_of(
    *,
    operation: str,
    where: str,
    status: int,
    code: str,
    message: str = "",
    retry_after_s: float | None = None,
    writing: bool = False,
    is_delete_marker: bool = False,
) -> StorageError | UnsupportedError:
    """Return the error of a reply that is none of success.

    Args:
        operation: E.g. ``s3.GetObject``.
        where: Bucket and key, for people.
        status: HTTP status.
        code: S3's code, empty where the reply had none (HEAD); what can't be one counts as none.
        message: S3's words; only used where we have no better ones.
        retry_after_s: From the reply.
        writing: A precondition that failed was one of a write.
        is_delete_marker: The reply says that a delete marker is what it found.
    """
    if is_delete_marker:
        return DeleteMarkerError(
            f"{where}: it was deleted, a delete marker is what is there (an older version can be named with"
            " ?versionId=)",
            operation=operation,
        )
    code = code if _CODE.fullmatch(code) else ""
    detail = _ADVICE.get(code) or _printable(message)
    text = f"{where}: {code or f'HTTP {status}'}" + (f" ({detail})" if detail else "")
    if status == 501 or code == "NotImplemented":  # noqa: PLR2004 - Not Implemented
        return UnsupportedError(text, operation=operation)
    kind = _BY_CODE.get(code) or _by_status(status, writing=writing)
    return kind(text, operation=operation, retry_after_s=retry_after_s)


def _by_status(status: int, *, writing: bool) -> type[StorageError]:  # noqa: PLR0911 - a table of ranges
    """Choose by status where the code says nothing."""
    if status == 412:  # noqa: PLR2004
        return DestinationExistsError if writing else SourceChangedError
    if status in {401, 403}:
        return AccessDeniedError
    if status == 404:  # noqa: PLR2004
        return ObjectNotFoundError
    if status in {429, 503}:
        return ThrottledError
    if status in {408, 409}:
        return ServerError
    if status == 416:  # noqa: PLR2004
        return SourceChangedError
    if status == 507:  # noqa: PLR2004
        return NoSpaceError
    if status >= 500:  # noqa: PLR2004
        return ServerError
    return ProtocolError


def _printable(message: str) -> str:
    """Bound and clean a stranger's words; those about a request's credentials are left out."""
    if _ABOUT_CREDENTIALS.search(message):
        return ""
    return "".join(char for char in message if char.isprintable())[:200]
