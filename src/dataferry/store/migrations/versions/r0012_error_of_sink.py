"""Which side of a transfer an error is of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of errors that stand there nobody knows, and they are told as before."""
    op.add_column(
        "flows", sa.Column("error_of_sink", sa.Boolean(), nullable=False, server_default=sa.false())
    )
