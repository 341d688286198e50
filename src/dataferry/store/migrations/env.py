"""What Alembic runs: the steps, on the connection that ``store.upgrading`` hands over."""

from __future__ import annotations

from alembic import context

from dataferry.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes tables by copying them.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
