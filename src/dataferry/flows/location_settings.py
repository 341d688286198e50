"""What a location's settings must be, and which of them are secrets: as its mechanism's schema says."""

from __future__ import annotations

import re
from typing import Any

import jsonschema

from dataferry.domain.errors import InputError
from dataferry.domain.location import Location
from dataferry.mechanisms.base import Mechanism

# Mechanisms of others may call it any of these.
_PLACE = re.compile(r"url|uri|endpoint|host|server|address(?!ing)|port\b|proxy|root|ca_file")


def check_settings(mechanism: Mechanism, location: Location) -> None:
    """Check a location's settings against its mechanism's schema; the message shows no value.

    Raises:
        InputError: They do not fit.
    """
    validator = jsonschema.Draft202012Validator(dict(mechanism.location_schema))
    for error in validator.iter_errors(dict(location.settings)):
        where = ".".join(str(step) for step in error.absolute_path) or _unknown(error) or "settings"
        wanted = error.schema.get("description") if isinstance(error.schema, dict) else None
        what = f"must be: {wanted}" if wanted else f"does not satisfy {error.validator}"
        raise InputError(f"location {location.name}: {where} {what}")
    # Any path that can be one everywhere: it is the settings that are looked at.
    mechanism.at_location(location, "any")


def _unknown(error: jsonschema.ValidationError) -> str:
    """Name the settings that are missing or not known, which the path of the error does not."""
    schema, instance = error.schema, error.instance
    if not isinstance(schema, dict) or not isinstance(instance, dict):
        return ""
    if error.validator == "required":
        return ", ".join(name for name in schema.get("required", ()) if name not in instance)
    if error.validator == "additionalProperties":
        return ", ".join(name for name in instance if name not in schema.get("properties", {}))
    return ""


def secret_names(mechanism: Mechanism) -> frozenset[str]:
    """Return which of a mechanism's settings are secrets: those its schema marks ``writeOnly``."""
    properties = mechanism.location_schema.get("properties", {})
    return frozenset(name for name, schema in properties.items() if schema.get("writeOnly"))


def secrets_of(location: Location, mechanism: Mechanism) -> tuple[str, ...]:
    """Return the values of a location's secrets."""
    values = (location.settings.get(name) for name in secret_names(mechanism))
    return tuple(value for value in values if isinstance(value, str))


def moved_settings(mechanism: Mechanism, present: Location, wanted: Location) -> list[str]:
    """Return which settings differ that say where a location is, and so where its secrets are sent."""
    properties: dict[str, Any] = dict(mechanism.location_schema.get("properties", {}))
    return [
        name
        for name, schema in properties.items()
        if _is_place(name, schema) and _value(present, name, schema) != _value(wanted, name, schema)
    ]


def _is_place(name: str, schema: dict[str, Any]) -> bool:
    """Return whether a setting says where: by its name, or as it is a URL or a path."""
    if schema.get("writeOnly"):
        return False
    return _PLACE.search(name) is not None or schema.get("pattern", "").startswith(("^http", "^/"))


def _value(location: Location, name: str, schema: dict[str, Any]) -> Any:
    """Return a setting, or its default."""
    return location.settings.get(name, schema.get("default"))
