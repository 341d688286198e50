"""Tokens for callbacks, from a real token endpoint: fresh or kept, and renewed one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from tests.servers.identity_provider import EXCHANGE, IdentityProvider
from tests.unit.token_rig import DID, KID, participant, token_source

from dataferry.domain.authorization import AuthorizationType, CallbackTokens, ClientAuthentication
from dataferry.domain.errors import AddressError, ConfigError, ConnectionFailedError, DataFerryError
from dataferry.domain.location import ControlPlane, Provenance
from dataferry.flows.callback_tokens import CallbackTokenSource
from dataferry.net.connections import Network
from dataferry.testing.ledger_suite import StillClock

CREDENTIALS = AuthorizationType.CLIENT_CREDENTIALS
SECRET = "a secret:with+all%kinds&of=characters"


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    """Knows us as a client."""
    with IdentityProvider() as running:
        running.clients["us"] = SECRET
        yield running


@pytest.fixture
def clock() -> StillClock:
    """Time that stands still, at the time of day: the provider's tokens are of now."""
    made = StillClock()
    made.moment = datetime.now(UTC)
    return made


Make = Callable[..., CallbackTokenSource]


@pytest.fixture
def make(clock: StillClock) -> Iterator[Make]:
    """Make token sources."""
    with ExitStack() as open_:

        def made(*ours: Any, **options: Any) -> CallbackTokenSource:
            source = token_source(Network(), *ours, clock=clock, **options)
            open_.callback(source.close)
            return source

        yield made


def plane(provider: IdentityProvider, id: str = "cp", **changes: Any) -> ControlPlane:
    """A control plane that is called with tokens of the provider."""
    given = {
        "type": CREDENTIALS,
        "token_endpoint": provider.token_endpoint,
        "client_id": "us",
        "client_secret": SECRET,
        **changes,
    }
    return ControlPlane(id=id, endpoint="https://cp.example", callback_authorization=CallbackTokens(**given))


def test_each_call_has_a_fresh_token(provider: IdentityProvider, make: Make) -> None:
    """None of them is shown twice, unless the operator says so."""
    source = make()
    tokens = [source.token(plane(provider)) for _ in range(3)]
    assert tokens == provider.issued
    assert len(set(tokens)) == 3


def test_what_is_sent_where_nothing_is_configured(make: Make) -> None:
    """The static token, or none."""
    assert make().token(ControlPlane(id="cp", callback_token="static")) == "static"
    assert make().token(ControlPlane(id="cp")) is None


@pytest.mark.parametrize("way", list(ClientAuthentication))
def test_the_secret_is_shown_as_the_server_wants_it(
    provider: IdentityProvider, make: Make, way: ClientAuthentication
) -> None:
    """In the form or by Basic, whatever characters it has; with what is asked for."""
    to = plane(provider, client_authentication=way, audience="them", scope="a b", resource="urn:x")
    assert make().token(to) == provider.issued[0]
    form = provider.asked[0][1]
    assert (form["grant_type"], form["audience"], form["scope"], form["resource"]) == (
        "client_credentials", "them", "a b", "urn:x",
    )  # fmt: skip
    assert ("client_secret" in form) is (way is ClientAuthentication.POST)


def test_a_token_that_is_kept_is_renewed_before_its_end(
    provider: IdentityProvider, make: Make, clock: StillClock
) -> None:
    """Half a minute before, or a third of its life."""
    source, to = make(), plane(provider, reuses=True)
    first = source.token(to)
    clock.moment += timedelta(seconds=260)
    assert source.token(to) == first
    clock.moment += timedelta(seconds=15)
    assert source.token(to) == provider.issued[1] != first
    provider.lifetime_s = 9
    clock.moment = datetime.now(UTC) + timedelta(days=1)
    provider.extra = {"exp": int(clock.moment.timestamp()) + 9}
    short = source.token(to)
    clock.moment += timedelta(seconds=5)
    assert source.token(to) == short
    clock.moment += timedelta(seconds=2)
    assert source.token(to) != short


def test_many_that_need_a_token_at_once_have_it_renewed_once(provider: IdentityProvider, make: Make) -> None:
    """One request, one token for all of them; another control plane has its own."""
    source, to = make(), plane(provider, reuses=True)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: source.token(to), range(16)))
    assert found == {provider.issued[0]}
    assert provider.count("/token") == 1
    assert source.token(plane(provider, "other", reuses=True)) == provider.issued[1]


def test_while_a_kept_token_is_good_a_failing_endpoint_does_no_harm(
    provider: IdentityProvider, make: Make, clock: StillClock
) -> None:
    """It is asked again a moment later, not for each call; once the token has ended, the failure is told."""
    source, to = make(), plane(provider, reuses=True)
    first = source.token(to)
    provider.status = 500
    clock.moment += timedelta(seconds=280)
    assert [source.token(to) for _ in range(5)] == [first] * 5
    assert provider.count("/token") == 2
    clock.moment += timedelta(seconds=60)
    with pytest.raises(DataFerryError):
        source.token(to)
    provider.status = 200
    assert source.token(to) == provider.issued[1]


def test_a_token_that_was_refused_is_not_sent_again(provider: IdentityProvider, make: Make) -> None:
    """The control plane may have lost it, or its issuer changed keys."""
    source, to = make(), plane(provider, reuses=True)
    first = source.token(to)
    source.refused(to)
    assert source.token(to) == provider.issued[1] != first
    source.refused(ControlPlane(id="cp"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 301, 204])
def test_whatever_is_wrong_at_the_endpoint_is_worth_another_try(
    provider: IdentityProvider, make: Make, status: int
) -> None:
    """The control plane is left alone for a while, as one that can't be reached."""
    provider.status, provider.location = status, provider.token_endpoint
    with pytest.raises(ConnectionFailedError) as failed:
        make().token(plane(provider))
    assert SECRET not in str(failed.value)
    assert provider.count("/token") == 1


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"access_token": "x"},
        {"access_token": "x", "token_type": "mac"},
        {"access_token": "with space", "token_type": "bearer"},
        {"access_token": "x\r\nX-Evil: 1", "token_type": "bearer"},
        {"access_token": 7, "token_type": "bearer"},
        {"access_token": "x", "token_type": "bearer", "expires_in": "soon"},
        {"access_token": "x", "token_type": "bearer", "expires_in": -1},
        {"access_token": "x" * 9000, "token_type": "bearer"},
        ["access_token"],
    ],
)
def test_an_answer_that_is_no_token_is_none(
    provider: IdentityProvider, make: Make, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """And worth another try: it may be a proxy's page in between."""
    monkeypatch.setattr(provider, "answer", lambda *_: (200, answer))
    with pytest.raises(ConnectionFailedError):
        make().token(plane(provider))


def test_nobody_at_the_endpoint_is_worth_another_try(make: Make, provider: IdentityProvider) -> None:
    """A token endpoint that is down."""
    with pytest.raises(ConnectionFailedError):
        make().token(plane(provider, token_endpoint="http://127.0.0.1:9/token"))


def test_opaque_tokens_live_as_long_as_the_endpoint_says(
    provider: IdentityProvider, make: Make, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one of which nobody says so is not kept."""
    said: dict[str, Any] = {"access_token": "opaque", "token_type": "Bearer", "expires_in": "100"}
    asked: list[int] = []

    def answer(*_: Any) -> tuple[int, dict[str, Any]]:
        asked.append(1)
        return 200, said

    monkeypatch.setattr(provider, "answer", answer)
    source, to = make(), plane(provider, reuses=True)
    for _ in range(3):
        assert source.token(to) == "opaque"
    assert len(asked) == 1
    clock.moment += timedelta(seconds=71)
    source.token(to)
    assert len(asked) == 2
    del said["expires_in"]
    clock.moment += timedelta(seconds=100)
    source.token(to)
    source.token(to)
    assert len(asked) == 4


def test_a_workload_credential_is_exchanged(
    provider: IdentityProvider, make: Make, tmp_path: Path, clock: StillClock
) -> None:
    """Read anew each time, since it rotates; no client secret goes with it."""
    credential = tmp_path / "token"
    provider.workloads = {"workload-1", "workload-2"}
    to = plane(
        provider,
        type=AuthorizationType.TOKEN_EXCHANGE,
        client_id=None,
        client_secret=None,
        subject_token=f"file:{credential}",
        resource="urn:principal:us",
        scope="signaling:dataflow",
    )
    source = make()
    for name in ("workload-1", "workload-2"):
        credential.write_text(f"{name}\n")
        source.token(to)
        form = provider.asked[-1][1]
        assert form == {
            "grant_type": EXCHANGE,
            "subject_token": name,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "requested_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "resource": "urn:principal:us",
            "audience": "cp",
            "scope": "signaling:dataflow",
        }
    credential.unlink()
    with pytest.raises(ConfigError):
        source.token(to)


def test_our_own_key_signs(make: Make, provider: IdentityProvider) -> None:
    """Who we are, for whom, for five minutes, each with an id of its own."""
    us = participant()
    source = make(us)
    to = ControlPlane(id="cp", callback_authorization=CallbackTokens(type=AuthorizationType.SELF_ISSUED))
    one, other = source.token(to), source.token(to)
    assert one is not None
    assert one != other
    assert us.signing_key is not None
    read = jwt.decode(one, ECKey.import_key(us.signing_key), algorithms=["ES256"])
    assert (read.header["kid"], read.claims["iss"], read.claims["sub"]) == (KID, DID, "dp")
    assert (read.claims["aud"], read.claims["exp"] - read.claims["iat"]) == ("cp", 300)
    with pytest.raises(ConfigError):
        make().token(to)


def test_endpoints_of_messages_are_asked_by_https(make: Make, provider: IdentityProvider) -> None:
    """By plain http only on this machine, in development."""
    for url in (provider.token_endpoint, "http://idp.example/token", "ftp://idp.example/token"):
        with pytest.raises(AddressError):
            make().token(plane(provider, token_endpoint=url, provenance=Provenance.EXTERNAL))
    assert provider.asked == []


def test_a_secret_does_not_follow_a_redirect(provider: IdentityProvider, make: Make) -> None:
    """Neither to another host nor to the same one."""
    with IdentityProvider() as other, closing(token_source(Network())) as source:
        for status in (301, 302, 303, 307, 308):
            provider.status, provider.location = status, other.token_endpoint
            with pytest.raises(DataFerryError):
                source.token(plane(provider))
        assert other.asked == []
