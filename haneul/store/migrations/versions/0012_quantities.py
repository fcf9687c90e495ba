"""How much sound, how many pictures and characters a line of an invoice is for."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Adds three columns to the lines; those there are say nothing of it."""
    for name in ("audio_us", "images", "characters"):
        op.add_column("invoice_line", sa.Column(name, sa.BigInteger(), nullable=True))
