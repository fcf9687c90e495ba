"""The addresses at which a tenant looks after its own keys, without a hand on the machine.

Whoever makes a key gives it no more than they may do themselves. What is another tenant's is not
there: 404, as for what never was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import Connection

from haneul.base.units import MILLION, now_us, parse_money
from haneul.services import keys, strict, tenants
from haneul.services.acting import actor_of
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.services.keyring import require
from haneul.services.keys import Key, Made, Terms
from haneul.store import keys as queries
from haneul.store.audit import Actor
from haneul.store.database import Database
from haneul.store.keys import KeyRow

KEYS = "/haneul/v1/keys"
BODY_MAX_BYTES = 64 << 10
BODY_S = 10.0
YEAR_S = 366 * 86_400
Handler = Callable[[Call], Awaitable[None]]
Rate = Annotated[int, Meta(ge=1, le=keys.LIMIT_MAX)]


class NewKey(Struct, frozen=True, forbid_unknown_fields=True):
    """A key to make; money as people write it, in the cloud's currency."""

    name: str
    user: str | None = None  # of the tenant, by name or id
    role: str | None = None
    scopes: tuple[str, ...] | None = None
    app: str | None = None
    models: tuple[str, ...] | None = None
    budget: str | None = None
    requests_per_minute: Rate | None = None
    tokens_per_minute: Rate | None = None
    expires_s: Annotated[int, Meta(ge=1, le=10 * YEAR_S)] | None = None


_wanted: msgspec.json.Decoder[NewKey] = msgspec.json.Decoder(NewKey)


class KeyPages:
    """The handlers; each answers its call."""

    def __init__(self, gateway: Gateway, database: Database, pepper: bytes) -> None:
        self._gateway = gateway
        self._database = database
        self._pepper = pepper

    def routes(self) -> dict[str, dict[str, Handler]]:
        return {KEYS: {"GET": self.every, "POST": self.make}, f"{KEYS}/": {"DELETE": self.revoke}}

    async def every(self, call: Call) -> None:
        """The tenant's keys, without their secrets."""
        key = await self._manager(call)
        rows = await self._database.ask(queries.every, key.tenant_id)
        await _answer(call, {"keys": [show(row) for row in rows]})

    async def make(self, call: Call) -> None:
        """A new key of the tenant; its secret is told this once."""
        key = await self._manager(call)
        data = await call.body(max_bytes=BODY_MAX_BYTES, within_s=BODY_S)
        wanted = strict.read(data, _wanted)
        made = await self._database.call(self._make, key, wanted, actor_of(call, key))
        row = await self._database.ask(queries.get, made.key.id)
        assert row is not None
        await _answer(call, {"key": made.secret, **show(row)})

    async def revoke(self, call: Call) -> None:
        """Ends a key of the tenant, by its id."""
        key = await self._manager(call)
        key_id = call.path.removeprefix(f"{KEYS}/")
        ended = await self._database.call(
            lambda connection: keys.revoke(
                connection, key_id, actor=actor_of(call, key), tenant_id=key.tenant_id
            )
        )
        await _answer(call, {"revoked": ended.id, "name": ended.name})

    async def _manager(self, call: Call) -> Key:
        key = await self._gateway.who(call)
        require(key, "manage")
        return key

    def _make(self, connection: Connection, key: Key, wanted: NewKey, actor: Actor) -> Made:
        user = None
        if wanted.user is not None:
            user = tenants.find_user(connection, key.tenant_id, wanted.user).id
        terms = Terms(
            scopes=wanted.scopes,
            models=wanted.models,
            budget_nano=None if wanted.budget is None else parse_money(wanted.budget),
            requests_per_minute=wanted.requests_per_minute,
            tokens_per_minute=wanted.tokens_per_minute,
            expires_us=None if wanted.expires_s is None else now_us() + wanted.expires_s * MILLION,
            tenant_id=key.tenant_id,
            user_id=user,
            role=wanted.role,
            app=wanted.app,
        )
        narrowed = tuple(scope for scope in keys.scopes_of(terms) if scope in key.scopes)
        terms = msgspec.structs.replace(terms, scopes=narrowed)
        return keys.create(connection, self._pepper, wanted.name, terms, actor=actor)


def show(row: KeyRow) -> dict[str, Any]:
    """A key as its tenant sees it."""
    key = keys.of_row(row)
    return {
        "id": key.id,
        "name": key.name,
        "state": "revoked" if key.revoked_us else "live" if key.is_live else "expired",
        "user_id": key.user_id,
        "role": row.role,
        "scopes": sorted(key.scopes),
        "app": key.app,
        "models": sorted(key.models) if key.models is not None else None,
        "budget_nano": key.budget_nano,
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "created_us": row.created_us,
        "expires_us": key.expires_us,
    }


async def _answer(call: Call, value: Any) -> None:
    await call.answer(200, msgspec.json.encode(value), JSON)
