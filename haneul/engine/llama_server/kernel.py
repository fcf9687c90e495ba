"""The llama.cpp kernel: genuine llama-server processes on private Unix sockets.

The second process, for embeddings, starts at the first request for them; both map the same file,
so the weights are in memory once.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from haneul.base.errors import (
    BrokenFile,
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    UnsupportedValue,
)
from haneul.base.http import Address, Client, Reply
from haneul.base.wire import ChatRequest, CompletionRequest
from haneul.engine.kernel import Facts, Piece, Prompt, Ranks, Terms, Vectors
from haneul.engine.llama_server.body import chat_body, completion_body, template_fields
from haneul.engine.llama_server.events import chat_piece, refusal, text_piece
from haneul.engine.llama_server.process import LlamaProcess
from haneul.engine.llama_server.spec import Spec
from haneul.engine.pooling import MEAN, RANK
from haneul.engine.sse import events

CALL_S = 30.0  # of a small call: tokens, template, counters
FIRST_S = 300.0  # to the first token: a long prompt on a slow machine
NEXT_S = 60.0  # between two tokens
EMBED_S = 300.0
# Between two batches the kernel looks for hang-ups and lets other sequences decode; measured on
# two cores: 128 costs under 10 % of the prefill speed of 512 and frees a place within 0.5 s.
BATCH_TOKENS = 128


class Settings(Struct, frozen=True, kw_only=True):
    """Which file, and how much of the machine."""

    file: Path
    context_tokens: int
    slots: int
    threads: int
    folder: Path  # private; for the kernel's sockets; removed at the end
    pooling: str = MEAN  # of vectors: mean, cls or last; rank: scores instead of vectors
    only_pools: bool = False  # writes no text


class LlamaKernel:
    """One model in llama-server. Implements Kernel."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = Client()
        if settings.only_pools:
            self._main = self._pooled("main")
        else:
            self._main = self._process("main", settings.slots, BATCH_TOKENS)
        self._embedding: LlamaProcess | None = None
        self._embedding_lock = asyncio.Lock()

    async def start(self) -> Facts:
        await self._main.start()
        models, props = await asyncio.gather(
            self._call("GET", "/v1/models"), self._call("GET", "/props")
        )
        meta, template = models["data"][0]["meta"], props.get("chat_template_caps") or {}
        return Facts(
            context_tokens=props["default_generation_settings"]["n_ctx"],
            trained_context_tokens=meta.get("n_ctx_train", 0),
            vocabulary=meta.get("n_vocab", 0),
            width=meta.get("n_embd", 0),
            parameters=meta.get("n_params", 0),
            size_bytes=meta.get("size", 0),
            has_tools=bool(template.get("supports_tools")),
        )

    async def died(self) -> str:
        return await self._main.died()

    def chat(self, request: ChatRequest, terms: Terms) -> AsyncGenerator[Piece, None]:
        self._check_writes()
        body = chat_body(request, terms.seed)
        return self._stream("/v1/chat/completions", body, chat_piece)

    def complete(
        self, prompt: Prompt, request: CompletionRequest, terms: Terms
    ) -> AsyncGenerator[Piece, None]:
        self._check_writes()
        body = completion_body(prompt, request, terms.seed)
        return self._stream("/completion", body, text_piece)

    async def rerank(self, query: str, documents: list[str]) -> Ranks:
        if self._settings.pooling != RANK:
            raise UnsupportedValue("This model does not score documents.", param="model")
        process = await self._embedder()
        body = msgspec.json.encode({"query": query, "documents": documents})
        answer = await self._call("POST", "/v1/rerank", body, to=process.address, within_s=EMBED_S)
        scores = {one["index"]: float(one["relevance_score"]) for one in answer["results"]}
        ordered = [scores[index] for index in range(len(documents))]
        return Ranks(ordered, answer["usage"]["prompt_tokens"])

    async def embed(self, inputs: list[Prompt]) -> Vectors:
        if self._settings.pooling == RANK:
            raise UnsupportedValue(
                "This model scores documents; it makes no vectors.", param="model"
            )
        process = await self._embedder()
        body = msgspec.json.encode({"input": inputs, "encoding_format": "float"})
        answer = await self._call(
            "POST", "/v1/embeddings", body, to=process.address, within_s=EMBED_S
        )
        rows = sorted(answer["data"], key=lambda row: row["index"])
        return Vectors([row["embedding"] for row in rows], answer["usage"]["prompt_tokens"])

    async def tokenise(self, text: str, *, with_special: bool) -> list[int]:
        fields = {"content": text, "add_special": with_special, "parse_special": True}
        answer = await self._call("POST", "/tokenize", msgspec.json.encode(fields))
        tokens: list[int] = answer["tokens"]
        return tokens

    async def detokenise(self, tokens: list[int]) -> str:
        answer = await self._call("POST", "/detokenize", msgspec.json.encode({"tokens": tokens}))
        return str(answer["content"])

    async def render(self, request: ChatRequest) -> str:
        body = msgspec.json.encode(template_fields(request))
        return str((await self._call("POST", "/apply-template", body))["prompt"])

    async def counters(self) -> dict[str, float]:
        async with asyncio.timeout(CALL_S):
            reply = await self._client.send(self._main.address, "GET", "/metrics")
            lines = (await reply.read()).decode().splitlines()
        pairs = (line.split(" ", 1) for line in lines if line.startswith("llamacpp:"))
        return {name.removeprefix("llamacpp:"): float(value) for name, value in pairs}

    async def close(self) -> None:
        await self._client.aclose()
        for process in (self._main, self._embedding):
            if process is not None:
                await process.close()
        await asyncio.to_thread(shutil.rmtree, self._settings.folder, ignore_errors=True)

    def _process(self, name: str, slots: int, batch_tokens: int, **more: Any) -> LlamaProcess:
        return LlamaProcess(
            Spec(
                file=str(self._settings.file),
                socket=str(self._settings.folder / f"{name}.sock"),
                parent=os.getpid(),
                context_tokens=self._settings.context_tokens,
                slots=slots,
                threads=self._settings.threads,
                batch_tokens=batch_tokens,
                **more,
            )
        )

    def _pooled(self, name: str) -> LlamaProcess:
        # An input must fit one batch whole: pooling sees only what is in it.
        return self._process(name, 1, self._settings.context_tokens, pooling=self._settings.pooling)

    def _check_writes(self) -> None:
        if self._settings.only_pools:
            raise UnsupportedValue("This model makes vectors or scores, no text.", param="model")

    async def _embedder(self) -> LlamaProcess:
        if self._settings.only_pools:
            return self._main
        async with self._embedding_lock:
            if self._embedding is None or self._embedding.has_ended:
                process = self._pooled("embedding")
                try:
                    await process.start()
                except BrokenFile as cause:  # the model was loaded before, so the file is good
                    raise EngineFailed("This model's embeddings cannot be computed.") from cause
                except BaseException:
                    await process.close()
                    raise
                self._embedding = process
            return self._embedding

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        to: Address | None = None,
        within_s: float = CALL_S,
    ) -> Any:
        try:
            async with asyncio.timeout(within_s):
                reply = await self._client.send(to or self._main.address, method, path, body=body)
                async with reply:
                    data = await reply.read()
        except TimeoutError as cause:
            raise DeadlineExceeded() from cause
        if reply.status != 200:
            raise refusal(reply.status, data)
        return msgspec.json.decode(data)

    async def _stream(
        self, path: str, body: bytes, read: Callable[[bytes], Piece | None]
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of one sequence. Ended early, it hangs up, which frees the slot."""
        is_finished = False
        reply = await self._open(path, body)
        async with reply, aclosing(_timed(reply)) as timed:
            async for data in timed:
                piece = read(data)
                if piece is not None:
                    is_finished = is_finished or piece.finish_reason is not None
                    yield piece
        if not is_finished:
            raise EngineUnavailable("The kernel stopped in the middle of an answer.")

    async def _open(self, path: str, body: bytes) -> Reply:
        try:
            async with asyncio.timeout(FIRST_S):
                reply = await self._client.send(self._main.address, "POST", path, body=body)
                if reply.status != 200:
                    raise refusal(reply.status, await reply.read())
                return reply
        except TimeoutError as cause:
            raise DeadlineExceeded("No token came in time.") from cause


async def _timed(reply: Reply) -> AsyncGenerator[bytes, None]:
    source = events(reply.chunks())
    while True:
        try:
            async with asyncio.timeout(NEXT_S):
                data = await anext(source)
        except StopAsyncIteration:
            return
        except TimeoutError as cause:
            raise DeadlineExceeded("The kernel fell silent.") from cause
        yield data
