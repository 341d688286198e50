"""The published JSON Schemas of Data Plane Signaling, taken from the kit, and messages held against them.

Source: Data Plane Signaling, "specifications/schemas"; Dataspace Protocol 2025-1, "data-address-schema.json".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7
from tests.interop.tck.relay import Exchange

SIGNALING = "https://w3id.org/dspace-sig/v1.0/"
DATA_ADDRESS = "https://w3id.org/dspace/2025/1/transfer/data-address-schema.json"
_SUFFIX = ".schema.json"

_VERB = re.compile(r"/dataflows/(?:.*/)?(prepare|start|started|suspend|resume|terminate|completed|status)$")
_CALLBACK = re.compile(r"^/transfers/[^/]+/dataflow/(prepared|started|completed|errored)$")
_REQUESTS = {
    "prepare": "DataFlowPrepareMessage",
    "start": "DataFlowStartMessage",
    "started": "DataFlowStartedNotificationMessage",
    "suspend": "DataFlowSuspendMessage",
    "resume": "DataFlowResumeMessage",
    "terminate": "DataFlowTerminateMessage",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One message held against its schema.

    Attributes:
        what: E.g. ``answer to start``.
        ours: The plane sent it; else it accepted it.
        faults: Where it differs; empty if nowhere.
    """

    what: str
    ours: bool
    faults: tuple[str, ...]


class MessageSchemas:
    """The schemas by the name of their message.

    Args:
        documents: The files by name, e.g. ``DataFlowStatusMessage.schema.json``.
        data_address: The Dataspace Protocol's schema of a DataAddress, which they refer to.
    """

    def __init__(self, documents: Mapping[str, Mapping[str, Any]], data_address: Mapping[str, Any]) -> None:
        # Their own relative $id would change what their references are relative to.
        plain = {name: {k: v for k, v in one.items() if k != "$id"} for name, one in documents.items()}
        resources = [(f"{SIGNALING}{name}", one) for name, one in plain.items()]
        registry: Registry[Any] = Registry().with_resources(
            (uri, DRAFT7.create_resource(one)) for uri, one in [*resources, (DATA_ADDRESS, data_address)]
        )
        self._validators = {
            name.removesuffix(_SUFFIX): Draft7Validator(one, registry=registry) for name, one in plain.items()
        }

    @classmethod
    def of_kit(cls, jar: Path) -> MessageSchemas:
        """Read them from the kit's archive, which checks callbacks with them."""
        with ZipFile(jar) as archive:
            names = [one for one in archive.namelist() if re.fullmatch(r"schema/[^/]+\.schema\.json", one)]
            documents = {one.rpartition("/")[2]: json.loads(archive.read(one)) for one in names}
            return cls(documents, json.loads(archive.read("schema/dsp/data-address-schema.json")))

    def faults(self, name: str, content: bytes) -> tuple[str, ...]:
        """Return where a message differs from its schema."""
        try:
            document = json.loads(content)
        except ValueError:
            return ("it is no JSON",)
        errors = self._validators[name].iter_errors(document)
        return tuple(f"{error.json_path}: {error.message[:200]}" for error in errors)

    def check(self, exchanges: Iterable[Exchange]) -> list[Checked]:
        """Hold every message against its schema, ours and those that were accepted."""
        return [checked for one in exchanges for checked in self._check(one)]

    def _check(self, one: Exchange) -> Iterable[Checked]:
        callback = _CALLBACK.match(one.path)
        if callback is not None:
            yield self._one(f"callback {callback[1]}", "DataFlowStatusMessage", one.request, ours=True)
        if one.path == "/dataplanes":
            yield self._one("registration", "DataPlaneRegistrationMessage", one.request, ours=True)
        verb = _VERB.search(one.path)
        if verb is None or one.status >= 300:
            return
        name = "DataFlowStatusResponseMessage" if verb[1] == "status" else "DataFlowStatusMessage"
        answer = self._one(f"answer to {verb[1]}", name, one.answer, ours=True)
        yield Checked(what=answer.what, ours=True, faults=(*answer.faults, *_header_faults(one)))
        if verb[1] in _REQUESTS:
            yield self._one(verb[1], _REQUESTS[verb[1]], one.request, ours=False)

    def _one(self, what: str, name: str, content: bytes, *, ours: bool) -> Checked:
        return Checked(what=what, ours=ours, faults=self.faults(name, content))


def _header_faults(one: Exchange) -> tuple[str, ...]:
    """Return what is wrong with the header that a 202 must have.

    Source: Data Plane Signaling, "Prepare" and "Start".
    """
    if one.status != 202 or re.search(r"/dataflows/[^/]+/status$", one.location):
        return ()
    return (f"202 with Location {one.location!r}",)
