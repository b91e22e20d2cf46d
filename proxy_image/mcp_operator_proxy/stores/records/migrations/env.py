"""What Alembic runs: the migrations, on the connection that `database.migrate` gives."""

from alembic import context

from mcp_operator_proxy.stores.records.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
