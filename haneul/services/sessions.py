"""Log-in of the page: a random cookie in place of the key, kept in memory for twelve hours.

The page sends the header `x-haneul-page` with each request, which no other site's form or image
can do; together with SameSite cookies a foreign page can neither read nor cause anything.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

from haneul.base.errors import NotAuthenticated

COOKIE = "haneul_session"
PAGE_HEADER = b"x-haneul-page"
LIFE_S = 12 * 3600.0
SESSIONS_MAX = 10_000


class Sessions:
    """The open log-ins."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def open(self, key_text: str) -> str:
        """A new cookie value for a key that has been verified."""
        token = secrets.token_urlsafe(32)
        self._open[token] = (time.monotonic() + LIFE_S, key_text)
        if len(self._open) > SESSIONS_MAX:
            self._open.popitem(last=False)
        return token

    def close(self, headers: Mapping[bytes, bytes]) -> None:
        """Ends the session of a request, if it has one."""
        self._open.pop(_token(headers), None)

    def key_text(self, headers: Mapping[bytes, bytes]) -> str:
        """The key behind a request's cookie. Raises NotAuthenticated."""
        found = self._open.get(_token(headers))
        if found is None or time.monotonic() > found[0] or PAGE_HEADER not in headers:
            raise NotAuthenticated()
        return found[1]


def _token(headers: Mapping[bytes, bytes]) -> str:
    try:
        cookie = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return ""
    return cookie[COOKIE].value if COOKIE in cookie else ""
