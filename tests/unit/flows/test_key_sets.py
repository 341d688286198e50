"""Keys that are published: kept, fetched again when they rotate, and not at the will of strangers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import timedelta

import pytest
from tests.servers.identity_provider import IdentityProvider

from dataferry.domain.errors import ConnectionFailedError, UnauthorizedError
from dataferry.domain.location import Provenance
from dataferry.flows.key_sets import (
    ASKED_AGAIN_S,
    ASKED_AT_ONCE,
    KEPT_S,
    MOST_STALE_S,
    KeySets,
)
from dataferry.net.connections import Network
from dataferry.net.egress import EgressGuard, EgressPolicy
from dataferry.testing.ledger_suite import StillClock

OPERATOR, EXTERNAL = Provenance.OPERATOR, Provenance.EXTERNAL


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    """Publishes keys."""
    with IdentityProvider() as running:
        yield running


@pytest.fixture
def clock() -> StillClock:
    """Time that stands still."""
    return StillClock()


@pytest.fixture
def make(clock: StillClock) -> Iterator[Callable[..., KeySets]]:
    """Make key sets, on the default egress policy."""
    with ExitStack() as open_:

        def made(network: Network | None = None, **options: bool) -> KeySets:
            sets = KeySets(network or Network(), clock, **options)
            open_.callback(sets.close)
            return sets

        yield made


def later(clock: StillClock, seconds: float) -> None:
    """Let time pass."""
    clock.moment += timedelta(seconds=seconds)


def kids(sets: KeySets, provider: IdentityProvider, kid: str | None = None) -> list[str]:
    """Which keys are found for a token of the key that signs now."""
    found = sets.keys(provider.jwks_uri, OPERATOR, kid or provider.signing.kid, "ES256")
    return [str(key["kid"]) for key in found]


def test_a_set_is_fetched_once_and_again_when_it_is_old(
    provider: IdentityProvider, make: Callable[..., KeySets], clock: StillClock
) -> None:
    """A key that was withdrawn is believed until then."""
    sets, first = make(), provider.signing.kid
    assert kids(sets, provider) == [first]
    provider.rotate()
    for _ in range(3):
        assert kids(sets, provider, first) == [first]
    assert provider.count("/jwks.json") == 1
    later(clock, KEPT_S + 1)
    with pytest.raises(UnauthorizedError):
        kids(sets, provider, first)
    assert provider.count("/jwks.json") == 2


def test_a_new_key_is_found_at_once(
    provider: IdentityProvider, make: Callable[..., KeySets], clock: StillClock
) -> None:
    """Also right after the set was fetched, and beside the one before it."""
    sets, first = make(), provider.signing.kid
    kids(sets, provider)
    provider.rotate(keeps_old=True)
    assert kids(sets, provider) == [provider.signing.kid]
    assert kids(sets, provider, first) == [first]
    assert provider.count("/jwks.json") == 2


def test_unknown_keys_do_not_have_the_publisher_asked_again_and_again(
    provider: IdentityProvider, make: Callable[..., KeySets], clock: StillClock
) -> None:
    """A stranger makes up a hundred; then one fetch in each interval."""
    sets = make()
    kids(sets, provider)
    for number in range(100):
        with pytest.raises(UnauthorizedError):
            kids(sets, provider, f"made-up-{number}")
    assert provider.count("/jwks.json") == ASKED_AT_ONCE
    assert kids(sets, provider) == [provider.signing.kid]
    provider.rotate()
    later(clock, ASKED_AGAIN_S)
    assert kids(sets, provider) == [provider.signing.kid]
    assert provider.count("/jwks.json") == ASKED_AT_ONCE + 1


def test_many_that_need_a_set_at_once_fetch_it_once(
    provider: IdentityProvider, make: Callable[..., KeySets]
) -> None:
    """Eight callers at the start, eight after a rotation."""
    sets = make()
    for fetched in (1, 2):
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: kids(sets, provider), range(8)))
        assert found == [[provider.signing.kid]] * 8
        assert provider.count("/jwks.json") == fetched
        provider.rotate()


def test_many_that_wait_for_a_slow_publisher_do_not_ask_it_one_after_the_other(
    provider: IdentityProvider, make: Callable[..., KeySets]
) -> None:
    """Twelve made-up keys while it does not answer: one request more than the one that is on its way."""
    sets = make()
    kids(sets, provider)
    provider.gate.clear()

    def look(number: int) -> str:
        try:
            return str(kids(sets, provider, f"made-up-{number}"))
        except UnauthorizedError:
            return "refused"

    with ThreadPoolExecutor(12) as pool:
        found = [pool.submit(look, number) for number in range(12)]
        while provider.count("/jwks.json") < 2:
            wait(found, timeout=0.01)
        wait(found, timeout=0.3)
        provider.gate.set()
        assert [one.result(20) for one in found] == ["refused"] * 12
    assert provider.count("/jwks.json") <= 3


def test_a_publisher_that_does_not_answer(
    provider: IdentityProvider, make: Callable[..., KeySets], clock: StillClock
) -> None:
    """What was fetched last is believed for an hour; without it, or after it, nothing is."""
    sets, never = make(), make()
    kids(sets, provider)
    for status in (500, 404, 204):
        provider.keys_status = status
        later(clock, KEPT_S + 1)
        assert kids(sets, provider) == [provider.signing.kid]
    with pytest.raises(ConnectionFailedError):
        kids(sets, provider, "a-key-that-may-be-new")
    with pytest.raises(ConnectionFailedError) as refused:
        kids(never, provider)
    assert "127.0.0.1" not in str(refused.value)
    later(clock, MOST_STALE_S)
    with pytest.raises(ConnectionFailedError):
        kids(sets, provider)
    provider.keys_status = 200
    later(clock, ASKED_AGAIN_S)
    assert kids(sets, provider) == [provider.signing.kid]


def test_a_set_that_is_none_is_not_believed(
    provider: IdentityProvider, make: Callable[..., KeySets], clock: StillClock
) -> None:
    """Without a key for signatures, or with too many."""
    sets, published = make(), list(provider.published)
    for keys in ([], published * 60, []):
        provider.published = keys
        later(clock, KEPT_S)
        with pytest.raises(ConnectionFailedError):
            sets.keys(provider.jwks_uri, OPERATOR, "x", "ES256")
    provider.published = published
    later(clock, KEPT_S)
    assert kids(sets, provider) == [provider.signing.kid]


def test_a_redirect_is_not_followed(
    provider: IdentityProvider, make: Callable[..., KeySets], clock: StillClock
) -> None:
    """Wherever it leads: no word of a publisher sends this plane anywhere."""
    with IdentityProvider() as other:
        provider.keys_status, provider.location = 302, other.jwks_uri
        with pytest.raises(ConnectionFailedError):
            kids(make(), provider)
        assert other.asked == []


def test_places_of_messages_are_asked_by_https(
    provider: IdentityProvider, make: Callable[..., KeySets]
) -> None:
    """Plain http only where it is this machine, in development, and then still through the guard."""
    open_ = Network(EgressGuard(EgressPolicy(allow_private_networks=True)))
    for sets in (make(), make(open_), make(may_be_plain=True)):
        with pytest.raises(ConnectionFailedError):
            sets.keys(provider.jwks_uri, EXTERNAL, None, "ES256")
    assert provider.asked == []
    assert make(open_, may_be_plain=True).keys(provider.jwks_uri, EXTERNAL, None, "ES256")
