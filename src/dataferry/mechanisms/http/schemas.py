"""What can be written about HTTP places, as JSON Schemas (draft 2020-12)."""

from __future__ import annotations

from typing import Any

from dataferry.mechanisms.routes import ROUTE_DEPENDENCIES, ROUTE_PROPERTIES

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "description": description, **more}


def _secret(description: str) -> dict[str, Any]:
    return _text(description, writeOnly=True)


CREDENTIALS = (("bearer_token",), ("username", "password"), ("header_name", "header_value"))

LOCATION_SCHEMA: dict[str, Any] = {
    "$schema": _DRAFT,
    "title": "HTTP location",
    "type": "object",
    "additionalProperties": False,
    "required": ["base_url"],
    "properties": {
        "base_url": _text(
            "http(s)://host[:port][/path]; paths are below it, and none leaves it.", pattern="^https?://"
        ),
        "bearer_token": _secret("Sent as Authorization: Bearer."),
        "username": _text("Sent with the password as Authorization: Basic."),
        "password": _secret("Its password."),
        "header_name": _text("A header that carries the credential, e.g. X-Api-Key."),
        "header_value": _secret("Its value."),
        **ROUTE_PROPERTIES,
    },
    "dependentRequired": {
        "username": ["password"],
        "password": ["username"],
        "header_name": ["header_value"],
        "header_value": ["header_name"],
        **ROUTE_DEPENDENCIES,
    },
    "allOf": [
        {"not": {"required": ["bearer_token", "username"]}},
        {"not": {"required": ["bearer_token", "header_name"]}},
        {"not": {"required": ["username", "header_name"]}},
    ],
}

ADDRESS_SCHEMA: dict[str, Any] = {
    "$schema": _DRAFT,
    "title": "HTTP DataAddress",
    "type": "object",
    "properties": {
        "endpointType": _text("The profile's URL; HttpData and others are read less strictly."),
        "endpoint": {"type": "string", "description": "The URL; https where the type is a profile's URL."},
        "authorization": _secret("A token; sent as authType says."),
        "authType": {"type": "string", "description": "bearer; beside it basic, but not in the strict form."},
        "baseUrl": _text("The URL, where endpoint is empty (HttpData)."),
        "path": _text("Plain path below the URL (HttpData)."),
        "queryParams": _text("Query of the URL (HttpData)."),
        "method": {"type": "string", "description": "GET to read; PUT or POST to write (HttpData)."},
        "authKey": _text("Name of the header that carries authCode (HttpData)."),
        "authCode": _secret("Its value (HttpData)."),
    },
    "patternProperties": {"^header:": _secret("A header to send along (HttpData).")},
    "anyOf": [{"required": ["endpoint"]}, {"required": ["baseUrl"]}],
}

_DATA_ADDRESS = {"type": "object", "description": "A DataAddress with what it needs to be used."}
METADATA_SCHEMA: dict[str, Any] = {
    "$schema": _DRAFT,
    "title": "HTTP metadata",
    "type": "object",
    "properties": {"sourceDataAddress": _DATA_ADDRESS, "destinationDataAddress": _DATA_ADDRESS},
}
