"""`haneul invoices`: what a tenant owes for a month, frozen when it is issued."""

from __future__ import annotations

import csv
import io
from typing import Any

import click
import msgspec

from haneul.base.errors import BadRequest
from haneul.base.units import MILLION, now_us, parse_money, show_money, show_time
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.show import print_json, print_table
from haneul.cli.tenants import tenant_option
from haneul.services import invoices as service
from haneul.services.invoices import Invoice, name_of
from haneul.store import invoices as queries
from haneul.store import keys as key_queries
from haneul.store.invoices import LineRow

COLUMNS = (
    *("KEY", "MODEL", "ENGINE", "PRICE", ">REQUESTS", ">PROMPT", ">CACHED", ">ANSWER"),
    *(">REASONING", ">BESIDE TOKENS", ">COST"),
)


@command("issue", example="haneul invoices issue 2026-10 --tenant acme")
@click.argument("month")
@tenant_option
@json_option
def issue(month: str, tenant: str, as_json: bool) -> None:
    """Invoices a month that is over: exactly the sum of its records in the ledger.

    Records that came late are invoiced by issuing the month again.
    """
    made = database(config()).run(
        lambda c: service.issue(c, tenant, month, at_us=now_us(), actor=actor())
    )
    if as_json:
        print_json(made)
    for invoice in [] if as_json else made:
        click.echo(f"Issued {service.said(invoice.head)}.")


@command("credit", example="haneul invoices credit 12 --tenant acme --amount 4.20 --reason outage")
@click.argument("number", type=click.IntRange(min=1))
@tenant_option
@click.option("--amount", metavar="AMOUNT", help="How much of it; without: all that is left.")
@click.option("--reason", required=True, help="Why, as the note says it.")
@json_option
def credit(number: int, tenant: str, amount: str | None, reason: str, as_json: bool) -> None:
    """Corrects an invoice by a credit note; the invoice itself never changes."""
    amount_nano = None if amount is None else parse_money(amount)
    made = database(config()).run(
        lambda c: service.credit(
            c, tenant, number, amount_nano=amount_nano, reason=reason, at_us=now_us(), actor=actor()
        )
    )
    print_json(made) if as_json else click.echo(
        f"Issued the credit note {service.said(made.head)}."
    )


@command("ls", example="haneul invoices ls --tenant acme")
@click.option("--tenant", metavar="ID", help="Only those of this tenant.")
@json_option
def ls(tenant: str | None, as_json: bool) -> None:
    """Lists invoices and credit notes."""
    rows = database(config()).run(queries.every, tenant)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("NUMBER", "KIND", "MONTH", ">TOTAL", "ISSUED", "REASON"),
        [
            (
                name_of(row),
                row.kind if row.of_number is None else f"credit of {row.of_number}",
                row.month,
                show_money(row.total_nano, row.currency),
                show_time(row.issued_us),
                row.reason or "",
            )
            for row in rows
        ],
        empty="There are no invoices yet: haneul invoices issue MONTH --tenant ID",
    )


@command("show", example="haneul invoices show 12 --tenant acme --csv")
@click.argument("number", type=click.IntRange(min=1))
@tenant_option
@click.option("--csv", "as_csv", is_flag=True, help="Print the lines as CSV, money in nano-units.")
@json_option
def show(number: int, tenant: str, as_csv: bool, as_json: bool) -> None:
    """Shows one invoice: a line for each key, model, engine and price."""
    if as_csv and as_json:
        raise BadRequest("Say --json or --csv, not both.")
    store = database(config())
    invoice = store.run(service.find, tenant, number)
    names = {row.id: row.name for row in store.run(key_queries.every)}
    if as_json:
        print_json(invoice)
    elif as_csv:
        click.echo(as_text(invoice, names), nl=False)
    else:
        click.echo(f"{service.said(invoice.head)}, issued {show_time(invoice.head.issued_us)}")
        rows = [_row(line, names, invoice.head.currency) for line in invoice.lines]
        print_table(COLUMNS, rows, empty="It has no lines.")


def as_text(invoice: Invoice, names: dict[str, str]) -> str:
    """The lines as CSV, with the names of their keys."""
    text = io.StringIO()
    head = {"invoice": name_of(invoice.head), "currency": invoice.head.currency}
    fields = [name for name in LineRow.__struct_fields__ if name not in ("id", "invoice_id")]
    writer = csv.DictWriter(text, [*head, "key_name", *fields], extrasaction="ignore")
    writer.writeheader()
    for line in invoice.lines:
        facts: dict[str, Any] = {**head, **msgspec.structs.asdict(line)}
        writer.writerow(facts | {"key_name": _plain(names.get(line.key_id or "", ""))})
    return text.getvalue()


def _plain(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


def _row(line: LineRow, names: dict[str, str], currency: str) -> tuple[str, ...]:
    return (
        names.get(line.key_id or "", line.key_id or "none"),
        line.model or "none",
        line.engine or "none",
        line.price_id or "none",
        f"{line.requests:,}",
        f"{line.prompt_tokens:,}",
        f"{line.cached_tokens:,}",
        f"{line.completion_tokens:,}",
        f"{line.reasoning_tokens:,}",
        _beside(line),
        show_money(line.cost_nano, currency),
    )


def _beside(line: LineRow) -> str:
    """What else than tokens the line is for, each with its unit."""
    if line.audio_us is None:
        return "unknown"
    said = (
        (line.audio_us, f"{line.audio_us / MILLION:,.1f} s of sound"),
        (line.images, f"{line.images:,} pictures"),
        (line.characters, f"{line.characters:,} characters"),
    )
    return ", ".join(text for quantity, text in said if quantity)


invoices = click.Group(
    "invoices", help="Invoices: issue, credit, list, show.", commands=[issue, credit, ls, show]
)
