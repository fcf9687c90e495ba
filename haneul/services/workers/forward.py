"""Hands a client's request on to the first process, and its answer back, byte for byte.

Only the first process can do what is not inference: it knows the log-ins of the page, what runs
and what was answered before. It takes these requests at a socket of their own, where they have no
more rights than at the public port.
"""

from __future__ import annotations

from urllib.parse import quote

from haneul.base import http
from haneul.base.config import Config
from haneul.base.http_upload import upload
from haneul.services.call import Call
from haneul.services.chat import Gateway
from haneul.services.workers.peer import forward_socket

SAFE = "/:@!$&'()*+,;=~-._"  # in a path, beside letters and digits
HELD_MAX_BYTES = 64 << 10  # of a body; a larger one goes on as it comes
FORM_BYTES = 1 << 20  # of a form around the largest file
FOREVER_S = 86_400.0  # the first process keeps all deadlines
# said anew at each hop
HOP = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding content-length upgrade te trailer "
    b"expect".split()
)
SAID_ANEW = HOP | {b"date", b"content-type", b"x-request-id", b"openai-processing-ms"}
KEYS = (b"authorization", b"x-api-key")


class Forward:
    """The way to the first process."""

    def __init__(self, config: Config, client: http.Client, gateway: Gateway) -> None:
        self._config = config
        self._client = client
        self._gateway = gateway
        self._to = http.unix(str(forward_socket(config)))

    async def __call__(self, call: Call) -> None:
        length = call.headers.get(b"content-length", b"")
        is_small = call.method in ("GET", "HEAD") or (
            length.isdigit() and int(length) <= HELD_MAX_BYTES
        )
        async with await (self._whole(call) if is_small else self._as_it_comes(call)) as reply:
            call.within(FOREVER_S)
            await self._answer(call, reply)

    async def _whole(self, call: Call) -> http.Reply:
        """The answer to a request that is held until all of it has come."""
        body = await call.body(max_bytes=HELD_MAX_BYTES, within_s=self._config.body_s)
        call.within(FOREVER_S)
        return await self._client.send(
            self._to, _method(call), _path(call), body=body, headers=_headers(call)
        )

    async def _as_it_comes(self, call: Call) -> http.Reply:
        """The answer to a larger one, which is taken from whoever has a key."""
        if not call.headers.keys().isdisjoint(KEYS):
            await self._gateway.who(call)
        most = max(self._config.body_max_bytes, self._config.file_max_bytes + FORM_BYTES)
        length = call.headers.get(b"content-length", b"")
        return await upload(
            self._to,
            _method(call),
            _path(call),
            call.pieces(max_bytes=most, within_s=FOREVER_S),
            length=int(length) if length.isdigit() else None,
            headers=_headers(call),
        )

    async def _answer(self, call: Call, reply: http.Reply) -> None:
        headers = reply.headers
        call.id = headers.get(b"x-request-id", call.id.encode()).decode()
        call.extra_headers += [pair for pair in headers.items() if pair[0] not in SAID_ANEW]
        length = headers.get(b"content-length")
        left = int(length) if length is not None else -1 if b"transfer-encoding" in headers else 0
        call.begin(reply.status, headers.get(b"content-type", b""), left if left >= 0 else None)
        if left == 0:
            call.write(b"", is_last=True)
        async for data in reply.chunks():
            left -= len(data)
            call.write(data, is_last=left == 0)
            if call.line.is_stalled and left:
                call.within(self._config.idle_s)
                await call.line.drained()
                call.within(FOREVER_S)
        if not call.is_answered:
            call.write(b"", is_last=True)


def _method(call: Call) -> str:
    return "GET" if call.method == "HEAD" else call.method  # a head comes of it as well


def _path(call: Call) -> str:
    return quote(call.path, safe=SAFE) + (f"?{call.query}" if call.query else "")


def _headers(call: Call) -> dict[str, str]:
    """All that the client sent; one that came more than once does so again."""
    found = {}
    for name, value in call.headers.items():
        if name not in HOP:
            text, said = name.decode("latin-1"), value.decode("latin-1")
            found[text] = f"{said}\r\n{text}: {said}" if name in call.repeated else said
    said_before = found.get("x-forwarded-for")
    peer = call.line.peer() or "unknown"
    found["x-forwarded-for"] = f"{said_before}, {peer}" if said_before else peer
    return found
