"""Who may take and put: the keys of this cloud, their scopes `pull` and `push`, their rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.cookies import CookieError, SimpleCookie
from urllib.parse import unquote

from haneul.base.errors import Overloaded
from haneul.services.call import Call
from haneul.services.chat import Gateway
from haneul.services.heads import KEY_HEADERS
from haneul.services.keyring import require
from haneul.services.keys import Key

SCOPE_COOKIE = "m_session_id"  # where ModelScope's clients put their token
TRANSFERS_MAX = 1024  # files on their way out at a time, in one process
PUTS_MAX = 16  # and in
KEY_SHARE = 2  # a key has one of so many parts


class Access:
    """Lets requests in, counted by their keys' rates."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._out = Lanes(TRANSFERS_MAX)
        self._in = Lanes(PUTS_MAX)

    async def who(self, call: Call, scope: str | None) -> Key:
        """The key, if it has the scope and its rate is not used up.

        Raises NotAuthenticated, NotAllowed, RateLimited, QuotaExceeded.
        """
        key = await self._verified(call)
        if scope is not None:
            require(key, scope)
        account = await self._gateway.accounts.of(key)
        taken = account.reserve(key, 0, 0, currency=self._gateway.config.currency)
        account.settle(taken, 0, 0)
        return key

    async def _verified(self, call: Call) -> Key:
        """ModelScope's clients send their key in a cookie: taken for what only reads."""
        text = _cookie(call)
        if text is None or call.method not in ("GET", "HEAD"):
            return await self._gateway.who(call)
        return await self._gateway.keyring.verify(text)

    def out(self, key: Key) -> AbstractContextManager[None]:
        """A place for a file on its way to a client. Raises Overloaded."""
        return self._out.place(key.id)

    def taken_in(self, key_id: str) -> AbstractContextManager[None]:
        """A place for one on its way here."""
        return self._in.place(key_id)


class Lanes:
    """So many at a time, and of one key no more than its part."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_key: Counter[str] = Counter()

    @contextmanager
    def place(self, key_id: str) -> Iterator[None]:
        """A place until the block is left. Raises Overloaded."""
        of_key = self._by_key[key_id]
        if self._by_key.total() >= self._most or of_key >= max(1, self._most // KEY_SHARE):
            raise Overloaded("Too many files are on their way already.", retry_after_s=2)
        self._by_key[key_id] += 1
        try:
            yield
        finally:
            self._by_key[key_id] -= 1
            if not self._by_key[key_id]:
                del self._by_key[key_id]


def _cookie(call: Call) -> str | None:
    """The key in ModelScope's cookie, where none came in a header."""
    if b"cookie" not in call.headers or not call.headers.keys().isdisjoint(KEY_HEADERS):
        return None
    try:
        jar = SimpleCookie(call.headers[b"cookie"].decode("latin-1"))
    except CookieError:
        return None
    return unquote(jar[SCOPE_COOKIE].value) if SCOPE_COOKIE in jar else None
