"""`haneul tenants` and `haneul users`: who is billed, and who may do what for them."""

from __future__ import annotations

import click
import msgspec

from haneul.base.units import show_money, show_time
from haneul.cli.command import actor, command, config, database, json_option
from haneul.cli.rules import set_tenant
from haneul.cli.show import print_json, print_table
from haneul.services import tenants as service
from haneul.services.roles import ROLES
from haneul.store import spending
from haneul.store import tenants as queries
from haneul.store.tenants import DEFAULT, TenantRow, UserRow

tenant_option = click.option(
    "--tenant", default=DEFAULT, show_default=True, metavar="ID", help="Whose it is."
)
role_option = click.option("--role", type=click.Choice(list(ROLES)), help="The most it may do.")


@command("create", example="haneul tenants create acme --name 'Acme Corporation'")
@click.argument("tenant")
@click.option("--name", default="", help="As invoices say it; without: the id.")
@json_option
def create(tenant: str, name: str, as_json: bool) -> None:
    """Makes a tenant, which has its own users, keys, budgets and invoices."""
    row = database(config()).run(lambda c: service.create(c, tenant, name, actor=actor()))
    print_json(row) if as_json else click.echo(f"Created the tenant {row.id}.")


@command("ls", example="haneul tenants ls")
@json_option
def ls(as_json: bool) -> None:
    """Lists the tenants and what they have spent."""
    settings = config()
    store = database(settings)
    rows = store.run(queries.every)
    spent = {row.id: store.run(spending.total, "tenant", row.id) for row in rows}
    if as_json:
        print_json([{**msgspec.structs.asdict(r), "spent_nano": spent[r.id]} for r in rows])
        return
    print_table(
        ("ID", "NAME", "STATE", ">SPENT", "SINCE"),
        [_tenant_row(row, show_money(spent[row.id], settings.currency)) for row in rows],
        empty="There are no tenants.",
    )


@command("close", example="haneul tenants close acme")
@click.argument("tenant")
@json_option
def close(tenant: str, as_json: bool) -> None:
    """Ends a tenant with all its keys within a second; its records and invoices stay."""
    row = database(config()).run(lambda c: service.close(c, tenant, actor=actor()))
    print_json({"closed": row.id}) if as_json else click.echo(f"Closed the tenant {row.id}.")


def _tenant_row(row: TenantRow, spent: str) -> tuple[str, ...]:
    since = show_time(row.created_us) if row.created_us else "the start"
    return (row.id, row.name, "closed" if row.closed_us else "open", spent, since)


@command("add", example="haneul users add ada --tenant acme --role member")
@click.argument("name")
@tenant_option
@click.option(
    "--role",
    type=click.Choice(list(ROLES)),
    default="member",
    show_default=True,
    help="The most they and their keys may do.",
)
@json_option
def add(name: str, tenant: str, role: str, as_json: bool) -> None:
    """Adds a user to a tenant."""
    row = database(config()).run(lambda c: service.add_user(c, tenant, name, role, actor=actor()))
    print_json(row) if as_json else click.echo(f"Added {row.name} ({row.id}) as {row.role}.")


@command("ls", example="haneul users ls --tenant acme")
@click.option("--tenant", metavar="ID", help="Only those of this tenant.")
@json_option
def ls_users(tenant: str | None, as_json: bool) -> None:
    """Lists the users, their roles and what they have spent."""
    settings = config()
    store = database(settings)
    rows = store.run(queries.users, tenant)
    spent = {row.id: store.run(spending.total, "user", row.id) for row in rows}
    if as_json:
        print_json([{**msgspec.structs.asdict(r), "spent_nano": spent[r.id]} for r in rows])
        return
    print_table(
        ("NAME", "ID", "TENANT", "ROLE", "STATE", ">SPENT"),
        [_user_row(row, show_money(spent[row.id], settings.currency)) for row in rows],
        empty="There are no users yet: haneul users add NAME --tenant ID",
    )


@command("role", example="haneul users role ada billing --tenant acme")
@click.argument("name")
@click.argument("role", type=click.Choice(list(ROLES)))
@tenant_option
@json_option
def role(name: str, role: str, tenant: str, as_json: bool) -> None:
    """Gives a user another role; their keys follow within a second."""
    row = database(config()).run(
        lambda c: service.change_role(c, tenant, name, role, actor=actor())
    )
    print_json(row) if as_json else click.echo(f"{row.name} is {row.role} now.")


@command("rm", example="haneul users rm ada --tenant acme")
@click.argument("name")
@tenant_option
@json_option
def rm(name: str, tenant: str, as_json: bool) -> None:
    """Ends a user with all their keys within a second."""
    row = database(config()).run(lambda c: service.remove_user(c, tenant, name, actor=actor()))
    print_json({"removed": row.id}) if as_json else click.echo(f"Removed {row.name} ({row.id}).")


def _user_row(row: UserRow, spent: str) -> tuple[str, ...]:
    state = "removed" if row.removed_us else "present"
    return (row.name, row.id, row.tenant_id, row.role, state, spent)


tenants = click.Group(
    "tenants", help="Tenants: who is billed.", commands=[create, set_tenant, ls, close]
)
users = click.Group("users", help="Users of a tenant.", commands=[add, ls_users, role, rm])
