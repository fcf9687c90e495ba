"""An engine that costs next to nothing: `python -m bench.upstream` prints its port and serves.

It answers every POST with one fixed completion of the OpenAI protocol, whole, or as a stream of
100 tokens, the finish, the usage and [DONE]: 103 events, one write each. All streams tick together,
as the steps of an engine do. A GET is answered with what health checks and model lists want.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from typing import Any

import uvloop

TOKENS = 100
EVENTS = TOKENS + 3
TICK_S = 0.005
MODEL = "m"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
STREAMED = re.compile(rb'"stream": ?true')
USAGE = {"prompt_tokens": 60, "completion_tokens": TOKENS, "total_tokens": 60 + TOKENS}


def _whole(value: Any) -> bytes:
    data = json.dumps(value, separators=(",", ":")).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(data) + data


def _event(data: str) -> bytes:
    """One event as one chunk of the body."""
    return b"%x\r\ndata: %s\n\n\r\n" % (len(data) + 8, data.encode())


def _chunk(choices: list[Any], **fields: Any) -> bytes:
    head = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0, "model": MODEL}
    return _event(json.dumps({**head, "choices": choices, **fields}, separators=(",", ":")))


def _token(text: str, finish: str | None = None) -> bytes:
    return _chunk([{"index": 0, "delta": {"content": text}, "finish_reason": finish}])


WHOLE = _whole(
    {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The sky is blue. " * 3},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
)
MODELS = _whole({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "mock"}]})
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM = [
    *(_token(" word") for _ in range(TOKENS)),
    _token("", "stop"),
    _chunk([], usage=USAGE),
    _event("[DONE]") + b"0\r\n\r\n",
]


class Streams:
    """The streams in progress: on every tick each gets its next event."""

    def __init__(self) -> None:
        self._next: dict[Any, int] = {}

    def add(self, transport: Any) -> None:
        transport.write(STREAM_HEAD)
        self._next[transport] = 0

    def drop(self, transport: Any) -> None:
        self._next.pop(transport, None)

    async def tick(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + TICK_S, loop.time())
            await asyncio.sleep(due - loop.time())
            for transport, number in list(self._next.items()):
                transport.write(STREAM[number])
                if number + 1 < EVENTS:
                    self._next[transport] = number + 1
                else:
                    self.drop(transport)


class Connection(asyncio.Protocol):
    """Reads just enough of HTTP to know where a request ends."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.drop(self._transport)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self._rest, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._rest) < whole:
                return
            self._answer(self._rest[:whole])
            self._rest = self._rest[whole:]

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET"):
            self._transport.write(MODELS)
        elif STREAMED.search(request):
            self._streams.add(self._transport)
        else:
            self._transport.write(WHOLE)


async def serve() -> None:
    """Listens on a free port until it is killed."""
    streams = Streams()
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(streams), sock=listening
    )
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    async with server:
        await streams.tick()


if __name__ == "__main__":
    uvloop.run(serve())
