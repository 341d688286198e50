"""The egress guard decides by provenance, on every address that a name has."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from dataferry.domain.errors import AddressError, ConfigError, ConnectionFailedError, EgressDeniedError
from dataferry.domain.location import Provenance
from dataferry.net.egress import EgressGuard, EgressPolicy, Reach, reach_of

EXTERNAL, OPERATOR = Provenance.EXTERNAL, Provenance.OPERATOR


class Names:
    """A resolver with answers of its own; each look-up takes the next answer of a list."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = {name.replace("_", "."): value for name, value in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        """Answer as getaddrinfo does."""
        self.asked.append(host)
        if host not in self.answers:
            try:
                texts = [str(ipaddress.ip_address(host))]
            except ValueError:
                raise socket.gaierror(-2, "Name or service not known") from None
        else:
            texts = self.answers[host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port)) for text in texts]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1",  # noqa: S104 - never bound
        "255.255.255.255", "198.18.0.1", "192.0.0.8", "192.0.2.1", "::1", "::", "fe80::1",
        "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:10.0.0.1",
        "64:ff9b::10.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::10.0.0.1", "2002:0a00:0001::1",
        "2002:0808:0808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "100::1",
        "fd00:ec2::254",
    ],
)  # fmt: skip
def test_an_external_place_is_never_at_an_address_that_is_not_public(address: str) -> None:
    """Private, special and IPv4-carrying forms are refused, whatever name they have."""
    guard = EgressGuard(resolve=Names(evil_example=[address]))
    with pytest.raises(EgressDeniedError):
        guard.resolve("evil.example", 443, EXTERNAL)
    assert guard.resolve("evil.example", 443, OPERATOR)[0][1] == 443


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "172.32.0.1", "11.0.0.1"])
def test_public_addresses_are_open_to_all(address: str) -> None:
    """The guard is no allow list by default."""
    assert EgressGuard(resolve=Names()).resolve(address, 80, EXTERNAL) == ((address, 80),)


def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    """A name is as trustworthy as its worst address."""
    guard = EgressGuard(resolve=Names(mixed_example=["8.8.8.8", "10.0.0.1"]))
    with pytest.raises(EgressDeniedError):
        guard.resolve("mixed.example", 443, EXTERNAL)


def test_a_name_is_resolved_once_for_check_and_use() -> None:
    """What is returned is what was checked."""
    names = Names(host_example=["8.8.8.8"])
    guard = EgressGuard(resolve=names)
    assert guard.resolve("host.example", 443, EXTERNAL) == (("8.8.8.8", 443),)
    assert names.asked == ["host.example"]


def test_allowed_names_may_be_private_but_not_special() -> None:
    """An operator who names a host vouches for its private address, not for the metadata service."""
    names = Names(s3_corp_example=["10.1.2.3"], bad_corp_example=["169.254.169.254"])
    guard = EgressGuard(EgressPolicy(allow=("*.corp.example",)), resolve=names)
    assert guard.resolve("S3.corp.example.", 443, EXTERNAL) == (("10.1.2.3", 443),)
    with pytest.raises(EgressDeniedError):
        guard.resolve("bad.corp.example", 443, EXTERNAL)


def test_allowed_networks_and_private_networks() -> None:
    """A network in ``allow`` opens exactly itself; ``allow_private_networks`` opens private ones only."""
    one = EgressGuard(EgressPolicy(allow=("10.2.0.0/16", "169.254.1.0/24")), resolve=Names())
    assert one.resolve("10.2.3.4", 80, EXTERNAL)
    assert one.resolve("169.254.1.1", 80, EXTERNAL)
    with pytest.raises(EgressDeniedError):
        one.resolve("10.3.0.1", 80, EXTERNAL)
    private = EgressGuard(EgressPolicy(allow_private_networks=True), resolve=Names())
    assert private.resolve("127.0.0.1", 80, EXTERNAL)
    assert private.resolve("fd00::1", 80, EXTERNAL)
    for address in ("169.254.169.254", "::ffff:10.0.0.1", "0.0.0.0", "224.0.0.1"):  # noqa: S104
        with pytest.raises(EgressDeniedError):
            private.resolve(address, 80, EXTERNAL)


def test_deny_wins_over_allow_and_reaches_inside_mapped_addresses() -> None:
    """A denied network stays denied in any of its spellings."""
    policy = EgressPolicy(allow=("10.0.0.0/8", "::ffff:0:0/96"), deny=("10.9.0.0/16", "bad.example"))
    guard = EgressGuard(policy, resolve=Names(bad_example=["8.8.8.8"]))
    assert guard.resolve("10.8.0.1", 80, EXTERNAL)
    for host in ("10.9.0.1", "::ffff:10.9.0.1", "bad.example", "BAD.example."):
        with pytest.raises(EgressDeniedError):
            guard.resolve(host, 80, EXTERNAL)


def test_a_star_in_deny_makes_allow_the_whole_list() -> None:
    """Nothing else is reached then, public or not."""
    guard = EgressGuard(
        EgressPolicy(allow=("good.example",), deny=("*",), allow_private_networks=True),
        resolve=Names(good_example=["8.8.8.8"], other_example=["8.8.4.4"]),
    )
    assert guard.resolve("good.example", 443, EXTERNAL)
    for host in ("other.example", "127.0.0.1"):
        with pytest.raises(EgressDeniedError):
            guard.resolve(host, 443, EXTERNAL)


def test_what_is_no_host_or_does_not_resolve() -> None:
    """Malformed hosts are the caller's fault, unknown ones may come."""
    guard = EgressGuard(resolve=Names())
    with pytest.raises(ConnectionFailedError):
        guard.resolve("nowhere.example", 443, EXTERNAL)
    for host, port in (("", 80), ("a" * 300, 80), ("a.example", 0), ("a.example", 70000)):
        with pytest.raises(AddressError):
            guard.resolve(host, port, EXTERNAL)
    with pytest.raises(AddressError):
        EgressGuard().resolve("a" * 64 + "..example", 80, EXTERNAL)


def test_a_pattern_that_is_neither_host_nor_network_is_refused() -> None:
    """A typing error in a network must not become a host pattern that matches nothing."""
    with pytest.raises(ConfigError):
        EgressGuard(EgressPolicy(deny=("10.0.0.0/33",)))


def test_kinds_of_addresses() -> None:
    """Loopback is private, link-local is special."""
    kinds = {text: reach_of(ipaddress.ip_address(text)) for text in ("127.0.0.1", "fe80::1", "9.9.9.9")}
    assert kinds == {"127.0.0.1": Reach.PRIVATE, "fe80::1": Reach.SPECIAL, "9.9.9.9": Reach.PUBLIC}
