"""One honest fake engine: the OpenAI protocol over real HTTP, with every fault on demand.

    async with FakeEngine(words=["sky", "blue"], delay_s=0.01) as engine:
        ...  engine.url ...

It answers each chat or completion with its words, one token each; a prompt has one token per
blank-separated word. It counts what it was asked, what it gave and who hung up, so that a test can
hold a ledger against it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import Struct

from haneul.testing.served import Served, answer_whole, body_of

COLD_BYTES = 1024  # of a prompt that its prefix cache knows it by


class Faults(Struct, frozen=True, kw_only=True):
    """What goes wrong, if anything."""

    status: int = 200  # answered to every request when not 200
    retry_after_s: int | None = None
    die_after: int | None = None  # tokens, then the connection is cut
    hang_after: int | None = None  # tokens, then silence
    error_after: int | None = None  # tokens, then an error event
    has_usage: bool = True  # of streams, when they ask for it
    garbage: bool = False  # an answer that is not JSON
    whole: bytes | None = None  # said instead of an answer that is not streamed
    pieces: tuple[bytes, ...] | None = None  # sent one by one instead of a stream's events


class Seen(Struct):
    """What the engine counted."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cold_reads: int = 0
    hang_ups: int = 0
    running: int = 0
    bodies: list[dict[str, Any]] = []
    raw: list[bytes] = []  # the same as they came
    given: dict[str, int] = {}  # completion tokens by the `user` of the request


class FakeEngine(Served):
    """An engine on a free loopback port."""

    def __init__(
        self,
        *,
        words: list[str] | None = None,
        delay_s: float = 0.0,
        faults: Faults | None = None,
        models: tuple[str, ...] = ("echo",),
        cached_tokens: int = 0,  # of each prompt
        cold_s: float = 0.0,  # to read a beginning that it has not read yet, one at a time
    ) -> None:
        super().__init__()
        self.words = words or ["one", "two", "three", "four"]
        self.delay_s = delay_s
        self.faults = faults or Faults()
        self.models = models
        self.cached_tokens = cached_tokens
        self.cold_s = cold_s
        self._warm: set[bytes] = set()
        self._reading = asyncio.Lock()
        self.seen = Seen()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """The OpenAI protocol, with its faults."""
        body = await body_of(receive)
        if scope["method"] == "GET":
            data = [{"id": name, "object": "model"} for name in self.models]
            await _json(send, 200, {"object": "list", "data": data})
            return
        self.seen.requests += 1
        request = msgspec.json.decode(body)
        self.seen.bodies.append(request)
        self.seen.raw.append(body)
        if self.faults.status != 200:
            await self._refuse(send)
            return
        self.seen.running += 1
        gone = asyncio.create_task(receive())
        try:
            await self._answer(scope["path"], request, send, gone)
        finally:
            self.seen.running -= 1
            gone.cancel()

    async def _refuse(self, send: Any) -> None:
        error = {"message": "the fake refuses", "type": "fake", "param": None, "code": "fake"}
        headers = []
        if self.faults.retry_after_s is not None:
            headers = [(b"retry-after", str(self.faults.retry_after_s).encode())]
        await _json(send, self.faults.status, {"error": error}, headers)

    async def _answer(
        self, path: str, request: dict[str, Any], send: Any, gone: asyncio.Task[Any]
    ) -> None:
        prompt_tokens = _count_words(request.get("messages") or request.get("prompt") or "")
        self.seen.prompt_tokens += prompt_tokens
        if self.faults.garbage:
            await answer_whole(send, 200, b"<html>not JSON</html>")
            return
        await self._prefill(request)
        words = self.words[: request.get("max_completion_tokens") or request.get("max_tokens")]
        if path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [1.0, 0.0]}]
            tokens = _count_words(request["input"])
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            await _json(send, 200, {"object": "list", "data": data, "usage": usage})
        elif request.get("stream"):
            await self._stream(path, request, words, prompt_tokens, send, gone)
        elif self.faults.whole is not None:
            await answer_whole(send, 200, self.faults.whole)
        else:
            text = "".join([word async for word in self._words(words, request, gone)])
            if self.faults.die_after is not None:
                await _cut(send)
                return
            usage = self._usage(prompt_tokens, len(words))
            choice = {"index": 0, "finish_reason": "stop", **_content(path, text, whole=True)}
            await _json(
                send, 200, {"id": "fake-1", "object": "fake", "choices": [choice], "usage": usage}
            )

    async def _stream(
        self,
        path: str,
        request: dict[str, Any],
        words: list[str],
        prompt_tokens: int,
        send: Any,
        gone: asyncio.Task[Any],
    ) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if self.faults.pieces is not None:
            await _pieces(send, self.faults.pieces)
            return
        options = request.get("stream_options") or {}
        given = 0
        async for word in self._words(words, request, gone):
            given += 1
            chunk: dict[str, Any] = {
                "id": "fake-1",
                "choices": [{"index": 0, **_content(path, word)}],
            }
            if options.get("continuous_usage_stats"):
                chunk["usage"] = self._usage(prompt_tokens, given)
            await _event(send, chunk)
        if given == self.faults.die_after:
            return  # without the last body message uvicorn cuts the connection
        if given == self.faults.error_after:
            await _event(send, {"error": {"message": "the fake broke", "type": "fake"}})
        elif not gone.done():
            last = {"index": 0, **_content(path, ""), "finish_reason": "stop"}
            await _event(send, {"id": "fake-1", "choices": [last]})
            if options.get("include_usage") and self.faults.has_usage:
                usage = self._usage(prompt_tokens, given)
                await _event(send, {"id": "fake-1", "choices": [], "usage": usage})
            await send(
                {"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True}
            )
        await send({"type": "http.response.body", "body": b""})

    async def _words(
        self, words: list[str], request: dict[str, Any], gone: asyncio.Task[Any]
    ) -> AsyncIterator[str]:
        """One word at a time, until a fault or the client's going away."""
        for number, word in enumerate(words):
            if number in (self.faults.die_after, self.faults.error_after):
                return
            wait_s = 3600.0 if number == self.faults.hang_after else self.delay_s
            if wait_s:
                await asyncio.wait([gone], timeout=wait_s)
            if gone.done():
                self.seen.hang_ups += 1
                return
            self.seen.completion_tokens += 1
            user = request.get("user", "")
            self.seen.given[user] = self.seen.given.get(user, 0) + 1
            yield word + " "

    async def _prefill(self, request: dict[str, Any]) -> None:
        """Charges the time to read a beginning that is not in the prefix cache yet.

        What comes while it is being read is cold too, and is read again: as engines do.
        """
        start = msgspec.json.encode(request.get("messages") or "")[:COLD_BYTES]
        if not self.cold_s or start in self._warm:
            return
        self.seen.cold_reads += 1
        async with self._reading:
            await asyncio.sleep(self.cold_s)
        self._warm.add(start)

    def _usage(self, prompt: int, completion: int) -> dict[str, Any]:
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        cached = min(self.cached_tokens, prompt)
        return {**usage, "prompt_tokens_details": {"cached_tokens": cached}} if cached else usage


def _content(path: str, text: str, *, whole: bool = False) -> dict[str, Any]:
    if not path.endswith("/chat/completions"):
        return {"text": text}
    message = {"role": "assistant", "content": text}
    return {"message": message} if whole else {"delta": {"content": text}}


def _count_words(value: Any) -> int:
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, list):
        return sum(_count_words(item) for item in value)
    return _count_words(value.get("content", "")) if isinstance(value, dict) else 1


async def _event(send: Any, value: Any) -> None:
    data = b"data: " + msgspec.json.encode(value) + b"\n\n"
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def _pieces(send: Any, pieces: tuple[bytes, ...]) -> None:
    """Each in a packet of its own."""
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b""})


async def _cut(send: Any) -> None:
    """A head that promises a body; without the body uvicorn cuts the connection."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _json(
    send: Any, status: int, value: Any, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    await answer_whole(send, status, msgspec.json.encode(value), headers)
