"""The behaviour suite on files."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

from dataferry.domain.location import Location
from dataferry.domain.objects import Attributes
from dataferry.mechanisms.base import Endpoint
from dataferry.mechanisms.file import MECHANISM
from dataferry.mechanisms.file.address import FileEndpoint
from dataferry.testing.mechanism_rig import NO_ATTRIBUTES
from dataferry.testing.mechanism_suite import MechanismRig, MechanismSuite


class FileRig(MechanismRig):
    """Directories below a temporary one."""

    mechanism = MECHANISM
    bad_names = ("", "/", "/x", "x/", "a//b", ".", "a/./b", "nul\0", "x" * 256, "ü" * 128, "\udcff")
    wrong_location = Location(name="wrong", mechanism="file", settings={"root": "not/absolute"})

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()

    def fresh_source(
        self,
        objects: Mapping[str, bytes],
        *,
        attributes: Attributes = NO_ATTRIBUTES,  # noqa: ARG002 - files have none
    ) -> Endpoint:
        """Make a directory with files in it."""
        place = self.fresh_sink()
        for name, data in objects.items():
            path = Path(place.root, name)
            # A tree can't have both "a" and "a/b"; the suite never asks for that of a file source.
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return place

    def single(self, source: Endpoint, name: str) -> Endpoint:
        """Name one file."""
        assert isinstance(source, FileEndpoint)
        return MECHANISM.at_location(location(source.root), name)

    def fresh_sink(self) -> FileEndpoint:
        """Make an empty directory."""
        root = self._directory / f"root-{next(self._numbers)}"
        root.mkdir()
        place = MECHANISM.at_location(location(str(root)), "")
        assert isinstance(place, FileEndpoint)
        return place

    def contents(self, place: Endpoint) -> dict[str, bytes]:
        """Read every file that does not carry a temporary name."""
        assert isinstance(place, FileEndpoint)
        root = Path(place.root)
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and not path.name.endswith(".dataferry-part")
        }

    def replace(self, source: Endpoint, name: str, data: bytes) -> None:
        """Put another file in the place of one."""
        assert isinstance(source, FileEndpoint)
        other = self._directory / f"new-{next(self._numbers)}"
        other.write_bytes(data)
        other.replace(Path(source.root, name))

    def missing_root(self) -> Endpoint:
        """Name a root that is not there."""
        return MECHANISM.at_location(location(str(self._directory / "missing")), "")


class TestFile(MechanismSuite):
    """Files keep what every mechanism keeps."""

    @pytest.fixture
    def rig(self, tmp_path: Path) -> FileRig:
        """Work in the test's own directory."""
        return FileRig(tmp_path)


def location(root: str) -> Location:
    """Describe a location at a root."""
    return Location(name="here", mechanism="file", settings={"root": root})
