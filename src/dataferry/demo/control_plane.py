"""A small scripted control plane: sends Data Plane Signaling messages, and records what planes send back.

It keeps no state machine of its own: the script that uses it decides what to send next, which is also what
tests need. A connector's control plane does the same from contracts and protocol messages.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import quote

import httpx

from dataferry.demo.processes import Running

MAX_BODY_BYTES = 1024 * 1024
CALL_TIMEOUT_S = 30.0


class NoMessageError(Exception):
    """What was waited for did not come in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One message from a data plane.

    Attributes:
        kind: ``registration``, or the last segment of a callback's path: ``prepared``, ``started``, …
        process_id: Of a callback; empty for a registration.
        answered: The HTTP status that it was answered with.
    """

    kind: str
    process_id: str
    body: Mapping[str, Any]
    authorization: str
    answered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a data plane answered."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def state(self) -> str:
        """The flow's state in it; empty if it has none."""
        return str(self.body.get("state", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneAddress:
    """How a control plane reaches a data plane.

    Attributes:
        url: Base of its signaling API, e.g. ``http://127.0.0.1:8080/api/v1``.
        token: Bearer token that it knows this control plane by.
    """

    url: str
    token: str | None = field(default=None, repr=False)


def message(process_id: str, dataset_id: str, profile: str, **changes: Any) -> dict[str, Any]:
    """Return a prepare or start message.

    Args:
        process_id: The transfer process.
        dataset_id: What is transferred.
        profile: Profile URL or alias.
        changes: Further or other fields.

    Source: Data Plane Signaling, "DataFlowPrepareMessage", "DataFlowStartMessage".
    """
    return {
        "messageId": str(uuid.uuid4()),
        "participantId": "did:web:provider.example",
        "counterPartyId": "did:web:consumer.example",
        "dataspaceContext": "demo",
        "processId": process_id,
        "agreementId": f"agreement-{dataset_id}",
        "datasetId": dataset_id,
        "profile": profile,
        "claims": {"membership": "active"},
        **changes,
    }


class ScriptedControlPlane(Running):
    """A control plane with an address of its own, as a context manager.

    Args:
        callback_token: Bearer token that callbacks must carry; None takes any.
        accepts: Says of the ``Authorization`` of a message whether it is taken; None takes any.
        answer: Chooses the status of each answer by kind and process id; 200 to everything if None.
    """

    def __init__(
        self,
        *,
        callback_token: str | None = None,
        accepts: Callable[[str], bool] | None = None,
        answer: Callable[[str, str], int] | None = None,
    ) -> None:
        self.callback_token = callback_token
        self.accepts = accepts
        self.answer = answer
        self.port = 0
        self._received: list[Received] = []
        self._arrived = threading.Condition()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def endpoint_url(self) -> str:
        """Base URL of its signaling API."""
        return f"http://127.0.0.1:{self.port}/signaling"

    def start(self) -> None:
        """Listen; after a ``stop`` on the same port again."""
        handler = type("Handler", (_Handler,), {"control_plane": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening: an outage. What was received stays known."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = self._thread = None

    # What came in

    @property
    def received(self) -> tuple[Received, ...]:
        """Every message in the order of arrival, those answered with an error included."""
        with self._arrived:
            return tuple(self._received)

    def accepted(self, process_id: str) -> list[Received]:
        """Callbacks of a process that were answered with 2xx, in order."""
        return [one for one in self.received if one.process_id == process_id and one.answered < 300]  # noqa: PLR2004

    def record(self, one: Received) -> None:
        """Keep a message and wake who waits for it."""
        with self._arrived:
            self._received.append(one)
            self._arrived.notify_all()

    def wait_for(self, kind: str, process_id: str = "", *, timeout_s: float = 30.0) -> Received:
        """Return the first accepted message of a kind, waiting for it.

        Raises:
            NoMessageError: It did not come in time; names what came instead.
        """
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            while True:
                for one in self._received:
                    if (one.kind, one.process_id) == (kind, process_id) and one.answered < 300:  # noqa: PLR2004
                        return one
                left = deadline - time.monotonic()
                if left <= 0:
                    came = ", ".join(f"{one.kind} ({one.answered})" for one in self._received) or "nothing"
                    raise NoMessageError(
                        f"no {kind} for {process_id!r} within {timeout_s:.0f} s; came: {came}"
                    )
                # In slices, so that a signal is handled while the main thread waits here.
                self._arrived.wait(min(left, 0.5))

    # What goes out

    def prepare(self, plane: PlaneAddress, body: Mapping[str, Any]) -> Reply:
        """POST ``/dataflows/prepare``."""
        return self._post(plane, "prepare", body)

    def start_flow(self, plane: PlaneAddress, body: Mapping[str, Any]) -> Reply:
        """POST ``/dataflows/start``."""
        return self._post(plane, "start", body)

    def notify(self, plane: PlaneAddress, flow_id: str, verb: str, **fields: Any) -> Reply:
        """POST ``/dataflows/{id}/{verb}``: started, suspend, resume, terminate or completed.

        Args:
            plane: To whom.
            flow_id: The plane's dataFlowId, or the processId.
            verb: The last segment of the path.
            fields: Of the message, beside ``messageId``; ``completed`` has no body.
        """
        body = None if verb == "completed" else {"messageId": str(uuid.uuid4()), **fields}
        return self._post(plane, f"{quote(flow_id, safe='')}/{verb}", body)

    def status(self, plane: PlaneAddress, flow_id: str) -> Reply:
        """GET ``/dataflows/{id}/status``."""
        return self._call("GET", plane, f"/dataflows/{quote(flow_id, safe='')}/status", None)

    def _post(self, plane: PlaneAddress, path: str, body: Mapping[str, Any] | None) -> Reply:
        return self._call("POST", plane, f"/dataflows/{path}", body)

    @staticmethod
    def _call(method: str, plane: PlaneAddress, path: str, body: Mapping[str, Any] | None) -> Reply:
        headers = {} if plane.token is None else {"Authorization": f"Bearer {plane.token}"}
        with httpx.Client(trust_env=False, timeout=CALL_TIMEOUT_S) as client:
            answer = client.request(method, plane.url + path, json=body, headers=headers)
        return Reply(status=answer.status_code, body=_object(answer.content), headers=dict(answer.headers))


class _Handler(BaseHTTPRequestHandler):
    """Takes registrations and callbacks. HTTP/1.0: an outage leaves no connection that still works."""

    control_plane: ClassVar[ScriptedControlPlane]
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the script shows what matters."""

    def do_PUT(self) -> None:
        """``PUT /dataplanes``."""
        known = self.path == "/signaling/dataplanes"
        self._take("registration" if known else "", "")

    def do_POST(self) -> None:
        """``POST /transfers/{processId}/dataflow/{kind}``."""
        parts = self.path.split("/")
        known = len(parts) == 6 and (parts[1], parts[2], parts[4]) == ("signaling", "transfers", "dataflow")  # noqa: PLR2004
        self._take(parts[5] if known else "", parts[3] if known else "")

    def _take(self, kind: str, process_id: str) -> None:
        plane = self.control_plane
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if 0 <= length <= MAX_BODY_BYTES else b""
        authorization = self.headers.get("Authorization", "")
        status = 404 if not kind else plane.answer(kind, process_id) if plane.answer else 200
        if plane.callback_token is not None and authorization != f"Bearer {plane.callback_token}":
            status = 401
        if plane.accepts is not None and not plane.accepts(authorization):
            status = 401
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        plane.record(
            Received(
                kind=kind or self.path,
                process_id=process_id,
                body=_object(body),
                authorization=authorization,
                answered=status,
            )
        )


def _object(content: bytes) -> Mapping[str, Any]:
    """Read a JSON object; an empty one if it is none."""
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
