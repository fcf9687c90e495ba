"""Which handler answers an address of the hub: patterns below the few prefixes the server knows."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs

from haneul.base.errors import BadRequest, HaneulError, MethodNotAllowed, NotFound
from haneul.services.call import Call
from haneul.services.hub.access import Access
from haneul.services.hub.told import tell

FLAGS = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
LIMIT_MAX = 1000
Handler = Callable[[Call, Mapping[str, str]], Awaitable[None]]


class Way:
    """One pattern with the handlers of its methods; `{name}` stands for one step of the path.

    What stands last may hold slashes.
    """

    def __init__(self, address: str, handlers: Mapping[str, Handler]) -> None:
        pattern = re.sub(r"\\{(\w+)\\}$", r"(?P<\1>.+)", re.escape(address))
        self._pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", pattern))
        self.handlers = handlers

    def fits(self, path: str) -> Mapping[str, str] | None:
        """What stands in the path; None where it is another."""
        found = self._pattern.fullmatch(path)
        return found.groupdict() if found else None


class Ways:
    """All of them, the first that fits."""

    def __init__(self, access: Access, ways: list[Way]) -> None:
        self._access = access
        self._ways = ways

    async def __call__(self, call: Call) -> None:
        """Answers; what fails is told as the clients of hubs look for it."""
        try:
            await self._answer(call)
        except HaneulError as error:
            tell(call, error)
            raise

    def takes(self, call: Call) -> bool:
        """Whether the address is known, and takes the method."""
        found = self._find(call.path)
        return found is not None and _method(call) in found[0].handlers

    async def _answer(self, call: Call) -> None:
        method, found = _method(call), self._find(call.path)
        if found is None:
            await self._access.who(call, "pull" if method == "GET" else "push")
            raise NotFound()
        way, parts = found
        if method not in way.handlers:
            raise MethodNotAllowed(f"{call.path} takes {', '.join(sorted(way.handlers))}.")
        await way.handlers[method](call, parts)

    def _find(self, path: str) -> tuple[Way, Mapping[str, str]] | None:
        for way in self._ways:
            parts = way.fits(path)
            if parts is not None:
                return way, parts
        return None


def _method(call: Call) -> str:
    """A head comes of a GET as well."""
    return "GET" if call.method == "HEAD" else call.method


class Query:
    """What stands behind the question mark, read by kind."""

    def __init__(self, call: Call) -> None:
        self._said = parse_qs(call.query, keep_blank_values=True)

    def text(self, name: str, default: str = "") -> str:
        return self._said.get(name, [default])[-1]

    def texts(self, name: str) -> list[str]:
        """Every value, also where the client writes name[]."""
        return [*self._said.get(name, []), *self._said.get(f"{name}[]", [])]

    def flag(self, name: str) -> bool:
        """Raises BadRequest for what is neither true nor false."""
        text = self.text(name, "false")
        if text not in FLAGS:
            raise BadRequest(f"'{name}' is true or false.", param=name)
        return FLAGS[text]

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number up to the most. Raises BadRequest."""
        text = self.text(name, str(default))
        if not text.isascii() or not text.isdigit() or int(text[:12]) > most:
            raise BadRequest(f"'{name}' is a whole number up to {most}.", param=name)
        return int(text)

    def limit(self) -> int:
        """How many entries of a list, 1 to 1,000. Raises BadRequest."""
        found = self.number("limit", LIMIT_MAX, LIMIT_MAX)
        if not found:
            raise BadRequest(f"'limit' is a whole number from 1 to {LIMIT_MAX}.", param="limit")
        return found

    @property
    def names(self) -> set[str]:
        return {name.removesuffix("[]") for name in self._said}


def root_of(call: Call) -> str:
    """Where the hub is, as the client reached it."""
    host = call.headers.get(b"host", b"127.0.0.1").decode("latin-1")
    scheme = "https" if call.headers.get(b"x-forwarded-proto") == b"https" else "http"
    return f"{scheme}://{host}/hub"
