"""Sizes as people write them."""

from __future__ import annotations

import pytest

from dataferry.app.sizes import parse_size
from dataferry.domain.errors import InputError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("4096", 4096),
        ("10M", 10 * 1024**2),
        ("10m", 10 * 1024**2),
        ("1.5GiB", 3 * 1024**3 // 2),
        ("10MB", 10_000_000),
        ("2 T", 2 * 1024**4),
        ("5B", 5),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    """Units are powers of 1024, those with B only of 1000."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "0", "ten", "1X", "1MM", "1e6", "0.1"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(InputError):
        parse_size(text)
