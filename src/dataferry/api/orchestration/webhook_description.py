"""What the OpenAPI document says of the webhook: a request that this service makes, not one that it takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field

EXAMPLE: dict[str, Any] = {
    "type": "orchestration.completed",
    "timestamp": "2025-05-22T13:18:12.874444+00:00",
    "data": {
        "orchestration_id": "c858791f-e6ac-43d0-bc03-4accd023b80a",
        "process_status": "COMPLETED",
        "created_at": "2025-05-22T13:18:03.627937+00:00",
        "updated_at": "2025-05-22T13:18:12.874444+00:00",
        "storage_paths": [
            {
                "transfer_id": "f3a4b4e9-ccf7-4505-b1ea-50c282249d7a",
                "storage_path": "./data/file_f3a4b4e9-ccf7-4505-b1ea-50c282249d7a_20250522151810_0b56e3.json",
                "status": "SAVED",
            }
        ],
        "properties": {},
    },
}

webhooks = APIRouter(tags=["orchestrator"])


class Notice(BaseModel):
    """What is told once an orchestration has ended."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    type: Literal[
        "orchestration.completed",
        "orchestration.partially_completed",
        "orchestration.failed",
        "orchestration.cancelled",
    ] = Field(description="How it ended.")
    timestamp: str = Field(description="When it ended.")
    data: dict[str, Any] = Field(
        description="As `GET /status/{orchestration_id}` shows it, but for `webhook`."
    )


@webhooks.post("orchestration-ended", summary="An orchestration has ended")
def orchestration_ended(
    notice: Notice,
    webhook_id: Annotated[
        str, Header(alias="webhook-id", description="The orchestration's id; the same when it is sent again.")
    ],
    webhook_timestamp: Annotated[
        int, Header(alias="webhook-timestamp", description="When this try was made, seconds of Unix time.")
    ],
    webhook_signature: Annotated[
        str | None,
        Header(
            alias="webhook-signature",
            description="`v1,` and HMAC-SHA256 over `{id}.{timestamp}.{body}` in base64, as of Standard"
            " Webhooks; with `orchestrator.webhook.secret`.",
        ),
    ] = None,
) -> None:
    """Sent to `orchestrator.webhook.url`: 2xx takes it, 410 wants no more, else it is sent again."""
