"""Reads settings: the file, then ``DATAFERRY_SECTION__KEY`` of the environment over it, then the checks.

Every error names the file or the variable, the key, and the nearest key that exists.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dataferry.app.description import DOT_ENV, described, read_dot_env
from dataferry.app.orchestrator_settings import ORCHESTRATED
from dataferry.app.settings import Settings
from dataferry.domain.errors import ConfigError
from dataferry.domain.location import LocationRef

DEFAULT_FILE = "dataferry.toml"
PREFIX = "DATAFERRY_"
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_LIST_INDEX = 1000


def find(config: str | None, environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the file to read: ``config``, ``DATAFERRY_CONFIG``, ``dataferry.toml`` here, or None."""
    environ = os.environ if environ is None else environ
    named = config or environ.get(f"{PREFIX}CONFIG")
    if named:
        return Path(named)
    here = Path(DEFAULT_FILE)
    return here if here.is_file() else None


def load(
    config: str | None = None,
    environ: Mapping[str, str] | None = None,
    dot_env: Path = Path(DOT_ENV),
    *,
    may_lack_keys: bool = False,
) -> Settings:
    """Read and check the settings.

    Args:
        config: Path of the file; None looks for it as ``find`` does, and takes the defaults if there is none.
        environ: The environment; the process's own if None.
        dot_env: File that goes before it, for the orchestrator's own variables.
        may_lack_keys: Whether a plane that is open to the network may be without API keys: to make the first.

    Raises:
        ConfigError: The file can't be read, or something in it or in the environment is wrong.
    """
    environ = os.environ if environ is None else environ
    path = find(config, environ)
    tree = _read(path) if path else {}
    variables = _describe_orchestrator(tree, environ, dot_env)
    variables |= _overlay(tree, environ)
    origin = str(path) if path else "settings"
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        lines = [_describe(detail, origin, variables) for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None
    _cross_check(settings, origin, may_lack_keys=may_lack_keys)
    return settings


def with_server(settings: Settings, *, host: str | None, port: int | None) -> Settings:
    """Return settings with host and port of the command line over them; None keeps.

    Raises:
        ConfigError: The address would be open without authorization.
    """
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if not changes:
        return settings
    changed = settings.model_copy(update={"server": settings.server.model_copy(update=changes)})
    _cross_check(changed, "command line")
    return changed


def _read(path: Path) -> dict[str, Any]:
    """Read a TOML file."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes: that is no configuration file")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _describe_orchestrator(
    tree: dict[str, Any], environ: Mapping[str, str], dot_env: Path
) -> dict[tuple[str, ...], str]:
    """Put the variables of the orchestrator's description into ``tree``, where there is an orchestrator."""
    prefix = f"{PREFIX}ORCHESTRATOR__"
    if "orchestrator" not in tree and not any(name.startswith(prefix) for name in environ):
        return {}
    found = described(environ, read_dot_env(dot_env))
    return {_put(tree, list(path), value, name): name for name, (path, value) in found.items()}


def _overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Put ``DATAFERRY_A__B=value`` into ``tree``; return which variable set which path."""
    variables: dict[tuple[str, ...], str] = {}
    for name in sorted(environ):
        path = name.removeprefix(PREFIX).lower().split("__")
        if not name.startswith(PREFIX) or (len(path) == 1 and path[0] not in Settings.model_fields):
            continue
        if not all(path):
            raise ConfigError(
                f"the environment variable {name} has an empty part: write it {PREFIX}SECTION__KEY"
            )
        variables[_put(tree, path, _value(environ[name]), name)] = name
    return variables


def _value(text: str) -> Any:
    """Lists and tables are written as JSON; everything else is text that the setting's type reads."""
    if text[:1] in {"[", "{"}:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _put(tree: dict[str, Any], path: list[str], value: Any, variable: str) -> tuple[str, ...]:
    """Set one path; numbers count entries of lists, names match keys with ``-`` and ``.`` written ``_``."""
    node: Any = tree
    taken: list[str] = []
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        empty: Any = [] if not last and path[depth + 1].isdigit() else {}
        if isinstance(node, list):
            key: Any = _index(node, part, variable, None if last else empty)
        elif isinstance(node, dict):
            key = next((name for name in node if _folded(name) == part), part)
            if not last:
                node.setdefault(key, empty)
        else:
            raise ConfigError(
                f"the environment variable {variable} names a key inside of one that is no table"
            )
        taken.append(str(key))
        if last:
            node[key] = value
        else:
            node = node[key]
    return tuple(taken)


def _folded(name: str) -> str:
    """A key as an environment variable can spell it."""
    return name.lower().replace("-", "_").replace(".", "_")


def _index(node: list[Any], part: str, variable: str, fill: Any) -> int:
    """Return the position that ``part`` means, with the list grown by one if it is the next."""
    if not part.isdigit() or int(part) > min(len(node), MAX_LIST_INDEX):
        raise ConfigError(
            f"the environment variable {variable}: {part!r} is no entry of the list, nor the next one"
        )
    if int(part) == len(node):
        node.append(fill)
    return int(part)


def _describe(detail: ErrorDetails, origin: str, variables: Mapping[tuple[str, ...], str]) -> str:
    """One line for an operator: where, what, and the way out."""
    path = tuple(str(part) for part in detail["loc"])
    variable = next((variables[path[:n]] for n in range(len(path), 0, -1) if path[:n] in variables), None)
    where = f"environment variable {variable}" if variable else origin
    if detail["type"] == "extra_forbidden":
        siblings = _keys_of(path[:-1])
        near = get_close_matches(path[-1], siblings, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(siblings)}"
        what = "section" if len(path) == 1 else "key"
        return f"{where}: unknown {what} {_spelled(path)}; {hint}"
    if detail["type"] == "missing":
        return f"{where}: {_spelled(path)} is required"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {_spelled(path)}: {message[:1].lower()}{message[1:]}"


def _spelled(path: tuple[str, ...]) -> str:
    """``("datasets", "0", "source")`` → ``datasets[0].source``."""
    text = ""
    for part in path:
        text += f"[{part}]" if part.isdigit() else f".{part}" if text else part
    return text or "the file"


def _keys_of(path: Iterable[str]) -> list[str]:
    """The keys that the table at ``path`` may have."""
    model: type[BaseModel] = Settings
    for part in path:
        field = next((f for n, f in model.model_fields.items() if part in {n, f.alias}), None)
        if field is not None:
            model = model_in(field.annotation) or model
    return sorted(field.alias or name for name, field in model.model_fields.items())


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model within ``tuple[Model, ...]``, ``dict[str, Model]`` or ``Model | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {tuple, dict, list, Union, UnionType}:
        return next((m for m in map(model_in, get_args(annotation)) if m), None)
    return None


def _cross_check(settings: Settings, origin: str, *, may_lack_keys: bool = False) -> None:
    """Check what concerns more than one section.

    Raises:
        ConfigError: With one line a mistake.
    """
    wrong = [
        *_unknown_locations(settings),
        *_participants(settings),
        *_repeated(settings),
        *_authorization(settings, may_lack_keys=may_lack_keys),
        *_orchestrator(settings),
    ]
    if wrong:
        raise ConfigError("\n".join(f"{origin}: {line}" for line in wrong))


def _unknown_locations(settings: Settings) -> Iterable[str]:
    """Every ``LOCATION:PATH`` must name a configured location."""
    named = [(f"datasets[{n}].source", d.source) for n, d in enumerate(settings.datasets)]
    for number, zone in enumerate(settings.landing_zones):
        named += [(f"landing_zones[{number}].sink", zone.sink)] if zone.sink else []
        named += [(f"landing_zones[{number}].source", zone.source)] if zone.source else []
    for number, plane in enumerate(settings.control_planes):
        if plane.metadata_location:
            named.append((f"control_planes[{number}].metadata_location", f"{plane.metadata_location}:"))
    if settings.orchestrator.destination:
        named.append(("orchestrator.destination", settings.orchestrator.destination))
    for key, text in named:
        name = LocationRef.parse(text).location
        if name not in settings.locations:
            near = get_close_matches(name, settings.locations, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"add [locations.{name}]"
            yield f"{key}: there is no location {name!r}; {hint}"


def _participants(settings: Settings) -> Iterable[str]:
    """Whoever something is for must be there, and a place for metadata must be its control plane's own."""
    known = {participant.id for participant in settings.participants}
    named: list[tuple[str, Sequence[str]]] = [
        *((f"locations.{name}", location.participants) for name, location in settings.locations.items()),
        *((f"datasets[{n}]", dataset.participants) for n, dataset in enumerate(settings.datasets)),
        *((f"landing_zones[{n}]", zone.participants) for n, zone in enumerate(settings.landing_zones)),
        *((f"auth.api_keys {key.name!r}", key.participants) for key in settings.auth.api_keys),
    ]
    for where, participants in named:
        for name in sorted(set(participants) - known if known else ()):
            yield f"{where}.participants: {name!r} is none of [[participants]]"
    for plane in settings.control_planes:
        location = settings.locations.get(plane.metadata_location or "")
        allowed = location.participants if location is not None else ()
        if known and plane.participant_context_id not in known:
            yield f"control plane {plane.id!r}: participant_context_id is none of [[participants]]"
        if allowed and plane.participant_context_id not in allowed:
            yield f"control plane {plane.id!r}: metadata_location is a location of other participants"


def _repeated(settings: Settings) -> Iterable[str]:
    """Names must be unique."""
    groups: dict[str, list[str]] = {
        "datasets": [d.id or d.match or "" for d in settings.datasets],
        "landing_zones": [z.name for z in settings.landing_zones],
        "control_planes": [c.id for c in settings.control_planes],
        "participants": [p.id for p in settings.participants],
        "auth.api_keys": [k.name for k in settings.auth.api_keys],
        "orchestrator.connectors": [c.address for c in settings.orchestrator.connectors],
    }
    for section, names in groups.items():
        for name in sorted({n for n in names if names.count(n) > 1}):
            yield f"{section}: {name!r} is there twice"


def _authorization(settings: Settings, *, may_lack_keys: bool) -> Iterable[str]:
    """Without tokens control planes can't be told apart; without any, only loopback is safe."""
    planes, keys = settings.control_planes, settings.auth.api_keys
    open_planes = [plane.id for plane in planes if plane.token is None]
    if open_planes and len(planes) > 1:
        yield (
            f"control plane {open_planes[0]!r} has no token: with several control planes each needs one,"
            " or they can't be told apart"
        )
    if settings.server.is_loopback:
        return
    lacking = [] if keys or may_lack_keys or _may_have_keys(settings) else ["an API key"]
    lacking += [f"a token for control plane {name!r}" for name in open_planes]
    lacking += [] if planes else ["a [[control_planes]] entry with a token"]
    if lacking:
        yield without_authorization(settings.server.host, lacking)


def without_authorization(host: str, lacking: Sequence[str]) -> str:
    """Say why a plane does not listen, and what lets it."""
    key = " (`dataferry api-keys create`, or [[auth.api_keys]])" if "an API key" in lacking else ""
    return (
        f"server.host = {host!r} would open this plane to the network without authorization;"
        f" add {' and '.join(lacking)}{key}, or listen on 127.0.0.1"
    )


def _may_have_keys(settings: Settings) -> bool:
    """Return whether keys may be in the database: then `serve` looks there before it listens."""
    database = settings.store.file
    return database is None or database.exists()


def _orchestrator(settings: Settings) -> Iterable[str]:
    """What the orchestrator names must be there, and what it uses itself must be free."""
    orchestrator = settings.orchestrator
    contexts = {participant.id for participant in settings.participants}
    if orchestrator.connectors and contexts and orchestrator.participant_context_id not in contexts:
        yield "orchestrator.participant_context_id is none of [[participants]]"
    if ORCHESTRATED in settings.locations and orchestrator.connectors:
        yield f"locations.{ORCHESTRATED}: this name is the orchestrator's own; give the location another one"
