"""Try DataFerry between two connectors of Eclipse Dataspace Components: ``make interop-edc`` starts this.

Assembles the connector, starts two of them with a ``dataferry serve`` and an S3 server each, plays every
case, prints ``N passed, N failed``, and writes docs/reference/interop-edc.md. Exit code 0 only if all passed;
2 if the connector could not be had.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from tests.interop.edc import report
from tests.interop.edc.assembly import AssemblyError, from_central, from_sources
from tests.interop.edc.cases import CASES, Case
from tests.interop.edc.connector import ConnectorError
from tests.interop.edc.dataspace import Dataspace

from dataferry.demo.processes import StartError

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "interop-edc.md"


def play(case: Case, dataspace: Dataspace) -> report.Outcome:
    """Play one case; its failure is an outcome."""
    begun = time.monotonic()
    fault = ""
    try:
        case(dataspace)
    except (ConnectorError, StartError, httpx.HTTPError) as exc:
        fault = f"{type(exc).__name__}: {exc}"
    return report.Outcome(
        name=case.__name__,
        about=(case.__doc__ or "").strip(),
        fault=fault,
        seconds=time.monotonic() - begun,
    )


@dataclass(frozen=True, slots=True)
class _Screen:
    """Where the command says what it does."""

    def say(self, *lines: str) -> None:
        for line in lines:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def main() -> int:
    """Assemble, play, print and write; return the exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sources", type=Path, help="a checkout of eclipse-edc/Connector to build from")
    options.add_argument("--metamodel", type=Path, help="a checkout of eclipse-edc/Runtime-Metamodel")
    options.add_argument("--only", nargs="*", help="names of cases; no page is written")
    chosen = options.parse_args()
    screen = _Screen()
    directory = Path(tempfile.mkdtemp(prefix="dataferry-interop-"))
    try:
        if chosen.sources:
            assembly = from_sources(chosen.sources, chosen.metamodel, directory / "connector")
        else:
            assembly = from_central(directory / "connector")
    except AssemblyError as exc:
        screen.say(str(exc))
        return 2
    cases = [case for case in CASES if not chosen.only or case.__name__ in chosen.only]
    found = []
    with Dataspace(directory, assembly.classpath) as dataspace:
        for case in cases:
            outcome = play(case, dataspace)
            found.append(outcome)
            screen.say(f"{outcome.word:7} {outcome.about} ({outcome.seconds:.0f} s)")
            if outcome.fault:
                screen.say(f"        {outcome.fault[:2000]}")
    if not chosen.only:
        PAGE.write_text(report.page(found, assembly))
    passed = sum(not one.fault for one in found)
    screen.say(f"logs: {directory}", f"{passed} passed, {len(found) - passed} failed")
    return 0 if passed == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
