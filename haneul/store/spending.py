"""Running sums of the ledger: what each owner spent on each UTC day.

They move in the transaction that adds the ledger's rows, so that they are its sums exactly, and
reading what somebody has spent does not depend on how long the ledger is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import BigInteger, Connection, func, select, text

from haneul.store import schema

DAY_US = 86_400_000_000
KINDS = ("key", "user", "tenant", "app")


class Spent(Protocol):
    """What a row of the ledger says of money."""

    @property
    def key_id(self) -> str: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def tenant_id(self) -> str: ...
    @property
    def app(self) -> str | None: ...
    @property
    def received_us(self) -> int: ...
    @property
    def cost_nano(self) -> int: ...


ADD = text(
    "INSERT INTO spending (owner_kind, owner_id, day, cost_nano) "
    "VALUES (:kind, :owner, :day, :cost) ON CONFLICT (owner_kind, owner_id, day) "
    "DO UPDATE SET cost_nano = spending.cost_nano + excluded.cost_nano"
)


def owners(
    *, key_id: str, user_id: str | None, tenant_id: str, app: str | None
) -> tuple[str | None, ...]:
    """Who pays for a request, in the order of KINDS; None where nobody of the kind does."""
    return (key_id, user_id, tenant_id, None if app is None else f"{tenant_id}/{app}")


def add(connection: Connection, rows: Sequence[Spent]) -> None:
    """Counts rows of the ledger; to be called in the transaction that adds them."""
    sums: Counter[tuple[str, str, int]] = Counter()
    for row in rows:
        if row.cost_nano:
            paying = owners(
                key_id=row.key_id, user_id=row.user_id, tenant_id=row.tenant_id, app=row.app
            )
            for kind, owner in zip(KINDS, paying, strict=True):
                if owner is not None:
                    sums[kind, owner, row.received_us // DAY_US] += row.cost_nano
    if sums:
        connection.execute(
            ADD,
            [
                {"kind": kind, "owner": owner, "day": day, "cost": cost}
                for (kind, owner, day), cost in sorted(sums.items())
            ],
        )


def total(connection: Connection, kind: str, owner: str) -> int:
    """Nano-units that the ledger holds against an owner."""
    return _sum(connection, kind, owner, until_day=1 << 30)


def history(
    connection: Connection, kind: str, owner: str, *, since_day: int
) -> tuple[int, list[tuple[int, int]]]:
    """Nano-units before a day, and for each day from it on that anything was spent."""
    column = schema.spending.c
    mine = select(column.day, column.cost_nano).where(
        column.owner_kind == kind, column.owner_id == owner, column.day >= since_day
    )
    days = [(int(day), int(cost)) for day, cost in connection.execute(mine.order_by(column.day))]
    return _sum(connection, kind, owner, until_day=since_day), days


def _sum(connection: Connection, kind: str, owner: str, *, until_day: int) -> int:
    column = schema.spending.c
    found = func.coalesce(func.sum(column.cost_nano), 0).cast(BigInteger)
    mine = select(found).where(
        column.owner_kind == kind, column.owner_id == owner, column.day < until_day
    )
    return int(connection.execute(mine).scalar_one())
