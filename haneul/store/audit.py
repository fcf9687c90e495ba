"""Who changed what, when, from where, and how it was before and after: an append-only list.

The database itself refuses to change a row, and to delete one younger than KEPT_S.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Select, delete, func, insert, select

from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.store import schema
from haneul.store.rows import all_rows

KEPT_DAYS = 90  # at least: what the triggers of the newest migration hold
KEPT_S = KEPT_DAYS * 86_400
SECRET = frozenset({"hash", "secret", "key", "password", "token", "pepper"})  # fields never kept
USER_OF_URL = re.compile(r"(?<=://)[^/@\s]*@")
SAID_MAX = 64 << 10  # characters of one side of a change


class Actor(Struct, frozen=True):
    """Who acts: a person at a terminal, a key, or the cloud itself."""

    who: str
    origin: str | None = None  # from where: an address, a socket, a terminal
    request_id: str | None = None  # of the request that asked for it


Who = Actor | str  # the cloud itself has a name and nothing else


class AuditRow(Struct, frozen=True, kw_only=True):
    """One change. Never holds a secret."""

    id: str
    at_us: int
    actor: str
    action: str
    subject: str
    detail: str | None = None
    origin: str | None = None
    request_id: str | None = None
    before: str | None = None  # JSON
    after: str | None = None  # JSON


def note(
    connection: Connection,
    actor: Who,
    action: str,
    subject: str,
    detail: str | None = None,
    *,
    before: Any = None,
    after: Any = None,
) -> None:
    """Adds one change, now; a change and its row belong into one transaction."""
    by = actor if isinstance(actor, Actor) else Actor(actor)
    row = AuditRow(
        id=new_id("aud"),
        at_us=now_us(),
        actor=by.who,
        action=action,
        subject=subject,
        detail=None if detail is None else USER_OF_URL.sub("", detail),
        origin=by.origin,
        request_id=by.request_id,
        before=said(before),
        after=said(after),
    )
    connection.execute(insert(schema.audit), [msgspec.structs.asdict(row)])


def said(facts: Any) -> str | None:
    """A row or a dict as JSON: what is unset and what is secret is left out."""
    if facts is None:
        return None
    known = msgspec.structs.asdict(facts) if isinstance(facts, Struct) else dict(facts)
    shown = {
        name: value
        for name, value in known.items()
        if value is not None and name not in SECRET and not isinstance(value, bytes)
    }
    text = USER_OF_URL.sub("", msgspec.json.encode(shown, enc_hook=str).decode())
    if len(text) > SAID_MAX:
        return msgspec.json.encode({"cut": text[:SAID_MAX]}).decode()
    return text


def recent(connection: Connection, limit: int = 100) -> list[AuditRow]:
    """The newest changes first."""
    return find(connection, limit=limit)


def find(
    connection: Connection,
    *,
    since_us: int = 0,
    until_us: int | None = None,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
    request_id: str | None = None,
    limit: int = 100,
) -> list[AuditRow]:
    """The changes in [since, until) that fit, newest first; the action 'key' fits 'key.create'."""
    column = schema.audit.c
    newest_first = (column.at_us.desc(), column.id.desc())
    statement = select(schema.audit).where(column.at_us >= since_us)
    if until_us is not None:
        statement = statement.where(column.at_us < until_us)
    if action is not None:
        is_below = column.action.startswith(f"{action}.", autoescape=True)
        statement = statement.where((column.action == action) | is_below)
    asked = {"actor": actor, "subject": subject, "request_id": request_id}
    statement = _equal(statement, asked).order_by(*newest_first).limit(limit)
    return all_rows(connection, statement, AuditRow)


def forget(connection: Connection, *, before_us: int) -> int:
    """Deletes the changes before a moment, and notes that and how many; younger ones stay."""
    until_us = min(before_us, now_us() - KEPT_S * 1_000_000)
    old = schema.audit.c.at_us < until_us
    count = connection.execute(select(func.count()).where(old)).scalar_one()
    if count:
        connection.execute(delete(schema.audit).where(old))
        went = {"rows": count, "until_us": until_us}
        note(connection, "cloud", "audit.forget", "audit", before=went)
    return int(count)


def _equal(statement: Select[Any], asked: dict[str, str | None]) -> Select[Any]:
    for name, value in asked.items():
        if value is not None:
            statement = statement.where(schema.audit.c[name] == value)
    return statement
