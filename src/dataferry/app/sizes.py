"""Sizes as people write them."""

from __future__ import annotations

import re

from dataferry.domain.errors import InputError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?B?)", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Read ``10M``, ``1.5GiB`` or ``4096`` as bytes; units are powers of 1024, those with ``B`` only of 1000.

    Raises:
        InputError: It is not a size, or not positive.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{text!r} is not a size: write bytes, or a number with K, M, G or T, e.g. 16M")
    number, unit, suffix = match.groups()
    base = 1000 if unit and suffix.upper() == "B" else 1024
    size = int(float(number) * base ** " KMGT".index(unit.upper() or " "))
    if size < 1:
        raise InputError(f"{text!r} is no size to work with: it must be at least one byte")
    return size
