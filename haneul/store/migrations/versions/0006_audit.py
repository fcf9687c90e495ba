"""Where an act came from, its request, and what it changed; old acts may be forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

KEPT_S = 90 * 86_400  # no row younger than this can be deleted, whoever asks
REFUSED = "audit is append-only"


def upgrade() -> None:
    """Adds columns and an index to the audit, and lets rows go that are old enough."""
    for name in ("origin", "request_id", "before", "after"):
        op.add_column("audit", sa.Column(name, sa.Text(), nullable=True))
    op.create_index("audit_at", "audit", ["at_us"])
    if op.get_bind().dialect.name == "sqlite":
        now_s = "CAST(strftime('%s', 'now') AS INTEGER)"
        op.execute("DROP TRIGGER audit_no_delete")
        op.execute(
            "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit "
            f"WHEN OLD.at_us > ({now_s} - {KEPT_S}) * 1000000 "
            f"BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END"
        )
        return
    op.execute("DROP TRIGGER audit_append_only ON audit")
    op.execute(
        "CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF TG_OP = 'DELETE' THEN IF OLD.at_us <= "
        f"(extract(epoch FROM now())::bigint - {KEPT_S}) * 1000000 THEN RETURN OLD; END IF; "
        f"END IF; RAISE EXCEPTION '{REFUSED}'; END $$"
    )
    run = "EXECUTE FUNCTION audit_is_append_only()"
    op.execute(f"CREATE TRIGGER audit_append_only BEFORE TRUNCATE ON audit {run}")
    op.execute(f"CREATE TRIGGER audit_kept BEFORE UPDATE OR DELETE ON audit FOR EACH ROW {run}")
