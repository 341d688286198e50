"""Example messages of the OpenAPI document: one for each verb, and both dialects where they differ."""

from __future__ import annotations

from typing import Any

from fastapi.openapi.models import Example

_PUSH = "https://w3id.org/dspace-sig/profile/s3-push"
_BASE: dict[str, Any] = {
    "messageId": "6d8d6ac1-9c43-4b8f-8a54-0b9ad8e3cf10",
    "participantId": "did:web:plant-a.example",
    "counterPartyId": "did:web:analytics.example",
    "dataspaceContext": "manufacturing",
    "processId": "tp-2026-11-0042",
    "agreementId": "agreement-17",
    "datasetId": "measurements-2026",
    "claims": {"membership": "active"},
    "labels": ["batch"],
}
_ADDRESS: dict[str, Any] = {
    "@type": "DataAddress",
    "endpointType": _PUSH,
    "endpoint": "s3://landing/measurements/",
    "endpointProperties": [
        {"@type": "EndpointProperty", "name": "endpointOverride", "value": "https://s3.analytics.example"},
        {"@type": "EndpointProperty", "name": "region", "value": "eu-central-1"},
        {"@type": "EndpointProperty", "name": "accessKeyId", "value": "GRANTED-KEY-ID"},
        {"@type": "EndpointProperty", "name": "secretAccessKey", "value": "granted-secret"},
    ],
}

PREPARE: dict[str, Example] = {
    "push": Example(
        summary="A consumer prepares to be sent data; the answer has the address",
        value=_BASE | {"profile": _PUSH},
    ),
    "until RC2": Example(
        summary="The same in the older dialect",
        value=_BASE
        | {"transferType": "AmazonS3-PUSH", "callbackAddress": "https://connector.example/signaling"},
    ),
}
START: dict[str, Example] = {
    "push": Example(
        summary="A provider starts to send to the address",
        value=_BASE | {"profile": _PUSH, "dataAddress": _ADDRESS},
    ),
    "pull": Example(
        summary="A provider starts to serve; the answer has the address",
        value=_BASE | {"profile": "https://w3id.org/dspace-sig/profile/s3-pull"},
    ),
}
STARTED: dict[str, Example] = {
    "pull": Example(
        summary="A consumer may fetch from the address",
        value={"messageId": _BASE["messageId"], "dataAddress": _ADDRESS},
    ),
    "push": Example(summary="The provider has begun to send", value={"messageId": _BASE["messageId"]}),
}
RESUME: dict[str, Example] = STARTED
SUSPEND: dict[str, Example] = {
    "with a reason": Example(value={"messageId": _BASE["messageId"], "reason": "Maintenance until noon."})
}
TERMINATE: dict[str, Example] = {
    "with a reason": Example(value={"messageId": _BASE["messageId"], "reason": "The agreement ended."})
}
CONTROL_PLANE: dict[str, Example] = {
    "with a token": Example(
        value={
            "controlplaneId": "connector-a",
            "endpoint": "https://connector.example/signaling",
            "authorization": {"type": "bearer", "token": "what-we-call-back-with"},
        }
    ),
    "with a client of its token endpoint": Example(
        value={
            "controlplaneId": "connector-a",
            "endpoint": "https://connector.example/signaling",
            "authorization": {
                "type": "oauth2_client_credentials",
                "tokenEndpoint": "https://connector.example/token",
                "clientId": "dataferry",
                "clientSecret": "what-we-get-tokens-with",
                "jwksUri": "https://connector.example/jwks.json",
            },
        }
    ),
}
STATUS: dict[str, Any] = {
    "messageId": "0f4e5b52-4d3c-4f0e-9d2b-9d0d7c1d8a77",
    "dataFlowId": _BASE["processId"],
    "state": "STARTED",
}
