"""docs/architecture.md says what the code does."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from dataferry.domain.dataflow import FINAL_STATES, TRANSITIONS, Event, State

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src/dataferry"
PAGE = (ROOT / "docs/architecture.md").read_text()
ROOMS = re.findall(r"^### (\w+)$", PAGE, flags=re.MULTILINE)


def picture() -> str:
    """Draw the transition table as a mermaid diagram; ``TERMINATE`` is left out."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.INITIALIZED}"]
    lines += [
        f"    {before} --> {after}: {event}"
        for (before, event), after in TRANSITIONS.items()
        if event is not Event.TERMINATE
    ]
    lines += [f"    {state} --> [*]" for state in State if state in FINAL_STATES]
    return "\n".join([*lines, "```"])


def test_the_state_diagram_is_generated_from_the_table() -> None:
    """The page holds exactly the picture that the table draws."""
    assert picture() in PAGE, f"put this under <!-- transitions -->:\n\n{picture()}"


def test_the_rooms_are_those_of_the_import_contract() -> None:
    """The same rooms, in the same order, as import-linter's layers."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [name.strip() for layer in contracts[0]["layers"] for name in layer.split("|")]
    assert layers == ROOMS


def test_every_folder_is_a_room() -> None:
    """No folder of the package is left out of the page."""
    folders = {path.name for path in SOURCES.iterdir() if (path / "__init__.py").exists()}
    assert folders == {*ROOMS, "testing"}


def test_every_folder_says_what_it_is_for() -> None:
    """The first thing that is read of a folder is a sentence about it, not a promise to write one."""
    maps = {path: ast.get_docstring(ast.parse(path.read_text())) for path in SOURCES.rglob("__init__.py")}
    silent = [str(path.parent.relative_to(SOURCES)) for path, text in maps.items() if len(text or "") < 20]
    assert silent == []


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link in README and docs names a file that is there."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_map_of_the_engine_is_that_of_its_import_contract() -> None:
    """The engine's map tells of its folders, all of them, in the order of import-linter's layers."""
    engine = ROOT / "src/dataferry/engine"
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(
        contract["layers"] for contract in contracts if contract.get("containers") == ["dataferry.engine"]
    )
    names = (name.strip() for layer in layers for name in layer.split("|"))
    rooms = [name for name in names if (engine / name).is_dir()]
    assert rooms == re.findall(r"^- ``(\w+)``: ", (engine / "__init__.py").read_text(), flags=re.MULTILINE)
    assert set(rooms) == {path.parent.name for path in engine.glob("*/__init__.py")}
