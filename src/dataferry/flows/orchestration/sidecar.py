"""The JSON file beside each stored one: where it came from, under which contract, and how it is proved."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import closing
from typing import Any

from dataferry.domain.dataflow import DataFlow
from dataferry.domain.objects import Attributes, ObjectInfo
from dataferry.domain.orchestration import Entry
from dataferry.flows.shared import Shared

SUFFIX = ".meta.json"


def sidecar_of(entry: Entry, flow: DataFlow, *, source: ObjectInfo | None, connector: str) -> dict[str, Any]:
    """Return what stands in the file; no credential does.

    Args:
        entry: With its size and checksum.
        flow: That brought it.
        source: The object as the source describes it; None if there are several.
        connector: Whose transfer process it was.
    """
    address = flow.incoming_address
    ask = entry.ask
    attributes = None if source is None else source.attributes
    return {
        "orchestration_id": str(entry.orchestration_id),
        "position": entry.position,
        "transfer_id": entry.transfer_id,
        "contract_id": ask.contract_id,
        **({} if ask.asset_id is None else {"asset_id": ask.asset_id}),
        "counter_party_address": ask.counter_party_address,
        "connector_id": ask.connector_id,
        "connector_address": connector,
        "transfer_type": flow.profile,
        "source": None if address is None else address.endpoint.partition("?")[0] or None,
        "source_etag": None if source is None else source.validator,
        "content_type": None if attributes is None else attributes.content_type,
        "storage_path": entry.storage_path,
        "size": entry.size_bytes,
        "checksum": checksum(entry.crc64nvme),
        "verification": entry.verification,
        "started_at": None if entry.started_at is None else entry.started_at.isoformat(),
        "stored_at": flow.updated_at.isoformat(),
    }


def checksum(crc64nvme: int | None) -> dict[str, str]:
    """Return a checksum as manifests write it: base64 of eight bytes."""
    return {} if crc64nvme is None else {"crc64nvme": b64encode(crc64nvme.to_bytes(8, "big")).decode()}


def write_sidecar(shared: Shared, flow: DataFlow, content: dict[str, Any]) -> None:
    """Write the file beside what a flow has stored, over one that is there.

    Raises:
        DataFerryError: It can't be written.
    """
    data = json.dumps(content, indent=2).encode() + b"\n"
    place = shared.resolver.at_ref(
        (flow.sink_ref or "").removesuffix("/") + SUFFIX, flow.participant_context_id
    )
    with closing(place.mechanism.open_sink(place.endpoint, shared.network)) as sink:
        key = sink.place(SUFFIX, single=True)
        with closing(sink.writer()) as writer:
            attributes = Attributes(content_type="application/json")
            write = writer.put(key, length_bytes=len(data), attributes=attributes)
            try:
                write.send(memoryview(data))
                write.finish()
            except BaseException:
                write.cancel()
                raise
