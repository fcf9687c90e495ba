"""POST /rerank as Hugging Face's text-embeddings-inference has it.

That server has one model and its requests name none: here they may, with `model`, or the key is one
that may use a single model. Its scores lie between 0 and 1 unless `raw_scores` is set: the embedded
engine's are made so; of a remote engine's nobody knows what they are, so they come raw or not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import BadRequest, EngineFailed, HaneulError, UnsupportedValue
from haneul.services import openai, rerank, strict
from haneul.services.ask import Ask
from haneul.services.dialect import Told
from haneul.services.flights import Counters
from haneul.services.keys import Key
from haneul.services.targets import EMBEDDED

EngineOf = Callable[[Key, str], str]  # the engine that answers for a model
TYPES = {401: "Unauthorized", 413: "Validation", 429: "Overloaded", 503: "Overloaded"}


class TeiRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which texts, for which query."""

    query: Annotated[str, Meta(min_length=1)]
    texts: Annotated[list[str], Meta(min_length=1, max_length=rerank.DOCUMENTS_MAX)]
    model: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = None
    truncation_direction: Literal["left", "right", "Left", "Right"] | None = None


class Client(Struct, frozen=True):
    """What the answer must know of the request."""

    texts: list[str]
    is_raw: bool
    has_texts: bool


class Ranked(Struct, frozen=True):
    index: Annotated[int, Meta(ge=0)]
    relevance_score: float


class Order(Struct, frozen=True):
    """An engine's order."""

    results: list[Ranked]


_requests = msgspec.json.Decoder(TeiRequest)
_orders = msgspec.json.Decoder(Order)


class Tei:
    """The address."""

    name = "tei_rerank"

    def __init__(self, engine_of: EngineOf) -> None:
        self._engine_of = engine_of

    async def open(self, key: Key, data: bytes) -> Ask:
        request = strict.read(data, _requests)
        if request.truncate:
            raise UnsupportedValue("A text is never cut here ('truncate').", param="truncate")
        model = request.model or _only(key)
        if not request.raw_scores and self._engine_of(key, model) != EMBEDDED:
            raise UnsupportedValue(
                "Of this engine's scores only the raw ones can be had: set 'raw_scores'.",
                param="raw_scores",
            )
        asked = {"model": model, "query": request.query, "documents": request.texts}
        ask = rerank.read(msgspec.json.encode(asked))
        client = Client(request.texts, request.raw_scores, request.return_text)
        return msgspec.structs.replace(ask, name=self.name, client=client)

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return openai.Stream(ask, counters)  # never asked for: an order comes whole

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        """A list from the best on: the address has no place for usage or cost."""
        return msgspec.json.encode(_told(ask.client, data))

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """An order is not to be found again."""

    def body(self, error: HaneulError, request_id: str) -> bytes:
        kind = TYPES.get(error.status, "Validation" if error.status < 500 else "Backend")
        return msgspec.json.encode({"error": error.message, "error_type": kind})

    def event(self, error: HaneulError, request_id: str) -> bytes:
        return self.body(error, request_id)


def _only(key: Key) -> str:
    if key.models is not None and len(key.models) == 1:
        return next(iter(key.models))
    raise BadRequest("Say which 'model': there are several here.", param="model")


def _told(client: Client, data: bytes) -> list[dict[str, Any]]:
    try:
        found = _orders.decode(data).results
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise EngineFailed("The engine's answer is not an order of documents.") from cause
    told: list[dict[str, Any]] = []
    for one in sorted(found, key=lambda one: -one.relevance_score):
        if one.index >= len(client.texts):
            raise EngineFailed("The engine ordered a document that nobody sent.")
        score = one.relevance_score if client.is_raw else _sigmoid(one.relevance_score)
        text = {"text": client.texts[one.index]} if client.has_texts else {}
        told.append({"index": one.index, **text, "score": score})
    return told


def _sigmoid(score: float) -> float:
    """Between 0 and 1, without overflow."""
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    return math.exp(score) / (1 + math.exp(score))
