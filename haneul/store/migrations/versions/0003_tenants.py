"""Whose a key is, what each may spend and when, what was invoiced, what was answered to a retry.

What the ledger holds so far belongs to the tenant "default".
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
DAY_US = 86_400_000_000


def upgrade() -> None:
    """Adds whose each record is, then the tables, then the sums of what the ledger holds."""
    _whose()
    _tenants()
    _invoices()
    _replays()
    _sums()


def _whose() -> None:
    mine = sa.Text()
    op.add_column("key", sa.Column("tenant_id", mine, nullable=False, server_default="default"))
    op.add_column("key", sa.Column("user_id", mine, nullable=True))
    op.add_column("key", sa.Column("role", mine, nullable=True))
    op.add_column("key", sa.Column("app", mine, nullable=True))
    op.add_column("request", sa.Column("tenant_id", mine, nullable=False, server_default="default"))
    op.add_column("request", sa.Column("user_id", mine, nullable=True))
    op.create_index("request_by_tenant", "request", ["tenant_id", "received_us"], unique=False)
    op.add_column("price", sa.Column("reasoning_nano", sa.BigInteger(), nullable=True))
    op.add_column(
        "price", sa.Column("from_us", sa.BigInteger(), nullable=False, server_default="0")
    )


def _tenants() -> None:
    op.create_table(
        "tenant",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("closed_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO tenant (id, name, created_us) VALUES ('default', 'default', 0)")
    op.create_table(
        "tenant_user",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("removed_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "budget",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("owner_kind", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("budget_of_tenant", "budget", ["tenant_id", "ended_us"], unique=False)


def _invoices() -> None:
    op.create_table(
        "invoice",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total_nano", sa.BigInteger(), nullable=False),
        sa.Column("of_number", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("issued_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("invoice_number", "invoice", ["tenant_id", "number"], unique=True)
    op.create_table(
        "invoice_line",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("engine", sa.Text(), nullable=True),
        sa.Column("price_id", sa.Text(), nullable=True),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("line_of_invoice", "invoice_line", ["invoice_id", "position"], unique=True)
    hold("invoice")
    hold("invoice_line")


def _replays() -> None:
    op.create_table(
        "replay",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "name"),
    )
    op.create_index("replay_by_age", "replay", ["created_us", "bytes"], unique=False)


def _sums() -> None:
    op.create_table(
        "spending",
        sa.Column("owner_kind", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("cost_nano", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_kind", "owner_id", "day"),
    )
    for kind, owner in (("key", "key_id"), ("tenant", "tenant_id")):
        op.execute(
            "INSERT INTO spending (owner_kind, owner_id, day, cost_nano) "  # noqa: S608 - our names
            f"SELECT '{kind}', {owner}, received_us / {DAY_US}, SUM(cost_nano) FROM request "
            f"WHERE cost_nano > 0 GROUP BY {owner}, received_us / {DAY_US}"
        )


def hold(table: str) -> None:
    """Makes a table append-only."""
    if op.get_bind().dialect.name == "sqlite":
        refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} {refuse}"
            )
        # INSERT OR REPLACE deletes without asking the trigger above.
        is_there = f"EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)"  # noqa: S608 - our own name
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {is_there} {refuse}"
        )
        return
    op.execute(
        f"CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"EXECUTE FUNCTION {table}_is_append_only()"
    )
