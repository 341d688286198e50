"""Any source to any sink: S3, files and HTTP, with what may go wrong at either end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.behaviour.test_file import FileRig
from tests.behaviour.test_http import TOKEN, HttpRig
from tests.behaviour.test_s3 import FaultyRig
from tests.servers.faulty_s3 import FaultyS3
from tests.servers.http_store import HttpStore

from dataferry.testing.mechanism_rig import MechanismRig
from dataferry.testing.pair_suite import PairSuite

MECHANISMS = ["s3", "file", "http"]


class House:
    """The servers of one side, for all pairs of the module."""

    def __init__(self, stack: ExitStack) -> None:
        self._http = stack.enter_context(HttpStore(token=TOKEN))
        self._s3 = stack.enter_context(FaultyS3())

    def rig(self, name: str, directory: Path, stack: ExitStack) -> MechanismRig:
        """Make a rig on a clean server."""
        self._http.clear()
        self._http.objects.clear()
        self._s3.clear()
        self._s3.buckets.clear()
        if name == "s3":
            return FaultyRig(self._s3, stack)
        if name == "http":
            return HttpRig(self._http)
        directory.mkdir()
        return FileRig(directory)


@pytest.fixture(scope="module")
def houses() -> Iterator[tuple[House, House]]:
    """The provider's servers and the consumer's: a fault of one is not the other's."""
    with ExitStack() as stack:
        yield House(stack), House(stack)


class TestPairs(PairSuite):
    """Each mechanism with each."""

    @pytest.fixture
    def _stack(self) -> Iterator[ExitStack]:
        """What a case opens beside."""
        with ExitStack() as stack:
            yield stack

    @pytest.fixture(params=MECHANISMS)
    def source_rig(
        self, request: pytest.FixtureRequest, houses: tuple[House, House], tmp_path: Path, _stack: ExitStack
    ) -> MechanismRig:
        """The source's."""
        return houses[0].rig(request.param, tmp_path / "here", _stack)

    @pytest.fixture(params=MECHANISMS)
    def sink_rig(
        self, request: pytest.FixtureRequest, houses: tuple[House, House], tmp_path: Path, _stack: ExitStack
    ) -> MechanismRig:
        """The sink's."""
        return houses[1].rig(request.param, tmp_path / "there", _stack)
