"""A listing that does not end fills no ledger; a larger bound goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.unit.engine.attempts import KIB, LIMITS, Rig, content
from tests.unit.engine.memory import MemorySource

from dataferry.domain.errors import TooLargeError
from dataferry.domain.objects import ObjectInfo

OBJECTS = 250


class EndlessSource(MemorySource):
    """Names one object after the other, as long as somebody asks."""

    named = 0

    def list(self, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Name them."""
        number = 0 if start_after is None else int(start_after) + 1
        while True:
            self.named += 1
            name = f"{number:09}"
            yield ObjectInfo(key=name, name=name, size_bytes=KIB, validator='"1"')
            number += 1


def test_an_endless_listing_is_refused() -> None:
    """The error says which setting, and the ledger has no more rows than that."""
    rig = Rig({})
    rig.source = EndlessSource({})
    with pytest.raises(TooLargeError, match=r"more than 1,500 objects \(`engine.max_objects`\)"):
        rig.go(limits=replace(LIMITS, max_objects=1_500))
    assert rig.ledger.totals("t").objects_total <= 1_500
    assert rig.source.named < 10_000


def test_as_many_as_allowed_arrive() -> None:
    """The bound itself is no fault."""
    rig = Rig({f"{number:05}": content(KIB, number) for number in range(OBJECTS)})
    assert rig.go(limits=replace(LIMITS, max_objects=OBJECTS)).is_complete
    assert rig.arrived


def test_a_larger_bound_goes_on_from_there() -> None:
    """What was planned is kept, over attempts too."""
    rig = Rig({f"{number:05}": content(KIB, number) for number in range(OBJECTS)})
    for _ in range(2):
        with pytest.raises(TooLargeError):
            rig.go(limits=replace(LIMITS, max_objects=OBJECTS - 1))
    assert rig.go().is_complete
    assert rig.arrived
