"""Temporary credentials from a token service: ``AssumeRole``, as Amazon and MinIO's line answer it.

Source: AWS STS API Reference, "AssumeRole", "Common Errors".
"""

from __future__ import annotations

import hashlib
import http.client
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from dataferry.domain.errors import (
    AccessDeniedError,
    ConfigError,
    ConnectionFailedError,
    DataFerryError,
    ProtocolError,
    StallError,
    UnsupportedError,
)
from dataferry.mechanisms.s3 import replies
from dataferry.mechanisms.s3.address import Place, TokenService
from dataferry.mechanisms.s3.attributes import iso_date
from dataferry.mechanisms.s3.errors import error_of
from dataferry.mechanisms.s3.signing import Credentials, Signer
from dataferry.net.connections import Network, PinnedConnection

MIN_DURATION_S = 900
MAX_DURATION_S = 12 * 3600
MAX_REPLY_BYTES = 64 * 1024
MAX_CREDENTIAL_CHARS = 8192  # sessionToken travels in a header of each request
TIMEOUT_S = 10.0
REPLY_STALLS = 2  # within as many of them the whole reply must be there
OPERATION = "sts.AssumeRole"
_API_VERSION = "2011-06-15"
_NOT_OF_A_NAME = re.compile(r"[^A-Za-z0-9_=,.@-]")
_MAX_NAME_CHARS = 64
_DENIED_ADVICE = (
    "the location's credentials may not assume its role: look at the role's trust policy, at sts_role_arn and"
    " sts_external_id, and whether they may call sts:AssumeRole"
)
_DURATION_ADVICE = (
    "set engine.grant_ttl_s to no more than the role's maximum session duration: an hour unless the role says"
    " otherwise, and always where the location's own credentials are those of a role"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What AssumeRole gave."""

    credentials: Credentials
    expires_at: datetime


def duration_of(ttl_s: int) -> int:
    """Return the duration to ask for: as near to ``ttl_s`` as token services allow."""
    return min(max(ttl_s, MIN_DURATION_S), MAX_DURATION_S)


def assume_role(
    place: Place, service: TokenService, network: Network, *, policy: str, ttl_s: int, purpose: str
) -> Session:
    """Ask for credentials that may do what ``policy`` says; one request, not tried again here.

    Args:
        place: Whose credentials ask, by whose way.
        service: Who is asked.
        network: Dials.
        policy: The session policy.
        ttl_s: How long they are to be good for, in seconds; held within the service's bounds.
        purpose: Stands in the name of the session, which the store's audit log shows.

    Raises:
        AccessDeniedError: The credentials that ask may not.
        ConfigError: The role does not allow that duration, or the service knows no such request.
        UnsupportedError: The policy is too large for it.
        ThrottledError, ServerError, ConnectionFailedError, StallError: It may work later.
        ProtocolError: The reply is none of AssumeRole.
    """
    fields = {
        "Action": "AssumeRole",
        "Version": _API_VERSION,
        "RoleSessionName": session_name(purpose),
        "DurationSeconds": str(duration_of(ttl_s)),
        "Policy": policy,
    }
    if service.role_arn is not None:
        fields["RoleArn"] = service.role_arn
    if service.external_id is not None:
        fields["ExternalId"] = service.external_id
    asking = place.credentials()
    status, body = _exchange(place, service, network, asking, urlencode(fields).encode())
    if status != http.client.OK:
        raise _refusal(service, status, body, asking)
    return _session(body)


def session_name(purpose: str) -> str:
    """Return the name that the store's audit log shows: ours, and whose flow it is."""
    return f"dataferry-{_NOT_OF_A_NAME.sub('_', purpose)}"[:_MAX_NAME_CHARS]


def _exchange(
    place: Place, service: TokenService, network: Network, asking: Credentials, body: bytes
) -> tuple[int, bytes]:
    """Send the request on a connection of its own; return the reply's status and body."""
    server = service.server
    connection = network.connect(
        scheme=server.scheme,
        host=server.host,
        port=server.port,
        provenance=place.provenance,
        timeout_s=TIMEOUT_S,
        route=place.route,
    )
    host = f"[{server.host}]" if ":" in server.host else server.host
    path = f"{server.base_path}/"
    signed = Signer(server.region, "sts").sign(
        "POST",
        path,
        "",
        {
            "Host": host if connection.default_port == server.port else f"{host}:{server.port}",
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "Content-Length": str(len(body)),
        },
        credentials=asking,
        now=datetime.now(UTC),
        payload_sha256=hashlib.sha256(body).hexdigest(),
    )
    try:
        connection.send_head("POST", path, signed, with_body=True)
        connection.send(body)
        return _read(connection)
    except (OSError, http.client.HTTPException, ValueError) as exc:
        _failed(server.url, exc)
    finally:
        connection.close()


def _read(connection: PinnedConnection) -> tuple[int, bytes]:
    """Read a reply whole.

    Raises:
        ProtocolError: It is larger than any of a token service.
    """
    response = connection.getresponse()
    response.limit(REPLY_STALLS)
    body = response.read(MAX_REPLY_BYTES + 1)
    if len(body) > MAX_REPLY_BYTES:
        raise ProtocolError("the reply is larger than allowed", operation=OPERATION)
    return response.status, body


def _failed(url: str, exc: Exception) -> NoReturn:
    """Translate what broke on the wire."""
    if isinstance(exc, DataFerryError):
        raise exc
    if isinstance(exc, TimeoutError):
        raise StallError(f"{url}: no byte for {TIMEOUT_S:g} s", operation=OPERATION) from exc
    if isinstance(exc, ValueError):
        raise ProtocolError(
            f"{url}: a header has characters that it can't have", operation=OPERATION
        ) from exc
    raise ConnectionFailedError(f"{url}: {type(exc).__name__}", operation=OPERATION) from exc


def _session(body: bytes) -> Session:
    """Read the credentials of a reply.

    Raises:
        ProtocolError: They are not there, can't be used, or have expired before they came.
    """
    found = replies.parse(body, OPERATION).find("AssumeRoleResult/Credentials")
    if found is None:
        raise ProtocolError("the reply has no credentials: is this a token service?", operation=OPERATION)
    values = [_word(found, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    expires_at = iso_date(found.findtext("Expiration"))
    if expires_at is None or expires_at <= datetime.now(UTC):
        raise ProtocolError(
            "the credentials of the reply have expired already, or do not say when: compare the clocks",
            operation=OPERATION,
        )
    return Session(
        credentials=Credentials(
            access_key_id=values[0], secret_access_key=values[1], session_token=values[2]
        ),
        expires_at=expires_at,
    )


def _word(credentials: ET.Element, name: str) -> str:
    """Return one of the credentials, that can stand in a header and in an address."""
    text = (credentials.findtext(name) or "").strip()
    if (
        not 0 < len(text) <= MAX_CREDENTIAL_CHARS
        or not text.isascii()
        or not text.isprintable()
        or " " in text
    ):
        raise ProtocolError(f"the reply has no {name} that could be one", operation=OPERATION)
    return text


def _refusal(service: TokenService, status: int, body: bytes, asking: Credentials) -> DataFerryError:
    """Return what a refusal means; the role is not named, as callers are told."""
    code, message = _error_in(body)
    for value in (
        asking.secret_access_key,
        asking.session_token,
        asking.access_key_id,
        service.role_arn,
        service.external_id,
    ):
        if value:
            message = message.replace(value, "***")
    where = f"the token service {service.server.url}"
    if code == "PackedPolicyTooLarge":
        return UnsupportedError(
            f"{where}: {code}: grant a shorter path, or offer it by http-pull", operation=OPERATION
        )
    if "DurationSeconds" in message or "invalid token expiry" in message:
        return ConfigError(f"{where}: {code or status}: {_DURATION_ADVICE}", operation=OPERATION)
    if code in {"ValidationError", "InvalidParameterValue", "MalformedPolicyDocument", "InvalidAction"}:
        text = "".join(char for char in message if char.isprintable())[:200]
        return ConfigError(f"{where}: {code} ({text})", operation=OPERATION)
    if code == "RegionDisabledException":
        return ConfigError(f"{where}: {code}: activate the service in that region", operation=OPERATION)
    if code in {"AccessDenied", "AccessDeniedException"}:
        return AccessDeniedError(f"{where}: {code} ({_DENIED_ADVICE})", operation=OPERATION)
    # Its words name accounts and users, and this is told to callers: only its code is passed on.
    return error_of(operation=OPERATION, where=where, status=status, code=code)


def _error_in(body: bytes) -> tuple[str, str]:
    """Return code and message of an error document, empty where it is none."""
    try:
        root = replies.parse(body, OPERATION)
    except ProtocolError:
        return "", ""
    error = root if root.tag == "Error" else root.find("Error")
    if error is None:
        return "", ""
    return error.findtext("Code") or "", error.findtext("Message") or ""
