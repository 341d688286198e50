"""DataAddress: how a wire protocol's endpoint travels in a message.

Source: Dataspace Protocol 2025-1, "Data Address"; Data Plane Signaling, "Data Address".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dataferry.domain.errors import AddressError

MAX_PROPERTIES = 200
MAX_VALUE_CHARS = 16_384
# Eclipse Dataspace Components names what it knows by IRIs that begin with this.
EDC_NAMESPACE = "https://w3id.org/edc/v0.0.1/ns/"


def short_name(name: str) -> str:
    """Return the last segment of a property name that may be an IRI: ``…/ns/endpoint`` → ``endpoint``."""
    return name.rsplit("#", 1)[-1].rsplit("/", 1)[-1] if "://" in name else name


@dataclass(frozen=True, slots=True, kw_only=True)
class DataAddress:
    """An endpoint and the properties needed to use it; ``repr`` never shows property values.

    Attributes:
        endpoint_type: The profile URL or an EDC type such as ``AmazonS3``.
        endpoint: ``s3://bucket[/key]``, ``http(s)://host/bucket[/key]``, or empty where properties say all.
        properties: ``(name, value)`` in the order given, names without their IRI prefix.
    """

    endpoint_type: str
    endpoint: str = ""
    properties: tuple[tuple[str, str], ...] = ()

    def get(self, *names: str) -> str | None:
        """Return the first non-empty value of the first of ``names`` that is there."""
        values = dict(reversed(self.properties))
        return next((values[name] for name in names if values.get(name)), None)

    def __repr__(self) -> str:
        names = ", ".join(name for name, _ in self.properties)
        return f"DataAddress({self.endpoint_type!r}, properties: {names or 'none'})"

    @classmethod
    def from_wire(cls, wire: Any) -> DataAddress:
        """Read a DataAddress as messages carry it; explicit nulls and unknown fields are tolerated.

        A property that comes both by its plain name and by an IRI, with one value, is one.

        Raises:
            AddressError: It is not an object of the DSP's shape, or larger than a bound.
        """
        if not isinstance(wire, dict):
            raise AddressError("dataAddress must be an object")
        endpoint_type = wire.get("endpointType", wire.get("type"))
        endpoint_type = "" if endpoint_type is None else endpoint_type
        endpoint = "" if wire.get("endpoint") is None else wire["endpoint"]
        if not isinstance(endpoint_type, str) or not isinstance(endpoint, str):
            raise AddressError("dataAddress.endpointType and dataAddress.endpoint must be strings")
        return cls(
            endpoint_type=endpoint_type,
            endpoint=endpoint,
            properties=_properties(wire.get("endpointProperties")),
        )

    def to_wire(self) -> dict[str, Any]:
        """Write it in the DSP's shape; ``endpointProperties`` is a list, never null."""
        return {
            "@type": "DataAddress",
            "endpointType": self.endpoint_type,
            "endpoint": self.endpoint,
            "endpointProperties": [
                {"@type": "EndpointProperty", "name": name, "value": value} for name, value in self.properties
            ],
        }


def _properties(wire: Any) -> tuple[tuple[str, str], ...]:
    """Read ``endpointProperties``: a list of ``{name, value}``, or null."""
    if wire is None:
        return ()
    if not isinstance(wire, list):
        raise AddressError("dataAddress.endpointProperties must be a list of {name, value}")
    if len(wire) > MAX_PROPERTIES:
        raise AddressError(f"dataAddress.endpointProperties has more than {MAX_PROPERTIES} entries")
    return tuple(dict.fromkeys(_property(entry) for entry in wire))


def _property(entry: Any) -> tuple[str, str]:
    """Read one entry; numbers and booleans are taken as their text, null as empty."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise AddressError("each of dataAddress.endpointProperties must be {name, value} with a string name")
    value = entry.get("value")
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else value
    if isinstance(text, int | float):
        text = str(text)
    name = short_name(entry["name"])
    if not isinstance(text, str):
        raise AddressError(f"the value of dataAddress property {name[:100]!r} must be a string")
    if len(text) > MAX_VALUE_CHARS:
        raise AddressError(f"the value of dataAddress property {name[:100]!r} is too long")
    return name, text
