"""The page that tells what worked between connectors and data planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.interop.edc.assembly import Assembly

# Why a case fails that is known to: what the product does not have yet. It is played all the same.
NOT_YET: dict[str, str] = {}

_HEAD = """# Eclipse Dataspace Components

What works between two connectors of Eclipse Dataspace Components (EDC), each with a `dataferry serve` as its
data plane and an S3 server of its own. Written by `make interop-edc`, which assembles the connector, offers
assets, negotiates contracts over the Dataspace Protocol, plays every case below and reads what arrived with
another S3 client.

| | |
|---|---|
| connector | EDC {version}, `controlplane-base-bom` with `iam-mock`, from {origin} |
| cases | {passed} passed, {failed} failed |

| case | | why it fails |
|---|---|---|
"""

_TAIL = """
How the planes are configured is in `tests/interop/edc/dataspace.py`: `registration = "edc"`,
`registration_url` at the connector's Management API and `retries = "replay"`, as
[Connect](../howto/connect.md) explains. What EDC makes of a flow that failed depends on `on_failure`, for
`errored` is only a line in its log.

`make interop-edc` needs Java 17 and Maven. Where Maven Central does not have the release, it builds the
connector from checkouts of its sources: `make interop-edc EDC_SOURCES=… EDC_METAMODEL=…`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one case.

    Attributes:
        about: What must be so, in a sentence.
        fault: Why it is not; empty if it is.
    """

    name: str
    about: str
    fault: str
    seconds: float

    @property
    def word(self) -> str:
        """As the report says it."""
        return "failed" if self.fault else "passed"


def page(outcomes: Sequence[Outcome], assembly: Assembly) -> str:
    """Return the page in Markdown."""
    failed = sum(bool(one.fault) for one in outcomes)
    head = _HEAD.format(
        version=assembly.version, origin=assembly.origin, passed=len(outcomes) - failed, failed=failed
    )
    return head + "".join(map(_row, outcomes)) + _TAIL


def _row(one: Outcome) -> str:
    why = NOT_YET.get(one.name, one.fault.splitlines()[0][:200]) if one.fault else ""
    about = " ".join(one.about.split())
    return f"| {about} | {one.word} | {why.replace('|', ' ')} |\n"
