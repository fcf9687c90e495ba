"""Who may do what: scopes are what a key may do, a role is the most that its holder may.

A key may do what it was asked for and what its role and its user's role allow: a user whose role
shrinks takes the keys along within a second.
"""

from __future__ import annotations

from haneul.base.errors import BadRequest

SCOPES: dict[str, str] = {
    "infer": "ask models",
    "usage": "see what this key used",
    "billing": "see what the whole tenant used, and its invoices",
    "manage": "make and revoke the tenant's keys",
    "pull": "take models from the hub",
    "push": "put models into the hub, which all tenants share",
    "admin": "run the cloud: every tenant, every model",
}
CLOUDS = frozenset({"admin", "push"})  # only of keys of the tenant "default"
ROLES: dict[str, frozenset[str]] = {
    "operator": frozenset(SCOPES),  # of the cloud itself; only in the tenant "default"
    "owner": frozenset({"infer", "usage", "billing", "manage", "pull"}),
    "admin": frozenset({"infer", "usage", "manage", "pull"}),
    "member": frozenset({"infer", "usage", "pull"}),
    "billing": frozenset({"usage", "billing"}),
    "viewer": frozenset({"usage"}),
}


def scopes_of(role: str) -> frozenset[str]:
    """What a role may do. Raises BadRequest for one that does not exist."""
    if role not in ROLES:
        raise BadRequest(f"Unknown role {role!r}; there are {', '.join(ROLES)}.", param="role")
    return ROLES[role]
