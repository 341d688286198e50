"""A flow shows its contract agreement, read from a connector's Management API when somebody looks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.servers.loopback_http import LoopbackHttp
from tests.unit.api.api_rig import KEY, TOKEN_A, Plane, message, plane

from dataferry.cli.main import main
from dataferry.domain.location import ControlPlane
from dataferry.flows import agreements

MANAGEMENT_KEY = "key-of-the-management-api-0123456789"
ENDED = {"leftOperand": "inForceDate", "operator": "lteq", "rightOperand": "2026-01-01T00:00:00Z"}


class ManagementApi(LoopbackHttp):
    """Answers for contract agreements as EDC does.

    Attributes:
        asked: Path and key of each request.
        answers: Status and body by the agreement's id; 404 for others.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        super().__init__(partial(_Handler, self))

    def agree(self, id: str, *constraints: dict[str, Any]) -> None:
        """Have an agreement."""
        content = {
            "@context": ["https://w3id.org/edc/connector/management/v2"],
            "@type": "ContractAgreement",
            "@id": id,
            "assetId": "live",
            "providerId": "them",
            "consumerId": "us",
            "contractSigningDate": 1_700_000_000,
            "policy": {
                "@type": "Agreement",
                "permission": [{"action": "use", "constraint": list(constraints)}],
            },
        }
        self.answers[id] = (200, json.dumps(content).encode())


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, api: ManagementApi, *arguments: Any) -> None:
        self._api = api
        super().__init__(*arguments)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer."""
        self._api.asked.append((self.path, self.headers.get("X-Api-Key")))
        status, body = self._api.answers.get(self.path.rpartition("/")[2], (404, b"[]"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def edc() -> Iterator[ManagementApi]:
    """A Management API on loopback."""
    with ManagementApi() as made:
        yield made


@pytest.fixture(scope="module")
def api(edc: ManagementApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A plane whose control plane has that API, and one whose control plane has none."""
    planes = (
        ControlPlane(
            id="cp-a",
            token=TOKEN_A,
            management_url=f"http://127.0.0.1:{edc.port}",
            management_key=MANAGEMENT_KEY,
        ),
        ControlPlane(id="cp-b", token="token-of-control-plane-b"),
    )
    with plane(tmp_path_factory.mktemp("api"), control_planes=planes) as running:
        yield running


def prepared(api: Plane, id: str, *, token: str = TOKEN_A) -> None:
    """Make a flow under an agreement of its own."""
    assert api.signal("prepare", message(id, agreementId=f"agreement-{id}"), token=token).is_success


def shown(api: Plane, id: str) -> Any:
    """The agreement as a flow shows it."""
    answer = api.manage("GET", f"/dataflows/{id}")
    assert answer.status_code == 200
    return answer.json()["agreement"]


def test_a_flow_shows_its_agreement(api: Plane, edc: ManagementApi) -> None:
    """Asked for once, with the key, when it is first looked at; then it is kept."""
    edc.agree("agreement-known")
    prepared(api, "known")
    assert not [path for path, _ in edc.asked if "known" in path]
    found, again = shown(api, "known"), shown(api, "known")

    assert found == again
    expected = {
        "standing": "known",
        "providerId": "them",
        "consumerId": "us",
        "assetId": "live",
        "endsAt": None,
    }
    assert expected.items() <= found.items()
    assert found["signedAt"] == "2023-11-14T22:13:20+00:00"
    assert found["policy"]["permission"][0]["action"] == "use"
    assert edc.asked.count(("/v4/contractagreements/agreement-known", MANAGEMENT_KEY)) == 1


def test_one_that_has_ended_is_shown_as_such(api: Plane, edc: ManagementApi) -> None:
    """The flow itself goes on: that is the control plane's to decide."""
    edc.agree("agreement-old", ENDED)
    prepared(api, "old")
    found = shown(api, "old")

    assert (found["standing"], found["endsAt"]) == ("expired", "2026-01-01T00:00:00+00:00")
    assert api.status("old").json()["state"] == "PREPARED"


@pytest.mark.parametrize(
    ("answer", "standing", "words"),
    [
        ((404, b"[]"), "missing", "has no agreement"),
        ((401, b"wrong key"), "unavailable", "401"),
        ((500, b""), "unavailable", "500"),
        ((302, b""), "unavailable", "redirect"),
        ((200, b""), "unavailable", "no contract agreement"),
        ((200, b"[]"), "unavailable", "no contract agreement"),
        ((200, b'{"@id": "x"}'), "unavailable", "no contract agreement"),
        ((200, b"[" * 50_000), "unavailable", "no contract agreement"),
        ((200, b'{"policy": {}}' + b" " * 70_000), "unavailable", "no contract agreement"),
    ],
    ids=str,
)
def test_what_can_not_be_had_is_shown_and_fails_nothing(
    api: Plane, edc: ManagementApi, answer: tuple[int, bytes], standing: str, words: str
) -> None:
    """The flow is shown all the same; the control plane is not asked again at once, but later it is."""
    flow = f"lost-{time.monotonic_ns()}"
    edc.answers[f"agreement-{flow}"] = answer
    prepared(api, flow)
    found = shown(api, flow)
    assert shown(api, flow) == found
    assert (found["standing"], found["policy"]) == (standing, None)
    assert words in found["error"]
    assert MANAGEMENT_KEY not in found["error"]
    assert len([path for path, _ in edc.asked if flow in path]) == 1


def test_one_that_was_missing_is_asked_for_again(
    api: Plane, edc: ManagementApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connector may store it a moment after it has called us."""
    prepared(api, "late")
    assert shown(api, "late")["standing"] == "missing"
    edc.agree("agreement-late")
    monkeypatch.setattr(agreements, "ASKED_AGAIN_S", 0.0)

    assert shown(api, "late")["standing"] == "known"


def test_a_connector_that_is_silent_holds_nobody_up(api: Plane, tmp_path: Path) -> None:
    """Nothing listens there: the flow is shown with the reason."""
    away = ControlPlane(id="cp-a", token=TOKEN_A, management_url="http://127.0.0.1:9")
    with plane(tmp_path, control_planes=(away,)) as alone:
        prepared(alone, "silent")
        assert shown(alone, "silent")["standing"] == "unavailable"


def test_without_a_management_api_there_is_nothing_to_show(api: Plane) -> None:
    """And lists ask nobody."""
    prepared(api, "other", token="token-of-control-plane-b")
    assert shown(api, "other") is None
    assert "agreement" not in api.manage("GET", "/dataflows").json()["items"][0]


def test_the_command_tells_it(api: Plane, edc: ManagementApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Standing, parties and times; the policy with ``--json``."""
    edc.agree("agreement-typed", ENDED)
    prepared(api, "typed")
    where = ["--url", api.url, "--api-key", KEY]
    assert main(["flows", "show", "typed", *where]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "agreement expired" in said
    assert "agreed by them and us" in said
    assert "agreement ends 2026-01-01 00:00:00 UTC" in said
    assert main(["flows", "show", "typed", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["agreement"]["policy"]["@type"] == "Agreement"
