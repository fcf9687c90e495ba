"""The engine's front: one ASGI application for one model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import (
    BadRequest,
    ContextTooLong,
    EngineUnavailable,
    HaneulError,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
)
from haneul.base.log import logger
from haneul.base.wire import ChatRequest
from haneul.engine.accept import (
    accept_chat,
    accept_completion,
    accept_embedding,
    check_sequences,
)
from haneul.engine.asgi import Answer, ClientGone, Receive, Scope, Send, read_body, while_connected
from haneul.engine.chat import ChatAnswer
from haneul.engine.completions import CompletionAnswer
from haneul.engine.embeddings import embeddings
from haneul.engine.fan_out import fan_out
from haneul.engine.kernel import Facts, Kernel, Terms
from haneul.engine.meters import Meters
from haneul.engine.prompts import as_prompts
from haneul.engine.rerank import accept_rerank, reranked, text_of
from haneul.engine.slots import Slots
from haneul.engine.tally import Tally
from haneul.engine.terms import terms_of

Handler = Callable[["Call", Answer], Coroutine[Any, Any, None]]
log = logger("engine")
_PROMPT_FIELD = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
    "/v1/rerank": "documents",
}


class TokeniseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /tokenize, in vLLM's form: prompt; or in llama-server's: content."""

    model: str = ""
    prompt: str | None = None
    content: str | None = None
    add_special_tokens: bool = True


class DetokeniseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /detokenize."""

    tokens: list[int]
    model: str = ""


class Call(Struct, frozen=True):
    """One request: its body, and what its headers ask of the kernel."""

    body: bytes
    terms: Terms


class Engine:
    """Answers for one model under its names. Loading, ready and draining are its three states."""

    def __init__(
        self, *, name: str, aliases: set[str], slots: Slots, adapters: frozenset[str] = frozenset()
    ) -> None:
        self.facts: Facts | None = None  # known when the model is loaded
        self.kernel_name = ""
        self.is_draining = False
        self.slots = slots
        self.meters = Meters()
        self._doing: set[asyncio.Task[None]] = set()
        self._name = name
        self._names = {name, *aliases}
        self._adapters = adapters
        self._kernel: Kernel  # there when the facts are
        self._created = int(time.time())
        self._routes: dict[str, tuple[str, Handler]] = {
            "/health": ("GET", self._health),
            "/metrics": ("GET", self._metrics),
            "/v1/models": ("GET", self._models),
            "/v1/chat/completions": ("POST", self._chat),
            "/v1/completions": ("POST", self._complete),
            "/v1/embeddings": ("POST", self._embed),
            "/v1/rerank": ("POST", self._rerank),
            "/tokenize": ("POST", self._tokenise),
            "/detokenize": ("POST", self._detokenise),
            "/apply-template": ("POST", self._render),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = Answer(send)
        path = scope["path"] if scope["path"] in self._routes else "other"
        try:
            handler = self._handler(scope["method"], path)
            terms = terms_of(scope["headers"])
            body = await read_body(receive)
            doing = asyncio.create_task(handler(Call(body, terms), answer))
            self._doing.add(doing)
            doing.add_done_callback(self._doing.discard)
            await while_connected(receive, doing)
        except ClientGone:
            self.meters.hang_ups += 1
        except HaneulError as error:
            if isinstance(error, ContextTooLong):
                error.param = _PROMPT_FIELD.get(path)
            await answer.error(error)
        except Exception:
            log.exception("request_failed", path=path)
            await answer.error(HaneulError())
        self.meters.requests[path, answer.status] += 1

    def open(self, kernel: Kernel, facts: Facts, *, kernel_name: str) -> None:
        """Begins to answer: the kernel has loaded its model."""
        self._kernel = kernel
        self.facts, self.kernel_name = facts, kernel_name

    def cut(self) -> None:
        """Ends every running answer with an error that says why."""
        for doing in self._doing:
            doing.cancel()

    def _handler(self, method: str, path: str) -> Handler:
        if path not in self._routes:
            raise NotFound()
        expected, handler = self._routes[path]
        if method != expected:
            raise MethodNotAllowed(f"This address takes {expected}.")
        return handler

    def _ready(self) -> Facts:
        if self.is_draining:
            raise EngineUnavailable("The engine is shutting down.", retry_after_s=5)
        if self.facts is None:
            raise EngineUnavailable("The model is loading.", retry_after_s=1)
        return self.facts

    def _terms(self, call: Call, model: str) -> Terms:
        """The call's terms, with the adapter that the model's name stands for."""
        if model in self._adapters:
            return replace(call.terms, adapter=model)
        self._check_model(model)
        return call.terms

    def _check_model(self, model: str) -> None:
        if model not in self._names:
            raise ModelNotFound(f"There is no model '{model[:100]}' here.", param="model")

    @contextmanager
    def _counted(self, tally: Tally) -> Iterator[None]:
        try:
            yield
        finally:
            self.meters.add(tally)

    async def _health(self, call: Call, answer: Answer) -> None:
        state = "draining" if self.is_draining else "ready" if self.facts else "loading"
        await answer.json({"status": state}, 200 if state == "ready" else 503)

    async def _metrics(self, call: Call, answer: Answer) -> None:
        counters = await self._kernel.counters() if self.facts else {}
        text = self.meters.text(self.slots, counters)
        await answer.whole(text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    async def _models(self, call: Call, answer: Answer) -> None:
        facts = self._ready()
        model: dict[str, Any] = {
            "id": self._name,
            "object": "model",
            "created": self._created,
            "owned_by": "haneul",
            "max_model_len": facts.context_tokens,  # vLLM's name for it
            "kernel": self.kernel_name,
            "meta": facts,
        }
        adapted = [
            {**model, "id": name, "root": self._name, "parent": self._name}  # as vLLM lists them
            for name in sorted(self._adapters)
        ]
        await answer.json({"object": "list", "data": [model, *adapted]})

    async def _chat(self, call: Call, answer: Answer) -> None:
        request, streaming = accept_chat(call.body, self._ready())
        terms = self._terms(call, request.model)
        said = ChatAnswer(request, streaming, model=self._name, answer=answer)
        with self.slots.admit(), self._counted(said.tally):
            await fan_out(
                request.n or 1,
                start=lambda index: self._kernel.chat(
                    request, _of_choice(terms, request.seed, index)
                ),
                emit=said.emit,
                slots=self.slots,
            )
            await said.finish()

    async def _complete(self, call: Call, answer: Answer) -> None:
        facts = self._ready()
        request, streaming = accept_completion(call.body, facts)
        terms = self._terms(call, request.model)
        prompts, choices = as_prompts(request.prompt, facts, param="prompt"), request.n or 1
        check_sequences(len(prompts), choices)
        echoes = [await self._text(prompt) for prompt in prompts] if request.echo else []
        said = CompletionAnswer(
            request,
            streaming,
            prompts=len(prompts),
            echoes=echoes,
            model=self._name,
            answer=answer,
        )
        with self.slots.admit(), self._counted(said.tally):
            await fan_out(
                len(prompts) * choices,
                start=lambda index: self._kernel.complete(
                    prompts[index // choices],
                    request,
                    _of_choice(terms, request.seed, index % choices),
                ),
                emit=said.emit,
                slots=self.slots,
            )
            await said.finish()

    async def _text(self, prompt: str | list[int]) -> str:
        return prompt if isinstance(prompt, str) else await self._kernel.detokenise(prompt)

    async def _embed(self, call: Call, answer: Answer) -> None:
        facts = self._ready()
        request = accept_embedding(call.body, facts)
        self._check_model(request.model)
        inputs = as_prompts(request.input, facts, param="input")
        with self.slots.admit():
            async with self.slots.place():
                vectors = await self._kernel.embed(inputs)
        self.meters.tokens["prompt"] += vectors.prompt_tokens
        is_base64 = request.encoding_format == "base64"
        await answer.json(embeddings(vectors, model=self._name, is_base64=is_base64))

    async def _rerank(self, call: Call, answer: Answer) -> None:
        request = accept_rerank(call.body, self._ready())
        self._check_model(request.model)
        documents = [text_of(document) for document in request.documents]
        with self.slots.admit():
            async with self.slots.place():
                ranks = await self._kernel.rerank(request.query, documents)
        self.meters.tokens["prompt"] += ranks.prompt_tokens
        await answer.json(reranked(request, ranks, model=self._name))

    async def _tokenise(self, call: Call, answer: Answer) -> None:
        facts = self._ready()
        request = _read(call.body, TokeniseRequest)
        text = request.prompt if request.prompt is not None else request.content
        if text is None:
            raise BadRequest("'prompt' is missing.", param="prompt")
        tokens = await self._kernel.tokenise(text, with_special=request.add_special_tokens)
        told = {"tokens": tokens, "count": len(tokens), "max_model_len": facts.context_tokens}
        await answer.json(told)

    async def _detokenise(self, call: Call, answer: Answer) -> None:
        facts = self._ready()
        tokens = _read(call.body, DetokeniseRequest).tokens
        if tokens:
            as_prompts(tokens, facts, param="tokens")
        text = await self._kernel.detokenise(tokens)
        await answer.json({"prompt": text, "content": text})

    async def _render(self, call: Call, answer: Answer) -> None:
        request: ChatRequest = accept_chat(call.body, self._ready())[0]
        await answer.json({"prompt": await self._kernel.render(request)})


def _read(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise BadRequest(f"The request body cannot be read: {cause}") from cause


def _of_choice(terms: Terms, seed: int | None, choice: int) -> Terms:
    """Each choice of a seeded request has its own seed, so that choices differ and repeat."""
    return terms if seed is None else replace(terms, seed=seed + choice)
