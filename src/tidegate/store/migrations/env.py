"""What Alembic runs: migrates on the connection that `store.database.migrate` hands over, inside its transaction."""

from alembic import context

from tidegate.store.tables.base import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
context.run_migrations()
