"""How far the budgets that hold are used: asked by whoever looks after a cloud, not by requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, and_, case, func, literal, select

from haneul.store import schema


def budgets_used(connection: Connection, first_days: Mapping[str, int]) -> list[tuple[str, float]]:
    """For each budget of money that anything was spent of: its owner's kind, and the share used.

    `first_days` has the first day of each period that runs now, by the period's name.
    """
    asked = (_of_keys(), _of_rows(first_days))
    rows = [row for statement in asked for row in connection.execute(statement)]
    return [(str(kind), int(spent) / int(amount)) for kind, amount, spent in rows]


def _of_keys() -> Select[Any]:
    """The budgets that keys were made with, which are for all time."""
    key, spent = schema.key.c, schema.spending.c
    mine = and_(spent.owner_kind == "key", spent.owner_id == key.id)
    return (
        select(literal("key"), key.budget_nano, _sum())
        .select_from(schema.key.join(schema.spending, mine))
        .where(key.revoked_us.is_(None), key.budget_nano > 0)
        .group_by(key.id, key.budget_nano)
    )


def _of_rows(first_days: Mapping[str, int]) -> Select[Any]:
    """Those of the table of budgets, each in the period that runs."""
    budget, spent = schema.budget.c, schema.spending.c
    app = budget.tenant_id + "/" + budget.owner_id
    owner = case((budget.owner_kind == "app", app), else_=budget.owner_id)
    first_day = case(dict(first_days), value=budget.period, else_=0)
    mine = and_(
        spent.owner_kind == budget.owner_kind, spent.owner_id == owner, spent.day >= first_day
    )
    return (
        select(budget.owner_kind, budget.amount, _sum())
        .select_from(schema.budget.join(schema.spending, mine))
        .where(budget.ended_us.is_(None), budget.measure == "money", budget.amount > 0)
        .group_by(budget.id, budget.owner_kind, budget.amount)
    )


def _sum() -> Any:
    return func.sum(schema.spending.c.cost_nano).cast(BigInteger)
