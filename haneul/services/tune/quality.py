"""What another format of the weights costs in quality: the perplexity of a fixed text.

Each of the text's tokens is asked for in turn, the text before it being the prompt: a bias makes
the engine take the token, and the log-probability it reports is from before any bias. Kernels are
held together by the tokens that they would have taken themselves.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from statistics import fmean, stdev

import msgspec
from msgspec import Struct

from haneul.base.errors import EngineFailed
from haneul.services.tune.chooser import Loss
from haneul.services.tune.load import Client
from haneul.services.tune.setup import LOSSY_OPTIONS, Setup

FIRST_TOKEN = 16  # the text before it gives every model some ground
SCORED_LEAST, SCORED_MAX = 32, 512
AT_ONCE = 8
FORCE = 100  # the most that the protocol allows
EIGHTY = 1.2816  # standard deviations on each side that hold 80 % of a normal distribution
AGREED_PLACES, AGREED_WORDS = 8, 96  # where kernels are compared, within so many first words
AGREEMENT_LEAST = 0.75  # of the next tokens; near-ties flip between kernels

TEXT = """\
The road left the harbour behind the old customs house and climbed in long bends towards the \
pass. In spring the lower fields were under water for a week or two, and the farmers moved \
their sheep to the terraces above the mill. Nobody remembered who had built the terraces. The \
walls were of grey stone without mortar, and every winter a few metres of them fell down and \
were put up again.
At the mill the miller's daughter kept a book in which she wrote the height of the river, \
morning and evening, for thirty-one years. From it one can read that the flood of March 1887 \
stood 2.4 m above the sill, that the summer of 1893 was dry, and that the ice broke on the 9th \
of April in an average year. She gave no opinion on any of this. When the engineers came to \
measure for the dam they asked to copy the book, and she allowed it on the condition that they \
would correct the two mistakes on page forty.
A dam changes a river in three ways. First, it evens out the flow, so that there is less water \
in spring and more in autumn. Second, it holds back the sand and the gravel that the river \
would have carried to the sea; the bed below the dam is washed out and becomes deeper. Third, \
the water that leaves the lake from its depth is cold in summer and warm in winter, and the \
fish that need a sign of the season to begin their journey no longer get it. None of these \
effects was unknown at the time, but they were thought to be small when compared with the price \
of coal.
def mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values)
The function above fails for an empty list, because it divides by zero. A caller who may have \
no values should ask first, or the function should raise an error that says what is wrong. In \
most programs the second way is better: the rule is then written once, next to the reason for \
it.
"""


class _Tokens(Struct, frozen=True):
    tokens: list[int]


class _Logprobs(Struct, frozen=True):
    token_logprobs: list[float]


class _Choice(Struct, frozen=True):
    text: str = ""
    logprobs: _Logprobs | None = None


class _Answer(Struct, frozen=True):
    choices: list[_Choice]


def can_score(setup: Setup) -> bool:
    """Whether a setup's own kernel gives the scores.

    OpenVINO takes no bias, so the kernel beside it answers, with the same weights; what coarser
    computing costs it cannot tell.
    """
    return setup.kernel != "openvino" or LOSSY_OPTIONS.isdisjoint(setup.options)


async def text_tokens(client: Client, *, context_tokens: int) -> list[int]:
    """The fixed text as this model's tokens, as many as are scored. Raises EngineFailed."""
    data = await client.answer("/tokenize", {"prompt": TEXT})
    found = msgspec.json.decode(data, type=_Tokens).tokens
    return found[: min(FIRST_TOKEN + SCORED_MAX, context_tokens - 1)]


async def scores(client: Client, tokens: Sequence[int], *, within_s: float) -> list[float]:
    """The log-probability of each token after the first few, given those before it.

    Of as many as there is time for, in their order.
    """
    deadline = time.monotonic() + within_s
    found: list[float] = []
    for start in range(FIRST_TOKEN, len(tokens), AT_ONCE):
        places = range(start, min(start + AT_ONCE, len(tokens)))
        asked = (_logprob(client, list(tokens[:place]), tokens[place]) for place in places)
        found += await asyncio.gather(*asked)
        if time.monotonic() > deadline:
            break
    return found


def loss(before: Sequence[float], after: Sequence[float]) -> Loss:
    """How much higher the second perplexity is, with its 80 % interval, token by token.

    The tokens that were scored in both count. Raises EngineFailed when they are too few.
    """
    falls = [old - new for old, new in zip(before, after, strict=False)]
    if len(falls) < SCORED_LEAST:
        raise EngineFailed("The text could not be scored in time.")
    mean, error = fmean(falls), EIGHTY * stdev(falls) / math.sqrt(len(falls))
    low, mid, high = (math.expm1(value) for value in (mean - error, mean, mean + error))
    return Loss(low, mid, high, len(falls))


async def next_words(client: Client) -> list[str]:
    """The token that the kernel itself takes next at some places of the text."""
    words = TEXT.split(" ")
    step = AGREED_WORDS // AGREED_PLACES
    prompts = [" ".join(words[: (place + 1) * step]) for place in range(AGREED_PLACES)]
    body: dict[str, object] = {"prompt": prompts, "max_tokens": 1, "temperature": 0}
    data = await client.answer("/v1/completions", body)
    return [choice.text for choice in msgspec.json.decode(data, type=_Answer).choices]


def agreement(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """The share of places at which both take the same."""
    return fmean(one == other for one, other in zip(ours, theirs, strict=True))


async def _logprob(client: Client, before: list[int], token: int) -> float:
    body: dict[str, object] = {
        "prompt": before,
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": 0,
        "logit_bias": {str(token): FORCE},
        "ignore_eos": True,
    }
    data = await client.answer("/v1/completions", body)
    found = msgspec.json.decode(data, type=_Answer).choices[0].logprobs
    if found is None or len(found.token_logprobs) != 1:
        raise EngineFailed("The engine told no log-probability.")
    return found.token_logprobs[0]
