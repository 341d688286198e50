"""A control plane of Eclipse Dataspace Components: its process, and its Management API as operators use it.

Source: Eclipse Dataspace Components, Management API v4.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from dataferry.demo.processes import ChildProcess, StartError, free_port

CONTEXT = ["https://w3id.org/edc/connector/management/v2"]
PROTOCOL = "dataspace-protocol-http:2025-1"
MAIN = "org.eclipse.edc.boot.system.runtime.BaseRuntime"
START_TIMEOUT_S = 90.0
STEP_TIMEOUT_S = 60.0
STARTS = 3
POLL_S = 0.1


class ConnectorError(Exception):
    """The connector did not do what was asked; the message has its answer or its log."""


class Connector:
    """One participant's control plane, in memory, on loopback.

    Args:
        name: What messages call it.
        participant_id: Who it is in the dataspace.
        directory: For its configuration and log.
        classpath: Of the connector and all that it needs.
    """

    def __init__(self, name: str, participant_id: str, directory: Path, classpath: Sequence[Path]) -> None:
        self.name = name
        self.participant_id = participant_id
        directory.mkdir(parents=True, exist_ok=True)
        self._config = config = directory / "connector.properties"
        self._take_ports()
        self.process = ChildProcess(
            f"connector {name}",
            [
                shutil.which("java") or "java",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xmx256m",
                f"-Dedc.fs.config={config}",
                "-cp",
                os.pathsep.join(map(str, classpath)),
                MAIN,
            ],
            log=directory / "connector.log",
            environment={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory)},
        )
        self._client = httpx.Client(trust_env=False, timeout=10.0)

    def _take_ports(self) -> None:
        """Choose ports that are free now; somebody else may have one of them before the connector starts."""
        contexts = ("management", "control", "protocol", "signaling")
        self._ports = {context: free_port() for context in contexts}
        self._health = free_port()
        written = "\n".join(f"{key}={value}" for key, value in self._settings().items())
        self._config.write_text(f"{written}\n")

    def _settings(self) -> dict[str, Any]:
        """Short waits between the steps of its state machines; the rest is what it needs to start."""
        waits = ("edc.transfer.state-machine", "edc.negotiation.state-machine")
        listeners = {
            f"web.http.{context}.{key}": value
            for context, port in self._ports.items()
            for key, value in (("port", port), ("path", f"/{context}"))
        }
        return {
            "edc.participant.id": self.participant_id,
            "edc.iam.mock.region": "eu",
            "edc.dsp.callback.address": self.protocol_url,
            "web.http.port": self._health,
            "web.http.path": "/api",
            **listeners,
            **{f"{wait}.iteration-wait-millis": 50 for wait in waits},
            "edc.transfer.send.retry.limit": 3,
            "edc.transfer.send.retry.base-delay.ms": 500,
        }

    def _url(self, context: str) -> str:
        return f"http://localhost:{self._ports[context]}/{context}"

    @property
    def management_url(self) -> str:
        """Where its operators call it."""
        return self._url("management")

    @property
    def protocol_url(self) -> str:
        """Where other connectors call it."""
        return self._url("protocol")

    @property
    def signaling_url(self) -> str:
        """Where data planes call back."""
        return self._url("signaling")

    def start(self) -> None:
        """Start it, and wait until it answers; on other ports where somebody else was faster.

        Raises:
            StartError: It did not come up.
        """
        for _ in range(STARTS - 1):
            try:
                self._start()
            except StartError as exc:
                if "Address already in use" not in str(exc):
                    raise
                self.process.stop()
                self._take_ports()
            else:
                return
        self._start()

    def _start(self) -> None:
        self.process.start()
        self.process.wait_until_http(
            self._health, "/api/check/liveness", timeout_s=START_TIMEOUT_S, below=300
        )

    def stop(self) -> None:
        """End it."""
        self._client.close()
        self.process.stop()

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the Management API and return its answer.

        Raises:
            ConnectorError: It was refused.
        """
        content = None if body is None else {"@context": CONTEXT, **body}
        answer = self._client.request(method, f"{self.management_url}/v4{path}", json=content)
        if not answer.is_success:
            raise ConnectorError(f"{method} {path}: {answer.status_code} {answer.text[:1000]}")
        return answer.json() if answer.content else None

    def offer(
        self, asset_id: str, *, policy: Mapping[str, Any] | None = None, profiles: Sequence[str] = ()
    ) -> None:
        """Offer an asset to everybody, under a policy, which permits all if none is given."""
        self.call(
            "POST",
            "/assets",
            {
                "@type": "Asset",
                "@id": asset_id,
                "properties": {"name": asset_id},
                "dataplaneMetadata": {"@type": "DataplaneMetadata", "profiles": list(profiles)},
            },
        )
        definition = {"@type": "PolicyDefinition", "@id": f"all-{asset_id}"}
        self.call("POST", "/policydefinitions", {**definition, "policy": {"@type": "Set", **(policy or {})}})
        self.call(
            "POST",
            "/contractdefinitions",
            {
                "@type": "ContractDefinition",
                "@id": f"contract-{asset_id}",
                "accessPolicyId": f"all-{asset_id}",
                "contractPolicyId": f"all-{asset_id}",
                "assetsSelector": [
                    {
                        "@type": "Criterion",
                        "operandLeft": "https://w3id.org/edc/v0.0.1/ns/id",
                        "operator": "=",
                        "operandRight": asset_id,
                    }
                ],
            },
        )

    def catalog(self, provider: Connector) -> list[dict[str, Any]]:
        """Return what a provider offers."""
        found = self.call(
            "POST",
            "/catalog/request",
            {
                "@type": "CatalogRequest",
                "protocol": PROTOCOL,
                "counterPartyAddress": f"{provider.protocol_url}/2025-1",
                "counterPartyId": provider.participant_id,
            },
        )
        datasets = found.get("dataset", [])
        return datasets if isinstance(datasets, list) else [datasets]

    def negotiate(self, provider: Connector, asset_id: str) -> str:
        """Negotiate a contract about an offered asset; return the agreement's id."""
        (dataset,) = (one for one in self.catalog(provider) if one["@id"] == asset_id)
        offers = dataset["hasPolicy"]
        offer = offers[0] if isinstance(offers, list) else offers
        begun = self.call(
            "POST",
            "/contractnegotiations",
            {
                "@type": "ContractRequest",
                "protocol": PROTOCOL,
                "counterPartyAddress": f"{provider.protocol_url}/2025-1",
                "policy": {
                    **offer,
                    "@type": "Offer",
                    "assigner": provider.participant_id,
                    "target": asset_id,
                },
            },
        )
        path = f"/contractnegotiations/{quote(begun['@id'], safe='')}"
        found = self._until(path, "FINALIZED", bad={"TERMINATED"})
        return str(found["contractAgreementId"])

    def transfer(self, provider: Connector, agreement_id: str, transfer_type: str) -> str:
        """Start a transfer under an agreement; return the transfer process's id."""
        begun = self.call(
            "POST",
            "/transferprocesses",
            {
                "@type": "TransferRequest",
                "protocol": PROTOCOL,
                "counterPartyAddress": f"{provider.protocol_url}/2025-1",
                "contractId": agreement_id,
                "transferType": transfer_type,
            },
        )
        return str(begun["@id"])

    def read(self, process_id: str) -> dict[str, Any]:
        """Return a transfer process."""
        found: dict[str, Any] = self.call("GET", f"/transferprocesses/{quote(process_id, safe='')}")
        return found

    def counterpart(self, process_id: str) -> str:
        """Return the id that this connector gave the process of another one's that belongs to it."""
        query = {
            "@type": "QuerySpec",
            "filterExpression": [
                {
                    "@type": "Criterion",
                    "operandLeft": "correlationId",
                    "operator": "=",
                    "operandRight": process_id,
                }
            ],
        }
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while time.monotonic() < deadline:
            found = self.call("POST", "/transferprocesses/request", query)
            if found:
                return str(found[0]["@id"])
            time.sleep(POLL_S)
        raise ConnectorError(f"{self.name} has no process that belongs to {process_id}")

    def wait(self, process_id: str, state: str, *, timeout_s: float = STEP_TIMEOUT_S) -> dict[str, Any]:
        """Return a transfer process once it is in a state.

        Raises:
            ConnectorError: It is not in time, or it came to another end.
        """
        bad = {"TERMINATED", "COMPLETED"} - {state}
        path = f"/transferprocesses/{quote(process_id, safe='')}"
        return self._until(path, state, bad=bad, timeout_s=timeout_s)

    def data_address(self, process_id: str) -> dict[str, Any]:
        """Return the data address of a consumer's process that has started, as version 3 keeps it."""
        path = f"/v3/edrs/{quote(process_id, safe='')}/dataaddress"
        answer = self._client.get(self.management_url + path)
        if not answer.is_success:
            raise ConnectorError(f"{self.name}: GET {path}: {answer.status_code} {answer.text[:1000]}")
        found: dict[str, Any] = answer.json()
        return found

    def suspend(self, process_id: str) -> None:
        """Suspend a transfer process."""
        body = {"@type": "SuspendTransfer", "reason": "a pause"}
        self.call("POST", f"/transferprocesses/{quote(process_id, safe='')}/suspend", body)

    def resume(self, process_id: str) -> None:
        """Resume a transfer process."""
        self.call("POST", f"/transferprocesses/{quote(process_id, safe='')}/resume")

    def terminate(self, process_id: str) -> None:
        """Terminate a transfer process."""
        body = {"@type": "TerminateTransfer", "reason": "no more"}
        self.call("POST", f"/transferprocesses/{quote(process_id, safe='')}/terminate", body)

    def _until(
        self, path: str, state: str, *, bad: set[str], timeout_s: float = STEP_TIMEOUT_S
    ) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while True:
            found: dict[str, Any] = self.call("GET", path)
            if found["state"] == state:
                return found
            if found["state"] in bad or time.monotonic() > deadline:
                raise ConnectorError(f"{self.name}: not {state}: {found}\n{self.process.log_tail()}")
            time.sleep(POLL_S)
