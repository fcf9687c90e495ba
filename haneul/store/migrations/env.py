"""Alembic runs this; the connection, inside its transaction, comes from store.migrate."""

from alembic import context

from haneul.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
