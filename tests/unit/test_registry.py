"""Mechanisms are found by name, profile and URL; a broken plug-in is named."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace

import pytest

from dataferry.domain.errors import AddressError, ConfigError, ProfileError
from dataferry.domain.profile import Direction, Profile
from dataferry.mechanisms.registry import GROUP, Registry

MODULE = "registry_test_plug_in"
PUSH = Profile(url="https://example.com/profile/mine-push", direction=Direction.PUSH, aliases=("Mine-PUSH",))


@pytest.fixture(autouse=True)
def plug_in() -> Iterator[ModuleType]:
    """Put a module with mechanisms where entry points find it."""
    module = ModuleType(MODULE)
    vars(module).update(
        mine=SimpleNamespace(name="mine", profiles=(PUSH,), url_schemes=("mine",)),
        thief=SimpleNamespace(name="thief", profiles=(PUSH,), url_schemes=("thief",)),
    )
    sys.modules[MODULE] = module
    yield module
    del sys.modules[MODULE]


def entry(name: str, attribute: str | None = None, module: str = MODULE) -> EntryPoint:
    return EntryPoint(name=name, value=f"{module}:{attribute or name}", group=GROUP)


def test_the_installation_has_its_built_ins() -> None:
    """S3 and file are found through entry points, as plug-ins are."""
    registry = Registry()
    assert {"file", "http", "s3"} <= set(registry.names)
    assert [mechanism.name for mechanism in registry.all()] == list(registry.names)


def test_a_mechanism_is_loaded_when_it_is_asked_for() -> None:
    """Names are known without loading; another mechanism's broken package does no harm."""
    registry = Registry([entry("mine"), entry("broken", module="no_such_module_anywhere")])
    assert registry.names == ("broken", "mine")
    assert registry.get("mine").name == "mine"
    assert registry.get("mine") is registry.get("mine")


def test_an_unknown_name_lists_the_known_ones() -> None:
    """A wrong type in a location is answered with the right ones."""
    with pytest.raises(ConfigError, match=r"'ftp'.*mine"):
        Registry([entry("mine")]).get("ftp")


@pytest.mark.parametrize("wrong", [entry("mine", "absent"), entry("mine", module="no_such_module_anywhere")])
def test_a_plug_in_that_cannot_be_loaded_is_named(wrong: EntryPoint) -> None:
    """A package that can't be imported is a configuration error that names it."""
    with pytest.raises(ConfigError, match="'mine' can't be loaded"):
        Registry([wrong]).get("mine")


def test_a_plug_in_under_another_name_is_refused() -> None:
    """A mechanism that calls itself otherwise than it is registered is refused."""
    with pytest.raises(ConfigError, match=r"'yours'.*'mine'"):
        Registry([entry("yours", "mine")]).get("yours")


def test_two_plug_ins_of_one_name_are_refused() -> None:
    """Which of two packages would win must not depend on the order of their installation."""
    with pytest.raises(ConfigError, match="two packages"):
        Registry([entry("mine"), entry("mine", "thief")])


def test_profiles_and_aliases_are_found() -> None:
    """A profile is found by its URL and by each alias, and all of them are told to control planes."""
    registry = Registry([entry("mine")])
    for name in PUSH.names:
        mechanism, profile = registry.by_profile(name)
        assert (mechanism.name, profile) == ("mine", PUSH)
    assert registry.profile_names == PUSH.names


def test_an_unknown_profile_lists_the_known_ones() -> None:
    """A profile nobody offers is answered with those offered, and with a bounded part of itself."""
    with pytest.raises(ProfileError, match="Mine-PUSH") as caught:
        Registry([entry("mine")]).by_profile("x" * 100_000)
    assert len(str(caught.value)) < 1000


def test_a_profile_claimed_twice_is_refused() -> None:
    """Two mechanisms can't both serve one profile."""
    with pytest.raises(ConfigError, match="both claim"):
        _ = Registry([entry("mine"), entry("thief")]).profile_names


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket/key", "s3"),
        ("S3://bucket/key", "s3"),
        ("file:///tmp/x", "file"),
        ("/tmp/x", "file"),  # noqa: S108 - only named
        ("relative/x", "file"),
        ("with:colon", "file"),
    ],
)
def test_urls_and_plain_paths_have_a_mechanism(url: str, name: str) -> None:
    """A URL's scheme decides, in any case; a plain path is a file's."""
    assert Registry().by_url(url).name == name


def test_a_scheme_nobody_has_is_refused() -> None:
    """A URL of an unknown scheme is an address error, never a strange file name."""
    with pytest.raises(AddressError, match="gopher"):
        Registry().by_url("gopher://host/x")
