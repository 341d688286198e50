"""What a request asks for, field by field: hundreds of entries have few values between them.

So they are checked by their distinct values, and kept in a fifth of the room; entries are made of them where
somebody looks at one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, overload

from dataferry.domain.orchestration import Ask

# Of a field: a value for each entry, or the one that all of them have.
Column = list[Any] | Any


class Asks(Sequence[Ask]):
    """A list of ``Ask``, in few objects.

    Args:
        length: How many entries there are.
        columns: By the names of ``Ask``'s fields; those that are missing are None for all entries.
    """

    __slots__ = ("_columns", "_length")

    def __init__(self, length: int, columns: Mapping[str, Column]) -> None:
        self._length = length
        self._columns = dict(columns)

    @classmethod
    def of(cls, asks: Sequence[Ask]) -> Asks:
        """Take a list apart."""
        columns = zip(Ask._fields, zip(*asks, strict=True), strict=True) if asks else ()
        return cls(len(asks), {name: column(list(values)) for name, values in columns})

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it is made of, as JSON can say it; fields that are None for all entries are left out."""
        return {name: values for name, values in self._columns.items() if values is not None}

    def distinct(self, *names: str) -> set[Any]:
        """Return the values of a field; of several, what there is of them together, as tuples."""
        columns = [self._columns.get(name) for name in names]
        if len(columns) == 1:
            (values,) = columns
            return set(values) if isinstance(values, list) else {values}
        if any(isinstance(values, list) for values in columns):
            return set(zip(*map(self._each, names), strict=True))
        return {tuple(columns)}

    def lack(self, name: str) -> bool:
        """Return whether an entry has no value for a field."""
        values = self._columns.get(name)
        return None in values if isinstance(values, list) else values is None

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Ask]:
        return (Ask._make(values) for values in zip(*map(self._each, Ask._fields), strict=True))

    @overload
    def __getitem__(self, position: int) -> Ask: ...

    @overload
    def __getitem__(self, position: slice) -> Sequence[Ask]: ...

    def __getitem__(self, position: int | slice) -> Ask | Sequence[Ask]:
        return list(self)[position]

    def _each(self, name: str) -> Iterable[Any]:
        values = self._columns.get(name)
        return values if isinstance(values, list) else repeat(values, self._length)


def column(values: list[Any]) -> Column:
    """Return the values of a field, or the one if they are all the same."""
    return values[0] if values.count(values[0]) == len(values) else values
