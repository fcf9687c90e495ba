"""How quick one stream is behind a long text, of every setup that a search tried."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Adds a column to the trials; those there are were not asked."""
    op.add_column("trial", sa.Column("long_milli", sa.BigInteger(), nullable=True))
