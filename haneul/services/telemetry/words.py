"""Requests in the words of OpenTelemetry's conventions for generative AI.

Source: open-telemetry/semantic-conventions, docs/gen-ai/gen-ai-spans.md and gen-ai-metrics.md.
Nothing here holds what was asked or answered: that is content.py, and only where it is switched on.
"""

from __future__ import annotations

from typing import Any

import msgspec

from haneul.base import errors
from haneul.services.ask import Ask
from haneul.services.telemetry.watch import Story, Trial
from haneul.store.ledger import RequestRow

Attributes = dict[str, Any]
OPERATIONS = {"chat": "chat", "completions": "text_completion", "embeddings": "embeddings"}
PROVIDER = "haneul"
PROVIDERS = {  # a host's ending, and the name that the conventions give its owner
    "openai.com": "openai",
    "anthropic.com": "anthropic",
    "openai.azure.com": "azure.ai.openai",
    "amazonaws.com": "aws.bedrock",
    "googleapis.com": "gcp.gen_ai",
    "mistral.ai": "mistral_ai",
    "groq.com": "groq",
    "deepseek.com": "deepseek",
    "cohere.com": "cohere",
    "perplexity.ai": "perplexity",
    "x.ai": "x_ai",
}
OTHER = "_OTHER"  # an error that is none of ours: so that labels stay few
SAID = {  # fields of a request, and what the conventions call them
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}
NAME_MAX = 232
OWN = frozenset({"client_gone", "cloud_stopped"})


def codes() -> frozenset[str]:
    """Every code that an error of haneul's own can have."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return OWN | {kind.code for kind in kinds if issubclass(kind, errors.HaneulError)}


def operation(ask: Ask | None, route: str) -> str:
    """What was asked for; of what no engine was asked for, by the client's address."""
    name = ask.route.name if ask is not None else route.removeprefix("batch.")
    known = OPERATIONS.get(name)
    return known or ("chat" if ask is None and "rerank" not in name else name)


def provider(trial: Trial) -> str:
    """Whose engine it is, as the conventions name providers; haneul's own for embedded ones."""
    server = trial.target.transport.server
    if server is None:
        return PROVIDER
    host = server[0]
    owners = (name for end, name in PROVIDERS.items() if host == end or host.endswith(f".{end}"))
    return next(owners, trial.target.engine)


def asked(ask: Ask) -> Attributes:
    """How the answer is wanted: numbers and no text."""
    found: Attributes = {"gen_ai.request.model": ask.model[:NAME_MAX]}
    for field, name in SAID.items():
        raw = ask.body.fields.get(field)
        value = None if raw is None else _number(bytes(raw))
        if value is not None:
            found.setdefault(name, value)
    if ask.answers > 1:
        found["gen_ai.request.choice.count"] = ask.answers
    found["haneul.stream"] = ask.is_stream
    return found


def used(row: RequestRow) -> Attributes:
    """What the terminal record says."""
    found: Attributes = {
        "gen_ai.usage.input_tokens": row.prompt_tokens,
        "gen_ai.usage.output_tokens": row.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": row.cached_tokens,
        "haneul.cost_nano": row.cost_nano,
        "haneul.currency": row.currency,
        "haneul.state": row.state,
        "haneul.metering": row.metering,
        "haneul.key_id": row.key_id,
        "haneul.tenant_id": row.tenant_id,
        "haneul.user_id": row.user_id,
        "haneul.app": row.app,
        "haneul.engine": row.engine,
        "gen_ai.response.id": row.upstream_id,
        "gen_ai.response.model": row.model if row.engine else None,
        "gen_ai.request.model": row.model,
    }
    if row.first_token_us is not None and row.is_stream:
        found["haneul.time_to_first_token_s"] = (row.first_token_us - row.received_us) / 1e6
    return {name: value for name, value in found.items() if value is not None}


def root(story: Story) -> Attributes:
    """All of one request."""
    row = story.row
    found: Attributes = used(row) if row is not None else {}
    if story.ask is not None:
        found |= asked(story.ask)
    if story.finished:
        found["gen_ai.response.finish_reasons"] = list(story.finished)
    found |= {
        "gen_ai.operation.name": operation(story.ask, story.route),
        "gen_ai.provider.name": PROVIDER,
        "haneul.request_id": story.call.id,
        "haneul.route": story.route,
        "http.request.method": story.call.method,
        "http.response.status_code": story.status,
    }
    if story.reason is not None:
        found["haneul.route_reason"] = story.reason
    if story.error is not None:
        found["error.type"] = story.error
    return found


def tried(story: Story, trial: Trial) -> Attributes:
    """One engine that was asked; its tokens are with the request, so that they are added once."""
    target, server = trial.target, trial.target.transport.server
    found: Attributes = {
        "gen_ai.operation.name": operation(story.ask, story.route),
        "gen_ai.provider.name": provider(trial),
        "gen_ai.request.model": target.upstream_model,
        "haneul.engine": target.engine,
        "haneul.engine_version": target.engine_version,
        "haneul.chip": target.chip,
        "server.address": server[0] if server else None,
        "server.port": server[1] if server else None,
        "error.type": trial.error,
        "http.response.status_code": trial.status,
    }
    return {name: value for name, value in found.items() if value is not None}


def _number(raw: bytes) -> int | float | None:
    try:
        value = msgspec.json.decode(raw, type=int | float | None)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return value
