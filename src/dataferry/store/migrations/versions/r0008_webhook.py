"""What the orchestrator's webhook is to be told: how the notice of each orchestration's end stands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_IS_DUE = sa.text("notice_state = 'pending' AND ended_at IS NOT NULL")


def upgrade() -> None:
    """Add what is new; of orchestrations that were there nobody is told."""
    columns: tuple[sa.Column[object], ...] = (
        sa.Column("notice_state", sa.String(16)),
        sa.Column("notice_attempts", sa.Integer()),
        sa.Column("notice_next_at", sa.String(27)),
        sa.Column("notice_error", sa.Text()),
        sa.Column("notice_settled_at", sa.String(27)),
    )
    for column in columns:
        op.add_column("orchestrations", column)
    op.create_index(
        "ix_orchestrations_notice",
        "orchestrations",
        ["notice_next_at"],
        sqlite_where=_IS_DUE,
        postgresql_where=_IS_DUE,
    )
