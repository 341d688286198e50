"""Contract agreements: what a flow's data may be used for, as its control plane knows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

MAX_DEPTH = 16
_RELATIVE = re.compile(r"contract[Aa]greement\+(-?[0-9]{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# An end is told where all of these rules have to hold.
_RULES = ("permission", "obligation")
_BEFORE = frozenset({"lteq", "lt", "eq"})


class Standing(StrEnum):
    """What is known of an agreement."""

    KNOWN = "known"
    MISSING = "missing"  # the control plane has none of that id
    UNAVAILABLE = "unavailable"  # it could not be asked, or its answer could not be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A flow's contract agreement, or why it is not known.

    Attributes:
        content: As the control plane told it; empty if it is not known.
        error: Why not, as a sentence.
        asked_at: When the control plane was asked last.
    """

    standing: Standing
    content: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    asked_at: datetime

    @property
    def signed_at(self) -> datetime | None:
        """When it was signed; None if it does not say."""
        seconds = _field(self.content, "contractSigningDate")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            return None
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            return None

    @property
    def ends_at(self) -> datetime | None:
        """When its policy says that it ends; None if it says no end that we can read.

        Source: Eclipse Dataspace Components, "Contract validity": ``inForceDate`` as a fixed time, or
        relative to the signing.
        """
        policy = _field(self.content, "policy")
        rules = [rule for name in _RULES for rule in _listed(_field(policy, name))]
        ends = [end for rule in rules for end in self._ends(_field(rule, "constraint"), 0)]
        return min(ends, default=None)

    def _ends(self, constraints: Any, depth: int) -> Iterator[datetime]:
        """Yield the latest times that constraints allow; of ``and`` all count, of ``or`` none can be told."""
        if depth > MAX_DEPTH:
            return
        for one in _listed(constraints):
            yield from self._ends(_field(one, "and"), depth + 1)
            if _word(_field(one, "leftOperand")) != "inForceDate":
                continue
            if _word(_field(one, "operator")) in _BEFORE:
                moment = self._moment(_field(one, "rightOperand"))
                if moment is not None:
                    yield moment

    def _moment(self, operand: Any) -> datetime | None:
        """Read a fixed or relative time."""
        text = operand.get("@value") if isinstance(operand, dict) else operand
        if not isinstance(text, str):
            return None
        relative = _RELATIVE.fullmatch(text)
        try:
            if relative is not None:
                span = timedelta(**{_UNITS[relative[2]]: int(relative[1])})
                return None if self.signed_at is None else self.signed_at + span
            moment = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            return None
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _word(value: Any) -> str:
    """Return a term's own name: ``{"@id": "odrl:lteq"}`` → ``lteq``; empty if it is none."""
    text = value.get("@id", value.get("@value")) if isinstance(value, dict) else value
    return re.split(r"[#/:]", text)[-1] if isinstance(text, str) else ""


def _field(value: Any, name: str) -> Any:
    """Return a field by its own name, whatever its prefix; None if there is none."""
    if not isinstance(value, dict):
        return None
    if name in value:
        return value[name]
    return next((one for key, one in value.items() if _word(key) == name), None)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def told(content: Any, name: str) -> str | None:
    """Return a text of an agreement by its field's own name; None if it is none."""
    found = _field(content, name)
    text = found.get("@id") if isinstance(found, dict) else found
    return text if isinstance(text, str) else None
