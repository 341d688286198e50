"""The tables of the local ledger, as ``store.schema`` has them for SQLite; a test holds the two together."""

from __future__ import annotations

# Grows with each change of the tables.
FORM = 3

TABLES: tuple[str, ...] = (
    """
CREATE TABLE transfers (
    id VARCHAR(200) NOT NULL,
    epoch BIGINT NOT NULL,
    plan_complete INTEGER NOT NULL,
    plan_cursor TEXT,
    objects_total BIGINT NOT NULL,
    bytes_total BIGINT NOT NULL,
    objects_done BIGINT NOT NULL,
    objects_skipped BIGINT NOT NULL,
    objects_failed BIGINT NOT NULL,
    bytes_done BIGINT NOT NULL,
    bytes_skipped BIGINT NOT NULL,
    objects_unsized BIGINT NOT NULL,
    verification INTEGER,
    CONSTRAINT pk_transfers PRIMARY KEY (id)
)
""",
    """
CREATE TABLE objects (
    transfer_id VARCHAR(200) NOT NULL,
    ordinal BIGINT NOT NULL,
    source_name TEXT NOT NULL,
    source_key TEXT NOT NULL,
    size_bytes BIGINT,
    validator TEXT,
    version_id TEXT,
    source_crc64nvme VARCHAR(16),
    modified_at VARCHAR(27),
    attributes TEXT,
    target_key TEXT NOT NULL,
    target_identity TEXT NOT NULL,
    state VARCHAR(16) NOT NULL,
    part_size_bytes BIGINT,
    intent_at VARCHAR(27),
    upload_id TEXT,
    upload_started_at VARCHAR(27),
    upload_keeps_crc64nvme INTEGER NOT NULL,
    etag TEXT,
    crc64nvme VARCHAR(16),
    verification INTEGER NOT NULL,
    error_kind VARCHAR(100),
    error TEXT,
    CONSTRAINT pk_objects PRIMARY KEY (transfer_id, ordinal),
    CONSTRAINT uq_objects_target UNIQUE (transfer_id, target_key)
)
 WITHOUT ROWID
""",
    "CREATE INDEX ix_objects_intent ON objects (transfer_id, intent_at) WHERE intent_at IS NOT NULL",
    "CREATE INDEX ix_objects_state ON objects (transfer_id, state, ordinal)",
    "CREATE INDEX ix_objects_upload ON objects (target_identity, target_key) WHERE intent_at IS NOT NULL",
    """
CREATE TABLE parts (
    transfer_id VARCHAR(200) NOT NULL,
    ordinal BIGINT NOT NULL,
    number INTEGER NOT NULL,
    size_bytes BIGINT NOT NULL,
    etag TEXT NOT NULL,
    crc64nvme VARCHAR(16),
    confirmed INTEGER NOT NULL,
    CONSTRAINT pk_parts PRIMARY KEY (transfer_id, ordinal, number)
)
 WITHOUT ROWID
""",
    """
CREATE TABLE cleanups (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    transfer_id VARCHAR(200) NOT NULL,
    target_identity TEXT NOT NULL,
    upload_id TEXT,
    upload_key TEXT NOT NULL,
    upload_started_at VARCHAR(27),
    upload_keeps_crc64nvme INTEGER NOT NULL,
    intent_at VARCHAR(27),
    attempts INTEGER NOT NULL,
    last_error TEXT,
    due_at VARCHAR(27),
    created_at VARCHAR(27) NOT NULL,
    CONSTRAINT uq_cleanups_upload UNIQUE (target_identity, upload_id)
)
""",
    "CREATE INDEX ix_cleanups_due ON cleanups (due_at)",
    "CREATE INDEX ix_cleanups_key ON cleanups (target_identity, upload_key)",
)
