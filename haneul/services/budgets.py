"""What may be used: money by period, requests and tokens by minute, answers at once.

A limit is a row of data that belongs to a key, a user, a tenant or an app of a tenant. A request
must keep all that hold for it; `limits` takes from all of them at once or from none.
"""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, NotFound
from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.services.periods import PERIODS
from haneul.store import audit
from haneul.store import budgets as queries
from haneul.store.audit import Who
from haneul.store.budgets import BudgetRow
from haneul.store.spending import KINDS

MEASURES = ("money", "requests", "tokens", "concurrency")
RATE_MAX = (1 << 31) - 1
MONEY_MAX = (1 << 62) - 1  # nano-units: sums of it still fit the store
APP_MAX = 64  # characters of an app's name


class Limit(Struct, frozen=True):
    """One limit as a running cloud knows it."""

    kind: str  # of KINDS
    owner: str  # as store.spending names it
    name: str  # as a person names it: "API key 'research'"
    measure: str  # of MEASURES
    period: str  # of money: one of PERIODS
    amount: int  # nano-units, or how many


def set_limit(
    connection: Connection,
    *,
    tenant_id: str,
    kind: str,
    owner_id: str,
    measure: str,
    period: str,
    amount: int,
    actor: Who,
) -> BudgetRow:
    """Adds or replaces a limit of an owner that is known to exist. Raises BadRequest."""
    if kind not in KINDS:
        raise BadRequest(f"A budget belongs to one of {', '.join(KINDS)}.", param="kind")
    if measure not in MEASURES:
        raise BadRequest(f"A limit is on one of {', '.join(MEASURES)}.", param="measure")
    if measure == "money" and period not in PERIODS:
        raise BadRequest(f"A budget's period is one of {', '.join(PERIODS)}.", param="period")
    least, most = (0, MONEY_MAX) if measure == "money" else (1, RATE_MAX)
    if not least <= amount <= most:
        raise BadRequest(f"A limit on {measure} is from {least} to {most}.", param="amount")
    row = BudgetRow(
        id=new_id("bdg"),
        tenant_id=tenant_id,
        owner_kind=kind,
        owner_id=owner_id,
        measure=measure,
        period=period if measure == "money" else "",
        amount=amount,
        created_us=now_us(),
    )
    place = (kind, owner_id, measure, row.period)
    before = [was for was in queries.of_tenant(connection, tenant_id) if _place(was) == place]
    queries.put(connection, row)
    was = before[0] if before else None
    audit.note(connection, actor, "budget.set", row.id, _said(row), before=was, after=row)
    return row


def end_limit(
    connection: Connection, budget_id: str, *, actor: Who, tenant_id: str | None = None
) -> BudgetRow:
    """Ends a limit, of one tenant or of any. Raises NotFound."""
    rows = {row.id: row for row in queries.of_tenant(connection, tenant_id)}
    if budget_id not in rows:
        raise NotFound(f"There is no budget '{budget_id}'.")
    queries.end(connection, budget_id, now_us())
    row = rows[budget_id]
    audit.note(connection, actor, "budget.end", budget_id, _said(row), before=row)
    return row


def check_app(name: str) -> str:
    """The name of an app as it can be kept. Raises BadRequest."""
    if not 1 <= len(name) <= APP_MAX or not name.isascii() or not name.isprintable():
        raise BadRequest(
            f"An app's name has 1 to {APP_MAX} printable ASCII characters.", param="x-haneul-app"
        )
    return name


def limits_of(
    rows: list[BudgetRow], *, key_name: str, user_name: str | None, tenant_name: str
) -> list[Limit]:
    """Rows as limits, named for the person who meets one."""
    names = {"key": f"API key '{key_name}'", "tenant": f"tenant '{tenant_name}'"}
    names["user"] = f"user '{user_name}'"
    return [
        Limit(
            row.owner_kind,
            f"{row.tenant_id}/{row.owner_id}" if row.owner_kind == "app" else row.owner_id,
            names.get(row.owner_kind) or f"app '{row.owner_id}'",
            row.measure,
            row.period,
            row.amount,
        )
        for row in rows
    ]


def _place(row: BudgetRow) -> tuple[str, str, str, str]:
    return (row.owner_kind, row.owner_id, row.measure, row.period)


def _said(row: BudgetRow) -> str:
    what = f"{row.measure} {row.period}".strip()
    return f"{row.owner_kind} {row.owner_id}: {what} {row.amount}"
