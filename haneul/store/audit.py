"""Who changed what: an append-only list."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, insert, select

from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.store import schema
from haneul.store.rows import all_rows


class AuditRow(Struct, frozen=True, kw_only=True):
    """One change. Never holds a secret."""

    id: str
    at_us: int
    actor: str
    action: str
    subject: str
    detail: str | None = None


def note(
    connection: Connection, actor: str, action: str, subject: str, detail: str | None = None
) -> None:
    """Adds one change, now."""
    row = AuditRow(
        id=new_id("aud"),
        at_us=now_us(),
        actor=actor,
        action=action,
        subject=subject,
        detail=detail,
    )
    connection.execute(insert(schema.audit), [msgspec.structs.asdict(row)])


def recent(connection: Connection, limit: int = 100) -> list[AuditRow]:
    """The newest changes first."""
    statement = select(schema.audit).order_by(schema.audit.c.at_us.desc()).limit(limit)
    return all_rows(connection, statement, AuditRow)
