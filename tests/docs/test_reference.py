"""Every setting, command, error kind and mechanism is documented, as the code has it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dataferry.api import seed_errors
from dataferry.api.problems import status_of
from dataferry.app.configuration import model_in
from dataferry.app.settings import Settings
from dataferry.cli.application import application
from dataferry.domain import errors
from dataferry.domain.objects import Capability
from dataferry.flows.orchestration.faults import (
    LateError,
    NegotiationEndedError,
    NoAgreementError,
    TransferEndedError,
    fault_of,
)
from dataferry.mechanisms.registry import Registry

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one of any level."""
    text = (REFERENCE / page).read_text()
    found = re.search(rf"^#+ {re.escape(heading)}$\n(.*?)(?=^#|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {heading!r}"
    return found[1]


def tables() -> Iterator[tuple[str, type[BaseModel]]]:
    """Every table of the configuration: its heading, and its model."""
    for name, field in Settings.model_fields.items():
        model = model_in(field.annotation)
        assert model is not None, f"the section {name} is no table"
        shape = str(field.annotation)
        heading = (
            f"[[{name}]]"
            if shape.startswith("tuple")
            else f"[{name}.NAME]"
            if shape.startswith("dict")
            else f"[{name}]"
        )
        yield heading, model
        for key, inner in model.model_fields.items():
            nested = model_in(inner.annotation)
            if nested is not None:
                inner_name = f"{heading.strip('[]')}.{key}"
                is_list = str(inner.annotation).startswith(("tuple", "typing.Annotated[tuple"))
                yield f"[[{inner_name}]]" if is_list else f"[{inner_name}]", nested


KEYS = [
    pytest.param(heading, field.alias or key, field, id=f"{heading}-{key}")
    for heading, model in tables()
    for key, field in model.model_fields.items()
]


def default_of(field: FieldInfo) -> str:
    """A default as the page writes it."""
    if field.is_required():
        return "required"
    value: Any = field.default
    if value is None:
        return "None"
    plain = value.value if isinstance(value, Enum) else list(value) if isinstance(value, tuple) else value
    return f"`{json.dumps(plain)}`"


@pytest.mark.parametrize(("heading", "key", "field"), KEYS)
def test_every_setting_is_documented(heading: str, key: str, field: FieldInfo) -> None:
    """Key, default and meaning stand in the section of its table, in the words of the code."""
    assert field.description, f"{heading} {key} has no description"
    assert f"| `{key}` | {default_of(field)} | {field.description} |" in section(
        "settings.md", f"`{heading}`"
    )


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something."""
    inner = getattr(command, "commands", None)
    if not inner:
        yield path, command
        return
    for name, entry in inner.items():
        yield from commands(entry, f"{path} {name}")


COMMANDS = [
    pytest.param(path, command, id=path)
    for path, command in commands(typer.main.get_command(application), "dataferry")
]


@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_every_command_is_documented(path: str, command: Any) -> None:
    """The command, its arguments and each of its options, with their help."""
    arguments = [
        (entry.metavar or entry.name.upper()) if entry.required else f"[{entry.metavar}]"
        for entry in command.params
        if entry.param_type_name == "argument"
    ]
    text = section("commands.md", f"`{' '.join([path, *arguments])}`")
    assert command.help.strip() in text
    for entry in command.params:
        if entry.param_type_name == "option" and entry.name != "help":
            assert entry.help, f"{path} {entry.opts[0]} has no help"
            assert re.search(
                rf"^\| `{re.escape(', '.join(entry.opts))}[ `].*{re.escape(entry.help)}", text, re.MULTILINE
            )


def kinds(error: type[errors.DataFerryError]) -> Iterator[type[errors.DataFerryError]]:
    """The tree of errors of the domain."""
    yield error
    for below in error.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from kinds(below)


@pytest.mark.parametrize("error", list(kinds(errors.DataFerryError)), ids=lambda error: str(error.kind))
def test_every_error_kind_is_documented(error: type[errors.DataFerryError]) -> None:
    """Its kind, whether it is tried again, and its HTTP status."""
    text = (REFERENCE / "errors.md").read_text()
    row = re.search(rf"^\| `{error.kind}` \| .+ \| (\w+) \| (\d+) \| .+ \|$", text, flags=re.MULTILINE)
    assert row, f"errors.md has no row for {error.kind}"
    assert row.groups() == (error.retry.value, str(int(status_of(error("x")))))


def test_kinds_of_other_rooms_are_documented() -> None:
    """Whatever the code calls a kind has a row."""
    text = (REFERENCE / "errors.md").read_text()
    source = Path(errors.__file__).parents[1]
    named = {
        kind
        for path in source.rglob("*.py")
        for kind in re.findall(r"^    kind = \"(\w+)\"$", path.read_text(), flags=re.MULTILINE)
    }
    assert {kind for kind in named if f"| `{kind}` |" not in text} == set()


@pytest.mark.parametrize("error", [LateError, TransferEndedError, NegotiationEndedError, NoAgreementError])
def test_kinds_of_the_orchestrator_have_the_codes_of_its_answers(
    error: type[errors.DataFerryError],
) -> None:
    """Those that nobody else meets."""
    text = (REFERENCE / "errors.md").read_text()
    row = re.search(rf"^\| `{error.kind}` \| .+ \| (\d+) \| .+ \|$", text, flags=re.MULTILINE)
    assert row, f"errors.md has no row for {error.kind}"
    assert int(row[1]) == fault_of(error("x")).code


def test_the_codes_of_the_orchestrator_are_documented() -> None:
    """Whatever the module of these errors knows, with those of a dry run."""
    text = (REFERENCE / "http-api.md").read_text()
    told = re.search(r"^The codes are (.+?)\n\n", text, flags=re.MULTILINE | re.DOTALL)
    assert told
    known = re.findall(r"\b[45]\d\d\b", seed_errors.__doc__ or "")
    assert set(known) == set(re.findall(r"\b\d{3}\b", told[1]))


@pytest.mark.parametrize("name", Registry().names)
def test_every_mechanism_is_documented(name: str) -> None:
    """Its sentence, its profiles and URLs, its capabilities and every key of its locations."""
    mechanism = Registry().get(name)
    text = section("mechanisms.md", f"`{name}`")
    assert mechanism.description in text
    for profile in mechanism.profiles:
        assert all(f"`{spelling}`" in text for spelling in profile.names)
    assert all(f"`{scheme}://`" in text for scheme in mechanism.url_schemes if scheme)
    for capabilities, side in (
        (mechanism.source_capabilities, "as source"),
        (mechanism.sink_capabilities, "as sink"),
    ):
        listed = ", ".join(f"`{capability.value}`" for capability in sorted(capabilities))
        assert f"| {side} | {listed} |" in text
    for key, schema in mechanism.location_schema["properties"].items():
        assert f"| `{key}` | {schema['description']}" in text


@pytest.mark.parametrize("capability", list(Capability))
def test_every_capability_is_documented(capability: Capability) -> None:
    """What a mechanism can do has a meaning on the page."""
    assert f"| `{capability.value}` | " in section("mechanisms.md", "Capabilities")
