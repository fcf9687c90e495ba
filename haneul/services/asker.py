"""Who asks: the key of a request as it asks with it, the account it pays from, its terms.

A head that comes again over its connection is asked by the same as the time before: what was put
together then holds as long as the key's row need not be looked at.
"""

from __future__ import annotations

from haneul.base.errors import NotAuthenticated
from haneul.services.accounts import Accounts
from haneul.services.call import Call
from haneul.services.heads import APP, KEY_HEADERS, key_text, terms_of
from haneul.services.keyring import Keyring, Seen, from_app, require
from haneul.services.keys import LOCAL, Key
from haneul.services.limits import Account
from haneul.services.metrics import Metrics
from haneul.services.remote import Headers
from haneul.services.sessions import Sessions


class Asker:
    """Who asks by one head."""

    __slots__ = ("_row", "_seen", "_terms", "account", "key")

    def __init__(
        self, key: Key, account: Account, *, seen: Seen | None = None, row: Key | None = None
    ) -> None:
        self.key = key  # as the app uses it
        self.account = account
        self._seen = seen
        self._row = row  # that it was made of
        self._terms: Headers | None = None

    def stands(self, now: float) -> bool:
        """Whether nothing has to be looked at again."""
        seen = self._seen
        return seen is not None and seen.until > now and seen.key is self._row

    def terms(self, call: Call) -> Headers:
        """On which it may ask engines. Raises NotAllowed, BadRequest."""
        if self._terms is None:
            require(self.key, "infer")
            self._terms = terms_of(call, self.key)
        return self._terms


class Askers:
    """Finds out who asks."""

    def __init__(
        self, keyring: Keyring, sessions: Sessions, accounts: Accounts, metrics: Metrics
    ) -> None:
        self._keyring = keyring
        self._sessions = sessions
        self._accounts = accounts
        self._metrics = metrics

    def at_hand(self, call: Call) -> Asker | None:
        """Who asked by the same head before, if that still stands."""
        found = call.found
        asker: Asker | None = None if found is None else found.asker
        return asker if asker is not None and asker.stands(self._keyring.clock()) else None

    async def of(self, call: Call) -> Asker:
        """Who asks. Raises NotAuthenticated, BadRequest, NotAllowed."""
        seen = await self._seen(call)
        row = _inside(call) if seen is None else seen.key  # it may be another after the next wait
        key = from_app(row, call.headers.get(APP))
        asker = Asker(key, await self._accounts.of(key), seen=seen, row=row)
        if call.found is not None and not call.headers.keys().isdisjoint(KEY_HEADERS):
            call.found.asker = asker  # a page's session may end at any time, a key's text may not
        return asker

    async def who(self, call: Call) -> Key:
        """The key of a call: bearer, x-api-key or the page's cookie; one policy for all."""
        seen = await self._seen(call)
        return _inside(call) if seen is None else seen.key

    async def _seen(self, call: Call) -> Seen | None:
        """The key that came with the call; None for one from inside or from this machine."""
        if call.key is not None or call.is_local:
            return None
        try:
            text = key_text(call)
            if text is None:
                text = self._sessions.key_text(call.headers)
            return await self._keyring.look(text)
        except NotAuthenticated as error:
            self._metrics.rejected[error.code] += 1
            raise


def _inside(call: Call) -> Key:
    return LOCAL if call.key is None else call.key
