"""What becomes of a consumer's data, what a flow says that it belongs to, and contract agreements."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new; flows that were there are copied, as they were."""
    op.add_column("flows", sa.Column("landing", sa.String(length=16), nullable=False, server_default="copy"))
    op.add_column("flows", sa.Column("correlation_id", sa.String(length=300), nullable=True))
    op.create_index("ix_flows_correlation", "flows", ["correlation_id", "created_at"], unique=False)
    op.create_table(
        "agreements",
        sa.Column("flow_id", sa.String(length=36), nullable=False),
        sa.Column("standing", sa.String(length=16), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(
            ["flow_id"], ["flows.id"], name="fk_agreements_flow_id_flows", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("flow_id", name="pk_agreements"),
    )
