"""What becomes of flows and orchestrations, each change a row, and how far its readers are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0008"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "transitions",
        sa.Column("sequence", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("message_id", sa.String(36), nullable=False),
        sa.Column("flow_id", sa.String(36)),
        sa.Column("orchestration_id", sa.String(36)),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("run", sa.String(16)),
        sa.Column("reason", sa.Text()),
        sa.Column("error_kind", sa.String(100)),
        sa.Column("error", sa.Text()),
        sa.Column("at", sa.String(27), nullable=False),
        sa.ForeignKeyConstraint(
            ["flow_id"], ["flows.id"], ondelete="CASCADE", name="fk_transitions_flow_id_flows"
        ),
        sa.ForeignKeyConstraint(
            ["orchestration_id"],
            ["orchestrations.id"],
            ondelete="CASCADE",
            name="fk_transitions_orchestration_id_orchestrations",
        ),
        sa.PrimaryKeyConstraint("sequence", name="pk_transitions"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_transitions_flow", "transitions", ["flow_id", "sequence"])
    op.create_index("ix_transitions_orchestration", "transitions", ["orchestration_id", "sequence"])
    op.create_table(
        "readers",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_readers"),
    )
