"""Verifying the key of a request: cheaply, freshly, without blocking the event loop.

A key seen before is recognised by the SHA-256 of its text and believed for one second; then its
row is read again, so that a revocation or a changed budget takes effect within that second. A key
that is in use is read again before that, between requests, so that none waits for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from haneul.base.errors import HaneulError, NotAllowed, NotAuthenticated
from haneul.base.log import logger
from haneul.base.units import MILLION, now_us
from haneul.services import standing
from haneul.services.budgets import check_app
from haneul.services.keys import Key, matches, split
from haneul.store.database import Database

FRESH_S = 1.0
RENEW_S = 0.5  # after which a request has its key's row read, once it is on its way
AFTER_S = 0.01  # for that request to have the processor for itself
REMEMBERED_MAX = 10_000
log = logger("keyring")


class Seen:
    """A key that was seen lately."""

    __slots__ = ("at", "key", "until")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.at = self.until = -math.inf

    def is_now(self, key: Key, at: float) -> None:
        """Its row said so at that time; it is as good as new `until` a request looks closer."""
        if self.key != key:  # else what was made of it stands
            self.key = key
        self.at = at
        self.until = at + RENEW_S if key.revoked_us is None else at
        if key.expires_us is not None:
            self.until = min(self.until, at + (key.expires_us - now_us()) / MILLION)


class Keyring:
    """The keys seen lately."""

    def __init__(
        self, database: Database, pepper: bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._pepper = pepper
        self.clock = clock
        self._seen: OrderedDict[bytes, Seen] = OrderedDict()
        self._renewing: dict[bytes, asyncio.Task[None]] = {}

    async def verify(self, text: str) -> Key:
        """The live key of that text. Raises NotAuthenticated, saying which of all reasons."""
        return (await self.look(text)).key

    async def look(self, text: str) -> Seen:
        """The same, and how long it is good without another look."""
        mark = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        seen = self._seen.get(mark)
        age_s = math.inf if seen is None else self.clock() - seen.at
        if seen is None or age_s > FRESH_S:
            seen = await self._freshly(mark, text)
        elif age_s > RENEW_S and mark not in self._renewing:
            self._renewing[mark] = asyncio.create_task(self._renew(mark, text), name="key")
        key = seen.key
        if not key.is_live:
            reason = "revoked" if key.revoked_us is not None else "expired"
            raise NotAuthenticated(f"The API key '{key.name}' is {reason}.")
        return seen

    async def _freshly(self, mark: bytes, text: str) -> Seen:
        """Reads the key's row; those who come meanwhile go by what was known."""
        if (seen := self._seen.get(mark)) is not None:
            seen.is_now(seen.key, self.clock())
        try:
            key = await self._look_up(text)
        except NotAuthenticated:
            self._forget(mark)
            raise
        if (seen := self._seen.get(mark)) is None:
            seen = self._seen[mark] = Seen(key)
        seen.is_now(key, self.clock())
        self._seen.move_to_end(mark)
        if len(self._seen) > REMEMBERED_MAX:
            self._seen.popitem(last=False)
        return seen

    def _forget(self, mark: bytes) -> None:
        """The key is not known any more, to those who hold it either."""
        if (seen := self._seen.pop(mark, None)) is not None:
            seen.at = seen.until = -math.inf

    async def _renew(self, mark: bytes, text: str) -> None:
        """Reads a row before it has to be; whoever needs it then is told what cannot be read."""
        try:
            await asyncio.sleep(AFTER_S)
            began = self.clock()
            key = await self._look_up(text)
            if (seen := self._seen.get(mark)) is not None:
                seen.is_now(key, began)
        except NotAuthenticated:
            self._forget(mark)
        except HaneulError as error:
            log.warning("key_not_read", reason=error.message)
        finally:
            del self._renewing[mark]

    async def aclose(self) -> None:
        """Stops reading."""
        for task in (running := list(self._renewing.values())):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

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
