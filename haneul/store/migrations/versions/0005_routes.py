"""Routes, engines that share prefixes or are one's own, and why a request went where it went."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds a table, two columns to the engines and two to the ledger."""
    op.create_table(
        "route",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("members", sa.Text(), nullable=False),
        sa.Column("fallbacks", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("removed_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    shares = sa.Column("shares_prefixes", sa.SmallInteger(), nullable=False, server_default="0")
    op.add_column("engine", shares)
    op.add_column("engine", sa.Column("own_slots", sa.Integer(), nullable=True))
    op.add_column("request", sa.Column("routed", sa.Text(), nullable=True))
    op.add_column("request", sa.Column("saved_nano", sa.BigInteger(), nullable=True))
