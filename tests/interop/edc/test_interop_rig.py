"""What the run between connectors rests on: how it is built from sources, and that no failure is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.interop.edc import report
from tests.interop.edc.assembly import Assembly, AssemblyError, _Build

CATALOG = """
[versions]
lake = "1.2"

[libraries]
lake-core = { module = "org.lakes:lake-core", version.ref = "lake" }
lake-json = { group = "org.lakes", name = "lake-json", version = "3" }
edc-own = { module = "org.eclipse.edc:own", version = "1" }

[bundles]
lakes = ["lake-core", "lake-json"]
"""


def module(root: Path, path: str, script: str, service: str) -> None:
    """Write a module of a Gradle build."""
    folder = root / path
    services = folder / "src" / "main" / "resources" / "META-INF" / "services"
    services.mkdir(parents=True)
    (folder / "build.gradle.kts").write_text(script)
    (services / "org.Extension").write_text(f"# a comment\n{service}\n")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A build of two modules, one of which needs the other."""
    root = tmp_path / "sources"
    (root / "gradle").mkdir(parents=True)
    (root / "gradle" / "libs.versions.toml").write_text(CATALOG)
    module(root, "dist/bom", '    api(project(":core::pond"))\n    // api(libs.unknown)\n', "org.First")
    needs = "    implementation(libs.bundles.lakes)\n    implementation(libs.edc.own)\n"
    module(root, "core/pond", needs, "org.Second")
    return root


def test_a_build_takes_modules_with_what_they_need_and_joins_their_services(
    sources: Path, tmp_path: Path
) -> None:
    """Modules are followed, libraries of others are listed with their versions, services are joined."""
    build = _Build(sources)
    build.add("dist:bom")
    build.copy_resources(tmp_path / "classes")

    assert build.needs == {"org.lakes:lake-core": "1.2", "org.lakes:lake-json": "3"}
    services = tmp_path / "classes" / "META-INF" / "services" / "org.Extension"
    assert services.read_text() == "org.First\norg.Second\n"


def test_a_module_that_is_not_there_is_named(sources: Path) -> None:
    """A release that is laid out otherwise ends with the module's name."""
    with pytest.raises(AssemblyError, match="no module core:brook"):
        _Build(sources).add("core:brook")


def test_a_failed_case_is_counted_and_says_why() -> None:
    """The page counts what failed and gives the first line of the reason."""
    outcomes = [
        report.Outcome(name="a", about="It works.", fault="", seconds=1),
        report.Outcome(name="b", about="It | works.", fault="Error: a | b\nlog", seconds=1),
    ]
    page = report.page(outcomes, Assembly(classpath=(), version="9.9", origin="nowhere"))

    assert "1 passed, 1 failed" in page
    assert "| failed | Error: a   b |" in page
