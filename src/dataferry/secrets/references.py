"""References: a setting may say where its secret lies instead of holding it."""

from __future__ import annotations

import os
from pathlib import Path

from dataferry.domain.errors import ConfigError

ENVIRONMENT = "env:"
FILE = "file:"
MAX_SECRET_BYTES = 64 * 1024


def is_reference(value: str) -> bool:
    """Return True for ``env:NAME`` and ``file:PATH``, which are not secret themselves."""
    return value.startswith((ENVIRONMENT, FILE))


def resolve(value: str) -> str:
    """Return the secret that ``value`` names: ``env:NAME``, ``file:PATH`` (less its last line end), itself.

    Raises:
        ConfigError: There is no such variable or file, or it is empty; names the reference, never a secret.
    """
    if value.startswith(ENVIRONMENT):
        return _from_environment(value)
    if value.startswith(FILE):
        return _from_file(value)
    return value


def _from_environment(reference: str) -> str:
    """Read a variable that must be set and not empty."""
    found = os.environ.get(reference.removeprefix(ENVIRONMENT))
    if not found:
        raise ConfigError(f"{reference}: this environment variable is not set, or empty")
    return found


def _from_file(reference: str) -> str:
    """Read a small text file that must not be empty."""
    path = Path(reference.removeprefix(FILE)).expanduser()
    try:
        with path.open("rb") as handle:
            raw = handle.read(MAX_SECRET_BYTES + 1)
        text = raw.decode()
    except OSError as exc:
        raise ConfigError(f"{reference}: {exc.strerror or 'cannot be read'}") from exc
    except UnicodeDecodeError:
        # Not chained: the exception carries the bytes.
        raise ConfigError(f"{reference}: is not UTF-8 text") from None
    if len(raw) > MAX_SECRET_BYTES:
        raise ConfigError(f"{reference}: has more than {MAX_SECRET_BYTES} bytes; a secret is shorter")
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ConfigError(f"{reference}: the file is empty")
    return secret
