"""When a contract agreement ends, as its policy says; and what is not understood is not made up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dataferry.domain.agreement import MAX_DEPTH, Agreement, Standing, told

SIGNED = 1_700_000_000
TERM = "https://w3id.org/edc/v0.0.1/ns/inForceDate"
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def agreement(constraint: Any, **changes: Any) -> Agreement:
    """An agreement that permits under a constraint."""
    policy = {"permission": [{"action": "use", "constraint": constraint}]}
    content = {"contractSigningDate": SIGNED, "policy": policy, **changes}
    return Agreement(standing=Standing.KNOWN, content=content, asked_at=NOON)


def before(moment: Any, operator: Any = "lteq", operand: Any = "inForceDate") -> dict[str, Any]:
    """A constraint on the time."""
    return {"leftOperand": operand, "operator": operator, "rightOperand": moment}


def after_signing(seconds: int) -> datetime:
    """A time relative to the signing."""
    return datetime.fromtimestamp(SIGNED + seconds, UTC)


@pytest.mark.parametrize(
    ("constraint", "ends"),
    [
        (before("2027-01-01T00:00:00Z"), datetime(2027, 1, 1, tzinfo=UTC)),
        (before({"@value": "2027-01-01T00:00:00Z"}), datetime(2027, 1, 1, tzinfo=UTC)),
        (before("2027-01-01T00:00:00"), datetime(2027, 1, 1, tzinfo=UTC)),
        (before("contractAgreement+1d"), after_signing(86_400)),
        (before("contractAgreement+-1h"), after_signing(-3600)),
        ([before("contractAgreement+9d"), before("contractAgreement+2m")], after_signing(120)),
        ({"and": [before("contractAgreement+5s")]}, after_signing(5)),
        (before("contractAgreement+5s", {"@id": "odrl:lteq"}, {"@id": TERM}), after_signing(5)),
        (before("2027-01-01T00:00:00Z", "gteq"), None),
        ({"or": [before("contractAgreement+5s")]}, None),
        (before("contractAgreement+999999999d"), None),
        (before("soon"), None),
        (before(7), None),
        (before(None), None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_the_end_is_what_the_policy_says(constraint: Any, ends: datetime | None) -> None:
    """Fixed or relative to the signing, the earliest of several; else it is not known."""
    assert agreement(constraint).ends_at == ends


@pytest.mark.parametrize("policy", [None, [], "x", {"permission": "x"}, {"permission": {"constraint": [[]]}}])
def test_a_policy_may_be_anything(policy: Any) -> None:
    """What comes from elsewhere has no shape that one could count on."""
    assert agreement(None, policy=policy).ends_at is None


def test_prefixes_of_names_do_not_matter() -> None:
    """The Management API writes names as its version's context has them."""
    policy = {"odrl:permission": {"odrl:constraint": before("contractAgreement+5s")}}
    found = Agreement(
        standing=Standing.KNOWN,
        content={"edc:contractSigningDate": SIGNED, "edc:policy": policy, "edc:providerId": "them"},
        asked_at=NOON,
    )
    assert found.ends_at == datetime.fromtimestamp(SIGNED + 5, UTC)
    assert (told(found.content, "providerId"), told(found.content, "consumerId")) == ("them", None)


def test_constraints_may_not_be_nested_for_ever() -> None:
    """Beyond a depth nothing is read, and nothing breaks."""
    nested: Any = before("contractAgreement+5s")
    for _ in range(MAX_DEPTH + 5):
        nested = {"and": nested}
    assert agreement(nested).ends_at is None
    assert agreement(before("contractAgreement+5s"), contractSigningDate=float("inf")).signed_at is None
    assert agreement(before("contractAgreement+5s"), contractSigningDate=True).ends_at is None
