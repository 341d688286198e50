"""The tables, as SQLAlchemy knows them: what migrations are checked against.

Types are the same on SQLite and PostgreSQL: text for times, JSON and ids, 64-bit integers for sizes. Columns
named ``*_sealed`` hold what ``Sealer`` made; no other column may hold a secret.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from dataferry.domain.keys import MAX_CONTEXT_CHARS, MAX_KEY_BYTES
from dataferry.store.columns import Json, Time, Uuid

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts a key up by itself only where its type is exactly INTEGER.
_SERIAL = BigInteger().with_variant(Integer, "sqlite")

participant_contexts = Table(
    "participant_contexts",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("created_at", Time, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("scopes", Json, nullable=False),
    Column("participants", Json),  # NULL: all
    Column("control_planes", Json),  # NULL: all
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("last_used_at", Time),
    Column("revoked_at", Time),
    # Of those in force a name means one; what was revoked stays, to be told of.
    Index(
        "ix_api_keys_name",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", String(200), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("answer_sealed", Text),
    Column("created_at", Time, nullable=False, index=True),
)

flows = Table(
    "flows",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("data_flow_id", String(MAX_KEY_BYTES), nullable=False),
    Column("control_plane_id", String(MAX_KEY_BYTES), nullable=False),
    Column("participant_context_id", String(MAX_CONTEXT_CHARS), nullable=False),
    Column("process_id", String(MAX_KEY_BYTES), nullable=False),
    Column("role", String(16), nullable=False),
    Column("direction", String(16), nullable=False),
    Column("profile", Text, nullable=False),
    Column("mechanism", String(100), nullable=False),
    Column("dialect", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("run", String(16), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("participant_id", Text, nullable=False),
    Column("counter_party_id", Text, nullable=False),
    Column("dataspace_context", Text, nullable=False),
    Column("agreement_id", Text, nullable=False),
    Column("dataset_id", Text, nullable=False),
    Column("callback_address", Text),
    Column("claims_sealed", Text),
    Column("metadata_sealed", Text),
    Column("labels", Json, nullable=False),
    Column("incoming_address_sealed", Text),
    Column("outgoing_address_sealed", Text),
    Column("source_ref", Text),
    Column("sink_ref", Text),
    Column("landing", String(16), nullable=False, server_default="copy"),
    Column("correlation_id", String(300)),
    Column("request_digest", String(128), nullable=False),
    Column("reason", Text),
    Column("error_kind", String(100)),
    Column("error_of_sink", Boolean, nullable=False, server_default=false()),
    Column("error", Text),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    UniqueConstraint("control_plane_id", "participant_context_id", "process_id", name="uq_flows_process"),
    UniqueConstraint("control_plane_id", "participant_context_id", "data_flow_id", name="uq_flows_data_flow"),
    Index("ix_flows_created", "created_at", "id"),
    Index("ix_flows_run", "run", "created_at"),
    Index("ix_flows_data_flow", "data_flow_id"),
    Index("ix_flows_process", "process_id"),
    Index("ix_flows_participant", "participant_context_id", "created_at", "id"),
    Index("ix_flows_control_plane", "control_plane_id", "created_at", "id"),
    Index("ix_flows_correlation", "correlation_id", "created_at"),
)

# Flows' contract agreements as control planes' Management APIs tell them; those that could not be had too.
agreements = Table(
    "agreements",
    metadata,
    Column("flow_id", Uuid, ForeignKey("flows.id", ondelete="CASCADE"), primary_key=True),
    Column("standing", String(16), nullable=False),
    Column("content", Json, nullable=False),
    Column("error", Text),
    Column("asked_at", Time, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("message_id", String(36), nullable=False, unique=True),
    Column("flow_id", Uuid, ForeignKey("flows.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("flow_state", String(16), nullable=False),
    Column("with_address", Boolean, nullable=False),
    Column("error", Text),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Time, nullable=False),
    Column("last_error", Text),
    Column("created_at", Time, nullable=False),
    Column("settled_at", Time),
    Index("ix_outbox_flow", "flow_id", "sequence"),
    # Only what is not settled: stays small however many messages were ever sent.
    Index(
        "ix_outbox_pending",
        "next_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("flow_id", Uuid, ForeignKey("flows.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", String(300), nullable=False),
    Column("at", Time, nullable=False),
    Index("ix_events_flow", "flow_id", "id"),
    # A reader that has seen event 7 must never meet another event 7.
    sqlite_autoincrement=True,
)

progress = Table(
    "progress",
    metadata,
    Column("flow_id", Uuid, ForeignKey("flows.id", ondelete="CASCADE"), primary_key=True),
    Column("moment", Json, nullable=False),
    Column("at", Time, nullable=False),
    Index("ix_progress_at", "at"),
)

# What the gateway let somebody have; the base of it, sealed, is in the flow's address.
gateway_tokens = Table(
    "gateway_tokens",
    metadata,
    Column("flow_id", Uuid, ForeignKey("flows.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("chain", Integer, nullable=False),
    Column("access_digest", String(64), nullable=False),
    Column("refresh_digest", String(64)),
    Column("expires_at", Time, nullable=False),
    Column("is_used", Boolean, nullable=False),
)

client_tokens = Table(
    "client_tokens",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("expires_at", Time, nullable=False, index=True),
)

renewed_tokens = Table(
    "renewed_tokens",
    metadata,
    Column("flow_id", Uuid, ForeignKey("flows.id", ondelete="CASCADE"), primary_key=True),
    Column("tokens_sealed", Text, nullable=False),
)

locations = Table(
    "locations",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("mechanism", String(100), nullable=False),
    Column("settings_sealed", Text, nullable=False),
    Column("updated_at", Time, nullable=False),
)

datasets = Table(
    "datasets",
    metadata,
    Column("match", String(MAX_KEY_BYTES), primary_key=True),
    Column("settings", Json, nullable=False),
    Column("updated_at", Time, nullable=False),
)

landing_zones = Table(
    "landing_zones",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("settings", Json, nullable=False),
    Column("updated_at", Time, nullable=False),
)

control_planes = Table(
    "control_planes",
    metadata,
    Column("id", String(MAX_KEY_BYTES), primary_key=True),
    Column("settings", Json, nullable=False),
    Column("secrets_sealed", Text),
    Column("updated_at", Time, nullable=False),
)

# Apart from control_planes: those that stand in the configuration register too, and have no row there.
registrations = Table(
    "registrations",
    metadata,
    Column("control_plane_id", String(MAX_KEY_BYTES), primary_key=True),
    Column("registered_at", Time),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
)

# Of an orchestration that is over, and whose webhook has not been told.
NOTICE_IS_DUE = "notice_state = 'pending' AND ended_at IS NOT NULL"

# What clients of the orchestrator asked for. ``pending`` holds the entries until they have rows of their own:
# a request of hundreds is accepted with one row.
orchestrations = Table(
    "orchestrations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("standing", String(32), nullable=False),
    Column("connector_address", Text, nullable=False),
    Column("properties", Json, nullable=False),
    Column("pending", Json),
    Column("idempotency_key", String(255), unique=True),
    Column("digest", String(64), nullable=False),
    Column("entries", Integer, nullable=False),
    Column("saved", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
    Column("is_cancelled", Boolean, nullable=False),
    Column("error", Text),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    Column("ended_at", Time),
    # What the webhook is to be told, or was; NULL where none was configured.
    Column("notice_state", String(16)),
    Column("notice_attempts", Integer),
    Column("notice_next_at", Time),
    Column("notice_error", Text),
    Column("notice_settled_at", Time),
    Index("ix_orchestrations_created", "created_at", "id"),
    Index(
        "ix_orchestrations_notice",
        "notice_next_at",
        sqlite_where=text(NOTICE_IS_DUE),
        postgresql_where=text(NOTICE_IS_DUE),
    ),
    # Only what is not over: stays small however many were ever asked for.
    Index(
        "ix_orchestrations_open",
        "created_at",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

orchestration_entries = Table(
    "orchestration_entries",
    metadata,
    Column("orchestration_id", Uuid, ForeignKey("orchestrations.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("ask", Json, nullable=False),
    Column("step", String(16), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("outcome", String(16)),
    Column("offer", Text),
    Column("negotiation_id", Text),
    Column("transfer_id", Text),
    Column("flow_id", Uuid),  # no foreign key: the flow may be forgotten first
    Column("sink_ref", Text),
    Column("storage_path", Text),
    Column("size_bytes", BigInteger),
    Column("crc64nvme", String(16)),
    Column("verification", String(16)),
    Column("renewals", Integer, nullable=False),
    Column("renewed_at_bytes", BigInteger, nullable=False),
    Column("fault_code", Integer),
    Column("fault_kind", String(100)),
    Column("fault", Text),
    Column("note", Text),
    Column("started_at", Time),
    Column("updated_at", Time, nullable=False),
    Column("ended_at", Time),
    Index(
        "ix_orchestration_entries_flow",
        "flow_id",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index(
        "ix_orchestration_entries_open",
        "step",
        "orchestration_id",
        "position",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

# What becomes of flows and orchestrations, each change a row, for readers that must miss none.
transitions = Table(
    "transitions",
    metadata,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("message_id", String(36), nullable=False),
    Column("flow_id", Uuid, ForeignKey("flows.id", ondelete="CASCADE")),
    Column("orchestration_id", Uuid, ForeignKey("orchestrations.id", ondelete="CASCADE")),
    Column("state", String(32), nullable=False),
    Column("run", String(16)),  # NULL: of an orchestration
    Column("reason", Text),
    Column("error_kind", String(100)),
    Column("error", Text),
    Column("at", Time, nullable=False),
    Index("ix_transitions_flow", "flow_id", "sequence"),
    Index("ix_transitions_orchestration", "orchestration_id", "sequence"),
    # A reader that has seen number 7 must never meet another number 7.
    sqlite_autoincrement=True,
)

# How far who reads ``transitions`` has come.
readers = Table(
    "readers",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)

# The ledger's tables. ``dataferry.store.local`` makes the same ones without SQLAlchemy; a test compares them.
transfers = Table(
    "transfers",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("epoch", BigInteger, nullable=False),  # of the local ledger; a flow's is flows.epoch
    Column("plan_complete", Integer, nullable=False),
    Column("plan_cursor", Text),
    Column("objects_total", BigInteger, nullable=False),
    Column("bytes_total", BigInteger, nullable=False),
    Column("objects_done", BigInteger, nullable=False),
    Column("objects_skipped", BigInteger, nullable=False),
    Column("objects_failed", BigInteger, nullable=False),
    Column("bytes_done", BigInteger, nullable=False),
    Column("bytes_skipped", BigInteger, nullable=False),
    Column("objects_unsized", BigInteger, nullable=False),
    Column("verification", Integer),  # the lowest of what is done
)

objects = Table(
    "objects",
    metadata,
    Column("transfer_id", String(200), primary_key=True),
    Column("ordinal", BigInteger, primary_key=True, autoincrement=False),
    Column("source_name", Text, nullable=False),
    Column("source_key", Text, nullable=False),
    Column("size_bytes", BigInteger),
    Column("validator", Text),
    Column("version_id", Text),
    Column("source_crc64nvme", String(16)),
    Column("modified_at", String(27)),
    Column("attributes", Text),
    Column("target_key", Text, nullable=False),
    Column("target_identity", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("part_size_bytes", BigInteger),
    Column("intent_at", String(27)),
    Column("upload_id", Text),
    Column("upload_started_at", String(27)),
    Column("upload_keeps_crc64nvme", Integer, nullable=False),
    Column("etag", Text),
    Column("crc64nvme", String(16)),
    Column("verification", Integer, nullable=False),
    Column("error_kind", String(100)),
    Column("error", Text),
    UniqueConstraint("transfer_id", "target_key", name="uq_objects_target"),
    Index("ix_objects_state", "transfer_id", "state", "ordinal"),
    Index(
        "ix_objects_upload",
        "target_identity",
        "target_key",
        sqlite_where=text("intent_at IS NOT NULL"),
        postgresql_where=text("intent_at IS NOT NULL"),
    ),
    Index(
        "ix_objects_intent",
        "transfer_id",
        "intent_at",
        sqlite_where=text("intent_at IS NOT NULL"),
        postgresql_where=text("intent_at IS NOT NULL"),
    ),
    # The key is the table: a million objects should not be stored twice.
    sqlite_with_rowid=False,
)

parts = Table(
    "parts",
    metadata,
    Column("transfer_id", String(200), primary_key=True),
    Column("ordinal", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("crc64nvme", String(16)),
    Column("confirmed", Integer, nullable=False),
    sqlite_with_rowid=False,
)

cleanups = Table(
    "cleanups",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("transfer_id", String(200), nullable=False),
    Column("target_identity", Text, nullable=False),
    Column("upload_id", Text),  # NULL: it has to be looked for
    Column("upload_key", Text, nullable=False),
    Column("upload_started_at", String(27)),
    Column("upload_keeps_crc64nvme", Integer, nullable=False),
    Column("intent_at", String(27)),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    Column("due_at", String(27)),  # NULL: given up
    Column("created_at", String(27), nullable=False),
    UniqueConstraint("target_identity", "upload_id", name="uq_cleanups_upload"),
    Index("ix_cleanups_due", "due_at"),
    Index("ix_cleanups_key", "target_identity", "upload_key"),
    sqlite_autoincrement=True,
)
