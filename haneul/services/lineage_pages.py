"""The address of family trees: what a model was made of, and what hangs on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy import Connection

from haneul.base.errors import ModelNotFound, NotAllowed
from haneul.models import revisions
from haneul.models.lineage import Lineage, lineage
from haneul.services.call import JSON, Call
from haneul.services.chat import Gateway
from haneul.store.database import Database

LINEAGE = "/haneul/v1/lineage/"
Handler = Callable[[Call], Awaitable[None]]


class LineagePages:
    """The handler; it answers its call."""

    def __init__(self, gateway: Gateway, database: Database) -> None:
        self._gateway = gateway
        self._database = database

    def routes(self) -> dict[str, dict[str, Handler]]:
        return {LINEAGE: {"GET": self.tree}}

    async def tree(self, call: Call) -> None:
        """The tree of a model that the key may use."""
        key = await self._gateway.who(call)
        model = call.path.removeprefix(LINEAGE)
        name = self._gateway.find(key, model)[0].model
        if key.models is not None:
            raise NotAllowed("A key of some models only does not see what hangs on them.")
        tree = await self._database.ask(lambda connection: _tree(connection, name))
        if tree is None:
            raise ModelNotFound(
                f"Nothing is known of where '{model}' comes from: its files are not here.",
                param="model",
            )
        await call.answer(200, msgspec.json.encode(tree), JSON)


def _tree(connection: Connection, name: str) -> Lineage | None:
    try:
        row = revisions.resolve(connection, name)
    except ModelNotFound:  # of another engine, or from before there were revisions
        return None
    return lineage(connection, row)
