"""Refusals of the egress guard tell callers nothing of the operator's network."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dataferry.app.composition import build
from dataferry.app.egress import DiscreetGuard
from dataferry.app.settings import Settings
from dataferry.domain.errors import ConnectionFailedError, EgressDeniedError
from dataferry.domain.location import Provenance
from dataferry.net.egress import EgressPolicy
from dataferry.telemetry.logs import configure


def guard(address: str, policy: EgressPolicy | None = None) -> DiscreetGuard:
    """A guard for which every name has one address."""
    return DiscreetGuard(policy, lambda *_, **__: [(2, 1, 6, "", (address, 443))])


@pytest.mark.parametrize(
    ("address", "policy"),
    [
        ("10.1.2.3", EgressPolicy()),
        ("169.254.169.254", EgressPolicy()),
        ("93.184.216.34", EgressPolicy(deny=("93.184.0.0/16",))),
        ("93.184.216.34", EgressPolicy(deny=("*.corp.example",))),
        ("93.184.216.34", EgressPolicy(deny=("*",))),
    ],
)
def test_a_refusal_names_the_host_only(address: str, policy: EgressPolicy) -> None:
    """Word by word the same, whatever address the name has and whichever rule it was; the log says more."""
    log = io.StringIO()
    configure("info", json=True, redactor=str, stream=log)
    with pytest.raises(EgressDeniedError) as refused:
        guard(address, policy).resolve("db.corp.example", 443, Provenance.EXTERNAL)
    message = str(refused.value)
    assert message.startswith("the egress policy does not allow db.corp.example for places")
    assert address not in message
    assert refused.value.__cause__ is None
    assert "db.corp.example" in log.getvalue()
    if not policy.deny:
        assert address in log.getvalue()


def test_what_is_allowed_is_resolved() -> None:
    """The operator's word, and a public place, as without it; a name that has no address is told as such."""
    private = guard("10.1.2.3")
    assert private.resolve("a.example", 443, Provenance.OPERATOR) == (("10.1.2.3", 443),)
    assert guard("93.184.216.34").resolve("a.example", 443, Provenance.EXTERNAL) == (("93.184.216.34", 443),)
    with pytest.raises(ConnectionFailedError):
        DiscreetGuard(None, lambda *_, **__: []).resolve("a.example", 443, Provenance.EXTERNAL)


def test_the_service_is_discreet(tmp_path: Path) -> None:
    """That guard, with the configured policy, is the one that ``serve`` goes out by."""
    settings = Settings.model_validate(
        {"store": {"url": f"sqlite:///{tmp_path}/s.db"}, "egress": {"deny": ["*.corp.example"]}}
    )
    service = build(settings)
    try:
        found = service.application.state.services.network.guard
        assert isinstance(found, DiscreetGuard)
        assert found.policy.deny == ("*.corp.example",)
    finally:
        service.close()
