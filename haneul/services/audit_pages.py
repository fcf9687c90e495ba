"""The address of the audit: who changed what, for whoever runs the cloud."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import msgspec

from haneul.base.errors import BadRequest
from haneul.base.units import MILLION, now_us
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.services.keyring import require
from haneul.store import audit as queries
from haneul.store.audit import AuditRow
from haneul.store.database import Database

AUDIT = "/haneul/v1/audit"
LIMIT, LIMIT_MAX = 100, 1000
DAYS_MAX = 36_525
DAY_US = 86_400 * MILLION
EQUAL = ("actor", "action", "subject", "request_id")
NUMBERS = {"limit": LIMIT_MAX, "days": DAYS_MAX, "before_us": (1 << 62)}
TEXT_MAX = 256
Handler = Callable[[Call], Awaitable[None]]


class AuditPages:
    """The handler; it answers its call."""

    def __init__(self, gateway: Gateway, database: Database) -> None:
        self._gateway = gateway
        self._database = database

    def routes(self) -> dict[str, dict[str, Handler]]:
        return {AUDIT: {"GET": self.every}}

    async def every(self, call: Call) -> None:
        """The acts that fit, newest first; `before_us` goes on where a page ended."""
        require(await self._gateway.who(call), "admin")
        asked = _asked(call.query)
        numbers = {name: int(text) for name, text in asked.items() if name in NUMBERS}
        since_us = now_us() - numbers["days"] * DAY_US if "days" in numbers else 0
        rows = await self._database.ask(
            lambda connection: queries.find(
                connection,
                since_us=since_us,
                until_us=numbers.get("before_us"),
                limit=numbers.get("limit", LIMIT),
                **{name: asked[name] for name in EQUAL if name in asked},
            )
        )
        await call.answer(200, msgspec.json.encode({"acts": [show(row) for row in rows]}), JSON)


def show(row: AuditRow) -> dict[str, object]:
    """An act for programs: what was before and after it as JSON, not as text of it."""
    facts = msgspec.structs.asdict(row)
    for side in ("before", "after"):
        facts[side] = None if facts[side] is None else msgspec.Raw(facts[side].encode())
    return facts


def _asked(query: str) -> dict[str, str]:
    """The filters of a query. Raises BadRequest for one that does not exist, or a bad number."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    for name, text in asked.items():
        if name not in EQUAL and name not in NUMBERS:
            known = ", ".join([*EQUAL, *NUMBERS])
            raise BadRequest(f"The audit is filtered by {known}.", param=name[:TEXT_MAX])
        if name in NUMBERS:
            is_number = text.isascii() and text.isdigit() and len(text) <= 19
            if not is_number or not 1 <= int(text) <= NUMBERS[name]:
                raise BadRequest(
                    f"'{name}' is a whole number from 1 to {NUMBERS[name]}.", param=name
                )
        elif len(text) > TEXT_MAX or "\0" in text:
            raise BadRequest(f"'{name}' has {TEXT_MAX} characters at most.", param=name)
    return asked


class Keeping:
    """Forgets what the audit no longer has to keep."""

    def __init__(self, database: Database, days: int) -> None:
        self._database = database
        self._days = days

    async def forget(self) -> None:
        """Deletes the acts older than the days; the deletion is an act itself."""
        before_us = now_us() - self._days * DAY_US
        await self._database.call(
            lambda connection: queries.forget(connection, before_us=before_us)
        )
