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

    async def __call__(self, call: Call) -> None:
        await self._gateway.guard(call, self._answer)

    def errors(self, path: str) -> Errors:
        """How the clients of an address are told what failed."""
        return self._dialects.errors(path)

    async def _answer(self, call: Call) -> None:
        self._check_host(call)
        try:
            await self._dispatch(call)
        except MethodNotAllowed:
            allowed = methods_at(call.path) or ["GET", "HEAD"]  # the page's files
            call.extra_headers.append((b"allow", ", ".join(allowed).encode()))
            raise

    async def _dispatch(self, call: Call) -> None:
        path, method = call.path, call.method
        if (dialect := self._dialects.at.get(path)) is not None:
            if method != "POST":
                raise MethodNotAllowed(f"{path} takes POST.")
            await self._gateway.serve(call, dialect)
            return
        await self._handler(path, method)(call)

    def _handler(self, path: str, method: str) -> Handler:
        """The handler of an address; one that ends in '/' takes everything below it."""
        methods = self._routes.get(path) or self._routes.get(_below(path, self._routes))
        if methods is None:
            raise NotFound()
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise MethodNotAllowed(f"{path} takes {', '.join(sorted(methods))}.")
        return handler

    def _check_host(self, call: Call) -> None:
        """On loopback only loopback names are answered: a foreign name is DNS rebinding."""
        if self._only_loopback and not call.is_local:
            check_loopback(call.headers.get(b"host", b""))


def _below(path: str, routes: dict[str, dict[str, Handler]]) -> str:
    """The longest route ending in '/' that the path lies below; '' for none."""
    found = [
        route for route in routes if route.endswith("/") and path.startswith(route) and route != "/"
    ]
    return max(found, key=len, default="")
