"""The Management API of connectors, over HTTP; implements ``flows.orchestration.ports.EdcClient``.

A connector's credentials go to that connector alone: no redirect is followed. Those that only arrived in a
request get none, and are reached through the egress guard. Answers are bounded in size and time. Nothing is
retried here: the steps of entries are.

Source: Eclipse Dataspace Components, Management API v3 and v4.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from dataferry.api.bodies import check_json
from dataferry.api.orchestration import edc_wire as wire
from dataferry.api.orchestration.edc_tokens import ClientCredentials
from dataferry.domain.address import DataAddress
from dataferry.domain.errors import (
    AddressError,
    ConflictError,
    ConnectionFailedError,
    DataFerryError,
    ForbiddenError,
    InputError,
    NotFoundError,
    ProtocolError,
    ServerError,
    StallError,
    ThrottledError,
    TooLargeError,
    UnauthorizedError,
    UnsupportedError,
)
from dataferry.domain.location import Provenance
from dataferry.domain.orchestration import ApiVersion, Ask, Connector
from dataferry.domain.profile import Direction
from dataferry.flows.orchestration.ports import ENDED, TransferProcess
from dataferry.net.answers import retry_after_s
from dataferry.net.connections import Network
from dataferry.net.httpx_transport import guarded_client
from dataferry.secrets.redaction import SecretValues

MAX_ANSWER_BYTES = 1024 * 1024
T = TypeVar("T")


class HttpEdcClient:
    """Asks connectors. Thread-safe.

    Args:
        network: Whose egress guard and certificates are used.
        timeout_s: Of one call: to connect, and without a byte; a whole call may take twice that.
        secrets: Told of tokens, and takes secrets out of what connectors say about refusals.
    """

    def __init__(
        self, network: Network, *, timeout_s: float = 5.0, secrets: SecretValues | None = None
    ) -> None:
        self._clients = {
            provenance: guarded_client(network, provenance, timeout_s=timeout_s) for provenance in Provenance
        }
        self._timeout_s = timeout_s
        known = secrets or SecretValues()
        self.redact = known.redact
        self._lock = threading.Lock()
        self._versions: dict[str, ApiVersion] = {}
        self._tokens = ClientCredentials(self._fetch, known.remember)

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def version(self, connector: Connector) -> ApiVersion:
        """Return which version a connector speaks: as configured, else the first that answers a query.

        Version 3 goes first, where there are both: it keeps data addresses.

        Raises:
            DataFerryError: Neither answers.
        """
        if connector.api_version is not None:
            return connector.api_version
        with self._lock:
            known = self._versions.get(connector.management_url)
        if known is not None:
            return known
        refused: DataFerryError | None = None
        for version in ApiVersion:
            try:
                self._query(connector, version)
            except (NotFoundError, UnsupportedError) as exc:
                refused = exc
                continue
            with self._lock:
                self._versions[connector.management_url] = version
            return version
        raise NotFoundError(
            f"no Management API of version 3 or 4 below {connector.management_url}", operation="connector"
        ) from refused

    def probe(self, connector: Connector) -> ApiVersion:
        """Return which version a connector speaks, asked anew, also where it is configured: for checks.

        Raises:
            DataFerryError: It does not answer, or does not take our credentials.
        """
        version = self.version(connector)
        self._query(connector, version)
        return version

    def _query(self, connector: Connector, version: ApiVersion) -> None:
        """Ask for a transfer process, whichever: that changes nothing, and wants our credentials."""
        query = wire.message(version, "QuerySpec", limit=1)
        self.ask(connector, version, "POST", "/transferprocesses/request", query, read=lambda _: None)

    def start(
        self,
        connector: Connector,
        ask: Ask,
        *,
        transfer_type: str,
        reference: str,
        direction: Direction = Direction.PULL,
    ) -> str:
        """POST ``/transferprocesses``.

        Raises:
            DataFerryError: As ``EdcClient`` says.
        """
        version = self.version(connector)
        body = wire.transfer_request(
            version,
            connector,
            ask,
            transfer_type=transfer_type,
            reference=reference,
            direction=direction,
        )
        return self.ask(connector, version, "POST", "/transferprocesses", body, read=wire.id_of)

    def find(self, connector: Connector, reference: str) -> str | None:
        """POST ``/transferprocesses/request`` with the reference that ``start`` gave.

        Raises:
            DataFerryError: As ``EdcClient`` says.
        """
        version = self.version(connector)
        query = wire.reference_query(version, reference)
        found = self.ask(connector, version, "POST", "/transferprocesses/request", query, read=wire.list_of)
        # A connector that does not know the property might return whatever it has.
        theirs = [entry for entry in found if reference in json.dumps(entry)]
        return wire.id_of(theirs[0]) if theirs else None

    def process(self, connector: Connector, transfer_id: str) -> TransferProcess:
        """GET ``/transferprocesses/{id}/state``, and the whole process once it has ended, for its error.

        Raises:
            DataFerryError: As ``EdcClient`` says.
        """
        version = self.version(connector)
        path = f"/transferprocesses/{quote(transfer_id, safe='')}"
        found = self.ask(connector, version, "GET", f"{path}/state", read=wire.process_of)
        if found.state not in ENDED:
            return found
        whole = self.ask(connector, version, "GET", path, read=wire.process_of)
        return TransferProcess(state=whole.state, error=whole.error and self.redact(whole.error))

    def data_address(self, connector: Connector, transfer_id: str) -> DataAddress | None:
        """GET ``/edrs/{id}/dataaddress``, which only version 3 has; None while it answers 404.

        Raises:
            UnsupportedError: The connector speaks version 4.
            DataFerryError: As ``EdcClient`` says.
        """
        version = self.version(connector)
        if version is not ApiVersion.V3:
            raise UnsupportedError(
                "a connector of this version keeps no data addresses: they come to its data plane"
            )
        path = f"/edrs/{quote(transfer_id, safe='')}/dataaddress"
        try:
            return self.ask(connector, version, "GET", path, read=wire.address_of)
        except NotFoundError:
            return None

    def terminate(self, connector: Connector, transfer_id: str, reason: str) -> None:
        """POST ``/transferprocesses/{id}/terminate``; one that has ended (409), or is gone, is no error.

        Raises:
            DataFerryError: As ``EdcClient`` says.
        """
        version = self.version(connector)
        path = f"/transferprocesses/{quote(transfer_id, safe='')}/terminate"
        body = wire.message(version, "TerminateTransfer", reason=reason)
        try:
            self.ask(connector, version, "POST", path, body, read=lambda _: None)
        except (ConflictError, NotFoundError):
            return

    def ask(
        self,
        connector: Connector,
        version: ApiVersion,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        read: Callable[[Any], T],
    ) -> T:
        """Send one request and return what ``read`` makes of its JSON, which is None where there is none.

        Args:
            connector: Whom to ask.
            version: Of its Management API.
            method: Of HTTP.
            path: Behind the version.
            body: JSON; None sends none.
            read: Raises ``ProtocolError`` for what is no such answer.

        Raises:
            DataFerryError: As ``EdcClient`` says.
        """
        operation = f"connector {method} {path.split('/')[1]}/{path.rsplit('/', 1)[-1]}"[:100]
        if path.count("/") == 1:
            operation = f"connector {method} {path[1:]}"
        provenance = Provenance.OPERATOR if connector.is_configured else Provenance.EXTERNAL
        url = f"{connector.management_url}/{version.value}{path}"
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **self._credentials(connector),
        }
        status, content, retry_after_s = self._fetch(
            method, url, operation=operation, provenance=provenance, json=body, headers=headers
        )
        if not httpx.codes.is_success(status):
            self._refuse(connector, operation, status, content, retry_after_s)
        try:
            return read(_parsed(content))
        except ProtocolError as exc:
            raise ProtocolError(exc.message, operation=operation) from exc

    def _credentials(self, connector: Connector) -> dict[str, str]:
        """Return the headers that a connector knows us by; none for one that is not configured."""
        if not connector.is_configured:
            return {}
        if connector.token_url is not None:
            return {"Authorization": f"Bearer {self._tokens.token(connector)}"}
        return {"X-Api-Key": connector.api_key} if connector.api_key else {}

    def _refuse(
        self, connector: Connector, operation: str, status: int, content: bytes, retry_after_s: float | None
    ) -> None:
        """Raise what an answer means that is none of success, in the words of a connector of ours."""
        told = f"answered with {status} {httpx.codes.get_reason_phrase(status)}".rstrip()
        if connector.is_configured:
            try:
                said = self.redact(wire.refusal_of(json.loads(content)))
            except (ValueError, RecursionError):
                said = ""
            told += f": {said}" if said else ""
        if status == HTTPStatus.UNAUTHORIZED:
            self._tokens.forget(connector)
        raise _error(status)(told, operation=operation, retry_after_s=retry_after_s)

    def _fetch(
        self, method: str, url: str, *, operation: str, provenance: Provenance, **request: Any
    ) -> tuple[int, bytes, float | None]:
        """Send one request; return status, body and ``Retry-After`` of its answer, all within bounds."""
        deadline = time.monotonic() + 2 * self._timeout_s
        body = bytearray()
        try:
            with self._clients[provenance].stream(method, url, **request) as answer:
                for chunk in answer.iter_raw():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise TooLargeError(
                            f"the answer has more than {MAX_ANSWER_BYTES} bytes", operation=operation
                        )
                    if time.monotonic() > deadline:
                        raise StallError("the answer takes too long", operation=operation)
        except httpx.InvalidURL as exc:
            raise AddressError("the connector's address is not a URL", operation=operation) from exc
        except httpx.TimeoutException as exc:
            raise StallError(f"no answer within {self._timeout_s:g} s", operation=operation) from exc
        except httpx.RemoteProtocolError as exc:
            raise ConnectionFailedError("the answer broke off", operation=operation) from exc
        except httpx.HTTPError as exc:
            raise ConnectionFailedError(
                f"no answer from {urlsplit(url).hostname}: {type(exc).__name__}", operation=operation
            ) from exc
        return answer.status_code, bytes(body), retry_after_s(answer)


def _parsed(content: bytes) -> Any:
    """Read JSON that is not nested too deeply."""
    if not content:
        return None
    try:
        document = json.loads(content)
        check_json(document)
    except InputError as exc:
        raise ProtocolError(exc.message.replace("the body", "the answer")) from exc
    except (ValueError, RecursionError) as exc:
        raise ProtocolError("the answer is not JSON") from exc
    return document


_ERRORS: dict[int, type[DataFerryError]] = {
    HTTPStatus.UNAUTHORIZED: UnauthorizedError,
    HTTPStatus.FORBIDDEN: ForbiddenError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.METHOD_NOT_ALLOWED: UnsupportedError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.REQUEST_TIMEOUT: ServerError,
    HTTPStatus.TOO_MANY_REQUESTS: ThrottledError,
    HTTPStatus.GATEWAY_TIMEOUT: StallError,
}


def _error(status: int) -> type[DataFerryError]:
    if status in _ERRORS:
        return _ERRORS[status]
    return ServerError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ProtocolError
