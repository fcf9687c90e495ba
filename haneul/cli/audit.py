"""`haneul audit`: who changed what, when and from where."""

from __future__ import annotations

import re

import click

from haneul.base.units import MILLION, now_us, show_time
from haneul.cli.command import command, config, database, json_option
from haneul.cli.show import print_json, print_table
from haneul.services.audit_pages import DAY_US, DAYS_MAX, LIMIT_MAX, show
from haneul.store import audit as queries
from haneul.store.audit import AuditRow

SHOWN_MAX = 60  # characters of a change in the table


@command("audit", example="haneul audit --action key --days 7")
@click.option("--days", type=click.IntRange(1, DAYS_MAX), help="Only those so many days old.")
@click.option("--actor", metavar="WHO", help="Only of this one, such as 'key QOFpAwzC'.")
@click.option("--action", metavar="WHAT", help="Only these, such as key.revoke, or key for all.")
@click.option("--subject", metavar="ID", help="Only on this key, tenant, engine, …, by its id.")
@click.option("--request", "request_id", metavar="ID", help="Only what this request did.")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=50, show_default=True)
@json_option
def audit(
    days: int | None,
    actor: str | None,
    action: str | None,
    subject: str | None,
    request_id: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Lists who changed what: keys, tenants, budgets, prices, engines, routes, models, invoices.

    The newest first. No row can be changed; one goes only when it is older than audit_days.
    """
    rows = database(config()).run(
        lambda connection: queries.find(
            connection,
            since_us=0 if days is None else now_us() - days * DAY_US,
            actor=actor,
            action=action,
            subject=subject,
            request_id=request_id,
            limit=limit,
        )
    )
    if as_json:
        print_json([show(row) for row in rows])
        return
    print_table(
        ("WHEN", "WHO", "FROM", "WHAT", "ON", "SAID"),
        [_row(row) for row in rows],
        empty="Nothing that fits was done here yet.",
    )


def _row(row: AuditRow) -> tuple[str, ...]:
    said = row.detail or row.after or row.before or ""
    seconds = row.at_us // MILLION * MILLION
    return (
        show_time(seconds),
        row.actor,
        row.origin or "inside",
        row.action,
        row.subject,
        re.sub(r"\s+", " ", said)[:SHOWN_MAX],
    )
