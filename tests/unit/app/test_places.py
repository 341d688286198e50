"""What SRC and DST of a copy mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataferry.app.places import find_place
from dataferry.domain.errors import AddressError, ConfigError
from dataferry.domain.location import Location
from dataferry.mechanisms.registry import Registry


class OneLocation:
    """A configuration with a single location, ``lake``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def names(self) -> tuple[str, ...]:
        """The one."""
        return ("lake",)

    def get(self, name: str) -> Location:
        """The one."""
        return Location(name=name, mechanism="file", settings={"root": str(self._root)})


def identity(text: str, root: Path | None = None) -> str:
    """Where ``text`` leads."""
    locations = OneLocation(root) if root else None
    return find_place(text, locations=locations, registry=Registry())[1].identity


def test_a_location_and_a_path(tmp_path: Path) -> None:
    """``NAME:PATH`` lies in the configured location."""
    assert identity("lake:in/x.bin", tmp_path) == f"file://{tmp_path}/in/x.bin"


def test_a_plain_path_keeps_its_last_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is one of this machine; odd names and the slash that says "directory" survive."""
    monkeypatch.chdir(tmp_path)
    assert identity("a b#c%20?.bin") == f"file://{tmp_path}/a%20b%23c%2520%3F.bin"
    registry = Registry()
    assert find_place("new/", locations=None, registry=registry)[1].is_single is False
    assert find_place(".", locations=None, registry=registry)[1].is_single is False
    assert find_place("new", locations=None, registry=registry)[1].is_single is True


def test_a_name_that_is_not_configured_is_refused_with_advice(tmp_path: Path) -> None:
    """The message lists what there is, and how to mean a file."""
    with pytest.raises(ConfigError, match=r"no location 'lak'; configured are: lake\..*write \./lak:x"):
        identity("lak:x", tmp_path)
    with pytest.raises(ConfigError, match="none is configured"):
        identity("lake:x")


def test_a_file_whose_name_has_a_colon_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What exists on this machine wins over a location that does not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b").write_text("x")
    assert identity("a:b") == f"file://{tmp_path}/a%3Ab"


def test_urls_of_no_mechanism_are_refused() -> None:
    """A scheme that nobody knows is said to be one."""
    with pytest.raises(AddressError, match="ftp:"):
        identity("ftp://host/x")
