"""The OpenAPI document: what it says is there is there, and its examples work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.api.api_rig import Plane

from dataferry.api.problems import TITLES
from dataferry.api.signaling import examples
from dataferry.api.signaling.wire import (
    ControlPlaneRegistrationMessage,
    DataFlowPrepareMessage,
    DataFlowReasonMessage,
    DataFlowResumeMessage,
    DataFlowStartedNotificationMessage,
    DataFlowStartMessage,
    Message,
)
from dataferry.domain.address import DataAddress
from dataferry.domain.purview import Scope

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "http-api.md"


@pytest.fixture(scope="module")
def document(api: Plane) -> dict[str, Any]:
    """The document as it is served."""
    found: dict[str, Any] = api.client.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """All operations by (method, path)."""
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_verb_of_the_specification_is_there(document: dict[str, Any]) -> None:
    """Under the signaling path, with the verbs' methods."""
    base = "/api/v1/dataflows"
    found = operations(document)
    verbs = ["started", "suspend", "resume", "terminate", "completed"]
    wanted = {("POST", f"{base}/prepare"), ("POST", f"{base}/start"), ("GET", f"{base}/{{id}}/status")}
    wanted |= {("POST", f"{base}/{{id}}/{verb}") for verb in verbs}
    wanted |= {("PUT", "/api/v1/controlplanes"), ("DELETE", "/api/v1/controlplanes/{id}")}
    assert wanted <= found.keys()


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    """A summary, a description, a tag that is explained, and security but for health and public keys."""
    tags = {tag["name"] for tag in document["tags"]}
    for (_, path), operation in operations(document).items():
        assert operation["summary"], path
        assert operation["description"], path
        assert set(operation["tags"]) <= tags, path
        assert bool(operation.get("security")) is not path.endswith(("z", "jwks.json")), path


def test_every_route_of_operators_declares_its_scope(document: dict[str, Any]) -> None:
    """Exactly one, as the document tells it; reading never changes anything."""
    for (method, path), operation in operations(document).items():
        if path.startswith("/management"):
            (scopes,) = [entry["APIKeyHeader"] for entry in operation["security"]]
            (scope,) = (Scope(name) for name in scopes)
            assert (method == "GET") is (scope in {Scope.READ, Scope.DATA_ADDRESS}), (method, path)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (DataFlowPrepareMessage, examples.PREPARE),
        (DataFlowStartMessage, examples.START),
        (DataFlowStartedNotificationMessage, examples.STARTED),
        (DataFlowResumeMessage, examples.RESUME),
        (DataFlowReasonMessage, examples.SUSPEND),
        (DataFlowReasonMessage, examples.TERMINATE),
        (ControlPlaneRegistrationMessage, examples.CONTROL_PLANE),
    ],
)
def test_examples_are_messages(model: type[Message], found: dict[str, Any]) -> None:
    """Each one is read by its own model, its address too."""
    for example in found.values():
        message = model.model_validate(example["value"])
        wire = getattr(message, "data_address", None)
        if wire is not None:
            assert DataAddress.from_wire(wire).get("accessKeyId")


def test_verbs_with_bodies_have_examples(document: dict[str, Any]) -> None:
    """For whoever tries them from /docs."""
    for (_, path), operation in operations(document).items():
        if "/dataflows/" in path and "management" not in path and "requestBody" in operation:
            assert operation["requestBody"]["content"]["application/json"]["examples"], path


def test_the_page_of_the_api_is_served(api: Plane) -> None:
    """Swagger's page and the health checks."""
    assert "swagger" in api.client.get("/docs").text.lower()
    assert api.client.get("/healthz").json() == {"status": "ok"}
    assert api.client.get("/readyz").json() == {"status": "ready"}


def test_readiness_says_why_not(api: Plane) -> None:
    """503 with the reason, while the process is alive."""
    api.services.closing.set()
    try:
        answer = api.client.get("/readyz")
        assert (answer.status_code, answer.json()["detail"]) == (503, "the service is ending")
        assert api.client.get("/healthz").status_code == 200
    finally:
        api.services.closing.clear()


def test_every_route_and_kind_of_problem_is_documented(document: dict[str, Any]) -> None:
    """The reference page lists each path with its method, and each titled kind."""
    text = DOCS.read_text(encoding="utf-8")
    listed = set(re.findall(r"`(GET|POST|PUT|DELETE) (\S+)`", text))
    served = {(method, path.replace("/api/v1", "{signaling_path}")) for method, path in operations(document)}
    assert served - listed == set()
    assert listed - served == set()
    for kind in TITLES:
        assert f"`{kind}`" in text, kind


def test_the_webhook_is_described(document: dict[str, Any]) -> None:
    """With its headers and an example: it is what others have to serve."""
    told = document["webhooks"]["orchestration-ended"]["post"]
    names = {one["name"] for one in told["parameters"]}
    assert names == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert document["components"]["schemas"]["Notice"]["examples"]
