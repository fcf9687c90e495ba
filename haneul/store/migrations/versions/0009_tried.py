"""Engines that gave no answer before another did, and what a route leads to when all is scarce."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Adds a column to the ledger and one to the routes."""
    op.add_column("request", sa.Column("tried", sa.Text(), nullable=True))
    scarce = sa.Column("scarce", sa.Text(), nullable=False, server_default="[]")
    op.add_column("route", scarce)
