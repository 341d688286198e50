"""Data addresses whose token is renewed while applications read by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from joserfc.jwk import ECKey
from tests.servers.refresh_endpoint import RefreshEndpoint
from tests.unit.flows.test_renewal import US, address
from tests.unit.flows.world import PULL, World, until

from dataferry.domain.address import DataAddress
from dataferry.domain.clock import SystemClock
from dataferry.domain.errors import ConflictError, ConnectionFailedError, ServerError
from dataferry.domain.location import Landing, LandingZone
from dataferry.domain.participant import Participant
from dataferry.flows import data_addresses
from dataferry.flows.management import Management
from dataferry.flows.renewal import Renewals
from dataferry.flows.signaling import Signaling
from dataferry.flows.signers import Signers
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy

KEEP = LandingZone(name="keep", mode=Landing.NONE)


class Hands(SystemClock):
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.forward = timedelta()

    def now(self) -> datetime:
        """The time of day."""
        return super().now() + self.forward


@pytest.fixture
def endpoint() -> Iterator[RefreshEndpoint]:
    """A refresh endpoint on loopback."""
    with RefreshEndpoint() as made:
        yield made


class Renewing:
    """A plane that can renew tokens; ``restarted`` forgets all that is not in the store."""

    def __init__(self, world: World, clock: Hands) -> None:
        self.world, self.clock = world, clock
        key = ECKey.generate_key("P-256").as_pem(private=True).decode()
        self._us = Participant(id="default", did=US, signing_key=key, kid=f"{US}#key")
        self.made: list[Renewals] = []
        self.restarted()

    def restarted(self) -> None:
        """Begin anew, as after a kill."""
        network = Network(EgressGuard(EgressPolicy(allow_private_networks=True)))
        signers = Signers([self._us], network)
        self.made.append(Renewals(self.world.store, network, signers, self.clock, may_be_plain=True))
        shared = replace(self.world.shared, renewals=self.made[-1], clock=self.clock)
        self.signaling = Signaling(shared, self.world.executor)
        self.management = Management(shared, self.world.executor)

    def started(self, given: DataAddress) -> None:
        """Bring a pull to STARTED."""
        self.world.signaling.prepare(self.world.caller, self.world.message(profile=PULL))
        self.signaling.started(self.world.caller, "p1", given)

    def token(self) -> str | None:
        """Read the address; its token."""
        return self.management.data_address("p1", actor="app").address.get("authorization")


@pytest.fixture
def renewing(tmp_path: Path) -> Iterator[Renewing]:
    """A plane with a DID, whose landing zone keeps addresses."""
    world = World(tmp_path, zones=(KEEP,), working=False)
    made = Renewing(world, Hands())
    yield made
    for renewals in made.made:
        renewals.close()
    world.close()


def with_root(given: DataAddress, world: World) -> DataAddress:
    """An address of the share with the properties of another one."""
    return replace(world.their_address(), properties=(*world.their_address().properties, *given.properties))


def test_what_renews_a_token_is_not_handed_out(renewing: Renewing, endpoint: RefreshEndpoint) -> None:
    """The refresh token is bound to this participant; when the access token ends is told instead."""
    renewing.started(with_root(address(endpoint.url), renewing.world))
    current = renewing.management.data_address("p1", actor="app")
    names = [name for name, _ in current.address.properties]

    assert names == ["root", "path", "authorization", "authType"]
    assert current.expires_at is not None
    left = current.expires_at - renewing.clock.now()
    assert timedelta(seconds=290) < left <= timedelta(seconds=300)
    assert "refresh-0" not in repr(current)


def test_a_token_is_as_old_as_its_address(renewing: Renewing, endpoint: RefreshEndpoint) -> None:
    """Nobody uses the token here: when it came is known, even after a kill, and it is renewed in time."""
    renewing.started(with_root(address(endpoint.url), renewing.world))
    renewing.clock.forward = timedelta(seconds=200)
    renewing.restarted()
    assert renewing.token() == "access-0"
    renewing.clock.forward = timedelta(seconds=280)
    renewing.restarted()
    assert renewing.token() == "access-1"
    renewing.restarted()

    assert renewing.token() == "access-1"
    assert [form["refresh_token"] for form in endpoint.asked] == [["refresh-0"]]


def test_a_repeated_notification_does_not_undo_a_renewal(
    renewing: Renewing, endpoint: RefreshEndpoint
) -> None:
    """The same address again is the same; another one counts at once."""
    given = with_root(address(endpoint.url), renewing.world)
    renewing.started(given)
    renewing.clock.forward = timedelta(seconds=280)
    assert renewing.token() == "access-1"
    renewing.signaling.started(renewing.world.caller, "p1", given)
    assert renewing.token() == "access-1"
    other = with_root(address(endpoint.url, authorization="new", refreshToken="new-r"), renewing.world)
    renewing.signaling.suspend(renewing.world.caller, "p1")
    renewing.signaling.resume(renewing.world.caller, "p1", other)

    assert renewing.token() == "new"


def test_many_readers_share_one_renewal(renewing: Renewing, endpoint: RefreshEndpoint) -> None:
    """Of a token that has ended; the provider is asked once."""
    renewing.started(with_root(address(endpoint.url), renewing.world))
    renewing.clock.forward = timedelta(seconds=400)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: renewing.token(), range(24)))

    assert found == {"access-1"}
    assert len(endpoint.asked) == 1


def test_many_readers_share_one_failure(renewing: Renewing, endpoint: RefreshEndpoint) -> None:
    """They do not stand in line at a provider that is silent: each would wait for all before it."""
    gate, ready = threading.Event(), threading.Barrier(9)
    answered: list[int] = []

    def silent(_: object) -> tuple[int, bytes]:
        assert gate.wait(20)
        answered.append(1)
        return 503, b""

    endpoint.answer = silent
    renewing.started(with_root(address(endpoint.url), renewing.world))
    renewing.clock.forward = timedelta(seconds=400)

    def ask() -> type[Exception] | None:
        ready.wait(20)
        try:
            renewing.token()
        except ServerError as exc:
            return type(exc)
        return None

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask) for _ in range(8)]
        ready.wait(20)
        until(lambda: endpoint.asked)
        threading.Event().wait(0.3)  # the others stand in line by then; were they late, they would ask too
        gate.set()
        assert {one.result(20) for one in asked} == {ServerError}

    assert len(answered) <= 2
    endpoint.answer = endpoint.issue
    renewing.clock.forward += timedelta(seconds=3)
    assert renewing.token() is not None


def test_a_lost_answer_costs_nothing(renewing: Renewing, endpoint: RefreshEndpoint) -> None:
    """The provider has renewed, and its answer gets lost: the token that is still good is handed out."""

    def lost(_: object) -> tuple[int, bytes]:
        raise BrokenPipeError

    endpoint.answer = lost
    endpoint.forgive()
    renewing.started(with_root(address(endpoint.url), renewing.world))
    renewing.clock.forward = timedelta(seconds=280)
    assert renewing.token() == "access-0"
    endpoint.answer = endpoint.issue
    renewing.restarted()

    assert renewing.token() == "access-2"
    assert [form["refresh_token"] for form in endpoint.asked] == [["refresh-0"], ["refresh-0"]]


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [(400, ConflictError, "a resume may bring a new address"), (503, ServerError, "answered with 503")],
)
def test_a_token_that_can_not_be_renewed_is_not_handed_out(
    renewing: Renewing, endpoint: RefreshEndpoint, status: int, error: type[Exception], words: str
) -> None:
    """Once it has ended: for good, or for a while; and a reading that failed is none."""
    endpoint.answer = lambda _: (status, b'{"error": "invalid_grant"}')
    renewing.started(with_root(address(endpoint.url), renewing.world))
    renewing.clock.forward = timedelta(seconds=301)
    with pytest.raises(error, match=words) as raised:
        renewing.token()

    assert "refresh-0" not in str(raised.value)
    assert "access-0" not in str(raised.value)
    assert not [event for event in renewing.world.events() if event.kind == data_addresses.EVENT]


def test_an_endpoint_that_is_not_there_is_a_passing_fault(
    renewing: Renewing, endpoint: RefreshEndpoint
) -> None:
    """503 to the application, which asks again."""
    renewing.started(with_root(address("http://localhost:9/token"), renewing.world))
    renewing.clock.forward = timedelta(seconds=301)
    with pytest.raises(ConnectionFailedError):
        renewing.token()


def test_a_renewal_that_a_new_address_overtook_is_not_kept(
    renewing: Renewing, endpoint: RefreshEndpoint
) -> None:
    """It would stand in the way of the new address's own tokens."""
    other = with_root(address(endpoint.url, authorization="new", refreshToken="new-r"), renewing.world)
    newest: list[str | None] = []

    def overtaken(form: dict[str, list[str]]) -> tuple[int, bytes]:
        endpoint.answer = endpoint.issue
        renewing.signaling.started(renewing.world.caller, "p1", other)
        renewing.clock.forward += timedelta(seconds=280)
        newest.append(renewing.token())
        return endpoint.issue(form)

    endpoint.answer = overtaken
    renewing.started(with_root(address(endpoint.url), renewing.world))
    renewing.clock.forward = timedelta(seconds=280)
    assert renewing.token() == newest[0] == "access-2"
    renewing.restarted()

    assert renewing.token() == "access-2"
    assert [form["refresh_token"] for form in endpoint.asked] == [["refresh-0"], ["new-r"]]


def test_a_flow_that_is_suspended_meanwhile_is_not_read(
    renewing: Renewing, endpoint: RefreshEndpoint
) -> None:
    """Whatever was renewed for it."""

    def suspended(form: dict[str, list[str]]) -> tuple[int, bytes]:
        renewing.signaling.suspend(renewing.world.caller, "p1")
        return endpoint.issue(form)

    endpoint.answer = suspended
    renewing.started(with_root(address(endpoint.url), renewing.world))
    renewing.clock.forward = timedelta(seconds=400)
    with pytest.raises(ConflictError, match="SUSPENDED"):
        renewing.token()


def test_without_a_key_the_address_is_as_it_came(make_world: Callable[..., World]) -> None:
    """But for what nobody here can use; when it ends is not known."""
    world = make_world(zones=(KEEP,), working=False)
    given = with_root(address("https://provider.example/token"), world)
    world.signaling.prepare(world.caller, world.message(profile=PULL))
    world.signaling.started(world.caller, "p1", given)
    current = world.management.data_address("p1")

    assert current.expires_at is None
    assert [name for name, _ in current.address.properties][2:] == ["authorization", "authType", "expiresIn"]
