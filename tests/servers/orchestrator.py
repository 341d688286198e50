"""A whole service with an orchestrator in this process, behind a real HTTP server, and whom it works with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.servers.edc import EdcConnector
from tests.servers.http_store import HttpStore, Kept
from tests.unit.api.api_rig import served

from dataferry.app.composition import Service, build
from dataferry.app.settings import Settings

KEY = "the-key-of-the-orchestrators-clients"
CONNECTOR_KEY = "the-key-of-the-connector-0123456789"
OVER = {"COMPLETED", "PARTIALLY_COMPLETED", "FAILED", "CANCELLED"}

View = dict[str, Any]


def entry(contract_id: str, **changes: Any) -> dict[str, Any]:
    """One entry of a request, as the description has it."""
    return {
        "type": "edc-asset",
        "counterPartyAddress": "http://provider-qna-controlplane:8082/api/dsp",
        "contractId": contract_id,
        "connectorId": "did:web:provider-identityhub:7083:provider",
    } | changes


@dataclass(frozen=True, kw_only=True)
class Orchestrating:
    """A running service, and the connector and data that it is configured with."""

    url: str
    service: Service
    client: httpx.Client
    edc: EdcConnector
    data: HttpStore
    directory: Path

    @property
    def stored(self) -> Path:
        """Where files are stored."""
        return self.directory / "stored"

    def request(self, *contract_ids: str, **changes: Any) -> dict[str, Any]:
        """A request for these contracts."""
        return {
            "data": [entry(contract_id) for contract_id in contract_ids],
            "connectorAddress": self.edc.address,
        } | changes

    def post(self, body: Any, *, key: str | None = KEY, **options: Any) -> httpx.Response:
        """POST ``/orchestrate``."""
        headers = {**({"X-Api-Key": key} if key else {}), **options.pop("headers", {})}
        return self.client.post("/orchestrate", json=body, headers=headers, **options)

    def begin(self, *contract_ids: str, **changes: Any) -> str:
        """Ask for these contracts; return the orchestration's id."""
        answer = self.post(self.request(*contract_ids, **changes))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["orchestration_id"])

    def get(self, path: str, *, key: str | None = KEY) -> httpx.Response:
        """GET a path."""
        return self.client.get(path, headers={"X-Api-Key": key} if key else {})

    def status(self, id_: str) -> View:
        """Return one orchestration."""
        answer = self.get(f"/status/{id_}")
        assert answer.status_code == 200, answer.text
        view: View = answer.json()["response"]["orchestration_processes"][id_]
        return view

    def wait(self, id_: str, *, timeout_s: float = 30.0, until: Any = None) -> View:
        """Return an orchestration once it is over, or as ``until`` says."""
        deadline = time.monotonic() + timeout_s
        condition = until or (lambda view: view["process_status"] in OVER)
        while not condition(view := self.status(id_)):
            assert time.monotonic() < deadline, view
            time.sleep(0.02)
        return view

    def put(
        self, contract_id: str, path: str, content: bytes, content_type: str = "application/json"
    ) -> None:
        """Have data behind a contract."""
        self.data.objects[path] = Kept(content, headers={"Content-Type": content_type})
        self.edc.offer(contract_id, self.data.url + path, token=lambda: self.data.token)

    def files(self) -> list[str]:
        """Names of what is stored, without what belongs to a write under way."""
        return sorted(path.name for path in self.stored.iterdir())


def settings(directory: Path, edc: EdcConnector, **changes: Any) -> dict[str, Any]:
    """A configuration with one connector, quick enough for tests."""
    orchestrator: dict[str, Any] = {
        "api_key": KEY,
        "connectors": [{"address": edc.address, "api_key": CONNECTOR_KEY}],
        "data_storage_path": str(directory / "stored"),
        "data_address_delay_s": 0.1,
        "request_timeout_s": 1.0,
        "watch_interval_s": 0.2,
    }
    sections: dict[str, Any] = {
        "store": {"url": f"sqlite:///{directory / 'dataferry.db'}"},
        "egress": {"allow_private_networks": True},
        "engine": {"sweep_interval_s": 0.1, "flow_retries": 0, "attempts": 2, "workers": 2},
        "orchestrator": orchestrator,
    }
    for name, more in changes.items():
        sections[name] = {**sections.get(name, {}), **more} if isinstance(more, Mapping) else more
    return sections


@contextmanager
def orchestrating(
    directory: Path,
    *,
    edc: EdcConnector | None = None,
    data: HttpStore | None = None,
    **changes: Any,
) -> Iterator[Orchestrating]:
    """Run a service; afterwards nothing of it is left."""
    with ExitStack() as stack:
        connector = stack.enter_context(edc or EdcConnector(key=CONNECTOR_KEY))
        store = stack.enter_context(data or HttpStore(token="token-1"))
        configured = Settings.model_validate(settings(directory, connector, **changes))
        service = build(configured)
        stack.callback(service.close)
        url = stack.enter_context(served(service.application))
        service.start()
        client = stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=20))
        yield Orchestrating(
            url=url, service=service, client=client, edc=connector, data=store, directory=directory
        )
