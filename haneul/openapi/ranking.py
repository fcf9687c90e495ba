"""The addresses that put documents in order."""

from __future__ import annotations

import msgspec

from haneul.openapi import rules
from haneul.openapi.errors import ASKING as FAILS
from haneul.openapi.headers import ASKED, ASKING
from haneul.openapi.openai_answers import Ranking, TeiScore
from haneul.openapi.operation import Operation
from haneul.openapi.words import shared
from haneul.services.rerank import RerankRequest
from haneul.services.tei import TeiRequest

JINA = Operation(
    method="POST",
    address="/v1/rerank",
    text="Puts documents in order, in Jina's and Cohere's form.",
    scope="infer",
    body=RerankRequest,
    others="forwarded",
    rules=(rules.TEXTS,),
    answer=Ranking,
    takes=ASKING,
    gives=ASKED,
    errors=FAILS,
)
OPERATIONS = (
    JINA,
    msgspec.structs.replace(
        JINA, address="/v2/rerank", text="The same, as Cohere's newer clients ask."
    ),
    Operation(
        method="POST",
        address="/rerank",
        text="Puts texts in order, as text-embeddings-inference does.",
        scope="infer",
        body=TeiRequest,
        rules=(rules.WHOLE,),
        answer=list[TeiScore],
        takes=ASKING,
        gives=ASKED,
        errors=FAILS,
        shapes=("TeiError",),
    ),
)
FIELDS: dict[type, dict[str, str]] = {
    RerankRequest: {
        "model": "A model that ranks.",
        "query": "What the documents may answer.",
        "documents": 'Texts, or objects with `"text"`.',
        "top_n": "Only so many of the best.",
        "return_documents": "Whether the answer repeats them; false unless said.",
        **shared("user"),
    },
    TeiRequest: {
        "query": "What the texts may answer.",
        "texts": "What is ordered.",
        "model": "Which one; a key that may use a single model can leave it out.",
        "raw_scores": "The model's own scale instead of 0 to 1; remote engines need it.",
        "return_text": "Whether the answer repeats the texts.",
        "truncate": "true is refused: a text is never cut.",
        "truncation_direction": "Without effect: nothing is cut.",
    },
}
