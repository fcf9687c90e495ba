"""From how many streams on a tuned model's second kernel takes over."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds a column to the searches; those there are have the engine's own number."""
    op.add_column("tuning", sa.Column("many_from", sa.Integer(), nullable=True))
