"""The ledger's statements: plain SQL that SQLite and PostgreSQL both understand. Standard library only."""

from __future__ import annotations

from typing import Any

from dataferry.store import ledger_rows as rows

PLAN = "SELECT plan_complete, plan_cursor FROM transfers WHERE id = :id"
TOTALS = (
    "SELECT objects_total, bytes_total, objects_done, objects_skipped, objects_failed, bytes_done, "
    "bytes_skipped, objects_unsized, plan_complete, verification FROM transfers WHERE id = :id"
)
LAST_ORDINAL = "SELECT COALESCE(MAX(ordinal), 0) FROM objects WHERE transfer_id = :id"
ADD = (
    "INSERT INTO objects (transfer_id, ordinal, source_name, source_key, size_bytes, validator, version_id, "
    "source_crc64nvme, modified_at, attributes, target_key, target_identity, state, upload_keeps_crc64nvme, "
    "verification, error, etag, crc64nvme) "
    "VALUES (:transfer_id, :ordinal, :source_name, :source_key, :size_bytes, "
    ":validator, :version_id, :source_crc64nvme, :modified_at, :attributes, :target_key, :target_identity, "
    ":state, 0, :verification, :error, :etag, :crc64nvme)"
)
KNOWN_KEY = "SELECT 1 FROM objects WHERE transfer_id = :id AND target_key = :key"
WHERE_OBJECT = "WHERE transfer_id = :id AND ordinal = :ordinal"
OBJECT = (
    f"SELECT {rows.OBJECT_COLUMNS}, (SELECT COALESCE(SUM(p.size_bytes), 0) FROM parts p "  # noqa: S608 - our own words only
    "WHERE p.transfer_id = objects.transfer_id AND p.ordinal = objects.ordinal) "
    f"FROM objects {WHERE_OBJECT}"
)
PART_CONTEXT = (
    "SELECT o.state, o.upload_id, p.size_bytes FROM objects o LEFT JOIN parts p "
    "ON p.transfer_id = o.transfer_id AND p.ordinal = o.ordinal AND p.number = :number "
    "WHERE o.transfer_id = :id AND o.ordinal = :ordinal"
)
ADD_PART = (
    "INSERT INTO parts (transfer_id, ordinal, number, size_bytes, etag, crc64nvme, confirmed) "
    "VALUES (:transfer_id, :ordinal, :number, :size_bytes, :etag, :crc64nvme, :confirmed) "
    "ON CONFLICT (transfer_id, ordinal, number) DO UPDATE SET size_bytes = excluded.size_bytes, "
    "etag = excluded.etag, crc64nvme = excluded.crc64nvme, confirmed = excluded.confirmed"
)
# Only where nothing else is to change with it: no intent, so no upload and no parts; the size as planned.
FINISH_WHOLE = (
    "UPDATE objects SET state = 'done', etag = :etag, crc64nvme = :crc64nvme, verification = :verification "  # noqa: S608 - our own words only
    f"{WHERE_OBJECT} AND state = 'pending' AND intent_at IS NULL AND upload_id IS NULL "
    "AND size_bytes = :size_bytes"
)
FORGET_PARTS = f"DELETE FROM parts {WHERE_OBJECT}"  # noqa: S608 - our own words only
# A comparison, not IS NOT NULL: with it SQLite takes the partial index instead of all of a transfer's rows.
ABANDON = (
    "INSERT INTO cleanups (transfer_id, target_identity, upload_id, upload_key, upload_started_at, "
    "upload_keeps_crc64nvme, intent_at, attempts, due_at, created_at) SELECT transfer_id, target_identity, "
    "upload_id, target_key, upload_started_at, upload_keeps_crc64nvme, "
    "CASE WHEN upload_id IS NULL THEN intent_at END, 0, :now, :now FROM objects "
    "WHERE transfer_id = :id AND intent_at > ''"
)
FORGET_UPLOADS = (
    "UPDATE objects SET part_size_bytes = NULL, intent_at = NULL, upload_id = NULL, "
    "upload_started_at = NULL, upload_keeps_crc64nvme = 0 WHERE transfer_id = :id AND intent_at > ''"
)
OPENING = (
    "SELECT 1 FROM objects WHERE target_identity = :identity AND target_key = :key "
    "AND intent_at IS NOT NULL AND upload_id IS NULL LIMIT 1"
)
ABANDON_ONE = " AND ordinal = :ordinal"
ONCE = " ON CONFLICT (target_identity, upload_id) DO NOTHING"
NO_UPLOAD: dict[str, Any] = {
    "part_size_bytes": None,
    "intent_at": None,
    "upload_id": None,
    "upload_started_at": None,
    "upload_keeps_crc64nvme": 0,
}
NO_RESULT: dict[str, Any] = {
    "etag": None,
    "crc64nvme": None,
    "verification": 0,
    "error_kind": None,
    "error": None,
}
