"""API keys have a purview, are revoked instead of deleted, and remember when they were used.

Nothing wrote to the table before, so it is made anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None

_IN_FORCE = sa.text("revoked_at IS NULL")


def upgrade() -> None:
    """Make the table anew, and what lists of one participant's or control plane's flows are read by."""
    op.drop_table("api_keys")
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("participants", sa.Text(), nullable=True),
        sa.Column("control_planes", sa.Text(), nullable=True),
        sa.Column("created_at", sa.String(length=27), nullable=False),
        sa.Column("expires_at", sa.String(length=27), nullable=True),
        sa.Column("last_used_at", sa.String(length=27), nullable=True),
        sa.Column("revoked_at", sa.String(length=27), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_index(
        "ix_api_keys_name",
        "api_keys",
        ["name"],
        unique=True,
        sqlite_where=_IN_FORCE,
        postgresql_where=_IN_FORCE,
    )
    op.create_index("ix_flows_participant", "flows", ["participant_context_id", "created_at", "id"])
    op.create_index("ix_flows_control_plane", "flows", ["control_plane_id", "created_at", "id"])
