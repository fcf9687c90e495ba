"""What llama-server answers: its stream events and errors, read into ours."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from haneul.base.errors import BadRequest, ContextTooLong, EngineFailed, HaneulError, Unavailable
from haneul.engine.kernel import Piece, Scored, ScoredToken

LEAST_LOGPROB = -9999.0  # OpenAI's word for "impossible"
_OWN_FAULT = re.compile(r"compute error|decode|slot|internal|alloc|memory|server", re.IGNORECASE)
_TOO_LONG = re.compile(r"input \((\d+) tokens\) is too large.*size: (\d+)")
_PATH = re.compile(r"(?:/[\w.+-]+){2,}")


class Timings(Struct):
    cache_n: int = 0
    prompt_n: int = 0
    predicted_n: int = 0


class Probability(Struct):
    token: str = ""
    bytes: list[int] = []
    logprob: float | None = None
    top_logprobs: list[Probability] = []


class Logprobs(Struct):
    content: list[Probability] | None = None


class Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class Choice(Struct):
    delta: Delta
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class KernelError(Struct):
    message: str = ""
    type: str = ""
    code: int = 500
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class ChatEvent(Struct):
    """One event of the kernel's /v1/chat/completions."""

    choices: list[Choice] = []
    timings: Timings | None = None
    error: KernelError | None = None


class TextEvent(Struct):
    """One event of the kernel's /completion."""

    content: str = ""
    stop: bool = False
    stop_type: str = ""
    completion_probabilities: list[Probability] = []
    timings: Timings | None = None
    error: KernelError | None = None


chat_events = msgspec.json.Decoder(ChatEvent)
text_events = msgspec.json.Decoder(TextEvent)
_refusals = msgspec.json.Decoder(ChatEvent)


def chat_piece(data: bytes) -> Piece | None:
    """One event of a chat, or None when it adds nothing. Raises what the kernel reports."""
    event = chat_events.decode(data)
    if event.error is not None:
        raise as_error(event.error)
    if not event.choices or event.timings is None:
        return None
    choice = event.choices[0]
    if not event.timings.predicted_n and choice.finish_reason is None:
        return None  # the prompt is still being read
    scores = choice.logprobs.content if choice.logprobs else None
    return Piece(
        text=choice.delta.content or "",
        reasoning=choice.delta.reasoning_content or "",
        tool_calls=choice.delta.tool_calls or [],
        scores=[_scored_token(score) for score in scores or []],
        finish_reason=choice.finish_reason,
        **_counts(event.timings),
    )


def text_piece(data: bytes) -> Piece | None:
    """One event of a plain completion, or None when it adds nothing."""
    event = text_events.decode(data)
    if event.error is not None:
        raise as_error(event.error)
    if event.timings is None or not (event.timings.predicted_n or event.stop):
        return None
    finish = ("length" if event.stop_type == "limit" else "stop") if event.stop else None
    return Piece(
        text=event.content,
        scores=[_scored_token(score) for score in event.completion_probabilities],
        finish_reason=finish,
        **_counts(event.timings),
    )


def refusal(status: int, body: bytes) -> HaneulError:
    """The error in an answer of another status than 200."""
    try:
        error = _refusals.decode(body).error
    except msgspec.DecodeError:
        error = None
    return as_error(error) if error else EngineFailed(f"The kernel answered with {status}.")


def as_error(error: KernelError) -> HaneulError:
    """The kernel's error in our tree: the caller's fault is a 400, the kernel's own a 502 or 503.

    llama-server answers 500 for much that is wrong with a request (a template that refuses the
    order of roles, a picture), so the words decide.
    """
    if error.type == "exceed_context_size_error":
        return _too_long(error.n_prompt_tokens, error.n_ctx)
    if found := _TOO_LONG.search(error.message):  # an input to embed
        return _too_long(int(found[1]), int(found[2]))
    message = _PATH.sub("…", error.message).strip()
    if error.code == 503:
        return Unavailable(retry_after_s=1)
    if error.code >= 500 and (_OWN_FAULT.search(message) or not message):
        return EngineFailed(f"The kernel failed: {message or 'no reason given'}")
    return BadRequest(message)


def _too_long(prompt_tokens: int, context_tokens: int) -> ContextTooLong:
    return ContextTooLong(
        f"The prompt has {prompt_tokens} tokens; this model's context holds {context_tokens}.",
        prompt_tokens=prompt_tokens,
        context_tokens=context_tokens,
    )


def _counts(timings: Timings) -> dict[str, Any]:
    return {
        "prompt_tokens": timings.cache_n + timings.prompt_n,
        "cached_tokens": timings.cache_n,
        "completion_tokens": timings.predicted_n,
    }


def _scored_token(score: Probability) -> ScoredToken:
    return ScoredToken(
        token=score.token,
        bytes=score.bytes,
        logprob=_logprob(score.logprob),
        top_logprobs=[
            Scored(token=other.token, bytes=other.bytes, logprob=_logprob(other.logprob))
            for other in score.top_logprobs
        ],
    )


def _logprob(value: float | None) -> float:
    return LEAST_LOGPROB if value is None else max(value, LEAST_LOGPROB)
