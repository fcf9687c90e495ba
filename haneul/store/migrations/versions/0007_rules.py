"""Rules of tenants, keys and models; answers to be given again; what is not counted in tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Adds two tables, four columns to the ledger, two to the prices, one to the engines."""
    op.create_table(
        "rule",
        sa.Column("owner_kind", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_kind", "owner_id", "name"),
    )
    op.create_table(
        "cached_answer",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("used_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("cached_answer_by_use", "cached_answer", ["used_us", "bytes"], unique=False)
    op.create_index(
        "cached_answer_by_tenant", "cached_answer", ["tenant_id", "used_us"], unique=False
    )
    op.add_column("request", sa.Column("thinking_max", sa.Integer(), nullable=True))
    op.add_column("request", sa.Column("masked", sa.Integer(), nullable=True))
    op.add_column("request", sa.Column("unit", sa.Text(), nullable=True))
    op.add_column("request", sa.Column("units", sa.BigInteger(), nullable=True))
    op.add_column("price", sa.Column("unit", sa.Text(), nullable=True))
    op.add_column("price", sa.Column("unit_nano", sa.BigInteger(), nullable=True))
    op.add_column("engine", sa.Column("thinking_field", sa.Text(), nullable=True))
