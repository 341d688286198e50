"""The environment variables of the orchestrator's own description, and ``.env``, which goes before them.

They count where the orchestrator is configured at all, above the configuration file and below ``DATAFERRY_…``
variables: their names are of a kind that other programs use too. Nothing else is read from ``.env``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataferry.domain.errors import ConfigError

DOT_ENV = ".env"
MAX_FILE_BYTES = 64 * 1024

# What each sets. ``CACHE_TTL`` sets nothing: the description has it, and says that nothing uses it.
VARIABLES: dict[str, tuple[str, ...]] = {
    "EDC_API_KEY": ("orchestrator", "api_key"),
    "DATA_STORAGE_PATH": ("orchestrator", "data_storage_path"),
    "REQUEST_TIMEOUT": ("orchestrator", "request_timeout_s"),
    "DATA_ADDRESS_MAX_RETRIES": ("orchestrator", "data_address_max_retries"),
    "DATA_ADDRESS_DELAY": ("orchestrator", "data_address_delay_s"),
    "STORAGE_API_URL": ("orchestrator", "storage_api_url"),
    "LOG_LEVEL": ("server", "log_level"),
}
# Others have a variable of this name too, with levels of their own: those are not ours.
_LEVELS = frozenset({"debug", "info", "warning", "error"})


def described(
    environ: Mapping[str, str], dot_env: Mapping[str, str]
) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return which settings the description's variables make: ``{variable: (path, value)}``.

    Args:
        environ: The environment.
        dot_env: What stands in ``.env``; it goes before.
    """
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name, path in VARIABLES.items():
        value = dot_env.get(name, environ.get(name, ""))
        if name == "LOG_LEVEL":
            value = value.lower() if value.lower() in _LEVELS else ""
        if value:
            found[name] = (path, value)
    return found


def clients_key(environ: Mapping[str, str], *, dot_env: Path = Path(DOT_ENV)) -> str | None:
    """Return the key of clients that are started where the service is: of ``.env``, else of the environment.

    Raises:
        ConfigError: ``.env`` can't be read.
    """
    found = described(environ, read_dot_env(dot_env)).get("EDC_API_KEY")
    return None if found is None else str(found[1])


def read_dot_env(path: Path) -> dict[str, str]:
    """Read ``NAME=value`` lines; comments, ``export`` and quotes are understood, nothing is expanded.

    Raises:
        ConfigError: It is there and can't be read.
    """
    try:
        with path.open("rb") as handle:
            text = handle.read(MAX_FILE_BYTES + 1).decode()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} can't be read: {type(exc).__name__}") from None
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.lstrip().startswith("#"):
            found[name.strip()] = _plain(value.strip())
    return found


def _plain(value: str) -> str:
    """Take quotes off, or a comment behind."""
    if value[:1] in {"'", '"'}:
        end = value.find(value[0], 1)
        return value[1:end] if end > 0 else value
    return value.partition(" #")[0].rstrip()
