"""A model as judge: which of two answers is better, asked in both orders.

Whoever says the same letter in both orders has decided nothing. How often a judge is right is
measured first, on pairs whose better answer is known; one that cannot be told from a coin is not
believed.
"""

from __future__ import annotations

import re

from msgspec import Struct

from haneul.base.errors import BadRequest
from haneul.quality.gateway import Gateway, Said
from haneul.quality.statistics import Interval, wilson
from haneul.quality.suite import Pair, Parameters, digest_of

PARAMETERS = Parameters(max_tokens=8, temperature=0.0, seed=1)
LETTER = re.compile(r"\b([AB])\b")
COIN = 0.5
PROMPT = """{rubric}

Question:
{question}

Answer A:
{first}

Answer B:
{second}

Which answer is better? Reply with one letter, A or B."""


class Opinion(Struct, frozen=True):
    """Of two answers: 1.0 the first is better, 0.0 the second is, 0.5 the order decided."""

    score: float
    cost_nano: int
    is_complete: bool  # both questions were answered
    unpriced: int = 0  # attempts of which the ledger knows nothing


class Measured(Struct, frozen=True, kw_only=True):
    """How often a judge was right on pairs whose better answer is known."""

    model: str
    version: str  # digest of its file; name:… where none is known
    terms: str  # digest of what it was measured on
    pairs: int
    right: int
    wrong: int
    undecided: int  # the order decided, or no letter was said
    accuracy: Interval | None
    cost_nano: int

    @property
    def is_believed(self) -> bool:
        """Whether it is better than a coin, by the whole interval."""
        return self.accuracy is not None and self.accuracy.low > COIN


async def opinion(
    gateway: Gateway, model: str, rubric: str, question: str, answers: tuple[str, str], *, name: str
) -> Opinion:
    """What the judge says of the first answer against the second."""
    said: list[Said] = []
    for order, (first, second) in enumerate((answers, answers[::-1])):
        text = PROMPT.format(rubric=rubric, question=question, first=first, second=second)
        messages = [{"role": "user", "content": text}]
        said.append(await gateway.ask(model, messages, PARAMETERS, name=f"{name}.{order}"))
    letters = [_letter(each) for each in said]
    score = {"AB": 1.0, "BA": 0.0}.get("".join(letters), 0.5)
    is_complete = all(each.answer is not None for each in said)
    cost_nano, unpriced = (
        sum(each.cost_nano for each in said),
        sum(each.unpriced for each in said),
    )
    return Opinion(score, cost_nano, is_complete, unpriced)


async def measure(
    gateway: Gateway, model: str, rubric: str, pairs: list[Pair], *, version: str, name: str
) -> Measured:
    """How often it is right. Raises BadRequest without pairs."""
    if not pairs:
        raise BadRequest("a judge is measured on pairs, and this suite has none")
    found = [
        await opinion(
            *(gateway, model, rubric, pair.question, (pair.better, pair.worse)),
            name=f"{name}.{number}",
        )
        for number, pair in enumerate(pairs)
    ]
    right = sum(each.score == 1.0 for each in found)
    wrong = sum(each.score == 0.0 for each in found)
    return Measured(
        model=model,
        version=version,
        terms=terms_of(rubric, pairs),
        pairs=len(found),
        right=right,
        wrong=wrong,
        undecided=len(found) - right - wrong,
        accuracy=wilson(right, len(found)),
        cost_nano=sum(each.cost_nano for each in found),
    )


def terms_of(rubric: str, pairs: list[Pair]) -> str:
    """Digest of what a judge is measured on."""
    return digest_of([rubric, pairs, PROMPT, PARAMETERS])


def check_believed(measured: Measured) -> None:
    """Raises BadRequest for a judge that cannot be told from a coin."""
    if not measured.is_believed:
        raise BadRequest(
            f"{measured.model} is no judge: of {measured.pairs} labelled pairs it is right in "
            f"{measured.right} and undecided in {measured.undecided}; a coin is right in half"
        )


def _letter(said: Said) -> str:
    found = LETTER.search(said.answer.text) if said.answer is not None else None
    return found[1] if found else "?"
