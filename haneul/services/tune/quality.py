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
from haneul.services.tune.text import TEXT

FIRST_TOKEN = 16  # the text before it gives every model some ground
SCORED_LEAST, SCORED_MAX = 32, 512
AT_ONCE = 8
FORCE = 100  # the most that the protocol allows
EIGHTY = 1.2816  # standard deviations on each side that hold 80 % of a normal distribution
AGREED_PLACES, AGREED_WORDS = 8, 96  # where kernels are compared, within so many first words
AGREEMENT_LEAST = 0.75  # of the next tokens; near-ties flip between kernels


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
