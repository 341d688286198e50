"""Where the connector comes from: Maven Central, or its own sources where Central does not have it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

POM = Path(__file__).with_name("pom.xml")
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"
TIMEOUT_S = 900
MODULES = ("dist:bom:controlplane-base-bom", "extensions:common:iam:iam-mock")
# What the connector's build names and Maven Central does not serve: the nearest version that it does, or none
# where the module only collects others that are named anyway.
SUBSTITUTES = {
    "com.fasterxml.jackson.datatype:jackson-datatype-jakarta-jsonp": "2.21.2",
    "org.eclipse.jetty.websocket:jetty-websocket": None,
}
# Built beside the connector, from sources of their own.
OWN_GROUP = "org.eclipse.edc:"


class AssemblyError(Exception):
    """The connector can't be had; says why, and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A connector that can be started.

    Attributes:
        version: Its release.
        origin: Where it came from, as the report says it.
    """

    classpath: tuple[Path, ...]
    version: str
    origin: str


def release() -> str:
    """Return the release that is tried."""
    (found,) = re.findall(r"<edc\.version>(.*?)</edc\.version>", POM.read_text())
    return str(found)


def from_central(directory: Path) -> Assembly:
    """Resolve the connector with Maven.

    Raises:
        AssemblyError: It is not there.
    """
    directory.mkdir(parents=True)
    try:
        classpath = _resolved(POM, directory)
    except AssemblyError as exc:
        raise AssemblyError(
            f"{exc}\nWhere Maven Central does not have EDC {release()}, build it from its sources:"
            " make interop-edc EDC_SOURCES=<checkout of eclipse-edc/Connector>"
            " EDC_METAMODEL=<checkout of eclipse-edc/Runtime-Metamodel>"
        ) from exc
    return Assembly(classpath=classpath, version=release(), origin="Maven Central")


def from_sources(connector: Path, metamodel: Path, directory: Path) -> Assembly:
    """Compile the connector at the release's tag; what it needs of others comes from Maven Central.

    Args:
        connector: A checkout of eclipse-edc/Connector, bare or not.
        metamodel: A checkout of eclipse-edc/Runtime-Metamodel.
        directory: Where to build.

    Raises:
        AssemblyError: It does not build.
    """
    tag = f"v{release()}"
    sources, annotations = directory / "connector", directory / "metamodel"
    for repository, target in ((connector, sources), (metamodel, annotations)):
        _export(repository, tag, target)
    build = _Build(sources)
    build.add(*MODULES)
    classes = directory / "classes"
    build.copy_resources(classes)
    (directory / "pom.xml").write_text(_pom(build.needs), encoding="utf-8")
    classpath = _resolved(directory / "pom.xml", directory)
    files = directory / "files"
    java = [*build.java(), *(annotations / "runtime-metamodel" / "src" / "main" / "java").rglob("*.java")]
    files.write_text("\n".join(map(str, java)))
    _run(
        ["javac", "-proc:none", "-nowarn", "--release", "17", "-d", classes,
         "-cp", os.pathsep.join(map(str, classpath)), f"@{files}"],
        directory,
    )  # fmt: skip
    return Assembly(
        classpath=(classes, *classpath), version=release(), origin=f"its sources at the tag {tag}"
    )


class _Build:
    """What a Gradle build of the connector says that is needed here: modules, and libraries of others.

    Args:
        root: The sources.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        catalog = tomllib.loads((root / "gradle" / "libs.versions.toml").read_text())
        self._libraries = {_dotted(name): entry for name, entry in catalog["libraries"].items()}
        self._bundles = {_dotted(name): names for name, names in catalog.get("bundles", {}).items()}
        self._versions = catalog["versions"]
        self._modules: dict[str, Path] = {}
        self.needs: dict[str, str] = {}

    def add(self, *modules: str) -> None:
        """Take modules, and all that they need, once each.

        Raises:
            AssemblyError: One is not there.
        """
        for name in modules:
            path = name.replace("::", ":").strip(":")
            if path in self._modules:
                continue
            folder = self._modules[path] = self._root / path.replace(":", "/")
            script = folder / "build.gradle.kts"
            if not script.is_file():
                raise AssemblyError(f"the connector has no module {path}")
            self._read(re.sub(r"//.*", "", script.read_text()))

    def _read(self, script: str) -> None:
        for line in re.findall(
            r"^\s*(?:api|implementation|compileOnly|runtimeOnly)\((.*)$", script, re.MULTILINE
        ):
            if "testFixtures" in line:
                continue
            self.add(*re.findall(r'project\("([^"]+)"', line))
            for name in re.findall(r"libs\.([\w.]+)", line):
                self._need(name)

    def _need(self, name: str) -> None:
        if name.startswith("bundles."):
            for member in self._bundles[name.removeprefix("bundles.")]:
                self._need(_dotted(member))
            return
        entry = self._libraries[name]
        module = entry.get("module") or f"{entry['group']}:{entry['name']}"
        version = entry["version"]
        listed = version if isinstance(version, str) else self._versions[version["ref"]]
        found = SUBSTITUTES.get(module, listed)
        if found is not None and not module.startswith(OWN_GROUP):
            self.needs[module] = found

    def java(self) -> Iterator[Path]:
        """Every source file of the modules."""
        for folder in self._modules.values():
            yield from (folder / "src" / "main" / "java").rglob("*.java")

    def copy_resources(self, target: Path) -> None:
        """Copy the modules' resources; lists of services are joined."""
        services: defaultdict[Path, list[str]] = defaultdict(list)
        for folder in self._modules.values():
            root = folder / "src" / "main" / "resources"
            for file in (path for path in root.rglob("*") if path.is_file()):
                name = file.relative_to(root)
                if name.parts[:2] == ("META-INF", "services"):
                    services[name] += file.read_text().splitlines()
                    continue
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target / name)
        for name, lines in services.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            named = (line for line in lines if line.strip() and not line.startswith("#"))
            (target / name).write_text("\n".join(dict.fromkeys(named)) + "\n")


def _dotted(name: str) -> str:
    """As Gradle's scripts write the names of its catalog."""
    return re.sub(r"[-_]", ".", name)


def _pom(needs: dict[str, str]) -> str:
    dependencies = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>\n".format(
            *map(escape, (*module.split(":"), version))
        )
        for module, version in needs.items()
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>io.dataferry</groupId><artifactId>connector</artifactId><version>1</version>"
        f"<dependencies>\n{dependencies}</dependencies></project>\n"
    )


def _resolved(pom: Path, directory: Path) -> tuple[Path, ...]:
    """Return the classpath of a POM's dependencies, fetched by Maven."""
    output = directory / "classpath"
    _run(["mvn", "-B", "-q", "-U", "-f", pom, PLUGIN, f"-Dmdep.outputFile={output}"], directory)
    return tuple(Path(entry) for entry in output.read_text().strip().split(os.pathsep))


def _export(repository: Path, tag: str, target: Path) -> None:
    target.mkdir(parents=True)
    archive = target.with_suffix(".tar")
    _run(["git", "-C", repository, "archive", "--output", archive, tag], target)
    _run(["tar", "-x", "-f", archive, "-C", target], target)


def _run(command: Iterable[str | Path], directory: Path) -> None:
    """Run a program; what it says when it fails is the error."""
    words = [str(word) for word in command]
    if shutil.which(words[0]) is None:
        raise AssemblyError(
            f"{words[0]} is not installed: the connector needs Java 17 or newer, Maven and git"
        )
    done = subprocess.run(
        words, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line.lower()]
        raise AssemblyError(f"{words[0]} failed: {' '.join(said[:3])[:1500] or done.stderr[-500:]}")
