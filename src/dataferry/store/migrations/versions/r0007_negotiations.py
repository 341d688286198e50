"""What an entry of an orchestration negotiates about, and the negotiation at its connector."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new; entries that were there have their contracts."""
    op.add_column("orchestration_entries", sa.Column("offer", sa.Text(), nullable=True))
    op.add_column("orchestration_entries", sa.Column("negotiation_id", sa.Text(), nullable=True))
