"""Build the wheel, and show that it works alone: ``make package`` starts this.

The wheel is installed into a clean environment outside the checkout, with the versions that
``requirements.lock`` pins, and nothing else: first alone, to be measured and tried, then with ``[demo]``, to
run ``dataferry demo``. Prints what it found; the exit code is 0 only if all of it worked.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
MIB = 1024 * 1024
# What a clean environment has before anything is installed.
GIVEN = frozenset({"pip", "setuptools", "wheel"})
PAYLOAD = b"the wheel works alone\n" * 1000

# A program of somebody who builds on the package: type checkers must see its types.
TYPED_PROGRAM = """\
from dataferry.domain.location import LocationRef

path: int = LocationRef.parse("plant-a:measurements/").path
"""
TYPED_ANSWER = 'expression has type "str", variable has type "int"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """A shell that completes our commands.

    Attributes:
        name: What completion calls it.
        registers: Only its own script has this line.
        asks: What its script tells us for ``dataferry co``.
        answers: Lines of our answer to that, in its form.
    """

    name: str
    registers: str
    asks: Mapping[str, str]
    answers: tuple[str, ...]


SHELLS = (
    Shell(
        name="bash",
        registers="complete -o default -F _dataferry_completion dataferry",
        asks={"COMP_WORDS": "dataferry co", "COMP_CWORD": "1"},
        answers=("copy", "control-planes"),
    ),
    Shell(
        name="zsh",
        registers="compdef _dataferry_completion dataferry",
        asks={"_TYPER_COMPLETE_ARGS": "dataferry co"},
        answers=('_arguments \'*: :(("copy":"Copy ', '"control-planes":"Control planes '),
    ),
    Shell(
        name="fish",
        registers="complete --command dataferry --no-files",
        asks={"_TYPER_COMPLETE_ARGS": "dataferry co", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        answers=("copy\tCopy ", "control-planes\tControl planes "),
    ),
)


class PackageError(Exception):
    """The wheel does not do what it should; says what."""


@dataclass(frozen=True, slots=True)
class CleanEnvironment:
    """An environment of its own, that knows nothing of the checkout."""

    directory: Path

    @property
    def programs(self) -> Path:
        """Where its commands are."""
        return self.directory / "bin"

    def run(
        self, *command: str | Path, timeout_s: float = 300, variables: Mapping[str, str] | None = None
    ) -> str:
        """Run one of its commands, away from the checkout, and return what it printed.

        Args:
            command: Its name, and its arguments.
            timeout_s: When it is ended.
            variables: Of its environment, beside ours.

        Raises:
            PackageError: It failed.
        """
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "DATAFERRY_", "VIRTUAL_ENV"))
        }
        environment["PATH"] = f"{self.programs}{os.pathsep}{environment['PATH']}"
        environment |= variables or {}
        done = subprocess.run(
            [self.programs / command[0], *command[1:]],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise PackageError(
                f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr[-2000:]}"
            )
        return done.stdout

    def install(self, requirement: str, constraints: Path) -> None:
        """Install one requirement with the pinned versions of what it needs."""
        pip = ("python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile")
        self.run(*pip, "--constraint", constraints, requirement)

    def packages(self) -> list[str]:
        """Return the names of what was installed, ours included."""
        listed = self.run("python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
        names = (line.partition("==")[0].lower() for line in listed.splitlines())
        return sorted(name for name in names if name not in GIVEN)

    def size_bytes(self) -> int:
        """Return how many bytes the installed packages have, without byte code."""
        root = Path(
            self.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        )
        files = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return sum(
            path.stat().st_size
            for path in files
            if re.split(r"[-._/]", path.relative_to(root).parts[0])[0] not in {*GIVEN, "pkg_resources"}
        )


def build(directory: Path) -> Path:
    """Build the wheel of the checkout."""
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps",
         "--no-build-isolation", "--wheel-dir", directory, CHECKOUT],
        check=True,
    )  # fmt: skip
    (wheel,) = directory.glob("*.whl")
    return wheel


def constraints(directory: Path) -> Path:
    """Write the pins of ``requirements.lock`` without their hashes, which would bind the wheel too."""
    lock = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    pins = (line.removesuffix("\\").strip() for line in lock.splitlines() if re.match(r"[a-z0-9]", line))
    path = directory / "constraints.txt"
    path.write_text("\n".join(pins) + "\n", encoding="utf-8")
    return path


def try_alone(environment: CleanEnvironment) -> None:
    """Use the core install as its users would.

    Raises:
        PackageError: Something does not work.
    """
    environment.run("dataferry", "--version")
    mechanisms = environment.run("dataferry", "mechanisms", "list")
    for name in ("s3", "file", "http"):
        _expect(name in mechanisms, f"`dataferry mechanisms list` does not know {name}")
    source, destination = environment.directory / "source.txt", environment.directory / "arrived.txt"
    source.write_bytes(PAYLOAD)
    environment.run("dataferry", "copy", source, destination)
    _expect(destination.read_bytes() == PAYLOAD, "`dataferry copy` did not bring the bytes")
    for shell in SHELLS:
        try_completion(environment, shell)


def try_completion(environment: CleanEnvironment, shell: Shell) -> None:
    """Ask for a shell's script, and then what that asks, as the shell would.

    Raises:
        PackageError: It is another shell's script, or commands are not completed.
    """
    script = environment.run("dataferry", variables={"_DATAFERRY_COMPLETE": f"source_{shell.name}"})
    registered = [other.name for other in SHELLS if other.registers in script]
    _expect(registered == [shell.name], f"the script for {shell.name} is one for {registered or 'nothing'}")
    asked = {"_DATAFERRY_COMPLETE": f"complete_{shell.name}", **shell.asks}
    for name in shell.asks:
        _expect(name in script, f"the script for {shell.name} does not say {name}")
    answer = environment.run("dataferry", variables=asked).splitlines()
    _expect(
        len(answer) == len(shell.answers)
        and all(line.startswith(begin) for line, begin in zip(answer, shell.answers, strict=True)),
        f"{shell.name} is not told what `dataferry co` may become: {answer}",
    )


def try_types(environment: CleanEnvironment) -> None:
    """Let a type checker look at the installed package.

    Raises:
        PackageError: It does not see its types.
    """
    program = environment.directory / "program.py"
    program.write_text(TYPED_PROGRAM, encoding="utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", environment.programs / "python",
         "--config-file", os.devnull, program],
        cwd=environment.directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    _expect(TYPED_ANSWER in checked.stdout, f"a type checker does not see the types:\n{checked.stdout}")


def main() -> int:
    """Build, install, try; print a line for each."""
    with tempfile.TemporaryDirectory(prefix="dataferry-package-") as temporary:
        directory = Path(temporary)
        wheel, pins = build(directory), constraints(directory)
        _say(f"wheel: {wheel.name}, {wheel.stat().st_size / 1024:.0f} KiB")
        venv.create(directory / "clean", with_pip=True)
        environment = CleanEnvironment(directory / "clean")
        environment.install(str(wheel), pins)
        others = [name for name in environment.packages() if name != "dataferry"]
        size_mib = environment.size_bytes() / MIB
        _say(f"core install: {size_mib:.0f} MiB with {len(others)} packages: {', '.join(others)}")
        try_alone(environment)
        _say("core install: version, mechanisms, copy and completion work")
        try_types(environment)
        _say("core install: its types are seen")
        environment.install(f"{wheel}[demo]", pins)
        environment.run("dataferry", "demo", "--small")
        _say("with [demo]: `dataferry demo --small` works")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise PackageError(otherwise)


if __name__ == "__main__":
    sys.exit(main())
