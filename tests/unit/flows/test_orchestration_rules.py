"""What files are called, which connectors are the same, and what failures are told as."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from dataferry.domain.asks import Asks
from dataferry.domain.errors import (
    AccessDeniedError,
    ConfigError,
    ConnectionFailedError,
    DataFerryError,
    EgressDeniedError,
    InputError,
    NoSpaceError,
    NotFoundError,
    ProtocolError,
    StallError,
    TimedOutError,
)
from dataferry.domain.orchestration import Ask, Connector
from dataferry.domain.usage_policy import UsagePolicy
from dataferry.flows.orchestration.acceptance import Acceptance, AcceptedPolicy
from dataferry.flows.orchestration.connectors import Connectors, normalized
from dataferry.flows.orchestration.faults import (
    LateError,
    NegotiationEndedError,
    NoAgreementError,
    TransferEndedError,
    fault_of,
)
from dataferry.flows.orchestration.naming import base_name, extension, file_name
from dataferry.flows.orchestration.orchestrator import Request

NOON = datetime(2026, 11, 30, 12, 0, 5, tzinfo=UTC)


def test_names_are_those_of_the_description() -> None:
    """``file_{transferId}_{timestamp}_{6 hex}.{ext}``, in UTC wherever the clock stands."""
    name = file_name("tp-1", NOON, "0b56e3", content_type="application/json", source="x")
    assert name == "file_tp-1_20261130120005_0b56e3.json"
    elsewhere = NOON.astimezone(timezone(timedelta(hours=9)))
    assert base_name("tp-1", elsewhere, "0b56e3") == "file_tp-1_20261130120005_0b56e3"


@pytest.mark.parametrize(
    "hostile", ["../../etc/passwd", "a/b", "a\\b", "a:b", "a\nb", "\u202e", ".", "~", "x" * 500]
)
def test_no_transfer_id_leads_elsewhere(hostile: str) -> None:
    """It is a stranger's word: what is no plain letter in it is replaced, and its length bounded."""
    name = base_name(hostile, NOON, "000000")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert name.startswith("file_")
    assert len(name) < 140


@pytest.mark.parametrize(
    ("content_type", "source", "expected"),
    [
        ("application/json", "x", ".json"),
        ("Application/JSON; charset=utf-8", "x.bin", ".json"),
        ("application/vnd.api+json", "x", ".json"),
        ("text/csv", "x", ".csv"),
        ("application/vnd.apache.parquet", "x", ".parquet"),
        ("application/octet-stream", "measurements.parquet", ".parquet"),
        ("application/octet-stream", "x", ".bin"),
        (None, "archive.tar", ".tar"),
        (None, "x", ".bin"),
        ("", "", ".bin"),
        ("nonsense", "a.b/c", ".bin"),
        (None, "x.verylongextension", ".bin"),
        (None, "x.p\u0430df", ".bin"),
    ],
)
def test_extensions_come_from_the_content_type(content_type: str | None, source: str, expected: str) -> None:
    """Then from the source's own name; never anything but plain letters."""
    assert extension(content_type, source) == expected


@pytest.mark.parametrize(
    "spelt",
    [
        "http://edc.example/cp",
        "http://edc.example:80/cp/",
        "HTTP://EDC.example./cp",
        "http://edc.example/cp//",
    ],
)
def test_a_connector_has_many_spellings(spelt: str) -> None:
    """All of them are the one that is configured, and get what belongs to it."""
    known = Connectors([Connector(address="http://edc.example/cp", api_key="k")])
    assert known.of(spelt).api_key == "k"


@pytest.mark.parametrize(
    "other",
    [
        "https://edc.example/cp",
        "http://edc.example:81/cp",
        "http://edc.example/cp2",
        "http://edc.example/",
        "http://edc.example.evil/cp",
        "http://evil/http://edc.example/cp",
    ],
)
def test_other_connectors_get_nothing(other: str) -> None:
    """Not even where any may be named."""
    configured = [Connector(address="http://edc.example/cp", api_key="k")]
    with pytest.raises(InputError, match="Not a configured connector"):
        Connectors(configured).of(other)
    found = Connectors(configured, allow_any=True).of(other)
    assert (found.api_key, found.is_configured) == (None, False)


@pytest.mark.parametrize(
    "wrong",
    [
        "", "edc.example", "ftp://x", "http://", "http://u:p@x/", "http://x/?q", "http://x/#f", "http://x:0/",
        "http://x:99999/", "http://x/../y", "http://x/%2E%2e/y", "http://x/ y", "http://x\\y", "http://[::1",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(wrong: str) -> None:
    """Before anybody is called."""
    with pytest.raises(InputError):
        normalized(wrong)


@pytest.mark.parametrize(
    ("pattern", "provider", "expected"),
    [
        ("*", "did:web:anybody:at/all", True),
        ("did:web:p", "did:web:p", True),
        ("did:web:p", "did:web:p2", False),
        ("did:web:p", "xdid:web:p", False),
        ("did:web:*.partners.example", "did:web:a.partners.example", True),
        ("did:web:*.partners.example", "did:web:evil.example:a.partners.example", False),
        ("did:web:*.partners.example", "did:web:evil.example/a.partners.example", False),
        ("did:web:*.partners.example", "did:web:a.partners.example.evil", False),
        ("did:web:*.partners.example", "did:web:a.partners-example", False),
        ("BPNL*", "BPNL000000000001", True),
        ("BPNL*", "bpnl000000000001", False),
        ("", "", True),
        ("", "p", False),
    ],
)
def test_a_pattern_of_providers_has_no_way_around(pattern: str, provider: str, expected: bool) -> None:
    """Whose name only ends like an accepted one's is somebody else."""
    accepted = AcceptedPolicy(name="n", providers=("other", pattern), policy=UsagePolicy.read({}))
    assert Acceptance([accepted]).may_agree_with(provider) is expected


def test_requests_are_told_apart_as_before_there_were_asset_ids() -> None:
    """An Idempotency-Key outlives an upgrade; an asset makes another request."""
    ask = Ask("http://p", "c", "did:web:p", destination="lake:in/")
    request = Request(connector_address="http://edc", asks=Asks.of([ask]), properties={"a": 1})
    assert request.digest == "e3a441f6f98c415eadb2cc8b24e1b9b6facc0c0092afa0f6c35a933f23d63b7e"
    assert replace(request, asks=Asks.of([ask._replace(asset_id="a")])).digest != request.digest


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StallError("x"), 504),
        (TimedOutError("x"), 504),
        (LateError("x"), 504),
        (ConnectionFailedError("x"), 502),
        (ProtocolError("x"), 502),
        (NotFoundError("x"), 502),
        (AccessDeniedError("x"), 502),
        (EgressDeniedError("x"), 502),
        (TransferEndedError("x"), 502),
        (NegotiationEndedError("x"), 502),
        (NoAgreementError("x"), 502),
        (NoSpaceError("x"), 500),
        (ConfigError("x"), 500),
        (DataFerryError("x"), 500),
    ],
)
def test_faults_have_the_codes_that_clients_know(error: DataFerryError, code: int) -> None:
    """502 for others, 504 for time, 500 for us."""
    assert (fault_of(error).code, fault_of(error).kind) == (code, error.kind)
    error.of_sink = True
    assert (fault_of(error).code, fault_of(error).kind) == (500, error.kind)
