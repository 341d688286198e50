"""The operator's webhook: an HTTP request that says that an orchestration has ended, and who says so.

Its address is configured, never named by a request. No redirect is followed: what is signed for one place is
sent to no other. Nothing of an answer's body is read into any message.

Source: Standard Webhooks 1.0.0, "Signature scheme", "Webhook headers".
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from http import HTTPStatus
from typing import Any

import httpx

from dataferry.api.orchestration import views
from dataferry.domain.clock import Clock
from dataferry.domain.errors import (
    ConfigError,
    DataFerryError,
    GoneError,
    ProtocolError,
    ServerError,
    ThrottledError,
)
from dataferry.domain.location import Provenance
from dataferry.flows.orchestration.orchestrator import OrchestrationView
from dataferry.net.answers import Answer, ask
from dataferry.net.connections import Network
from dataferry.net.httpx_transport import guarded_client

PREFIX = "whsec_"
KEY_BYTES = range(24, 65)
MAX_ANSWER_BYTES = 1024 * 1024


def key_of(secret: str) -> bytes:
    """Return the key that a secret stands for: ``whsec_`` and 24 to 64 bytes in base64.

    Raises:
        ConfigError: It is none; the message does not quote it.
    """
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        raise ConfigError(
            'a secret of webhooks is "whsec_" and 24 to 64 random bytes in base64: make one with'
            ' `echo "whsec_$(openssl rand -base64 32)"`'
        )
    return key


def signature(key: bytes, id_: str, timestamp: int, body: bytes) -> str:
    """Return what ``webhook-signature`` says of a message; its id has no full stop."""
    signed = b"%s.%d.%s" % (id_.encode(), timestamp, body)
    return "v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def message(view: OrchestrationView) -> dict[str, Any]:
    """Return what is told: the orchestration as ``/status/{orchestration_id}`` has it, and since when."""
    process = views.process(view)
    del process["webhook"]  # how this very message goes, is nothing that it could know
    return {
        "type": f"orchestration.{view.orchestration.standing.value.lower()}",
        "timestamp": process["ended_at"],
        "data": process,
    }


class HttpWebhook:
    """Posts notices; implements ``flows.orchestration.notices.Webhook``. Thread-safe.

    Args:
        network: Whose egress guard and certificates are used.
        url: Of the receiver.
        clock: Time.
        key: Signs; None signs nothing.
        bearer_token: Sent as ``Authorization``; None sends none.
        timeout_s: To connect, and without a byte; a whole call may take twice that.
    """

    def __init__(
        self,
        network: Network,
        url: str,
        clock: Clock,
        *,
        key: bytes | None = None,
        bearer_token: str | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._client = guarded_client(network, Provenance.OPERATOR, timeout_s=timeout_s)
        self._url = url
        self._clock = clock
        self._key = key
        self._bearer_token = bearer_token

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def tell(self, view: OrchestrationView) -> None:
        """POST that an orchestration has ended.

        Raises:
            GoneError: 410.
            DataFerryError: Any other answer but 2xx, or none.
        """
        body = json.dumps(message(view), separators=(",", ":")).encode()
        id_, timestamp = str(view.orchestration.id), int(self._clock.now().timestamp())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": id_,
            "webhook-timestamp": str(timestamp),
        }
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, id_, timestamp, body)
        if self._bearer_token is not None:
            headers["Authorization"] = f"Bearer {self._bearer_token}"
        answer = ask(
            self._client,
            "POST",
            self._url,
            what="webhook",
            headers=headers,
            content=body,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if not httpx.codes.is_success(answer.status):
            raise _refusal(answer)


def _refusal(answer: Answer) -> DataFerryError:
    """Return what an answer that is no success means: only 410 ends it, and some throttle all the others."""
    status = answer.status
    told = f"answered with {status} {httpx.codes.get_reason_phrase(status)}".rstrip()
    if httpx.codes.is_redirect(status):
        told += ", a redirect, which is not followed"
    kinds: dict[int, type[DataFerryError]] = {
        HTTPStatus.GONE: GoneError,
        HTTPStatus.TOO_MANY_REQUESTS: ThrottledError,
    }
    kind = kinds.get(status, ServerError if httpx.codes.is_server_error(status) else ProtocolError)
    return kind(told, operation="webhook", retry_after_s=answer.retry_after_s)
