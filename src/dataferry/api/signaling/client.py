"""Calls to control planes: callbacks, our registration, and termination through EDC's Management API.

Every call goes through the egress guard, by whose word its URL is; no redirect is followed, answers are
bounded in size and time, and nothing of an answer's body or of a URL with credentials gets into an error.
Nothing is retried here: the outbox and the registrar do.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from dataferry.api.signaling.dialects import callback_message
from dataferry.api.signaling.offers import offered_authorization
from dataferry.domain.address import EDC_NAMESPACE
from dataferry.domain.errors import (
    AddressError,
    ConfigError,
    ConflictError,
    ConnectionFailedError,
    DataFerryError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    ServerError,
    ThrottledError,
    UnauthorizedError,
)
from dataferry.domain.location import ControlPlane, Provenance, RegistrationStyle
from dataferry.flows.callback_tokens import CallbackTokenSource
from dataferry.flows.messages import Callback
from dataferry.net.answers import retry_after_s
from dataferry.net.connections import Network
from dataferry.net.httpx_transport import guarded_client

MAX_ANSWER_BYTES = 64 * 1024
_MANAGEMENT_VERSION = re.compile(r"/v(\d)\w*$")


class HttpControlPlaneClient:
    """How we call control planes; implements ``flows.messages.ControlPlaneClient``. Thread-safe.

    Args:
        network: Whose egress guard and certificates are used.
        data_plane_id: What we call ourselves.
        base_url: Our own, as control planes reach it, e.g. ``https://dp.example``.
        signaling_path: Of the signaling API below it, e.g. ``/api/v1``.
        tokens: Gets what we prove ourselves with.
        profiles: Returns the profiles and aliases that we offer.
        labels: What else control planes may choose us by.
        timeout_s: Bound of one call, answer included.
    """

    def __init__(
        self,
        network: Network,
        *,
        data_plane_id: str,
        base_url: str,
        signaling_path: str,
        tokens: CallbackTokenSource,
        profiles: Callable[[], Sequence[str]],
        labels: Sequence[str] = (),
        timeout_s: float = 10.0,
    ) -> None:
        self._clients = {
            provenance: guarded_client(network, provenance, timeout_s=timeout_s) for provenance in Provenance
        }
        self._data_plane_id = data_plane_id
        self._base_url = base_url.rstrip("/")
        self._endpoint = self._base_url + signaling_path
        self._tokens = tokens
        self._profiles = profiles
        self._labels = tuple(labels)
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def send(self, control_plane: ControlPlane, callback: Callback) -> None:
        """POST ``/transfers/{processId}/dataflow/{kind}``.

        The address that a message brought counts only for a control plane without an endpoint of its own;
        it is an external place then, and the control plane's token is not sent there.

        Raises:
            ConnectionFailedError: No answer, or nobody has said yet where callbacks go.
            DataFerryError: As ``flows.messages.ControlPlaneClient`` says.

        Source: Data Plane Signaling, "Control Plane Endpoint".
        """
        base, provenance = control_plane.endpoint, control_plane.provenance
        is_its_own = base is not None
        if base is None:
            base, provenance = callback.callback_address, Provenance.EXTERNAL
        if base is None:
            raise ConnectionFailedError(
                f"control plane {control_plane.id} has not said yet where callbacks go", operation="callback"
            )
        process = quote(callback.process_id, safe="")
        self._call(
            f"callback {callback.kind} to {control_plane.id}",
            "POST",
            f"{base.rstrip('/')}/transfers/{process}/dataflow/{callback.kind}",
            provenance=provenance,
            body=callback_message(
                callback, data_plane_id=self._data_plane_id, style=control_plane.registration
            ),
            proves_to=control_plane if is_its_own else None,
        )

    def register(self, control_plane: ControlPlane) -> None:
        """PUT ``/dataplanes`` with our id, endpoint and profiles.

        Raises:
            ConfigError: It has neither an endpoint nor a registration URL.
            DataFerryError: As ``flows.messages.ControlPlaneClient`` says.

        Source: Data Plane Signaling, "Data Plane Registration".
        """
        url = control_plane.registration_url
        if url is None:
            if control_plane.endpoint is None:
                raise ConfigError(f"control plane {control_plane.id} has no endpoint to register at")
            url = f"{control_plane.endpoint.rstrip('/')}/dataplanes"
        self._call(
            f"registration at {control_plane.id}",
            "PUT",
            url,
            provenance=control_plane.provenance,
            body=self.registration(control_plane),
            proves_to=control_plane,
        )

    def registration(self, control_plane: ControlPlane) -> dict[str, Any]:
        """Return the message that a control plane is told about us.

        ``transferTypes`` is what ``profiles`` was called until RC2: both are sent. What it calls us with is
        told only to one that the operator configured.

        Source: Data Plane Signaling, "The Data Plane Registration Message".
        """
        profiles = list(self._profiles())
        is_edc = control_plane.registration == RegistrationStyle.EDC
        message: dict[str, Any] = {
            "dataplaneId": self._data_plane_id,
            "endpoint": f"{self._endpoint}/dataflows" if is_edc else self._endpoint,
            "profiles": profiles,
            "transferTypes": profiles,
            "labels": list(self._labels),
        }
        offered = offered_authorization(control_plane, base_url=self._base_url)
        if offered is not None:
            message["authorization"] = offered
        return message

    def terminate_transfer(self, control_plane: ControlPlane, process_id: str, reason: str) -> None:
        """Terminate the transfer process through EDC's Management API.

        Raises:
            ConfigError: The control plane has no Management API configured.
            DataFerryError: As ``flows.messages.ControlPlaneClient`` says.

        Source: EDC Management API, "TerminateTransfer".
        """
        base, is_v3 = _management(control_plane)
        context: Any = (
            {"@vocab": EDC_NAMESPACE} if is_v3 else ["https://w3id.org/edc/connector/management/v2"]
        )
        self._call(
            f"termination at {control_plane.id}",
            "POST",
            f"{base}/transferprocesses/{quote(process_id, safe='')}/terminate",
            provenance=Provenance.OPERATOR,
            body={"@context": context, "@type": "TerminateTransfer", "reason": reason},
            headers=_api_key(control_plane),
        )

    def agreement(self, control_plane: ControlPlane, agreement_id: str) -> dict[str, Any]:
        """Read a contract agreement from EDC's Management API.

        Raises:
            ConfigError: The control plane has no Management API configured.
            NotFoundError: It has no such agreement.
            ProtocolError: Its answer is no agreement.
            DataFerryError: As ``flows.messages.ControlPlaneClient`` says.

        Source: EDC Management API, "ContractAgreement".
        """
        base, _ = _management(control_plane)
        operation = f"agreement at {control_plane.id}"
        answer = self._call(
            operation,
            "GET",
            f"{base}/contractagreements/{quote(agreement_id, safe='')}",
            provenance=Provenance.OPERATOR,
            body=None,
            headers=_api_key(control_plane),
        )
        try:
            content = json.loads(answer)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict) or "policy" not in {re.split("[#/:]", key)[-1] for key in content}:
            raise ProtocolError("the answer is no contract agreement", operation=operation)
        return content

    def _call(
        self,
        operation: str,
        method: str,
        url: str,
        *,
        provenance: Provenance,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None = None,
        proves_to: ControlPlane | None = None,
    ) -> bytes:
        """Send one request; return the body of an answer of 2xx, raise our error otherwise.

        Args:
            operation: What it is called in errors.
            method: Of HTTP.
            url: Where.
            provenance: Whose word that is.
            body: Sent as JSON; None sends none.
            headers: Of the request.
            proves_to: The control plane that is told by a token who calls; None sends none.
        """
        if urlsplit(url).scheme.lower() not in {"http", "https"}:
            raise AddressError("the endpoint is not an http or https URL", operation=operation)
        token = None if proves_to is None else self._tokens.token(proves_to)
        try:
            with self._clients[provenance].stream(
                method,
                url,
                json=None if body is None else dict(body),
                headers={**(headers or {}), **_bearer(token)},
            ) as answer:
                content = self._read(answer)
        except httpx.InvalidURL as exc:
            raise AddressError("the endpoint is not a URL", operation=operation) from exc
        except httpx.HTTPError as exc:
            raise ConnectionFailedError(
                f"no answer from {urlsplit(url).hostname}: {type(exc).__name__}", operation=operation
            ) from exc
        if not answer.is_success:
            if proves_to is not None and answer.status_code == HTTPStatus.UNAUTHORIZED:
                self._tokens.refused(proves_to)
            raise _refusal(operation, answer)
        return content

    def _read(self, answer: httpx.Response) -> bytes:
        """Read the answer's body, so that the connection can be used again; empty if it is beyond bounds."""
        deadline = time.monotonic() + self._timeout_s
        content = bytearray()
        for chunk in answer.iter_bytes():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                return b""
        return bytes(content)


def _management(control_plane: ControlPlane) -> tuple[str, bool]:
    """Return the versioned base URL of a control plane's Management API, and whether that is version 3.

    Raises:
        ConfigError: It has none configured.
    """
    if control_plane.management_url is None:
        raise ConfigError(f"control plane {control_plane.id} has no management_url")
    base = control_plane.management_url.rstrip("/")
    version = _MANAGEMENT_VERSION.search(base)
    if version is None:
        return f"{base}/v4", False
    return base, version.group(1) == "3"


def _api_key(control_plane: ControlPlane) -> dict[str, str]:
    key = control_plane.management_key
    return {"X-Api-Key": key} if key else {}


def _bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _refusal(operation: str, answer: httpx.Response) -> DataFerryError:
    """Turn an answer that is no success into the error that says whether trying again can help."""
    status = answer.status_code
    # The status's own words, not the answer's: those are a stranger's, and could quote our token.
    told = f"answered with {status} {httpx.codes.get_reason_phrase(status)}".rstrip()
    refusals: dict[int, type[DataFerryError]] = {
        HTTPStatus.UNAUTHORIZED: UnauthorizedError,
        HTTPStatus.FORBIDDEN: ForbiddenError,
        HTTPStatus.NOT_FOUND: NotFoundError,
        HTTPStatus.CONFLICT: ConflictError,
        HTTPStatus.REQUEST_TIMEOUT: ServerError,
        HTTPStatus.TOO_MANY_REQUESTS: ThrottledError,
    }
    if answer.is_redirect:
        told += ", a redirect, which is not followed"
    kind = refusals.get(status, ServerError if answer.is_server_error else ProtocolError)
    return kind(told, operation=operation, retry_after_s=retry_after_s(answer))
