"""A connector to which data is pushed: it has a place prepared at its data plane, and tells how it ends.

It stands in for both control planes: what the consumer's tells its data plane, and when the provider begins.
The provider itself is the test, which sends to ``place``.

Source: EDC 0.18.0, ``TransferProcessorsImpl``: prepare, then the request, then started and completed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from tests.servers.edc import EdcConnector, Process

PUSH = "HttpData-PUSH"


class PushedConnector:
    """The face that a stand-in's data plane sees.

    Args:
        edc: The connector.
        post: Sends a message to the signaling API of its data plane; returns the status and the answer.
        profile: Of the transfers.
    """

    def __init__(
        self,
        edc: EdcConnector,
        post: Callable[[str, Mapping[str, Any]], httpx.Response],
        *,
        profile: str = PUSH,
    ) -> None:
        self.edc, self._post, self._profile = edc, post, profile
        self.places: dict[str, dict[str, Any]] = {}
        edc.on_start, edc.on_started = self.prepare, self.started
        self.hands_on = True

    def offer(self, *contracts: str) -> None:
        """Let there be these contracts."""
        for contract in contracts:
            self.edc.offer(contract, "http://nobody.invalid/")

    def prepare(self, process: Process) -> None:
        """Ask the data plane for a place, with what the transfer request says for it; refused is ended."""
        told = process.request["dataplaneMetadata"]["properties"]
        body = {
            "messageId": f"prepare-{process.id}",
            "participantId": "did:web:us",
            "counterPartyId": "did:web:them",
            "dataspaceContext": "test",
            "processId": process.id,
            "agreementId": process.contract_id,
            "datasetId": f"asset-{process.contract_id}",
            "profile": self._profile,
            "metadata": told.get("@value", told) if self.hands_on else {},
        }
        answer = self._post("prepare", body)
        if not answer.is_success:
            self.edc.end(process.id, "TERMINATED", f"prepare was refused: {answer.json()['detail']}")
            return
        self.places[process.id] = answer.json()["dataAddress"]

    def started(self, process: Process) -> None:
        """Tell that the provider has begun."""
        self.notify(process.id, "started")

    def notify(self, process_id: str, verb: str) -> None:
        """Send a verb that is accepted."""
        answer = self._post(f"{process_id}/{verb}", {"messageId": f"{verb}-{process_id}"})
        assert answer.is_success, answer.text

    def complete(self, process_id: str) -> None:
        """The provider has sent everything."""
        self.notify(process_id, "completed")
        self.edc.end(process_id, "COMPLETED")

    def place(self, process_id: str) -> tuple[str, dict[str, str]]:
        """Where the provider sends to: a path of the data plane, and the headers that it wants."""
        address = self.places[process_id]
        values = {one["name"]: one["value"] for one in address["endpointProperties"]}
        return urlsplit(address["endpoint"]).path, {"Authorization": f"Bearer {values['authorization']}"}

    def resume(self, process_id: str) -> None:
        """Go on; the answer has a fresh address."""
        answer = self._post(f"{process_id}/resume", {"messageId": f"resume-{process_id}"})
        assert answer.is_success, answer.text
        self.places[process_id] = answer.json()["dataAddress"]
