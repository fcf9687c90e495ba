"""Verifying the key of a request: cheaply, freshly, without blocking the event loop.

A key seen before is recognised by the SHA-256 of its text and believed for one second; then its
row is read again, so that a revocation or a changed budget takes effect within that second.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict

import msgspec

from haneul.base.errors import NotAllowed, NotAuthenticated
from haneul.services import standing
from haneul.services.budgets import check_app
from haneul.services.keys import Key, matches, split
from haneul.store.database import Database

FRESH_S = 1.0
REMEMBERED_MAX = 10_000


class Keyring:
    """The keys seen lately."""

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._database = database
        self._pepper = pepper
        self._seen: OrderedDict[bytes, tuple[float, Key]] = OrderedDict()

    async def verify(self, text: str) -> Key:
        """The live key of that text. Raises NotAuthenticated, saying which of all reasons."""
        mark = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        seen = self._seen.get(mark)
        if seen is not None and time.monotonic() - seen[0] <= FRESH_S:
            key = seen[1]
        else:
            key = await self._freshly(mark, text)
        if not key.is_live:
            reason = "revoked" if key.revoked_us is not None else "expired"
            raise NotAuthenticated(f"The API key '{key.name}' is {reason}.")
        return key

    async def _freshly(self, mark: bytes, text: str) -> Key:
        """Reads the key's row; those who come meanwhile go by what was known."""
        if (seen := self._seen.get(mark)) is not None:
            self._seen[mark] = (time.monotonic(), seen[1])
        try:
            key = await self._look_up(text)
        except NotAuthenticated:
            self._seen.pop(mark, None)
            raise
        self._seen[mark] = (time.monotonic(), key)
        self._seen.move_to_end(mark)
        if len(self._seen) > REMEMBERED_MAX:
            self._seen.popitem(last=False)
        return key

    async def _look_up(self, text: str) -> Key:
        key_id, secret = split(text)
        found = await self._database.ask(standing.read, key_id)
        if found is None or not matches(found.row, self._pepper, secret):
            raise NotAuthenticated("The API key is not known here.")
        return found.key


def from_app(key: Key, said: bytes | None) -> Key:
    """The key as the app uses it that the request names. Raises BadRequest, NotAllowed."""
    if said is None:
        return key
    app = check_app(said.decode("latin-1"))
    if key.app is not None and key.app != app:
        raise NotAllowed(f"The API key '{key.name}' is for the app '{key.app}' only.")
    return msgspec.structs.replace(key, app=app)


def require(key: Key, scope: str, model: str | None = None) -> None:
    """Raises NotAllowed unless the key has the scope, and the model if one is named."""
    if scope not in key.scopes:
        raise NotAllowed(f"The API key '{key.name}' does not have the scope '{scope}'.")
    if model is not None and key.models is not None and model not in key.models:
        raise NotAllowed(f"The API key '{key.name}' may not use the model '{model}'.")
