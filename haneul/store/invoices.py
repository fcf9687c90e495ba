"""Queries about invoices and credit notes, and the sums of the ledger they are made of."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from sqlalchemy import BigInteger, Connection, case, func, insert, select

from haneul.store import schema
from haneul.store.rows import all_rows, one_row

COUNTED = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost_nano")
QUANTITIES = {"audio_us": "audio_us", "images": "image", "characters": "character"}  # their units


class InvoiceRow(Struct, frozen=True, kw_only=True):
    """One invoice, or a credit note where `kind` says so."""

    id: str
    tenant_id: str
    number: int
    kind: str  # invoice, credit
    month: str
    currency: str
    total_nano: int
    of_number: int | None = None
    reason: str | None = None
    issued_us: int


class LineRow(Struct, frozen=True, kw_only=True):
    """What one key used of one model on one engine at one price."""

    id: str
    invoice_id: str
    position: int
    key_id: str | None = None
    model: str | None = None
    engine: str | None = None
    price_id: str | None = None
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano: int = 0
    audio_us: int | None = 0  # None: unknown, of what was invoiced before it was noted
    images: int | None = 0
    characters: int | None = 0


class SumRow(Struct, frozen=True, kw_only=True):
    """The ledger's rows of one key, model, engine, price and currency."""

    key_id: str | None
    model: str | None
    engine: str | None
    price_id: str | None
    currency: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost_nano: int
    audio_us: int | None = 0
    images: int | None = 0
    characters: int | None = 0


def sums(connection: Connection, tenant_id: str, *, since_us: int, until_us: int) -> list[SumRow]:
    """What the ledger holds of a tenant's requests received in [since, until)."""
    column = schema.request.c
    groups = (column.key_id, column.model, column.engine, column.price_id, column.currency)
    statement = (
        select(
            *groups,
            func.count().label("requests"),
            *(func.sum(column[name]).cast(BigInteger).label(name) for name in COUNTED),
            *(
                func.sum(case((column.unit == unit, func.coalesce(column.units, 0)), else_=0))
                .cast(BigInteger)
                .label(name)
                for name, unit in QUANTITIES.items()
            ),
        )
        .where(
            column.tenant_id == tenant_id,
            column.received_us >= since_us,
            column.received_us < until_us,
            (column.state != "refused") | (column.cost_nano != 0),
        )
        .group_by(*groups)
        .order_by(*groups)
    )
    return all_rows(connection, statement, SumRow)


def invoiced(connection: Connection, tenant_id: str, month: str) -> list[SumRow]:
    """What the tenant's invoices of a month hold already, without credit notes."""
    head, line = schema.invoice.c, schema.invoice_line.c
    groups = (line.key_id, line.model, line.engine, line.price_id, head.currency)
    statement = (
        select(
            *groups,
            func.sum(line.requests).cast(BigInteger).label("requests"),
            *(func.sum(line[name]).cast(BigInteger).label(name) for name in COUNTED),
            *(
                case((func.count(line[name]) == func.count(), func.sum(line[name])))
                .cast(BigInteger)
                .label(name)
                for name in QUANTITIES
            ),
        )
        .join_from(schema.invoice_line, schema.invoice, line.invoice_id == head.id)
        .where(head.tenant_id == tenant_id, head.month == month, head.kind == "invoice")
        .group_by(*groups)
    )
    return all_rows(connection, statement, SumRow)


def last_number(connection: Connection, tenant_id: str) -> int:
    """0 before the first; the tenant must be locked for the next one to be numbered."""
    column = schema.invoice.c
    mine = select(func.coalesce(func.max(column.number), 0)).where(column.tenant_id == tenant_id)
    return int(connection.execute(mine).scalar_one())


def add(connection: Connection, row: InvoiceRow, lines: list[LineRow]) -> None:
    connection.execute(insert(schema.invoice), [msgspec.structs.asdict(row)])
    connection.execute(
        insert(schema.invoice_line), [msgspec.structs.asdict(line) for line in lines]
    )


def every(connection: Connection, tenant_id: str | None = None) -> list[InvoiceRow]:
    """Those of a tenant or of all, in the order of their numbers."""
    column = schema.invoice.c
    statement = select(schema.invoice).order_by(column.tenant_id, column.number)
    if tenant_id is not None:
        statement = statement.where(column.tenant_id == tenant_id)
    return all_rows(connection, statement, InvoiceRow)


def get(connection: Connection, tenant_id: str, number: int) -> InvoiceRow | None:
    column = schema.invoice.c
    mine = select(schema.invoice).where(column.tenant_id == tenant_id, column.number == number)
    return one_row(connection, mine, InvoiceRow)


def lines(connection: Connection, invoice_id: str) -> list[LineRow]:
    """In their order."""
    column = schema.invoice_line.c
    mine = select(schema.invoice_line).where(column.invoice_id == invoice_id)
    return all_rows(connection, mine.order_by(column.position), LineRow)


def credited(connection: Connection, tenant_id: str, number: int) -> int:
    """Nano-units that credit notes took back of an invoice, as a positive number."""
    column = schema.invoice.c
    found = func.coalesce(func.sum(column.total_nano), 0).cast(BigInteger)
    mine = select(found).where(
        column.tenant_id == tenant_id, column.of_number == number, column.kind == "credit"
    )
    return -int(connection.execute(mine).scalar_one())
