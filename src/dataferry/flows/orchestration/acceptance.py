"""What may be agreed to without asking anybody: only what the operator wrote down, word for word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dataferry.domain.usage_policy import Offer, Offered, UsagePolicy
from dataferry.flows.orchestration.faults import NoAgreementError

SETTING = "orchestrator.accepted_policies"
MOST_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedPolicy:
    """A policy that the operator agrees to.

    Attributes:
        providers: Participant ids with whom; patterns with ``*``, which stands for no ``:`` and no ``/``, so
            that no id can take the end of another one's name into its own; alone it is everybody.
    """

    name: str
    providers: tuple[str, ...]
    policy: UsagePolicy

    def is_with(self, provider_id: str) -> bool:
        """Return whether this may be agreed with a provider."""
        return any(_is_named(pattern, provider_id) for pattern in self.providers)


class Acceptance:
    """Judges offers.

    Args:
        accepted: In the order in which the operator prefers them.
    """

    def __init__(self, accepted: Sequence[AcceptedPolicy]) -> None:
        self._accepted = accepted

    def may_agree_with(self, provider_id: str) -> bool:
        """Return whether anything may be agreed with a provider."""
        return any(one.is_with(provider_id) for one in self._accepted)

    def name_of(self, provider_id: str, policy: UsagePolicy) -> str | None:
        """Return what the operator calls a policy; None if it may not be agreed with this provider."""
        found = (one for one in self._accepted if one.policy == policy and one.is_with(provider_id))
        return next((one.name for one in found), None)

    def choose(self, provider_id: str, offered: Offered) -> Offer:
        """Return the offer to agree to: the operator's order goes before the provider's.

        Raises:
            NoAgreementError: None may be; it says what is offered, and where to accept it.
        """
        for one in self._accepted:
            for offer in offered.offers:
                if one.policy == offer.policy and one.is_with(provider_id):
                    return offer
        raise NoAgreementError(_refusal(provider_id, offered))


def _is_named(pattern: str, provider_id: str) -> bool:
    pieces = (re.escape(piece) for piece in pattern.split("*"))
    return pattern == "*" or re.fullmatch("[^:/]*".join(pieces), provider_id) is not None


def _refusal(provider_id: str, offered: Offered) -> str:
    """Say what is offered, in the form in which it could be accepted."""
    shown = [offer.policy.shown for offer in offered.offers] + [
        f"one that can't be read ({why})" for why in offered.unreadable
    ]
    if not shown:
        return "the provider offers this asset under no policy"
    more = f" and {len(shown) - MOST_SHOWN} more" if len(shown) > MOST_SHOWN else ""
    return f"what {provider_id[:200]} offers is not among {SETTING}: {'; '.join(shown[:MOST_SHOWN])}{more}"
