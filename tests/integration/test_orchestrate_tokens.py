"""Data addresses that last only a while: their tokens end, are renewed, or come anew with another address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from tests.servers.http_store import Fault as DataFault
from tests.servers.http_store import HttpStore, Kept
from tests.servers.orchestrator import Orchestrating, orchestrating
from tests.servers.refresh_endpoint import RefreshEndpoint

MIB = 1024 * 1024
SLOW = {"bandwidth_bytes_per_s": 3 * MIB, "part_size_bytes": MIB, "multipart_threshold_bytes": MIB}
CONTENT = os.urandom(8 * MIB)
NOWHERE = "http://localhost:9/token"
US = "did:web:us.example"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Orchestrating]:
    """A service, a connector and a provider's data plane."""
    with orchestrating(tmp_path) as running:
        yield running


def _only(view: dict[str, Any]) -> dict[str, Any]:
    (found,) = view["storage_paths"]
    assert isinstance(found, dict)
    return found


def _has_begun(view: dict[str, Any]) -> bool:
    return bool(view["progress"]["bytes_transferred"] > 2 * MIB)


def _attempts(rig: Orchestrating) -> int:
    """How often the only download was begun or gone on with: once, if nothing was given up meanwhile."""
    with rig.service._runner._shared.store.snapshot() as tx:
        return tx.flows.list()[0][0].epoch


@contextmanager
def _renewing(directory: Path, **engine: int) -> Iterator[Orchestrating]:
    """A service that can sign for renewals."""
    key = ECKey.generate_key("P-256").as_pem(private=True).decode()
    us = {"id": "default", "did": US, "signing_key": key, "kid": f"{US}#key"}
    changes: dict[str, Any] = {"participants": [us], "server": {"allow_http_on_loopback": True}}
    data = HttpStore(token="access-0")
    with orchestrating(directory, data=data, engine={**SLOW, **engine}, **changes) as rig:
        yield rig


def _offer(rig: Orchestrating, endpoint: str) -> None:
    rig.data.objects["/c"] = Kept(CONTENT, headers={"Content-Type": "application/octet-stream"})
    more = {"refreshToken": "refresh-0", "refreshEndpoint": endpoint, "expiresIn": "300"}
    rig.edc.offer("c", f"{rig.data.url}/c", token=lambda: rig.data.token, **more)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_ends_is_replaced(tmp_path: Path, status: int) -> None:
    """The provider refuses the old token in the middle: a new address is fetched, nothing is moved again."""
    content = os.urandom(8 * MIB)
    with orchestrating(tmp_path, engine=SLOW) as rig:
        rig.put("c", "/c", content, "application/octet-stream")
        id_ = rig.begin("c")
        rig.wait(id_, until=_has_begun)
        rig.data.token = "token-2"
        rig.data.refuses_with = status
        view = rig.wait(id_)
        assert view["process_status"] == "COMPLETED", view
        assert Path(_only(view)["storage_path"]).read_bytes() == content
        assert (rig.edc.count("edr"), len(rig.edc.processes)) == (2, 1)
        with rig.service._runner._shared.store.snapshot() as tx:
            flow = tx.flows.list()[0][0]
            progress = tx.progress.get(flow.id)
        assert progress is not None
        assert (flow.epoch, progress.bytes_retransferred) == (1, 0)
        assert flow.incoming_address is not None
        assert flow.incoming_address.get("authorization") == "token-2"


def test_a_token_that_is_refused_at_first_is_fetched_again(rig: Orchestrating) -> None:
    """The provider's plane may learn of it a moment later than the connector."""
    rig.put("c", "/c", b"bytes")
    rig.data.inject("HEAD", DataFault.STATUS, status=403)
    rig.data.inject("GET", DataFault.STATUS, status=403)
    assert rig.wait(rig.begin("c"))["process_status"] == "COMPLETED"
    assert rig.edc.count("edr") == 2


def test_a_provider_that_refuses_every_token_ends_it(rig: Orchestrating) -> None:
    """New addresses are fetched a few times in a row, then the entry failed."""
    rig.put("c", "/c", b"bytes")
    rig.edc.offer("c", f"{rig.data.url}/c", token=lambda: "never-right")
    failed = _only(rig.wait(rig.begin("c")))
    assert (failed["status_code"], failed["error_kind"]) == (502, "access_denied")
    assert "never-right" not in str(failed)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_is_renewed_by_its_refresh_token(tmp_path: Path, status: int) -> None:
    """Where the address says how, no new one is fetched; the whole file comes in one attempt."""
    with RefreshEndpoint() as endpoint, _renewing(tmp_path) as rig:
        _offer(rig, endpoint.url)
        id_ = rig.begin("c")
        rig.wait(id_, until=_has_begun)
        rig.data.refuses_with, rig.data.token = status, "access-1"
        path = _only(rig.wait(id_))
        assert path["status"] == "SAVED", path
        assert Path(path["storage_path"]).read_bytes() == CONTENT
        assert [form["refresh_token"] for form in endpoint.asked] == [["refresh-0"]]
        assert (rig.edc.count("edr"), _attempts(rig)) == (1, 1)


@pytest.mark.parametrize("flow_retries", [0, 5])
@pytest.mark.parametrize("answer", [500, 429, 401, 200, None])
def test_a_renewal_that_fails_is_no_end(tmp_path: Path, answer: int | None, flow_retries: int) -> None:
    """The connector has a good address: it is fetched at once, whatever its refresh endpoint does."""
    with RefreshEndpoint() as endpoint, _renewing(tmp_path, flow_retries=flow_retries) as rig:
        endpoint.answer = lambda _: (answer or 500, b"{}")
        _offer(rig, NOWHERE if answer is None else endpoint.url)
        id_ = rig.begin("c")
        rig.wait(id_, until=_has_begun)
        rig.data.token = "access-anew"
        path = _only(rig.wait(id_))
        assert path["status"] == "SAVED", path
        assert Path(path["storage_path"]).read_bytes() == CONTENT
        assert (rig.edc.count("edr"), _attempts(rig)) == (2, 1)


def test_a_renewal_that_fails_is_waited_for_where_nothing_else_helps(tmp_path: Path) -> None:
    """The connector has the old address still: when the refresh endpoint is back, it goes on."""
    with RefreshEndpoint() as endpoint, _renewing(tmp_path, attempts=50) as rig:
        endpoint.answer = lambda _: (503, b"")
        _offer(rig, endpoint.url)
        rig.edc.offers["c"].token = lambda: "access-0"
        id_ = rig.begin("c")
        rig.wait(id_, until=_has_begun)
        rig.data.token = "good"
        rig.wait(id_, until=lambda view: "token renewal" in str(_only(view).get("last_retry")))
        endpoint.answer = endpoint.issue
        rig.data.token = f"access-{len(endpoint.asked) + 1}"
        path = _only(rig.wait(id_))
        assert path["status"] == "SAVED", path
        assert Path(path["storage_path"]).read_bytes() == CONTENT


@pytest.mark.parametrize("scheme", ["", "Bearer "], ids=["bare", "bearer"])
@pytest.mark.parametrize("kind", ["", "bearer"], ids=["untyped", "typed"])
def test_tokens_are_shown_as_the_provider_takes_them(tmp_path: Path, scheme: str, kind: str) -> None:
    """EDC's own planes take the bare token, others want its scheme, whatever the address says; also anew."""
    with orchestrating(tmp_path, engine=SLOW) as rig:
        rig.data.scheme = scheme
        rig.put("c", "/c", CONTENT, "application/octet-stream")
        rig.edc.offers["c"].properties["authType"] = kind
        id_ = rig.begin("c")
        rig.wait(id_, until=_has_begun)
        rig.data.token = "token-2"
        path = _only(rig.wait(id_))
        assert path["status"] == "SAVED", path
        assert Path(path["storage_path"]).read_bytes() == CONTENT
        assert (rig.edc.count("edr"), _attempts(rig)) == (2, 1)


@pytest.mark.parametrize("scheme", ["Bearer ", "Token "])
def test_a_token_without_a_type_may_be_the_whole_header(rig: Orchestrating, scheme: str) -> None:
    """As it stands there; nothing is put before it."""
    rig.data.scheme = scheme
    rig.put("c", "/c", b"bytes")
    rig.edc.offer("c", f"{rig.data.url}/c", token=lambda: f"{scheme}token-1", authType="")
    assert _only(rig.wait(rig.begin("c")))["status"] == "SAVED"


@pytest.fixture(params=[True, False], ids=["token too", "no token"])
def signed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Orchestrating]:
    """A provider whose addresses are signed in their query, with a token beside or without."""
    with orchestrating(tmp_path, data=HttpStore(token="t" if request.param else None), engine=SLOW) as rig:
        rig.data.signature, rig.data.refuses_with = "1", 403
        rig.put("c", "/c", CONTENT, "application/octet-stream")
        rig.edc.offers["c"].url = lambda: f"{rig.data.url}/c?sig={rig.data.signature}"
        yield rig


def test_a_signature_that_ends_is_replaced(signed: Orchestrating) -> None:
    """Another query at the same path: the download begins anew, and is whole."""
    id_ = signed.begin("c")
    signed.wait(id_, until=_has_begun)
    signed.data.signature = "2"
    path = _only(signed.wait(id_))
    assert path["status"] == "SAVED", path
    assert Path(path["storage_path"]).read_bytes() == CONTENT


@pytest.mark.parametrize("etags", ["strong", "weak", None])
def test_a_query_may_name_another_object(signed: Orchestrating, etags: str | None) -> None:
    """Whatever its ETag: it begins anew, and nothing is mixed."""
    signed.data.etags = etags
    signed.data.objects["/c"].breaks_off = etags != "strong"
    other = Kept(os.urandom(len(CONTENT)), headers={"Content-Type": "application/octet-stream"})
    id_ = signed.begin("c")
    signed.wait(id_, until=_has_begun)
    signed.data.signature = "2"
    signed.data.objects["/c"] = other
    path = _only(signed.wait(id_))
    assert path["status"] == "SAVED", path
    assert Path(path["storage_path"]).read_bytes() == other.body


def test_a_signature_that_is_refused_for_ever_ends_it(signed: Orchestrating) -> None:
    """A few new addresses in a row, then the entry failed; no signature is told."""
    signed.edc.offers["c"].url = lambda: f"{signed.data.url}/c?sig=never-right"
    id_ = signed.begin("c")
    failed = _only(signed.wait(id_))
    assert (failed["status_code"], failed["error_kind"]) == (502, "access_denied")
    assert "never-right" not in str(failed)


def test_a_data_address_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    """A new address for another place would make a mixture of two files: the entry fails, and says so."""
    with orchestrating(tmp_path, engine=SLOW) as rig:
        rig.put("c", "/c", os.urandom(12 * MIB), "application/octet-stream")
        id_ = rig.begin("c")
        rig.wait(id_, until=lambda view: view["progress"]["bytes_transferred"] > MIB)
        rig.put("c", "/elsewhere", os.urandom(12 * MIB), "application/octet-stream")
        rig.data.token = "token-2"
        failed = _only(rig.wait(id_))
        assert (failed["status_code"], "leads elsewhere" in failed["error"]) == (502, True), failed
        assert not any(request.target == "/elsewhere" for request in rig.data.requests)
