"""POST /v1/rerank in Jina's and Cohere's form, which engines speak too: it goes on as it came.

Billed like embeddings, by the tokens of the prompts: each document is read with the query.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import BadRequest
from haneul.base.wire import Body, Count, Name
from haneul.services import openai, strict
from haneul.services.ask import Ask, Route
from haneul.services.dialect import Told
from haneul.services.flights import Counters
from haneul.services.keys import Key

DOCUMENTS_MAX = 1000
PAIR_TOKENS = 8  # what stands around a query and a document, at most
Documents = Annotated[list[str | dict[str, Any]], Meta(min_length=1, max_length=DOCUMENTS_MAX)]


class RerankRequest(Struct, frozen=True, kw_only=True):
    """Which documents, for which query. What is not here is for the engine to take or refuse."""

    model: Name
    query: Annotated[str, Meta(min_length=1)]
    documents: Documents
    top_n: Count | None = None
    return_documents: bool | None = None
    user: Annotated[str, Meta(max_length=512)] | None = None


_decoder: msgspec.json.Decoder[RerankRequest] = msgspec.json.Decoder(RerankRequest)
RERANK = Route("rerank", "/v1/rerank", _decoder, ("query", "documents"))


def read(data: bytes) -> Ask:
    """The request in a body. Raises BadRequest that names the field."""
    body = Body(data)
    request = strict.read(data, _decoder)
    for at, document in enumerate(request.documents):
        if isinstance(document, dict) and not isinstance(document.get("text"), str):
            raise BadRequest(
                "A document is a text, or an object with 'text'.", param=f"documents[{at}]"
            )
    pairs = len(request.documents)
    around = pairs * (len(request.query.encode()) + PAIR_TOKENS)
    return Ask(
        route=RERANK,
        name=RERANK.name,
        body=body,
        model=request.model,
        prompt_bytes=len(body.fields["documents"]) + around,
        prompts=pairs,
        answers=0,
        completion_max=0,
        end_user=request.user,
    )


class Rerank(openai.OpenAIErrors):
    """The address; its answer has its cost beside its usage, where it has one."""

    name = RERANK.name

    async def open(self, key: Key, data: bytes) -> Ask:
        return read(data)

    def stream(self, ask: Ask, counters: Counters) -> Told:
        return openai.Stream(ask, counters)  # never asked for: an order comes whole

    def whole(self, ask: Ask, data: bytes, *, cost_nano: int, currency: str) -> bytes:
        return openai.with_cost(data, cost_nano=cost_nano, currency=currency)

    async def keep(self, key: Key, ask: Ask, answer: Told | bytes) -> None:
        """An order is not to be found again."""
