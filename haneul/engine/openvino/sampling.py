"""A Job's fields as OpenVINO's generation settings, and which of them have no counterpart there."""

from __future__ import annotations

import secrets
from collections.abc import Collection

import openvino_genai as genai

from haneul.engine.openvino.grammar import structural_tag
from haneul.engine.worker.job import Job

# repeat_penalty, penalty_tokens: it always looks back at the whole prompt and answer
# logprobs: of the taken token alone, no alternatives; adapter: none per request
LACKS = ["biases", "logprobs", "repeat_penalty", "penalty_tokens", "adapter"]
LACKS_CALLS = ["embed", "rerank"]
SEEDS = 1 << 32


def settings(
    job: Job, *, max_tokens: int, ends: Collection[int], draft_tokens: int = 0
) -> genai.GenerationConfig:
    """The settings of one sequence. `draft_tokens`: of prompt lookup; 0 for other pipelines."""
    given = genai.GenerationConfig()
    given.max_new_tokens = max_tokens
    given.ignore_eos = job.ignores_end
    given.stop_token_ids = set(ends)
    given.do_sample = job.temperature > 0
    if given.do_sample:
        given.temperature = job.temperature
        given.top_k = job.top_k if job.top_k > 0 else 0
        given.top_p = min(max(job.top_p, 1e-6), 1.0)
        given.min_p = min(max(job.min_p, 0.0), 0.999)
        given.rng_seed = secrets.randbelow(SEEDS) if job.seed is None else job.seed
    given.presence_penalty = job.presence_penalty
    given.frequency_penalty = job.frequency_penalty
    if job.logprobs is not None:
        given.logprobs = 1
    if job.constraint is not None:
        form = genai.StructuredOutputConfig()
        form.structural_tags_config = structural_tag(job.constraint)
        given.structured_output_config = form
    _look_up(given, draft_tokens)
    return given


def slice_settings(*, draft_tokens: int = 0) -> genai.GenerationConfig:
    """Of a part of a prompt that is only computed: the one token it must make is not used."""
    given = genai.GenerationConfig()
    given.max_new_tokens = 1
    given.ignore_eos = True
    given.do_sample = False
    _look_up(given, draft_tokens)
    return given


def _look_up(given: genai.GenerationConfig, draft_tokens: int) -> None:
    if draft_tokens:
        given.num_assistant_tokens = draft_tokens
        given.max_ngram_size = 3
