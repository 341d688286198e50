"""A control plane that holds every message that passes, both ways, against the specification's rules."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from tests.interop.dps.dialects import HEAD, Dialect, spoken
from tests.interop.dps.rules import answer_faults, callback_faults, registration, request_faults
from tests.interop.dps.shapes import faults

from dataferry.demo.control_plane import PlaneAddress, Received, Reply, ScriptedControlPlane


@dataclass(frozen=True, slots=True)
class Flow:
    """What made a flow: its message and whose words that is in."""

    dialect: Dialect
    message: Mapping[str, Any]


class Inspector:
    """Holds messages against the rules, and keeps count. Thread-safe.

    Attributes:
        faults: What differed, with the message's kind before it.
        seen: How many messages of each dialect and kind were held against a rule.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.seen: Counter[tuple[str, str]] = Counter()
        self._flows: dict[str, Flow] = {}
        self._lock = threading.Lock()

    def calling(self, path: str, body: Mapping[str, Any] | None) -> None:
        """Look at a request before it is sent: a callback may be faster than its answer."""
        if body is not None and path in {"/dataflows/prepare", "/dataflows/start"}:
            with self._lock:
                self._flows.setdefault(str(body.get("processId")), Flow(spoken(dict(body)), body))

    def called(self, method: str, path: str, body: Mapping[str, Any] | None, reply: Reply) -> None:
        """Look at a request and its answer; one that was refused is no message of the specification."""
        if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
            return
        _, _, rest = path.partition("/dataflows/")
        name, _, verb = rest.rpartition("/")
        with self._lock:
            if verb in {"prepare", "start"} and body is not None:
                flow = Flow(spoken(dict(body)), body)
                self._flows[str(body.get("processId"))] = flow
                self._flows[str(reply.body.get("dataFlowId"))] = flow
            flow = self._flows.get(unquote(name) or str((body or {}).get("processId")), Flow(HEAD, {}))
            location = next((text for key, text in reply.headers.items() if key.lower() == "location"), "")
            if method == "POST":
                self._note(flow.dialect, verb, request_faults(verb, flow.dialect, body))
            answered = answer_faults(
                verb, flow.dialect, flow.message, reply.status, dict(reply.body), location
            )
            self._note(flow.dialect, f"answer to {verb}", answered)

    def told(self, one: Received) -> None:
        """Look at a callback or a registration, whatever it was answered with."""
        with self._lock:
            if one.kind == "registration":
                self._note(HEAD, one.kind, faults(registration(), dict(one.body)))
            elif one.process_id:
                dialect = self._flows.get(unquote(one.process_id), Flow(HEAD, {})).dialect
                self._note(
                    dialect, f"callback {one.kind}", callback_faults(one.kind, dialect, dict(one.body))
                )

    def _note(self, dialect: Dialect, kind: str, found: Iterable[str]) -> None:
        self.seen[dialect.name, kind] += 1
        self.faults += [f"{kind} ({dialect.name}): {fault}" for fault in found]


class InspectingControlPlane(ScriptedControlPlane):
    """The scripted control plane, with an inspector at its door."""

    def __init__(self, *, callback_token: str | None = None) -> None:
        super().__init__(callback_token=callback_token)
        self.inspector = Inspector()

    def record(self, one: Received) -> None:
        """Look at it, and keep it."""
        self.inspector.told(one)
        super().record(one)

    def _call(  # type: ignore[override]  # the other one needs no self
        self, method: str, plane: PlaneAddress, path: str, body: Mapping[str, Any] | None
    ) -> Reply:
        self.inspector.calling(path, body)
        reply = ScriptedControlPlane._call(method, plane, path, body)
        self.inspector.called(method, path, body, reply)
        return reply
