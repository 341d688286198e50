"""Usage policies: what a provider asks of who uses its data, in a form in which two can be compared.

What can't be read is never agreed to: ``odrl`` says what can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from dataferry.domain import odrl

MAX_SHOWN_CHARS = 400


@dataclass(frozen=True, slots=True)
class UsagePolicy:
    """A policy that was understood; two are equal if they say the same, in whatever order and spelling.

    Attributes:
        key: What it says, to compare: values as text, since connectors hand numbers on as text.
        rules: The same as ODRL in JSON, with plain keys, whole IRIs, values and their order as they came;
            without parties.
    """

    key: str
    rules: Mapping[str, Any] = field(compare=False)

    @classmethod
    def read(
        cls,
        document: Any,
        *,
        target: str | None = None,
        assigner: str | None = None,
        context: Any = None,
    ) -> Self:
        """Read a policy; the arguments are those of ``odrl.read``.

        Raises:
            InputError: It has something that is not understood, or is about something else.
        """
        rules = odrl.read(document, target=target, assigner=assigner, context=context)
        return cls(odrl.said(rules), rules)

    @property
    def is_empty(self) -> bool:
        """True if it says nothing at all: no condition, and no word of what is permitted."""
        return not self.rules

    @property
    def shown(self) -> str:
        """What it says, for people, shortened; in the form in which a configuration takes it."""
        text = json.dumps(self.rules, sort_keys=True).replace(odrl.ODRL, "odrl:")
        return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a provider offers an asset under.

    Attributes:
        id: Its id at the provider, which a negotiation names.
    """

    id: str
    policy: UsagePolicy

    def to_text(self) -> str:
        """Return it as rows keep it."""
        return json.dumps({"id": self.id, "policy": self.policy.rules})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read it from a row."""
        document = json.loads(text)
        return cls(id=document["id"], policy=UsagePolicy.read(document["policy"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """All offers of one asset.

    Attributes:
        offers: In the provider's order.
        unreadable: Why others can't be read, a sentence each.
    """

    offers: tuple[Offer, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What was agreed, as our own connector has it."""

    id: str
    asset_id: str
    provider_id: str
    policy: UsagePolicy
