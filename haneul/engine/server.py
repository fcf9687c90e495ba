"""The engine's front: one ASGI application for one model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import (
    BadRequest,
    ContextTooLong,
    HaneulError,
    ModelNotFound,
)
from haneul.base.wire import ChatRequest
from haneul.engine.accept import (
    accept_chat,
    accept_completion,
    accept_embedding,
    check_sequences,
)
from haneul.engine.asgi import Answer
from haneul.engine.chat import ChatAnswer
from haneul.engine.completions import CompletionAnswer
from haneul.engine.embeddings import embeddings
from haneul.engine.fan_out import fan_out
from haneul.engine.front import Call, Front
from haneul.engine.kernel import Facts, Kernel, Terms
from haneul.engine.meters import Meters
from haneul.engine.prompts import as_prompts
from haneul.engine.rerank import accept_rerank, reranked, text_of
from haneul.engine.slots import Slots
from haneul.engine.tally import Tally

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


class Engine(Front):
    """Answers in words, vectors and scores for one model under its names."""

    def __init__(
        self, *, name: str, aliases: set[str], slots: Slots, adapters: frozenset[str] = frozenset()
    ) -> None:
        self.meters = Meters()
        super().__init__(
            slots=slots,
            counts=self.meters,
            routes={
                "/metrics": ("GET", self._metrics),
                "/v1/models": ("GET", self._models),
                "/v1/chat/completions": ("POST", self._chat),
                "/v1/completions": ("POST", self._complete),
                "/v1/embeddings": ("POST", self._embed),
                "/v1/rerank": ("POST", self._rerank),
                "/tokenize": ("POST", self._tokenise),
                "/detokenize": ("POST", self._detokenise),
                "/apply-template": ("POST", self._render),
            },
        )
        self.facts: Facts | None = None  # known when the model is loaded
        self.kernel_name = ""
        self._name = name
        self._names = {name, *aliases}
        self._adapters = adapters
        self._kernel: Kernel  # there when the facts are
        self._created = int(time.time())

    @property
    def is_loaded(self) -> bool:
        return self.facts is not None

    def explain(self, error: HaneulError, path: str) -> None:
        if isinstance(error, ContextTooLong):
            error.param = _PROMPT_FIELD.get(path)

    def open(self, kernel: Kernel, facts: Facts, *, kernel_name: str) -> None:
        """Begins to answer: the kernel has loaded its model."""
        self._kernel = kernel
        self.facts, self.kernel_name = facts, kernel_name

    def _ready(self) -> Facts:
        self.check_ready()
        assert self.facts is not None
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
