"""The addresses of a tenant's money: its invoices and credit notes, and what is left of budgets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from haneul.base.errors import BadRequest
from haneul.base.units import now_us
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.services.invoices import find
from haneul.services.keyring import require
from haneul.services.keys import Key
from haneul.services.limits import Left
from haneul.services.periods import renews_us
from haneul.store import invoices as queries
from haneul.store.database import Database

INVOICES = "/haneul/v1/invoices"
NUMBER_DIGITS = 9
Handler = Callable[[Call], Awaitable[None]]


class InvoicePages:
    """The handlers; each answers its call. What is another tenant's is not there."""

    def __init__(self, gateway: Gateway, database: Database) -> None:
        self._gateway = gateway
        self._database = database

    def routes(self) -> dict[str, dict[str, Handler]]:
        return {INVOICES: {"GET": self.every}, f"{INVOICES}/": {"GET": self.one}}

    async def every(self, call: Call) -> None:
        """The invoices and credit notes of the key's tenant."""
        tenant_id = await self._tenant_of(call)
        rows = await self._database.ask(queries.every, tenant_id)
        await call.answer(200, msgspec.json.encode({"invoices": rows}), JSON)

    async def one(self, call: Call) -> None:
        """One of them with its lines, by its number."""
        tenant_id = await self._tenant_of(call)
        number = call.path.removeprefix(f"{INVOICES}/")
        if not number.isascii() or not number.isdigit() or len(number) > NUMBER_DIGITS:
            raise BadRequest("An invoice is found by its number.")
        invoice = await self._database.ask(find, tenant_id, int(number))
        await call.answer(200, msgspec.json.encode(invoice), JSON)

    async def _tenant_of(self, call: Call) -> str:
        key = await self._gateway.who(call)
        require(key, "billing")
        return key.tenant_id


def seen_by(key: Key) -> dict[str, str | None]:
    """Whose records a key sees: all by 'admin', its tenant's by 'billing', else its own."""
    if "admin" in key.scopes:
        return {"key_id": None, "tenant_id": None}
    if "billing" in key.scopes:
        return {"key_id": None, "tenant_id": key.tenant_id}
    return {"key_id": key.id, "tenant_id": None}


def show_budgets(left: list[Left]) -> list[dict[str, Any]]:
    """What each budget that holds for a key has left, and when it renews."""
    return [
        {
            "of": each.limit.kind,
            "period": each.limit.period,
            "budget_nano": each.limit.amount,
            "left_nano": max(0, each.nano),
            "renews_us": renews_us(each.limit.period, now_us()),
        }
        for each in left
    ]
