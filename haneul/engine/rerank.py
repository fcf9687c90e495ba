"""POST /v1/rerank: documents in the order of how well they answer, in Jina's and Cohere's form."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import BadRequest
from haneul.base.ids import new_id
from haneul.base.wire import Name
from haneul.engine.accept import check_length
from haneul.engine.kernel import Facts, Ranks

DOCUMENTS_MAX = 1000
Document = str | dict[str, str]


class RerankRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which documents, for which query."""

    model: Name
    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[list[Document], Meta(min_length=1, max_length=DOCUMENTS_MAX)]
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool = False
    user: Annotated[str, Meta(max_length=512)] | None = None


_decoder = msgspec.json.Decoder(RerankRequest)


def accept_rerank(data: bytes, facts: Facts) -> RerankRequest:
    """A request that will be honoured whole. Raises BadRequest."""
    try:
        request = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise BadRequest(f"The request body cannot be read: {cause}") from cause
    for position, document in enumerate(request.documents):
        where = f"documents[{position}]"
        if isinstance(document, dict) and document.keys() != {"text"}:
            raise BadRequest("A document is a text, or an object with 'text' alone.", param=where)
        check_length(len(request.query) + len(text_of(document)), facts, where)
    return request


def text_of(document: Document) -> str:
    """The text of a document of either form."""
    return document if isinstance(document, str) else document["text"]


def reranked(request: RerankRequest, ranks: Ranks, *, model: str) -> dict[str, Any]:
    """The answer: results from the best on, each with its place among the documents."""
    order = sorted(range(len(ranks.scores)), key=lambda index: -ranks.scores[index])
    results: list[dict[str, Any]] = []
    for index in order[: request.top_n]:
        result: dict[str, Any] = {"index": index, "relevance_score": ranks.scores[index]}
        if request.return_documents:
            result["document"] = {"text": text_of(request.documents[index])}
        results.append(result)
    usage = {"prompt_tokens": ranks.prompt_tokens, "total_tokens": ranks.prompt_tokens}
    head = {"id": new_id("rerank").replace("_", "-"), "object": "list", "model": model}
    return {**head, "results": results, "usage": usage}
