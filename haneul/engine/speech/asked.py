"""A request's fields as a Job: every number resolved, the model file's own defaults first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from haneul.base.wire import ChatRequest, CompletionRequest, Sampling
from haneul.engine.kernel import Prompt, Terms
from haneul.engine.speech.turn import Turn
from haneul.engine.worker.job import Job

SEEDS = 1 << 32
LEGACY_MAX_TOKENS = 16  # OpenAI's default of /v1/completions
SAME_NAME = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
)
_OF_FILE = {  # general.sampling.… of a model file: what its makers recommend
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_last_n": "penalty_tokens",
    "penalty_repeat": "repeat_penalty",
}


def defaults(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling defaults that a model file states, under Job's names."""
    return {
        ours: metadata[f"general.sampling.{theirs}"]
        for theirs, ours in _OF_FILE.items()
        if isinstance(metadata.get(f"general.sampling.{theirs}"), int | float)
    }


def chat_job(request: ChatRequest, terms: Terms, turn: Turn, preset: Mapping[str, Any]) -> Job:
    """One choice of a chat."""
    return Job(
        prompt=turn.prompt,
        max_tokens=request.max_completion_tokens or request.max_tokens,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        marks=turn.marks,
        constraint=turn.constraint,
        **_shared(request, terms, preset),
    )


def completion_job(
    prompt: Prompt, request: CompletionRequest, terms: Terms, preset: Mapping[str, Any]
) -> Job:
    """One choice of a plain completion."""
    return Job(
        prompt=prompt,
        max_tokens=request.max_tokens or LEGACY_MAX_TOKENS,
        logprobs=request.logprobs,
        **_shared(request, terms, preset),
    )


def stops(request: Sampling) -> list[str]:
    """The stop strings, of either form."""
    return [request.stop] if isinstance(request.stop, str) else list(request.stop or [])


def lacking(job: Job, lacks: list[str]) -> str | None:
    """The first field that this job needs and its kernel lacks.

    A kernel without "logprobs" still scores the tokens it takes; it lacks those beside them.
    """
    plain = {field.name: field.default for field in msgspec.structs.fields(Job)}
    for name in lacks:
        unasked: list[object] = [
            plain.get(name),
            [],
            None,
            "",
            *([0] if name == "logprobs" else []),
        ]
        if name in plain and getattr(job, name) not in unasked:
            return name
    return None


def _shared(request: Sampling, terms: Terms, preset: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name in SAME_NAME if (value := getattr(request, name)) is not None}
    if given.get("top_k") == -1:  # vLLM's word for "all"
        given["top_k"] = 0
    return {
        **preset,
        **given,
        "seed": None if terms.seed is None else terms.seed % SEEDS,
        "ignores_end": bool(request.ignore_eos),
        "biases": [
            (int(token), -math.inf if bias <= -100 else bias)
            for token, bias in (request.logit_bias or {}).items()
        ],
        "adapter": terms.adapter,
        "priority": terms.priority,
        "owner": terms.owner,
    }
