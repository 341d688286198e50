"""The first tables.

A migration never changes once it has been released: it says what the tables were, not what ``store.schema``
is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite counts a key up by itself only where its type is exactly INTEGER.
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table."""
    _operators()
    _flows()
    _what_flows_have()
    _tokens()
    _ledger()


def _operators() -> None:
    """The catalogue, control planes and their registrations, participants and API keys."""
    op.create_table(
        "participant_contexts",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_participant_contexts"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("participant_context_id", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("expires_at", sa.String(length=27), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("answer_sealed", sa.Text(), nullable=True),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"], unique=False)
    op.create_table(
        "locations",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("mechanism", sa.String(length=100), nullable=False),
        sa.Column("settings_sealed", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_locations"),
    )
    op.create_table(
        "datasets",
        sa.Column("match", sa.String(length=300), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("match", name="pk_datasets"),
    )
    op.create_table(
        "landing_zones",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_landing_zones"),
    )
    op.create_table(
        "control_planes",
        sa.Column("id", sa.String(length=300), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("secrets_sealed", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_control_planes"),
    )
    op.create_table(
        "registrations",
        sa.Column("control_plane_id", sa.String(length=300), nullable=False),
        sa.Column("registered_at", sa.String(length=27), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("control_plane_id", name="pk_registrations"),
    )


def _flows() -> None:
    """Data flows."""
    op.create_table(
        "flows",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("data_flow_id", sa.String(length=300), nullable=False),
        sa.Column("control_plane_id", sa.String(length=300), nullable=False),
        sa.Column("participant_context_id", sa.String(length=200), nullable=False),
        sa.Column("process_id", sa.String(length=300), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("direction", sa.String(length=16), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("mechanism", sa.String(length=100), nullable=False),
        sa.Column("dialect", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("run", sa.String(length=16), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("participant_id", sa.Text(), nullable=False),
        sa.Column("counter_party_id", sa.Text(), nullable=False),
        sa.Column("dataspace_context", sa.Text(), nullable=False),
        sa.Column("agreement_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("callback_address", sa.Text(), nullable=True),
        sa.Column("claims_sealed", sa.Text(), nullable=True),
        sa.Column("metadata_sealed", sa.Text(), nullable=True),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("incoming_address_sealed", sa.Text(), nullable=True),
        sa.Column("outgoing_address_sealed", sa.Text(), nullable=True),
        sa.Column("source_ref", sa.Text(), nullable=True),
        sa.Column("sink_ref", sa.Text(), nullable=True),
        sa.Column("request_digest", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("error_kind", sa.String(length=100), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("updated_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_flows"),
        sa.UniqueConstraint(
            "control_plane_id", "participant_context_id", "data_flow_id", name="uq_flows_data_flow"
        ),
        sa.UniqueConstraint(
            "control_plane_id", "participant_context_id", "process_id", name="uq_flows_process"
        ),
    )
    op.create_index("ix_flows_created", "flows", ["created_at", "id"], unique=False)
    op.create_index("ix_flows_data_flow", "flows", ["data_flow_id"], unique=False)
    op.create_index("ix_flows_process", "flows", ["process_id"], unique=False)
    op.create_index("ix_flows_run", "flows", ["run", "created_at"], unique=False)


def _what_flows_have() -> None:
    """What belongs to a flow: callbacks, events and progress."""
    op.create_table(
        "outbox",
        sa.Column("sequence", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("flow_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("flow_state", sa.String(length=16), nullable=False),
        sa.Column("with_address", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.String(length=27), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("settled_at", sa.String(length=27), nullable=True),
        sa.ForeignKeyConstraint(
            ["flow_id"], ["flows.id"], name="fk_outbox_flow_id_flows", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sequence", name="pk_outbox"),
        sa.UniqueConstraint("message_id", name="uq_outbox_message_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_flow", "outbox", ["flow_id", "sequence"], unique=False)
    op.create_index(
        "ix_outbox_pending",
        "outbox",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "events",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("flow_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=300), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(
            ["flow_id"], ["flows.id"], name="fk_events_flow_id_flows", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_flow", "events", ["flow_id", "id"], unique=False)
    op.create_table(
        "progress",
        sa.Column("flow_id", sa.String(length=36), nullable=False),
        sa.Column("moment", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(
            ["flow_id"], ["flows.id"], name="fk_progress_flow_id_flows", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("flow_id", name="pk_progress"),
    )


def _tokens() -> None:
    """What was handed out for a flow, which clients' tokens were seen, and what we renewed elsewhere."""
    op.create_table(
        "gateway_tokens",
        sa.Column("flow_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("chain", sa.Integer(), nullable=False),
        sa.Column("access_digest", sa.String(length=64), nullable=False),
        sa.Column("refresh_digest", sa.String(length=64), nullable=True),
        sa.Column("expires_at", sa.String(length=27), nullable=False),
        sa.Column("is_used", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["flow_id"], ["flows.id"], name="fk_gateway_tokens_flow_id_flows", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("flow_id", "number", name="pk_gateway_tokens"),
    )
    op.create_table(
        "client_tokens",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_client_tokens"),
    )
    op.create_index("ix_client_tokens_expires_at", "client_tokens", ["expires_at"], unique=False)
    op.create_table(
        "renewed_tokens",
        sa.Column("flow_id", sa.String(length=36), nullable=False),
        sa.Column("tokens_sealed", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["flow_id"], ["flows.id"], name="fk_renewed_tokens_flow_id_flows", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("flow_id", name="pk_renewed_tokens"),
    )


def _ledger() -> None:
    """Transfers, their objects and parts, and uploads to be aborted."""
    op.create_table(
        "transfers",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("plan_complete", sa.Integer(), nullable=False),
        sa.Column("plan_cursor", sa.Text(), nullable=True),
        sa.Column("objects_total", sa.BigInteger(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False),
        sa.Column("objects_done", sa.BigInteger(), nullable=False),
        sa.Column("objects_skipped", sa.BigInteger(), nullable=False),
        sa.Column("objects_failed", sa.BigInteger(), nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("bytes_skipped", sa.BigInteger(), nullable=False),
        sa.Column("objects_unsized", sa.BigInteger(), nullable=False),
        sa.Column("verification", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_transfers"),
    )
    op.create_table(
        "objects",
        sa.Column("transfer_id", sa.String(length=200), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source_name", sa.Text(), nullable=False),
        sa.Column("source_key", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("validator", sa.Text(), nullable=True),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.Column("source_crc64nvme", sa.String(length=16), nullable=True),
        sa.Column("modified_at", sa.String(length=27), nullable=True),
        sa.Column("attributes", sa.Text(), nullable=True),
        sa.Column("target_key", sa.Text(), nullable=False),
        sa.Column("target_identity", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("part_size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("intent_at", sa.String(length=27), nullable=True),
        sa.Column("upload_id", sa.Text(), nullable=True),
        sa.Column("upload_started_at", sa.String(length=27), nullable=True),
        sa.Column("upload_keeps_crc64nvme", sa.Integer(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("crc64nvme", sa.String(length=16), nullable=True),
        sa.Column("verification", sa.Integer(), nullable=False),
        sa.Column("error_kind", sa.String(length=100), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("transfer_id", "ordinal", name="pk_objects"),
        sa.UniqueConstraint("transfer_id", "target_key", name="uq_objects_target"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_objects_intent",
        "objects",
        ["transfer_id", "intent_at"],
        unique=False,
        sqlite_where=sa.text("intent_at IS NOT NULL"),
        postgresql_where=sa.text("intent_at IS NOT NULL"),
    )
    op.create_index("ix_objects_state", "objects", ["transfer_id", "state", "ordinal"], unique=False)
    op.create_index(
        "ix_objects_upload",
        "objects",
        ["target_identity", "target_key"],
        unique=False,
        sqlite_where=sa.text("intent_at IS NOT NULL"),
        postgresql_where=sa.text("intent_at IS NOT NULL"),
    )
    op.create_table(
        "parts",
        sa.Column("transfer_id", sa.String(length=200), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("crc64nvme", sa.String(length=16), nullable=True),
        sa.Column("confirmed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("transfer_id", "ordinal", "number", name="pk_parts"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cleanups",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("transfer_id", sa.String(length=200), nullable=False),
        sa.Column("target_identity", sa.Text(), nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=True),
        sa.Column("upload_key", sa.Text(), nullable=False),
        sa.Column("upload_started_at", sa.String(length=27), nullable=True),
        sa.Column("upload_keeps_crc64nvme", sa.Integer(), nullable=False),
        sa.Column("intent_at", sa.String(length=27), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("due_at", sa.String(length=27), nullable=True),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cleanups"),
        sa.UniqueConstraint("target_identity", "upload_id", name="uq_cleanups_upload"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_cleanups_due", "cleanups", ["due_at"], unique=False)
    op.create_index("ix_cleanups_key", "cleanups", ["target_identity", "upload_key"], unique=False)
