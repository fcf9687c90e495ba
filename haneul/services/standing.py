"""What a key may do now: its row, its user's role, its tenant, and every limit that can hold.

Read anew each second by the keyring, so that whatever was changed takes effect within one.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from haneul.services.budgets import limits_of
from haneul.services.keys import Key, of_row
from haneul.services.roles import ROLES
from haneul.store import budgets as budget_queries
from haneul.store import keys as key_queries
from haneul.store import tenants as tenant_queries
from haneul.store.keys import KeyRow
from haneul.store.tenants import UserRow


class Standing(NamedTuple):
    """A key's row, which knows its hash, and what the key may."""

    row: KeyRow
    key: Key


def read(connection: Connection, key_id: str) -> Standing | None:
    """The standing of a key; None for one that is not there."""
    row = key_queries.get(connection, key_id)
    if row is None:
        return None
    key = of_row(row)
    tenant = tenant_queries.get(connection, row.tenant_id)
    user = tenant_queries.user(connection, row.user_id) if row.user_id is not None else None
    budgets = budget_queries.of_key(
        connection, tenant_id=row.tenant_id, key_id=row.id, user_id=row.user_id
    )
    others = limits_of(
        budgets,
        key_name=row.name,
        user_name=user.name if user else None,
        tenant_name=tenant.name if tenant else row.tenant_id,
    )
    ends = [row.revoked_us, tenant.closed_us if tenant else None, user.removed_us if user else None]
    ended_us = min((at_us for at_us in ends if at_us is not None), default=None)
    key = msgspec.structs.replace(
        key,
        scopes=key.scopes & _allowed(row, user),
        limits=(*key.limits, *others),
        revoked_us=ended_us,
    )
    return Standing(row, key)


def _allowed(row: KeyRow, user: UserRow | None) -> frozenset[str]:
    """What the user's role allows; a key of nobody in particular is not narrowed."""
    if row.user_id is None:
        return frozenset().union(*ROLES.values())
    return ROLES.get(user.role, frozenset()) if user is not None else frozenset()
