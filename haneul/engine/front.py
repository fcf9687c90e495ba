"""What every engine's front does alike: routes, the three states, counts, hang-ups and errors."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from msgspec import Struct

from haneul.base.errors import EngineUnavailable, HaneulError, MethodNotAllowed, NotFound
from haneul.base.log import logger
from haneul.engine.asgi import Answer, ClientGone, Receive, Scope, Send, read_body, while_connected
from haneul.engine.kernel import Terms
from haneul.engine.slots import Slots
from haneul.engine.terms import terms_of

log = logger("engine")


class Call(Struct, frozen=True):
    """One request: its body, and what its headers say."""

    body: bytes
    terms: Terms
    content_type: str = ""


Handler = Callable[[Call, Answer], Coroutine[Any, Any, None]]


class Counts(Protocol):
    """Where a front counts its requests."""

    requests: Counter[tuple[str, int]]  # path, status
    hang_ups: int


class Front:
    """One ASGI application for one model. Loading, ready and draining are its three states."""

    def __init__(
        self, *, slots: Slots, counts: Counts, routes: dict[str, tuple[str, Handler]]
    ) -> None:
        self.slots = slots
        self.is_draining = False
        self._counts = counts
        self._routes = {"/health": ("GET", self._health), **routes}
        self._doing: set[asyncio.Task[None]] = set()

    @property
    def is_loaded(self) -> bool:
        """Whether the model can answer; a front without one never does."""
        return False

    def explain(self, error: HaneulError, path: str) -> None:
        """Adds to an error what only the front knows, before it is told."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = Answer(send)
        path = scope["path"] if scope["path"] in self._routes else "other"
        try:
            handler = self._handler(scope["method"], path)
            terms = terms_of(scope["headers"])
            call = Call(await read_body(receive), terms, _content_type(scope["headers"]))
            doing = asyncio.create_task(handler(call, answer))
            self._doing.add(doing)
            doing.add_done_callback(self._doing.discard)
            await while_connected(receive, doing)
        except ClientGone:
            self._counts.hang_ups += 1
        except HaneulError as error:
            self.explain(error, path)
            await answer.error(error)
        except Exception:
            log.exception("request_failed", path=path)
            await answer.error(HaneulError())
        self._counts.requests[path, answer.status] += 1

    def cut(self) -> None:
        """Ends every running answer with an error that says why."""
        for doing in self._doing:
            doing.cancel()

    def check_ready(self) -> None:
        """Raises EngineUnavailable unless the model can answer."""
        if self.is_draining:
            raise EngineUnavailable("The engine is shutting down.", retry_after_s=5)
        if not self.is_loaded:
            raise EngineUnavailable("The model is loading.", retry_after_s=1)

    def _handler(self, method: str, path: str) -> Handler:
        if path not in self._routes:
            raise NotFound()
        expected, handler = self._routes[path]
        if method != expected:
            raise MethodNotAllowed(f"This address takes {expected}.")
        return handler

    async def _health(self, call: Call, answer: Answer) -> None:
        state = "draining" if self.is_draining else "ready" if self.is_loaded else "loading"
        await answer.json({"status": state}, 200 if state == "ready" else 503)


def _content_type(headers: Iterable[tuple[bytes, bytes]]) -> str:
    return next((value.decode("latin-1") for name, value in headers if name == b"content-type"), "")
