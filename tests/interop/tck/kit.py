"""The conformance kit as a program: resolved by Maven, run on Java, its outcomes read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
MAIN_CLASS = "dataferry.conformance.Conformance"
RESOLVE_TIMEOUT_S = 600
RUN_TIMEOUT_S = 1500


class KitError(Exception):
    """The kit can't be had, or did not run to its end; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one test of the kit.

    Attributes:
        test: The method, e.g. ``dp_c_pull_04_01``.
        status: ``passed``, ``failed`` or ``skipped``.
        title: As the kit calls it.
        reason: Of a failure, in the kit's words; else empty.
    """

    test: str
    status: str
    title: str
    reason: str

    @property
    def passed(self) -> bool:
        """True if the kit found nothing wrong; what was skipped is not passed."""
        return self.status == "passed"


def version(name: str) -> str:
    """Return a version that ``pom.xml`` sets: ``kit`` or ``specification``."""
    found = re.search(rf"<{name}\.version>(.*?)</{name}\.version>", POM.read_text())
    if found is None:
        raise KitError(f"pom.xml sets no {name}.version")
    return found[1]


class Kit:
    """The kit, resolved and compiled into a directory.

    Args:
        directory: For what is built, the settings of a run and its output; made if missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def output(self) -> Path:
        """What the kit printed, exchanges included."""
        return self._directory / "kit.log"

    @property
    def archive(self) -> Path:
        """The kit's own jar, once it is resolved.

        Raises:
            KitError: The classpath has none.
        """
        found = [path for path in self._classpath() if re.match(r"dps-tck-.*\.jar$", Path(path).name)]
        if not found:
            raise KitError("the kit is not on the classpath that Maven gave")
        return Path(found[0])

    def _classpath(self) -> list[str]:
        return (self._directory / "classpath").read_text().strip().split(os.pathsep)

    def resolve(self) -> None:
        """Fetch the kit and compile the program that runs it.

        Raises:
            KitError: Maven is missing, or could not.
        """
        # -U: what was not there a while ago is asked for again.
        command = [
            _program("mvn"),
            "-B",
            "-q",
            "-U",
            "-f",
            str(POM),
            f"-Dconformance.build={self._directory}",
        ]
        done = subprocess.run(
            [*command, "compile", "dependency:build-classpath"],
            capture_output=True,
            text=True,
            timeout=RESOLVE_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            errors = [
                line.partition("[ERROR] ")[2] for line in done.stdout.splitlines() if "[ERROR] " in line
            ]
            raise KitError("Maven could not get the kit: " + (errors or [done.stdout[-500:]])[0])

    def run(self, properties: Mapping[str, str], *, trust: Path) -> list[Outcome]:
        """Run every data plane test, and return what became of each, in the order of their names.

        Args:
            properties: The kit's settings.
            trust: A store, in PKCS #12, of the authorities that it trusts; without a password.

        Raises:
            KitError: It did not end well, or wrote down nothing.
        """
        outcomes = self._directory / "outcomes.tsv"
        outcomes.unlink(missing_ok=True)
        settings = self._directory / "kit.properties"
        settings.touch(mode=0o600)
        lines = {**properties, "dataferry.outcomes": str(outcomes)}.items()
        settings.write_text("".join(f"{name}={value}\n" for name, value in lines))
        trusted = [f"-Djavax.net.ssl.trustStore={trust}", "-Djavax.net.ssl.trustStoreType=PKCS12"]
        classpath = os.pathsep.join([str(self._directory / "classes"), *self._classpath()])
        with self.output.open("wb") as output:
            try:
                done = subprocess.run(
                    [_program("java"), *trusted, "-cp", classpath, MAIN_CLASS, str(settings)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=RUN_TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as exc:
                raise KitError(f"the kit did not end within {RUN_TIMEOUT_S} s") from exc
        if done.returncode != 0 or not outcomes.exists():
            raise KitError("the kit did not run:\n" + self.output.read_text(errors="replace")[-3000:])
        return sorted(map(_outcome, outcomes.read_text().splitlines()), key=lambda one: one.test)


def _outcome(line: str) -> Outcome:
    test, status, title, reason = line.split("\t")
    return Outcome(test=test, status=status, title=title, reason=reason)


def _program(name: str) -> str:
    """Return the path of a program of the JDK or Maven.

    Raises:
        KitError: It is not installed.
    """
    found = shutil.which(name, path=os.environ.get("PATH"))
    if found is None:
        raise KitError(f"{name} is not installed: the kit needs Java 17 or newer, and Maven")
    return found
