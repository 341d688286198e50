"""Entries that name an asset and no contract: offer, negotiation, agreement, and whoever answers wrongly."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.servers.edc import EDC, EdcConnector, Fault
from tests.servers.orchestrator import CONNECTOR_KEY, KEY, Orchestrating, entry, orchestrating

from dataferry.api.orchestration.edc import HttpEdcClient
from dataferry.api.orchestration.edc_contracts import HttpNegotiator
from dataferry.domain.orchestration import ApiVersion, Ask, Connector
from dataferry.domain.usage_policy import Offer, UsagePolicy
from dataferry.net.connections import Network

PROVIDER = "did:web:provider-identityhub:7083:provider"
REGION = {"leftOperand": f"{EDC}region", "operator": "eq", "rightOperand": "eu"}
EU_ONLY = {"permission": [{"action": "use", "constraint": [REGION]}]}
ANYWHERE = {"permission": [{"action": "use"}]}
PAID = {"permission": [{"action": "use", "duty": [{"action": "pay"}]}]}
ACCEPTED = [
    {"name": "eu only", "providers": ["did:web:provider-*:7083:*"], **EU_ONLY},
    {"name": "anywhere", "providers": [PROVIDER], **ANYWHERE},
]


@contextmanager
def negotiating(
    directory: Path, *, edc: EdcConnector | None = None, **changes: Any
) -> Iterator[Orchestrating]:
    """A service that accepts two policies, and an asset under the first of them."""
    ours = {"accepted_policies": ACCEPTED, **changes.pop("orchestrator", {})}
    with orchestrating(directory, edc=edc, orchestrator=ours, **changes) as rig:
        offer(rig, "a", EU_ONLY)
        yield rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Orchestrating]:
    """The same, as it is configured by default."""
    with negotiating(tmp_path) as running:
        yield running


def offer(rig: Orchestrating, asset_id: str, *policies: dict[str, Any]) -> None:
    """Have data of an asset, under these policies."""
    rig.put(asset_id, f"/{len(rig.edc.contracts.assets)}", b"bytes")
    rig.edc.contracts.assets[asset_id] = list(policies)


def wanted(asset_id: str, **changes: Any) -> dict[str, Any]:
    """An entry that names an asset."""
    made = entry("", **changes) | {"assetId": asset_id}
    del made["contractId"]
    return made


def begin(rig: Orchestrating, *asset_ids: str) -> str:
    """Ask for assets; return the orchestration's id."""
    answer = rig.post({"data": [wanted(one) for one in asset_ids], "connectorAddress": rig.edc.address})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["orchestration_id"])


def fetched(rig: Orchestrating, asset_id: str = "a") -> dict[str, Any]:
    """Ask for an asset, wait for the end, and return its entry."""
    (path,) = rig.wait(begin(rig, asset_id))["storage_paths"]
    assert isinstance(path, dict)
    return path


def sent(rig: Orchestrating, operation: str) -> Any:
    """The body of the only call of an operation."""
    (body,) = (call.body for call in rig.edc.calls if call.operation == operation)
    return body


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_an_asset_is_negotiated_about_and_fetched(tmp_path: Path, version: str) -> None:
    """Under the offer that is accepted, with one question about one asset; the contract is shown and kept."""
    with negotiating(tmp_path, edc=EdcConnector(key=CONNECTOR_KEY, versions=(version,))) as rig:
        path = fetched(rig)
        (negotiation,) = rig.edc.contracts.negotiations.values()
        assert (path["contract_id"], path["asset_id"]) == (negotiation.agreement_id, "a")
        assert path["negotiation_id"] == negotiation.id
        (process,) = rig.edc.processes.values()
        assert process.contract_id == negotiation.agreement_id
        assert sent(rig, "dataset")["@id"] == "a"
        assert (rig.edc.count("catalog"), rig.edc.count("negotiations")) == (0, 0)
        if version == "v3":  # version 4 keeps no data addresses
            assert path["status"] == "SAVED"
            sidecar = json.loads(Path(f"{path['storage_path']}.meta.json").read_text())
            assert (sidecar["contract_id"], sidecar["asset_id"]) == (negotiation.agreement_id, "a")


def test_what_is_sent_is_what_was_accepted(rig: Orchestrating) -> None:
    """Nothing of the provider's own document goes back, whatever else it says."""
    rig.edc.contracts.dataset_changes = {"https://example.org/also": "agree to this", "@context": {"x": "y:"}}
    assert fetched(rig)["status"] == "SAVED"
    request = sent(rig, "negotiate")
    odrl = "http://www.w3.org/ns/odrl/2/"
    assert request["policy"].pop("@id").startswith("0:a:")
    assert request["policy"] == {
        "@type": f"{odrl}Offer",
        f"{odrl}assigner": {"@id": PROVIDER},
        f"{odrl}target": {"@id": "a"},
        f"{odrl}permission": [
            {
                f"{odrl}action": {"@id": f"{odrl}use"},
                f"{odrl}constraint": [
                    {
                        f"{odrl}leftOperand": {"@id": f"{EDC}region"},
                        f"{odrl}operator": {"@id": f"{odrl}eq"},
                        f"{odrl}rightOperand": "eu",
                    }
                ],
            }
        ],
    }


def test_a_contract_goes_before_an_asset(rig: Orchestrating) -> None:
    """With both nothing is negotiated, and nobody is asked for an offer."""
    rig.put("c", "/c", b"bytes")
    asked = entry("c", assetId="a")
    answer = rig.post({"data": [asked], "connectorAddress": rig.edc.address})
    (path,) = rig.wait(answer.json()["orchestration_id"])["storage_paths"]
    assert (path["status"], path["contract_id"], path["asset_id"]) == ("SAVED", "c", "a")
    assert (path["negotiation_id"], rig.edc.count("dataset"), rig.edc.count("negotiate")) == (None, 0, 0)


def test_entries_with_a_contract_are_as_they_were(rig: Orchestrating) -> None:
    """No field and no call more."""
    rig.put("c", "/c", b"bytes")
    (path,) = rig.wait(rig.begin("c"))["storage_paths"]
    assert not {"asset_id", "negotiation_id"} & path.keys()
    assert {call.operation for call in rig.edc.calls} <= {"query", "start", "state", "edr", "terminate"}


def test_the_operators_order_decides_between_offers(rig: Orchestrating) -> None:
    """Of several offers the one is taken whose policy stands first in the configuration."""
    offer(rig, "b", PAID, ANYWHERE, EU_ONLY)
    assert fetched(rig, "b")["status"] == "SAVED"
    assert sent(rig, "negotiate")["policy"]["@id"].startswith("2:b:")


@pytest.mark.parametrize(
    ("policies", "words"),
    [
        ([], "the provider offers this asset under no policy"),
        ([PAID], '"duty": [{"action": "pay"}]'),
        ([{}], f"what {PROVIDER} offers is not among orchestrator.accepted_policies: {{}}"),
        ([{**EU_ONLY, "odrl:prohibition": [{"action": "use"}]}], '"prohibition": [{"action": "odrl:use"}]'),
        ([{**EU_ONLY, "https://example.org/more": "x"}], "is not understood"),
        ([{**EU_ONLY, "target": "another"}], "its target is 'another'"),
        ([{**EU_ONLY, "assigner": "did:web:else"}], "its assigner is 'did:web:else'"),
        ([PAID] * 5, "and 2 more"),
    ],
)
def test_other_policies_are_not_agreed_to(
    rig: Orchestrating, policies: list[dict[str, Any]], words: str
) -> None:
    """The entry says what is offered and which setting would accept it; nobody is asked to negotiate."""
    offer(rig, "b", *policies)
    failed = fetched(rig, "b")
    assert (failed["status"], failed["status_code"], failed["error_kind"]) == ("FAILED", 502, "no_agreement")
    assert words in failed["error"]
    assert (rig.edc.count("negotiate"), rig.edc.count("start"), rig.edc.count("query")) == (0, 0, 1)


def test_an_empty_policy_is_accepted_only_by_name(tmp_path: Path) -> None:
    """``empty = true`` is the operator's word for it."""
    accepted = [{"name": "no condition", "providers": [PROVIDER], "empty": True}]
    with negotiating(tmp_path, orchestrator={"accepted_policies": accepted}) as rig:
        offer(rig, "b", {})
        assert fetched(rig, "b")["status"] == "SAVED"
        assert fetched(rig, "a")["error_kind"] == "no_agreement"


def test_with_others_nothing_is_agreed(tmp_path: Path) -> None:
    """Refused with 400: no policy for that provider, none at all, or a connector that is not ours."""
    with EdcConnector() as other, negotiating(tmp_path, orchestrator={"allow_any_connector": True}) as rig:
        stranger = wanted("a", connectorId="did:web:elsewhere")
        answer = rig.post({"data": [wanted("a"), stranger], "connectorAddress": rig.edc.address})
        (sentence,) = answer.json()["details"]["data"]["1"]["assetId"]
        assert (answer.status_code, "orchestrator.accepted_policies" in sentence) == (400, True)
        answer = rig.post({"data": [wanted("a")], "connectorAddress": other.address})
        (sentence,) = answer.json()["details"]["data"]["0"]["assetId"]
        assert (answer.status_code, "Only a configured connector" in sentence) == (400, True)
        assert (rig.edc.calls, other.calls) == ([], [])


def test_without_a_policy_nothing_is_negotiated(tmp_path: Path) -> None:
    """That is the default; an entry with neither contract nor asset is wrong as ever."""
    with orchestrating(tmp_path) as rig:
        answer = rig.post({"data": [wanted("a")], "connectorAddress": rig.edc.address})
        assert (answer.status_code, "assetId" in answer.json()["details"]["data"]["0"]) == (400, True)
        neither = wanted("a")
        del neither["assetId"]
        answer = rig.post({"data": [neither], "connectorAddress": rig.edc.address})
        missing = {"data": {"0": {"contractId": ["Missing data for required field."]}}}
        assert (answer.status_code, answer.json()["details"]) == (400, missing)


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        ({"assetId": "another"}, "it is about 'another', not 'a'"),
        ({"providerId": "did:web:else"}, "it is with 'did:web:else'"),
        ({"policy": {"@type": "Agreement", **PAID}}, '"duty": [{"action": "pay"}]'),
        ({"policy": {"@type": "Agreement", **ANYWHERE}}, "and offered was"),
        ({"policy": {"@type": "Agreement", **EU_ONLY, "target": "another"}}, "its target is 'another'"),
        ({"policy": {"@type": "Agreement", **EU_ONLY, "assigner": "x"}}, "its assigner is 'x'"),
        ({"policy": {"@type": "Agreement", **EU_ONLY, "more": "x"}}, "is not understood"),
        ({"policy": None}, "can't be used"),
        ({"policy": [EU_ONLY, EU_ONLY]}, "can't be used"),
        ({"assetId": None}, "no agreement"),
        ({"@id": ""}, "no @id"),
    ],
)
def test_an_agreement_that_is_another_is_not_used(
    rig: Orchestrating, forged: dict[str, Any], words: str
) -> None:
    """Also one that would have been accepted, had it been offered: nothing is transferred under it."""
    rig.edc.contracts.forged = forged
    failed = fetched(rig)
    assert (failed["status"], failed["status_code"]) == ("FAILED", 502)
    assert words in failed["error"]
    assert (failed["contract_id"], rig.edc.count("start"), rig.edc.count("break_off")) == (None, 0, 1)


def test_the_providers_no_ends_it_at_once(rig: Orchestrating) -> None:
    """With its words; there is nothing left to break off, and no transfer process to look for."""
    rig.edc.contracts.breaks_off["a"] = "no contract with you"
    failed = fetched(rig)
    assert (failed["status_code"], failed["error_kind"]) == (502, "negotiation_ended")
    assert "no contract with you" in failed["error"]
    assert (rig.edc.count("break_off"), rig.edc.count("start")) == (0, 0)


def test_a_negotiation_that_takes_too_long_is_broken_off(tmp_path: Path) -> None:
    """After ``start_timeout_s``; and the transfer has as long again afterwards."""
    with negotiating(tmp_path, orchestrator={"start_timeout_s": 0.5}) as rig:
        rig.edc.contracts.looks = 10_000
        failed = fetched(rig)
        assert (failed["status_code"], failed["error_kind"]) == (504, "late")
        (negotiation,) = rig.edc.contracts.negotiations.values()
        assert (negotiation.state, negotiation.reason) == ("TERMINATED", "refused (late)")


OPERATIONS = ["dataset", "negotiate", "negotiation_state", "agreement"]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", [Fault.HANG_UP, Fault.TRUNCATE, Fault.HANG, 502, 429])
def test_passing_faults_are_waited_out(tmp_path: Path, operation: str, fault: Fault | int) -> None:
    """Whatever call fails for a passing reason is made again; nothing is negotiated twice."""
    with negotiating(tmp_path, orchestrator={"request_timeout_s": 0.3}) as rig:
        if isinstance(fault, Fault):
            rig.edc.inject(operation, fault)
        else:
            rig.edc.inject(operation, Fault.STATUS, status=fault)
        assert fetched(rig)["status"] == "SAVED"
        assert len(rig.edc.contracts.negotiations) == 1


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", [Fault.NOT_JSON, Fault.WRONG_JSON, Fault.HUGE, Fault.DEEP, 400, 404])
def test_wrong_answers_end_the_entry(rig: Orchestrating, operation: str, fault: Fault | int) -> None:
    """An answer that is none is not tried again, and said; nothing stays open, nothing is transferred."""
    if isinstance(fault, Fault):
        rig.edc.inject(operation, fault)
    else:
        rig.edc.inject(operation, Fault.STATUS, status=fault)
    failed = fetched(rig)
    assert (failed["status"], failed["status_code"]) == ("FAILED", 502)
    assert rig.edc.count("start") == 0
    assert {one.state for one in rig.edc.contracts.negotiations.values()} <= {"TERMINATED", "FINALIZED"}


def test_another_dataset_is_no_answer(rig: Orchestrating) -> None:
    """Offers of what was not asked for are not looked at."""
    rig.edc.contracts.dataset_changes = {"@id": "b"}
    failed = fetched(rig)
    assert (failed["error_kind"], "another dataset" in failed["error"]) == ("protocol", True)


@pytest.mark.parametrize(
    "asset_id", ["day/1", "a b?c=d#e", "100%", "../x", "..", "https://x/y", "ä", '"', "\u2028"]
)
def test_any_id_is_only_data(rig: Orchestrating, asset_id: str) -> None:
    """What can't stand in a path is asked for in the catalog, by a filter: connectors escape nothing."""
    offer(rig, asset_id, EU_ONLY)
    path = fetched(rig, asset_id)
    assert (path["status"], path["asset_id"]) == ("SAVED", asset_id)
    assert (rig.edc.count("dataset"), rig.edc.count("catalog")) == (0, 1)


def test_an_asset_that_is_not_in_the_catalog(rig: Orchestrating) -> None:
    """No offer, by that way, too."""
    assert "under no policy" in fetched(rig, "no/such")["error"]


def test_a_negotiation_whose_answer_is_lost_is_found(rig: Orchestrating) -> None:
    """The connector did begin it: it is looked for by what was sent with it, not begun again."""
    rig.edc.inject("negotiate", Fault.LOSE_ANSWER)
    assert fetched(rig)["status"] == "SAVED"
    assert len(rig.edc.contracts.negotiations) == 1


@pytest.mark.parametrize("version", list(ApiVersion))
def test_a_negotiation_is_found_among_many(version: ApiVersion) -> None:
    """By its whole reference, not by one that begins like it; on whatever page; only with that provider."""
    with EdcConnector() as edc, closing(HttpEdcClient(Network())) as client:
        connector = Connector(address=edc.address, api_version=version)
        negotiator = HttpNegotiator(client)
        ask = Ask("http://p", None, PROVIDER, asset_id="a")
        use = Offer(id="0:a:1", policy=UsagePolicy.read(ANYWHERE))
        made = [negotiator.request(connector, ask, use, reference=f"o/{number}") for number in range(250)]
        for number in (0, 1, 25, 249):
            assert negotiator.find(connector, ask, f"o/{number}") == made[number]
        assert negotiator.find(connector, ask, "o/250") is None
        assert negotiator.find(connector, ask._replace(counter_party_id="other"), "o/1") is None


def test_a_connector_that_can_not_be_asked_for_negotiations(rig: Orchestrating) -> None:
    """Where what was begun can't be looked for, it is begun again, and the log says so."""
    rig.edc.inject("negotiate", Fault.LOSE_ANSWER)
    rig.edc.inject("negotiations", Fault.STATUS, status=400)
    assert fetched(rig)["status"] == "SAVED"
    assert len(rig.edc.contracts.negotiations) == 2


def test_cancelling_breaks_a_negotiation_off(rig: Orchestrating) -> None:
    """What is negotiated about is not wanted any more; nothing is transferred."""
    rig.edc.contracts.looks = 10_000
    id_ = begin(rig, "a")
    rig.wait(id_, until=lambda view: view["storage_paths"][0].get("negotiation_id"))
    view = rig.status(id_)
    assert (view["process_status"], view["storage_paths"][0]["status"]) == ("PROCESSING", "PROCESSING")
    rig.client.delete(f"/orchestrate/{id_}", headers={"X-Api-Key": KEY})
    view = rig.wait(id_)
    assert view["process_status"] == "CANCELLED"
    (negotiation,) = rig.edc.contracts.negotiations.values()
    assert (negotiation.state, negotiation.reason) == ("TERMINATED", "the data is not wanted any more")
    assert rig.edc.count("start") == 0


def test_what_may_stay_open_is_said(tmp_path: Path) -> None:
    """The outcome does not depend on whether a negotiation could be broken off."""
    with negotiating(tmp_path, orchestrator={"request_timeout_s": 0.1}) as rig:
        rig.edc.contracts.looks = 10_000
        rig.edc.inject("break_off", Fault.HANG, times=10)
        id_ = begin(rig, "a")
        rig.wait(id_, until=lambda view: view["storage_paths"][0].get("negotiation_id"))
        rig.client.delete(f"/orchestrate/{id_}", headers={"X-Api-Key": KEY})
        (path,) = rig.wait(id_)["storage_paths"]
        assert path["status"] == "CANCELLED"
        assert path["note"].startswith("the negotiation may still be open: ")


def test_a_rehearsal_looks_at_offers(rig: Orchestrating) -> None:
    """It says what an entry would fail of, and begins nothing; each asset is asked for once, some at most."""
    offer(rig, "b", PAID)

    def rehearsed(*asset_ids: str) -> tuple[int, str]:
        body = {"data": [wanted(one) for one in asset_ids], "connectorAddress": rig.edc.address}
        answer = rig.post(body, params={"dryRun": "true"})
        return answer.status_code, answer.json().get("message", "")

    assert rehearsed(*["a"] * 100)[0] == 200
    assert rig.edc.count("dataset") == 1
    code, message = rehearsed("a", "b")
    assert (code, "orchestrator.accepted_policies" in message) == (502, True)
    for number in range(20):
        offer(rig, f"many-{number}", EU_ONLY)
    before = rig.edc.count("dataset")
    assert rehearsed(*[f"many-{number}" for number in range(20)])[0] == 200
    assert rig.edc.count("dataset") == before + 8
    assert (rig.edc.contracts.negotiations, rig.edc.processes) == ({}, {})


def test_many_are_negotiated_at_once(rig: Orchestrating) -> None:
    """Each entry has an agreement of its own; waiting for them holds no thread."""
    rig.edc.contracts.looks = 5
    began = time.monotonic()
    view = rig.wait(begin(rig, *["a"] * 24), timeout_s=60)
    assert view["process_status"] == "COMPLETED"
    assert len({path["contract_id"] for path in view["storage_paths"]}) == 24
    assert time.monotonic() - began < 45
