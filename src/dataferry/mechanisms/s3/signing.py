"""Signature Version 4 for S3 and its token service, in headers.

Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)",
"Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from urllib.parse import quote

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_SECOND = timedelta(seconds=1)
_ALGORITHM = "AWS4-HMAC-SHA256"
_INNER_PAD, _OUTER_PAD = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_UNRESERVED_PATH = re.compile(r"[A-Za-z0-9/_.~-]*")
# Where a value may have other white space than one blank between words; few have any.
_ODD_SPACE = (": ", "  ", " \n", "\t")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An access key; ``repr`` shows none of it."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def encode_path(path: str) -> str:
    """Percent-encode a path as S3 signs it: once, UTF-8, all but unreserved characters and ``/``."""
    return path if _UNRESERVED_PATH.fullmatch(path) else quote(path, safe="/-_.~")


def encode_query(pairs: Iterable[tuple[str, str]]) -> str:
    """Percent-encode and sort a query: the canonical form, also sent as it is."""
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


class Signer:
    """Signs the requests of one region; belongs to one thread.

    The signing key of a day costs four of the six hashes of a request, so it is kept.

    Args:
        region: As in the credential scope.
        service: As in the credential scope.

    Attributes:
        used: The credentials of the last request; None before the first.
    """

    def __init__(self, region: str, service: str = "s3") -> None:
        self._region = region
        self._service = service
        self.used: Credentials | None = None
        self._mac: Mac | None = None
        self._mac_of: tuple[str, str] = ("", "")
        self._stamped: datetime | None = None
        self._stamp = ""

    def sign(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        *,
        credentials: Credentials,
        now: datetime,
        payload_sha256: str = UNSIGNED_PAYLOAD,
    ) -> dict[str, str]:
        """Return the headers to send: those given, which are all signed, and the signature's.

        Args:
            method: E.g. ``GET``.
            path: Encoded by ``encode_path``.
            query: Encoded by ``encode_query``.
            headers: ``Host`` among them; names are sent as given.
            credentials: Whose signature.
            now: UTC.
            payload_sha256: Hex digest of the body, or ``UNSIGNED-PAYLOAD``.
        """
        self.used = credentials
        stamp = self._stamp_of(now)
        day = stamp[:8]
        sent = {**headers, "x-amz-content-sha256": payload_sha256, "x-amz-date": stamp}
        if credentials.session_token:
            sent["x-amz-security-token"] = credentials.session_token
        order, names = _canonical_order(tuple(sent))
        lines = "".join([f"{lower}:{sent[name]}\n" for lower, name in order])
        if not lines.isascii() or any(space in lines for space in _ODD_SPACE):
            lines = "".join([f"{lower}:{' '.join(sent[name].split())}\n" for lower, name in order])
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload_sha256}"
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
        signature = self._signing_mac(credentials, day).of(text.encode()).hex()
        sent["Authorization"] = (
            f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return sent

    def _stamp_of(self, now: datetime) -> str:
        """Write a time, or return the last one's text within its second: signatures hold for minutes."""
        if self._stamped is None or not timedelta() <= now - self._stamped < _SECOND:
            self._stamped, self._stamp = now, now.strftime("%Y%m%dT%H%M%SZ")
        return self._stamp

    def _signing_mac(self, credentials: Credentials, day: str) -> Mac:
        """Derive the key of a day, or return the one kept."""
        wanted = (credentials.secret_access_key, day)
        if self._mac is None or self._mac_of != wanted:
            key = f"AWS4{credentials.secret_access_key}".encode()
            for step in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, step.encode(), "sha256")
            self._mac, self._mac_of = Mac(key), wanted
        return self._mac


@lru_cache(maxsize=256)  # requests of one kind have the same names
def _canonical_order(names: tuple[str, ...]) -> tuple[list[tuple[str, str]], str]:
    """Return header names as they are signed: each in lower case and as it is sent, and ``SignedHeaders``."""
    order = sorted((name.lower(), name) for name in names)
    return order, ";".join(lower for lower, _ in order)


class Mac:
    """HMAC-SHA256 of one key for many short messages.

    The standard library's gives the interpreter to another thread while it works, which for these is much
    longer than the work.

    Source: RFC 2104, section 2.
    """

    def __init__(self, key: bytes) -> None:
        """Take a key of at most 64 bytes: none here is longer."""
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD))
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD))

    def of(self, message: bytes) -> bytes:
        """Return a message's 32 bytes."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()
