"""A stand-in for a connector of Eclipse Dataspace Components: its Management API, with faults on request.

    with EdcConnector(key="secret") as edc, HttpStore(token="t1") as data:
        edc.offer("contract-1", f"{data.url}/a.json", token=lambda: data.token)
        edc.inject("edr", Fault.STATUS, status=404, times=2)
        ...
        assert [call.operation for call in edc.calls] == ["query", "start", "state", "edr", "terminate"]

Catalogs and negotiations are in ``edc.contracts``. It keeps transfer processes as EDC does: INITIAL,
REQUESTED, then STARTED after ``looks`` looks at them, with a data address from then on and until they end.
Version 3 is flat JSON-LD as EDC writes it, or ``expanded``;
version 4 has no data addresses.

Source: Eclipse Dataspace Components, Management API v3 and v4 (0.18.0).
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any

from tests.servers.edc_contracts import Contracts
from tests.servers.loopback_http import LoopbackHttp

EDC = "https://w3id.org/edc/v0.0.1/ns/"
REFERENCE = f"{EDC}dataferryEntry"
_PATH = re.compile(
    r"(?P<base>.*)/(?P<version>v[34])/(?P<rest>(?:transferprocesses|edrs|catalog|contractnegotiations)\b.*)"
)
_OPERATIONS = [
    ("POST", re.compile(r"transferprocesses/request"), "query"),
    ("POST", re.compile(r"transferprocesses"), "start"),
    ("GET", re.compile(r"transferprocesses/(?P<id>[^/]+)/state"), "state"),
    ("GET", re.compile(r"transferprocesses/(?P<id>[^/]+)"), "process"),
    ("POST", re.compile(r"transferprocesses/(?P<id>[^/]+)/terminate"), "terminate"),
    ("GET", re.compile(r"edrs/(?P<id>[^/]+)/dataaddress"), "edr"),
    ("POST", re.compile(r"catalog/dataset/request"), "dataset"),
    ("POST", re.compile(r"catalog/request"), "catalog"),
    ("POST", re.compile(r"contractnegotiations/request"), "negotiations"),
    ("POST", re.compile(r"contractnegotiations"), "negotiate"),
    ("GET", re.compile(r"contractnegotiations/(?P<id>[^/]+)/state"), "negotiation_state"),
    ("GET", re.compile(r"contractnegotiations/(?P<id>[^/]+)/agreement"), "agreement"),
    ("GET", re.compile(r"contractnegotiations/(?P<id>[^/]+)"), "negotiation"),
    ("POST", re.compile(r"contractnegotiations/(?P<id>[^/]+)/terminate"), "break_off"),
]
_ENDED = {"COMPLETED", "TERMINATED"}


class Fault(StrEnum):
    """How a call is answered instead."""

    STATUS = "status"
    HANG = "hang"  # nothing for as long as the server lives
    DRIP = "drip"  # a byte now and then
    TRUNCATE = "truncate"  # half of the body, then the connection closes
    HANG_UP = "hang up"  # the connection closes without an answer
    LOSE_ANSWER = "lose answer"  # it is done, and the connection closes without an answer
    NOT_JSON = "not json"
    WRONG_JSON = "wrong json"  # JSON, of another shape
    HUGE = "huge"  # more than any answer has
    DEEP = "deep"  # JSON nested very deeply
    REDIRECT = "redirect"


@dataclass(slots=True, kw_only=True)
class Process:
    """A transfer process."""

    id: str
    contract_id: str
    reference: str | None
    request: dict[str, Any]
    state: str = "INITIAL"
    looks: int = 0
    error: str | None = None
    reason: str | None = None


@dataclass(slots=True, kw_only=True)
class Call:
    """One call as it came."""

    operation: str
    version: str
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class _Injection:
    operation: str
    fault: Fault
    times: int
    status: int


@dataclass(slots=True, kw_only=True)
class _Offer:
    url: str | Callable[[], str]
    token: Callable[[], str | None]
    properties: dict[str, str] = field(default_factory=dict)


class EdcConnector(LoopbackHttp):
    """The server, as a context manager.

    Args:
        key: What ``X-Api-Key`` must be; None lets everybody in.
        versions: Of the Management API that it has.
        looks: At a process before it is STARTED.
        bearer: What ``Authorization`` must be instead of a key.
    """

    def __init__(
        self,
        *,
        key: str | None = None,
        versions: tuple[str, ...] = ("v3", "v4"),
        looks: int = 1,
        bearer: str | None = None,
    ) -> None:
        self.key, self.versions, self.looks, self.bearer = key, versions, looks, bearer
        self.processes: dict[str, Process] = {}
        self.calls: list[Call] = []
        self.offers: dict[str, _Offer] = {}
        self.contracts = Contracts(self.offers)
        self.fails: dict[str, str] = {}
        self.tokens: list[dict[str, str]] = []
        self.expanded = False
        # Called when a process was made, and just before it is STARTED: what its own data plane is told then.
        self.on_start: Callable[[Process], None] = lambda _: None
        self.on_started: Callable[[Process], None] = lambda _: None
        self.released = threading.Event()
        self._injections: list[_Injection] = []
        self._lock = threading.Lock()
        connector = self

        class Handler(_Handler):
            edc = connector

        super().__init__(Handler)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        super().__exit__(kind, error, trace)

    @property
    def address(self) -> str:
        """What a request names."""
        return f"http://127.0.0.1:{self.port}/consumer/cp"

    def offer(
        self,
        contract_id: str,
        url: str | Callable[[], str],
        *,
        token: Callable[[], str | None] = lambda: None,
        **properties: str,
    ) -> None:
        """Let transfers under a contract lead to the URL, with the token, that holds at the time.

        An ``authType`` that is empty is left out.
        """
        self.offers[contract_id] = _Offer(url=url, token=token, properties=properties)

    def fail(self, contract_id: str, detail: str) -> None:
        """Let transfers under a contract be TERMINATED by the provider."""
        self.fails[contract_id] = detail

    def end(self, process_id: str, state: str, detail: str | None = None) -> None:
        """Let a process end by the other side."""
        with self._lock:
            process = self.processes[process_id]
            process.state, process.error = state, detail

    def inject(self, operation: str, fault: Fault, *, times: int = 1, status: int = 500) -> None:
        """Let the next calls of an operation (``*``: of any) fail."""
        with self._lock:
            self._injections.append(_Injection(operation, fault, times, status))

    def clear(self) -> None:
        """Take faults back that no call met."""
        with self._lock:
            self._injections.clear()

    def count(self, operation: str) -> int:
        """How often an operation was called."""
        with self._lock:
            return sum(call.operation == operation for call in self.calls)

    def due(self, operation: str) -> _Injection | None:
        """Take the fault that waits for an operation."""
        with self._lock:
            for injection in self._injections:
                if injection.operation in {"*", operation} and injection.times:
                    injection.times -= 1
                    return injection
        return None

    def perform(self, operation: str, version: str, id_: str | None, body: Any) -> tuple[int, Any]:
        """Do what an operation does, and tell its data plane."""
        known = self.processes.get(id_ or "")
        before = None if known is None else known.state
        answer = self._perform(operation, version, id_, body)
        status, content = answer
        if operation == "start" and status == HTTPStatus.OK:
            self.on_start(self.processes[content["@id"]])
        elif known is not None and known.state == "STARTED" != before:
            self.on_started(known)
        return answer

    def _perform(self, operation: str, version: str, id_: str | None, body: Any) -> tuple[int, Any]:
        with self._lock:
            about_contracts = self.contracts.perform(operation, version, id_, body)
            if about_contracts is not None:
                return about_contracts
            if operation == "start":
                return self._start(body)
            if operation == "query":
                return self._query(body, version)
            process = self.processes.get(id_ or "")
            if process is None:
                return 404, _error(f"Object of type TransferProcess with ID={id_} was not found")
            verbs = {
                "state": self._state,
                "process": self._process,
                "edr": self._edr,
                "terminate": self._terminate,
            }
            return verbs[operation](process, body)

    def _start(self, body: Any) -> tuple[int, Any]:
        contract = body.get("contractId")
        if contract not in self.offers and contract not in self.fails:
            return 400, _error(f"Contract agreement with id {contract} not found")
        private = body.get("privateProperties") or {}
        process = Process(
            id=str(uuid.uuid4()), contract_id=contract, reference=private.get(REFERENCE), request=body
        )
        self.processes[process.id] = process
        return 200, {"@type": "IdResponse", "@id": process.id, "createdAt": 1, "@context": {"@vocab": EDC}}

    def _query(self, body: Any, version: str) -> tuple[int, Any]:
        del version
        criteria = body.get("filterExpression") or []
        found = list(self.processes.values())
        for criterion in criteria:
            assert criterion["operandLeft"] == f"privateProperties.'{REFERENCE}'"
            found = [one for one in found if one.reference == criterion["operandRight"]]
        return 200, [self._shown(one) for one in found[: body.get("limit", 50)]]

    def _shown(self, process: Process) -> dict[str, Any]:
        shown = {
            "@id": process.id,
            "@type": "TransferProcess",
            "state": process.state,
            "type": "CONSUMER",
            "contractId": process.contract_id,
            "privateProperties": {REFERENCE: process.reference},
            "@context": {"@vocab": EDC, "edc": EDC},
        }
        return shown if process.error is None else {**shown, "errorDetail": process.error}

    def _state(self, process: Process, body: Any) -> tuple[int, Any]:
        del body
        process.looks += 1
        if process.state not in {*_ENDED, "STARTED", "SUSPENDED"}:
            process.state = "REQUESTED"
            if process.looks >= self.looks:
                process.state = "TERMINATED" if process.contract_id in self.fails else "STARTED"
                process.error = self.fails.get(process.contract_id)
        name = f"{EDC}state" if self.expanded else "state"
        value = [{"@value": process.state}] if self.expanded else process.state
        return 200, {"@type": "TransferState", name: value, "@context": {"@vocab": EDC}}

    def _process(self, process: Process, body: Any) -> tuple[int, Any]:
        del body
        return 200, self._shown(process)

    def _edr(self, process: Process, body: Any) -> tuple[int, Any]:
        del body
        if process.state != "STARTED":
            return 404, _error(f"No EDR for {process.id}")
        offer = self.offers[process.contract_id]
        token = offer.token()
        found: dict[str, Any] = {
            "@type": "DataAddress",
            "type": "https://w3id.org/idsa/v4.1/HTTP",
            "endpointType": "https://w3id.org/idsa/v4.1/HTTP",
            "endpoint": offer.url if isinstance(offer.url, str) else offer.url(),
        }
        if token is not None:
            found |= {"authType": "bearer", "authorization": token}
        found |= offer.properties
        if not found.get("authType"):
            found.pop("authType", None)
        if self.expanded:
            found = {
                name if name.startswith("@") else EDC + name: value
                if name.startswith("@")
                else [{"@value": value}]
                for name, value in found.items()
            }
        return 200, {**found, "@context": {"@vocab": EDC}}

    def _terminate(self, process: Process, body: Any) -> tuple[int, Any]:
        if process.state in _ENDED:
            return 409, _error(f"Process {process.id} is in state {process.state}")
        process.state, process.reason = "TERMINATED", body.get("reason")
        return 204, None


def _error(message: str) -> list[dict[str, Any]]:
    return [{"message": message, "type": "BadRequest", "path": None, "invalidValue": None}]


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    edc: EdcConnector
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/token"):
            self._token(raw)
            return
        found = _PATH.fullmatch(self.path)
        operation, id_ = self._operation(found["rest"]) if found else (None, None)
        if found is None or operation is None or found["version"] not in self.edc.versions:
            self._send(404, b"<html>no such resource</html>", "text/html")
            return
        if found["version"] == "v4" and operation == "edr":
            self._send(404, b"<html>no such resource</html>", "text/html")
            return
        body = json.loads(raw) if raw else None
        self.edc.calls.append(
            Call(operation=operation, version=found["version"], headers=dict(self.headers), body=body)
        )
        if self.edc.key is not None and self.headers.get("X-Api-Key") != self.edc.key:
            self._json(401, _error("Request could not be authenticated"))
            return
        if self.edc.bearer is not None and self.headers.get("Authorization") != f"Bearer {self.edc.bearer}":
            self._json(401, _error("Request could not be authenticated"))
            return
        if self._faulty(operation, found["version"], id_, body):
            return
        self._json(*self.edc.perform(operation, found["version"], id_, body))

    do_GET = do_POST = _handle  # noqa: N815 - http.server's names

    def _token(self, raw: bytes) -> None:
        self.edc.tokens.append(dict(pair.split("=", 1) for pair in raw.decode().split("&")))
        self._json(200, {"access_token": self.edc.bearer, "token_type": "bearer", "expires_in": 300})

    def _operation(self, rest: str) -> tuple[str | None, str | None]:
        for method, pattern, name in _OPERATIONS:
            match = pattern.fullmatch(rest)
            if match and method == self.command:
                return name, match.groupdict().get("id")
        return None, None

    def _faulty(self, operation: str, version: str, id_: str | None, body: Any) -> bool:
        """Answer as an injected fault says; False if there is none."""
        injection = self.edc.due(operation)
        if injection is None:
            return False
        fault = injection.fault
        if fault is Fault.STATUS:
            self._json(injection.status, _error("injected"))
        elif fault is Fault.REDIRECT:
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.edc.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif fault in {Fault.HANG, Fault.HANG_UP}:
            if fault is Fault.HANG:
                self.edc.released.wait(60)
            self.close_connection = True
        elif fault is Fault.LOSE_ANSWER:
            self.edc.perform(operation, version, id_, body)
            self.close_connection = True
        elif fault is Fault.DRIP:
            self._drip()
        else:
            self._odd(fault)
        return True

    def _odd(self, fault: Fault) -> None:
        bodies = {
            Fault.NOT_JSON: b"<html>Bad gateway</html>",
            Fault.WRONG_JSON: b'["not", {"what": "was expected"}]',
            Fault.HUGE: b'{"state": "' + b"x" * (3 * 1024 * 1024) + b'"}',
            Fault.DEEP: b'{"a":' * 500 + b"1" + b"}" * 500,
            Fault.TRUNCATE: b'{"@id": "half of it',
        }
        content = bodies[fault]
        if fault is Fault.TRUNCATE:
            self.send_response(200)
            self.send_header("Content-Length", str(2 * len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True
            return
        self._send(200, content, "application/json")

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        while not self.edc.released.wait(0.2):
            try:
                self.wfile.write(b" ")
                self.wfile.flush()
            except OSError:
                break
        self.close_connection = True

    def _json(self, status: int, document: Any) -> None:
        content = b"" if document is None else json.dumps(document).encode()
        self._send(status, content, "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        try:
            self.wfile.write(content)
        except OSError:
            self.close_connection = True
