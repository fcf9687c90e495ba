"""Which handler answers a call: the hot path first, every other address from one table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from haneul.api import Api
from haneul.base.config import LOOPBACK
from haneul.base.errors import MethodNotAllowed, NotFound
from haneul.openapi.addresses import methods_at
from haneul.services.call import Call
from haneul.services.chat import Gateway
from haneul.services.dialect import Errors
from haneul.services.dialects import Dialects
from haneul.services.loopback import check_loopback

Handler = Callable[[Call], Awaitable[None]]


class Server:
    """Answers HTTP on the public port and on the cloud's own socket alike."""

    def __init__(self, gateway: Gateway, api: Api, dialects: Dialects) -> None:
        self._gateway = gateway
        self._routes = api.routes()
        self._dialects = dialects
        self._only_loopback = gateway.config.host in LOOPBACK

    def __call__(self, call: Call) -> Awaitable[None]:
        return self._gateway.guard(call, self._answer)

    def errors(self, path: str) -> Errors:
        """How the clients of an address are told what failed."""
        return self._dialects.errors(path)

    def _answer(self, call: Call) -> Awaitable[None]:
        if self._only_loopback and not call.is_local:
            # A name that is not loopback's is DNS rebinding.
            check_loopback(call.headers.get(b"host", b""))
        dialect = self._dialects.at.get(call.path)
        if dialect is not None and call.method == "POST":
            return self._gateway.serve(call, dialect)
        return self._other(call, is_dialect=dialect is not None)

    async def _other(self, call: Call, *, is_dialect: bool) -> None:
        """Every request that no engine is asked for."""
        try:
            if is_dialect:
                raise MethodNotAllowed(f"{call.path} takes POST.")
            await self._handler(call.path, call.method)(call)
        except MethodNotAllowed:
            allowed = methods_at(call.path) or ["GET", "HEAD"]  # the page's files
            call.extra_headers.append((b"allow", ", ".join(allowed).encode()))
            raise

    def _handler(self, path: str, method: str) -> Handler:
        """The handler of an address; one that ends in '/' takes everything below it."""
        methods = self._routes.get(path) or self._routes.get(_below(path, self._routes))
        if methods is None:
            raise NotFound()
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise MethodNotAllowed(f"{path} takes {', '.join(sorted(methods))}.")
        return handler


def _below(path: str, routes: dict[str, dict[str, Handler]]) -> str:
    """The longest route ending in '/' that the path lies below; '' for none."""
    found = [
        route for route in routes if route.endswith("/") and path.startswith(route) and route != "/"
    ]
    return max(found, key=len, default="")
