"""What a location's settings must be, and which of them are secrets: as its mechanism's schema says."""

from __future__ import annotations

import jsonschema

from dataferry.domain.errors import InputError
from dataferry.domain.location import Location
from dataferry.mechanisms.base import Mechanism


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
