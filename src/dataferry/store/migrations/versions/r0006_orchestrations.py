"""Orchestrations and their entries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = sa.String(27)
_ID = sa.String(36)


def upgrade() -> None:
    """Make the tables."""
    _orchestrations()
    _entries()


def _orchestrations() -> None:
    op.create_table(
        "orchestrations",
        sa.Column("id", _ID, nullable=False),
        sa.Column("standing", sa.String(32), nullable=False),
        sa.Column("connector_address", sa.Text(), nullable=False),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.Column("pending", sa.Text()),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("saved", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("is_cancelled", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_orchestrations"),
        sa.UniqueConstraint("idempotency_key", name="uq_orchestrations_idempotency_key"),
    )
    op.create_index("ix_orchestrations_created", "orchestrations", ["created_at", "id"])
    op.create_index(
        "ix_orchestrations_open",
        "orchestrations",
        ["created_at"],
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def _entries() -> None:
    op.create_table(
        "orchestration_entries",
        sa.Column("orchestration_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ask", sa.Text(), nullable=False),
        sa.Column("step", sa.String(16), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("transfer_id", sa.Text()),
        sa.Column("flow_id", _ID),
        sa.Column("sink_ref", sa.Text()),
        sa.Column("storage_path", sa.Text()),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("crc64nvme", sa.String(16)),
        sa.Column("verification", sa.String(16)),
        sa.Column("renewals", sa.Integer(), nullable=False),
        sa.Column("renewed_at_bytes", sa.BigInteger(), nullable=False),
        sa.Column("fault_code", sa.Integer()),
        sa.Column("fault_kind", sa.String(100)),
        sa.Column("fault", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("started_at", _TIME),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.ForeignKeyConstraint(
            ["orchestration_id"],
            ["orchestrations.id"],
            ondelete="CASCADE",
            name="fk_orchestration_entries_orchestration_id_orchestrations",
        ),
        sa.PrimaryKeyConstraint("orchestration_id", "position", name="pk_orchestration_entries"),
    )
    for name, columns in (("flow", ["flow_id"]), ("open", ["step", "orchestration_id", "position"])):
        op.create_index(
            f"ix_orchestration_entries_{name}",
            "orchestration_entries",
            columns,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )
