"""Invoices: what a tenant used in a month, exactly the sum of the ledger's rows, and frozen.

An invoice holds whatever of its month no earlier invoice holds. So the first one is the month; a
row that came late, of a request that still ran or that a killed process left, is in a second one;
and all invoices of a month together are the month's rows to the nano-unit. Nothing is ever changed:
a correction is a credit note, with a number of its own.
"""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection

from haneul.base.errors import BadRequest, Conflict, NotFound
from haneul.base.ids import new_id
from haneul.base.units import show_money, show_time
from haneul.services.periods import month_bounds_us
from haneul.store import audit
from haneul.store import invoices as queries
from haneul.store import tenants as tenant_queries
from haneul.store.audit import Who
from haneul.store.invoices import COUNTED, QUANTITIES, InvoiceRow, LineRow, SumRow

REASON_MAX = 200
MEASURED = ("requests", *COUNTED)
Group = tuple[str | None, str | None, str | None, str | None, str]


class Invoice(Struct, frozen=True):
    """An invoice and its lines."""

    head: InvoiceRow
    lines: list[LineRow]


def issue(
    connection: Connection, tenant_id: str, month: str, *, at_us: int, actor: Who
) -> list[Invoice]:
    """Invoices a month that is over: one invoice for each currency, mostly one.

    Raises BadRequest, NotFound, Conflict where everything is invoiced already.
    """
    since_us, until_us = _bounds(month)
    if until_us > at_us:
        raise BadRequest(f"{month} is not over before {show_time(until_us)}.", param="month")
    if tenant_queries.get(connection, tenant_id) is None:
        raise NotFound(f"There is no tenant '{tenant_id}'.")
    tenant_queries.lock(connection, tenant_id)
    used = queries.sums(connection, tenant_id, since_us=since_us, until_us=until_us)
    missing = missing_of(used, queries.invoiced(connection, tenant_id, month))
    if not missing:
        raise Conflict(f"Nothing of {month} is left to invoice for the tenant '{tenant_id}'.")
    number = queries.last_number(connection, tenant_id)
    made = []
    for currency in sorted({each.currency for each in missing}):
        number += 1
        head = InvoiceRow(
            id=new_id("inv"),
            tenant_id=tenant_id,
            number=number,
            kind="invoice",
            month=month,
            currency=currency,
            total_nano=sum(each.cost_nano for each in missing if each.currency == currency),
            issued_us=at_us,
        )
        mine = [each for each in missing if each.currency == currency]
        made.append(
            _keep(
                connection, head, [_line(head, at, each) for at, each in enumerate(mine, start=1)]
            )
        )
        audit.note(connection, actor, "invoice.issue", head.id, said(head), after=head)
    return made


def credit(
    connection: Connection,
    tenant_id: str,
    number: int,
    *,
    amount_nano: int | None,
    reason: str,
    at_us: int,
    actor: Who,
) -> Invoice:
    """Takes back some of an invoice, or all that is left of it.

    Raises NotFound, and BadRequest for more than is left.
    """
    if not reason or len(reason) > REASON_MAX or not reason.isprintable():
        raise BadRequest(f"A reason has 1 to {REASON_MAX} printable characters.", param="reason")
    tenant_queries.lock(connection, tenant_id)
    of = find(connection, tenant_id, number).head
    left = of.total_nano - queries.credited(connection, tenant_id, number)
    amount = left if amount_nano is None else amount_nano
    if of.kind != "invoice" or not 0 < amount <= left:
        raise BadRequest(
            f"Of {said(of)} there is {show_money(max(0, left), of.currency)} left to credit.",
            param="amount",
        )
    head = InvoiceRow(
        id=new_id("inv"),
        tenant_id=tenant_id,
        number=queries.last_number(connection, tenant_id) + 1,
        kind="credit",
        month=of.month,
        currency=of.currency,
        total_nano=-amount,
        of_number=number,
        reason=reason,
        issued_us=at_us,
    )
    line = LineRow(id=new_id("ivl"), invoice_id=head.id, position=1, cost_nano=-amount)
    made = _keep(connection, head, [line])
    audit.note(connection, actor, "invoice.credit", head.id, said(head), before=of, after=head)
    return made


def find(connection: Connection, tenant_id: str, number: int) -> Invoice:
    """An invoice or credit note with its lines. Raises NotFound."""
    head = queries.get(connection, tenant_id, number)
    if head is None:
        raise NotFound(f"The tenant '{tenant_id}' has no invoice {number}.")
    return Invoice(head, queries.lines(connection, head.id))


def missing_of(used: list[SumRow], invoiced: list[SumRow]) -> list[SumRow]:
    """What was used and is on no invoice yet."""
    before = {_group(each): each for each in invoiced}
    found = []
    for each in used:
        known = before.get(_group(each))
        left = {name: _left(each, known, name) for name in (*MEASURED, *QUANTITIES)}
        if any(left.values()):
            key_id, model, engine, price_id, currency = _group(each)
            found.append(
                SumRow(
                    key_id=key_id,
                    model=model,
                    engine=engine,
                    price_id=price_id,
                    currency=currency,
                    **left,  # type: ignore[arg-type]
                )
            )
    return found


def _left(used: SumRow, invoiced: SumRow | None, name: str) -> int | None:
    """What is not invoiced yet; None where nobody noted how much of it was."""
    before = 0 if invoiced is None else getattr(invoiced, name)
    return None if before is None else getattr(used, name) - before


def said(head: InvoiceRow) -> str:
    """An invoice in one line: 'acme-000012, USD 4.20 for 2026-11'."""
    return f"{name_of(head)}, {show_money(head.total_nano, head.currency)} for {head.month}"


def name_of(head: InvoiceRow) -> str:
    """The number as it is printed."""
    return f"{head.tenant_id}-{head.number:06d}"


def _group(each: SumRow) -> Group:
    return (each.key_id, each.model, each.engine, each.price_id, each.currency)


def _line(head: InvoiceRow, position: int, each: SumRow) -> LineRow:
    return LineRow(
        id=new_id("ivl"),
        invoice_id=head.id,
        position=position,
        key_id=each.key_id,
        model=each.model,
        engine=each.engine,
        price_id=each.price_id,
        **{name: getattr(each, name) for name in (*MEASURED, *QUANTITIES)},
    )


def _keep(connection: Connection, head: InvoiceRow, lines: list[LineRow]) -> Invoice:
    queries.add(connection, head, lines)
    return Invoice(head, lines)


def _bounds(month: str) -> tuple[int, int]:
    try:
        return month_bounds_us(month)
    except ValueError as cause:
        raise BadRequest(f"'{month}' is not a month such as 2026-11.", param="month") from cause
