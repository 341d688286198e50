"""Tokens of other planes' addresses: which are renewed, how often they are asked for, what is believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey
from tests.servers.refresh_endpoint import RefreshEndpoint
from tests.unit.flows.world import World

from dataferry.domain.address import DataAddress
from dataferry.domain.dataflow import DataFlow
from dataferry.domain.errors import AccessDeniedError, DataFerryError, ProtocolError, ServerError
from dataferry.domain.participant import Participant
from dataferry.flows.messages import FlowRequest
from dataferry.flows.renewal import FlowTokens, Offer, Renewals
from dataferry.flows.signers import Signers
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy

US = "did:web:us.example"


@pytest.fixture
def endpoint() -> Iterator[RefreshEndpoint]:
    """A refresh endpoint on loopback."""
    with RefreshEndpoint() as made:
        yield made


def address(endpoint: str, **changes: str | None) -> DataAddress:
    """An address whose token is renewed there; None leaves a property out."""
    usual = {
        "authorization": "access-0",
        "authType": "bearer",
        "refreshToken": "refresh-0",
        "expiresIn": "300",
        "refreshEndpoint": endpoint,
    }
    properties = tuple((name, value) for name, value in {**usual, **changes}.items() if value is not None)
    return DataAddress(endpoint_type="HttpData", endpoint="https://data.example/x", properties=properties)


@pytest.fixture(scope="module")
def renew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[DataAddress], FlowTokens]]:
    """Make the tokens of a flow that fetches from an address; the same flow each time."""
    with ExitStack() as open_:
        world = World(tmp_path_factory.mktemp("world"), working=False)
        open_.callback(world.close)
        world.write("out/data")
        key = ECKey.generate_key("P-256").as_pem(private=True).decode()
        us = Participant(id="default", did=US, signing_key=key, kid=f"{US}#key")
        network = Network(EgressGuard(EgressPolicy(allow_private_networks=True)))
        signers = Signers([us], network)
        open_.callback(signers.close)
        renewals = Renewals(world.store, network, signers, world.clock, may_be_plain=True)
        open_.callback(renewals.close)
        said: FlowRequest = world.message()
        world.signaling.start(world.caller, replace(said, data_address=world.their_address()))
        row: DataFlow = world.flow()

        def made(of: DataAddress) -> FlowTokens:
            tokens = renewals.of(replace(row, incoming_address=of))
            assert tokens is not None
            return tokens

        yield made


Make = Callable[[DataAddress], FlowTokens]


def test_a_token_that_is_good_is_not_renewed(endpoint: RefreshEndpoint, renew: Make) -> None:
    """Nobody is asked while most of its life is left."""
    assert renew(address(endpoint.url)).current() == "access-0"
    assert endpoint.asked == []


def test_one_renewal_serves_all_workers(endpoint: RefreshEndpoint, renew: Make) -> None:
    """A token that was refused to many at once is renewed once."""
    tokens = renew(address(endpoint.url))
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: tokens.after("access-0"), range(16)))

    assert found == {"access-1"}
    assert [form["refresh_token"] for form in endpoint.asked] == [["refresh-0"]]


def test_what_was_renewed_is_kept(endpoint: RefreshEndpoint, renew: Make) -> None:
    """Another process goes on with it; a repeated address changes nothing, another one makes it void."""
    renew(address(endpoint.url)).after("access-0")
    again = renew(address(endpoint.url))
    other = renew(address(endpoint.url, authorization="other", refreshToken="other"))

    assert again.current() == "access-1"
    assert other.current() == "other"
    again.after("access-1")
    assert endpoint.asked[-1]["refresh_token"] == ["refresh-1"]


def test_a_token_is_renewed_before_it_ends(endpoint: RefreshEndpoint, renew: Make) -> None:
    """With little of its life left; while it is good, an endpoint that fails is no fault."""
    tokens = renew(address(endpoint.url))
    held = tokens._held
    now = tokens._renewals.clock.now()
    tokens._held = replace(held, expires_at=now + (held.expires_at - now) / 20)
    endpoint.answer = lambda _: (503, b"")

    assert tokens.current() == "access-0"
    assert tokens.current() == "access-0"
    assert len(endpoint.asked) == 1
    tokens._again_at = now
    endpoint.answer = endpoint.issue
    assert tokens.current() == "access-2"


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, AccessDeniedError), (401, AccessDeniedError), (503, ServerError), (302, ProtocolError)],
)
def test_a_refusal_is_an_error_of_its_kind(
    endpoint: RefreshEndpoint, renew: Make, status: int, error: type[DataFerryError]
) -> None:
    """For good, or for a while; the server's own words and the tokens are in none."""
    endpoint.answer = lambda _: (status, b'{"error_description": "words refresh-0"}')
    with pytest.raises(error) as raised:
        renew(address(endpoint.url)).after("access-0")

    assert "words" not in str(raised.value)
    assert "refresh-0" not in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 60_000,
        b"x" * 70_000,
        b'{"access_token": "a"}',
        b'{"access_token": "a", "token_type": "mac"}',
        b'{"access_token": 7, "token_type": "bearer"}',
        b'{"access_token": "a b", "token_type": "bearer"}',
        b'{"access_token": "a\\r\\nX: y", "token_type": "bearer"}',
        b'{"access_token": "", "token_type": "bearer"}',
        b'{"access_token": "a", "token_type": "bearer", "expires_in": -1}',
        b'{"access_token": "a", "token_type": "bearer", "expires_in": NaN}',
        b'{"access_token": "a", "token_type": "bearer", "expires_in": 1e99}',
        b'{"access_token": "a", "token_type": "bearer", "refresh_token": ["x"]}',
    ],
    ids=lambda body: str(body[:60]),
)
def test_an_answer_that_is_none_is_refused(endpoint: RefreshEndpoint, renew: Make, body: bytes) -> None:
    """Nothing of it is kept, and the old pair goes on renewing."""
    endpoint.answer = lambda _: (200, body)
    tokens = renew(address(endpoint.url))
    with pytest.raises(ProtocolError):
        tokens.after("access-0")
    endpoint.answer = endpoint.issue

    assert tokens.after("access-0") == "access-2"


@pytest.mark.parametrize(
    "changes",
    [
        {"refreshToken": None},
        {"refreshToken": ""},
        {"authorization": None},
        {"authorization": "a b"},
        {"expiresIn": None},
        {"expiresIn": "0"},
        {"expiresIn": "-1"},
        {"expiresIn": "soon"},
        {"expiresIn": "9" * 30},
        {"refreshEndpoint": "http://provider.example/token"},
        {"refreshEndpoint": "ftp://provider.example/token"},
        {"refreshEndpoint": "https://user:password@provider.example/token"},
        {"refreshEndpoint": "https://"},
        {"refreshEndpoint": "https://provider.example:0/"},
        {"refreshEndpoint": "https://[::1"},
    ],
    ids=str,
)
def test_what_is_no_offer_is_none(changes: dict[str, str | None]) -> None:
    """Without all that renewal takes, or with an endpoint that no token may be sent to."""
    assert Offer.of(address("https://provider.example/token")) is not None
    assert Offer.of(address("https://provider.example/token", **changes)) is None


def test_without_a_refresh_endpoint_it_is_the_data_s() -> None:
    """As the profile says; plain http on this machine is for development."""
    offer = Offer.of(address("x", refreshEndpoint=None))

    assert offer is not None
    assert offer.endpoint == "https://data.example/x"
    assert Offer.of(address("http://localhost:1/")) is None
    assert Offer.of(address("http://localhost:1/"), may_be_plain=True) is not None
    assert Offer.of(address("http://10.0.0.1/"), may_be_plain=True) is None


def test_who_can_not_sign_renews_nothing(tmp_path: Path) -> None:
    """Without a key there are no tokens to renew, and the address is used as it is."""
    world = World(tmp_path, working=False)
    world.write("out/data")
    try:
        said = replace(world.message(), data_address=world.their_address())
        world.signaling.start(world.caller, said)
        row = replace(world.flow(), incoming_address=address("https://provider.example/"), id=uuid4())
        assert world.renewals.of(row) is None
    finally:
        world.close()
