"""What one request asks for, as far as the gateway must know: the neutral form of all dialects."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, structs

from haneul.base.wire import Body


class Route(Struct, frozen=True):
    """One address of the engines' protocol."""

    name: str
    path: str
    decoder: Any
    prompt_fields: tuple[str, ...]


class Ask(Struct, frozen=True, kw_only=True):
    """What one request asks for, as far as the gateway must know."""

    route: Route  # at the engine
    name: str  # of the client's route, in the ledger
    body: Body
    model: str
    is_stream: bool = False
    wants_usage: bool = False
    wants_each_usage: bool = False
    prompt_bytes: int = 0
    prompts: int = 1
    answers: int = 1  # n, times the prompts of a list
    completion_max: int | None = None  # per answer, where the request says
    end_user: str | None = None
    share_millionths: int = 1_000_000  # of the price: less for work that may wait
    thinking_max: int | None = None  # tokens of thought at most: see services.thinking
    is_thinking_kept: bool = True  # whoever answers
    masked: int | None = None  # pieces of personal data: see services.guard
    unit: str | None = None  # what is billed beside tokens: see services.media
    units_max: int = 0
    content_type: str | None = None  # of the engine's body, where it is no JSON
    heard: Any = None  # makes the reply that is delivered of the engine's
    shape: Any = None  # makes an engine's body of the one that all would get
    billed: Any = None  # makes its bill, where that is not kept as all others are
    client: Any = None  # what the dialect remembers of the client's own request


def answered_by(ask: Ask, model: str) -> Ask:
    """The same, its client told that another model answers."""
    named = getattr(ask.client, "answered_by", None)
    return ask if named is None else structs.replace(ask, client=named(model))
