"""Tenants and their users: who is billed, and who may do what for them.

A tenant's id is chosen once and never given again: ledger, invoices and budgets name it.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection

from haneul.base.errors import BadRequest, Conflict, NotFound
from haneul.base.ids import new_id
from haneul.base.units import now_us
from haneul.services.roles import scopes_of
from haneul.store import audit
from haneul.store import tenants as queries
from haneul.store.audit import Who
from haneul.store.tenants import DEFAULT, TenantRow, UserRow

TENANT_MAX = 32  # characters of an id
NAME_MAX = 64
ID = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{TENANT_MAX - 1}}}")


def create(connection: Connection, tenant_id: str, name: str, *, actor: Who) -> TenantRow:
    """A new tenant. Raises BadRequest, Conflict."""
    if ID.fullmatch(tenant_id) is None:
        raise BadRequest(
            f"A tenant's id has 1 to {TENANT_MAX} lower-case letters, digits and '-'.", param="id"
        )
    if queries.get(connection, tenant_id) is not None:
        raise Conflict(f"There is a tenant '{tenant_id}' already, or was one.", param="id")
    row = TenantRow(id=tenant_id, name=_name(name or tenant_id), created_us=now_us())
    queries.add(connection, row)
    audit.note(connection, actor, "tenant.create", row.id, row.name, after=row)
    return row


def find(connection: Connection, tenant_id: str) -> TenantRow:
    """A tenant that is not closed. Raises NotFound."""
    row = queries.get(connection, tenant_id)
    if row is None or row.closed_us is not None:
        raise NotFound(f"There is no tenant '{tenant_id}'.")
    return row


def close(connection: Connection, tenant_id: str, *, actor: Who) -> TenantRow:
    """Ends a tenant with all its keys; what it used stays. Raises BadRequest, NotFound."""
    if tenant_id == DEFAULT:
        raise BadRequest("The tenant 'default' is the cloud's own and cannot be closed.")
    row = find(connection, tenant_id)
    queries.close(connection, tenant_id, now_us())
    audit.note(connection, actor, "tenant.close", tenant_id, row.name, before=row)
    return row


def add_user(
    connection: Connection, tenant_id: str, name: str, role: str, *, actor: Who
) -> UserRow:
    """A new user of a tenant. Raises BadRequest, Conflict, NotFound."""
    _check_role(tenant_id, role)
    find(connection, tenant_id)
    if queries.user_named(connection, tenant_id, _name(name)) is not None:
        raise Conflict(f"The tenant '{tenant_id}' has a user '{name}' already.", param="name")
    row = UserRow(id=new_id("usr"), tenant_id=tenant_id, name=name, role=role, created_us=now_us())
    queries.add_user(connection, row)
    said = f"{tenant_id}: {name}, {role}"
    audit.note(connection, actor, "user.add", row.id, said, after=row)
    return row


def find_user(connection: Connection, tenant_id: str, name: str) -> UserRow:
    """A present user of a tenant, by name or id. Raises NotFound."""
    row = queries.user_named(connection, tenant_id, name)
    if row is None:
        raise NotFound(f"There is no user '{name}' in the tenant '{tenant_id}'.")
    return row


def change_role(
    connection: Connection, tenant_id: str, name: str, role: str, *, actor: Who
) -> UserRow:
    """Gives a user another role; their keys follow within a second. Raises NotFound, BadRequest."""
    _check_role(tenant_id, role)
    row = find_user(connection, tenant_id, name)
    queries.change_user(connection, row.id, role=role)
    said = f"{row.role} to {role}"
    now = find_user(connection, tenant_id, row.id)
    audit.note(connection, actor, "user.role", row.id, said, before=row, after=now)
    return now


def remove_user(connection: Connection, tenant_id: str, name: str, *, actor: Who) -> UserRow:
    """Ends a user with all their keys. Raises NotFound."""
    row = find_user(connection, tenant_id, name)
    queries.change_user(connection, row.id, removed_us=now_us())
    audit.note(connection, actor, "user.remove", row.id, f"{tenant_id}: {row.name}", before=row)
    return row


def _check_role(tenant_id: str, role: str) -> None:
    if "admin" in scopes_of(role) and tenant_id != DEFAULT:
        raise BadRequest(
            f"The role '{role}' runs the cloud and is only for the tenant '{DEFAULT}'.",
            param="role",
        )


def _name(name: str) -> str:
    if not name or len(name) > NAME_MAX or not name.isprintable():
        raise BadRequest(f"A name has 1 to {NAME_MAX} printable characters.", param="name")
    return name
