"""Progress can be found by its time: who follows live sees pushes to us, which run in no attempt of ours."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_progress_at", "progress", ["at"], unique=False)
