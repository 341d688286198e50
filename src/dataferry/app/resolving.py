"""Resolves the references in settings, with errors that say which setting it was."""

from __future__ import annotations

from typing import Any

from dataferry.domain.errors import ConfigError
from dataferry.secrets.references import resolve


def resolved(value: Any, where: str) -> Any:
    """Resolve ``env:`` and ``file:`` in text; anything else is itself.

    Raises:
        ConfigError: It leads nowhere.
    """
    if not isinstance(value, str):
        return value
    try:
        return resolve(value)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}") from error
