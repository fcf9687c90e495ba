"""How many tokens an answer may think: the least of what the client asks and what is allowed.

The embedded engine ends a thought itself. Of another engine it must be known (`haneul engines add
--thinking-field`) under which name it takes the bound, or that its models do not think. Of one of
which nothing is known a limit that an administrator set is kept by the length of the whole answer;
where no thoughts at all are allowed it is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from haneul.base.errors import UnsupportedValue
from haneul.base.wire import Body
from haneul.services import openai
from haneul.services.ask import Ask
from haneul.services.targets import EMBEDDED, Target

OWN = "thinking_budget"  # Qwen's name, and the embedded engine's
NONE = "none"  # of an engine whose models do not think
FIELDS = (
    OWN,
    "thinking_token_budget",  # vLLM
    "thinking_budget_tokens",  # llama-server
    "thinking.budget_tokens",  # as Anthropic's, of some that speak OpenAI's protocol
    "reasoning.max_tokens",  # OpenRouter
)
LENGTHS = ("max_completion_tokens", "max_tokens")
HEADER = b"x-haneul-thinking-max: %d\r\n"


class Bound(NamedTuple):
    """So many tokens of thought at most."""

    most: int
    is_law: bool  # an administrator said so, not the client alone


def bound(ask: Ask, allowed: int | None) -> Bound | None:
    """The bound of a request; None where nobody set one, or nothing is thought about."""
    if ask.route is not openai.CHAT:
        return None
    if allowed is None:
        return None if ask.thinking_max is None else Bound(ask.thinking_max, False)
    said = ask.thinking_max if ask.thinking_max is not None else _said(ask.body.fields)
    return Bound(allowed if said is None else min(allowed, said), True)


def able(targets: Sequence[Target], most: Bound) -> list[Target]:
    """The engines that will keep the bound. Raises UnsupportedValue where none will."""
    kept = [target for target in targets if not most.is_law or most.most or _keeps(target)]
    if not kept:
        raise UnsupportedValue(
            "No thoughts are allowed to this request, and this model's engine cannot be told.",
            param="model",
        )
    return kept


def is_kept(targets: Sequence[Target], most: Bound) -> bool:
    """Whether the bound holds whoever answers: else it is not told as one."""
    return most.is_law or all(map(_keeps, targets))


def shaped(most: Bound) -> Callable[[bytes, Target], bytes]:
    """What makes an engine's body of the one that holds no bound yet."""

    def shape(data: bytes, target: Target) -> bytes:
        field = OWN if target.engine == EMBEDDED else target.thinking_field
        if field == NONE or (field is None and not most.is_law):
            return data
        body = Body(data)
        changes = _without(body.fields) if field is not None else {}
        changes |= _length(body.fields, most.most) if field is None else _said_as(field, body, most)
        return body.replace(**changes)

    return shape


def _keeps(target: Target) -> bool:
    return target.engine == EMBEDDED or target.thinking_field is not None


def _said(fields: Mapping[str, Raw]) -> int | None:
    """What the client asks, under whichever name."""
    found = [_number(fields, *name.split(".")) for name in FIELDS]
    return min((number for number in found if number is not None), default=None)


def _number(fields: Mapping[str, Raw], name: str, inner: str = "") -> int | None:
    if name not in fields:
        return None
    value = msgspec.json.decode(fields[name])
    if inner:
        value = value.get(inner) if isinstance(value, dict) else None
    return value if isinstance(value, int) and value >= 0 else None


def _without(fields: Mapping[str, Raw]) -> dict[str, Any]:
    """Takes the bound out under every plain name: it is said once."""
    return {name: UNSET for name in FIELDS[:3] if name in fields}


def _said_as(field: str, body: Body, most: Bound) -> dict[str, Any]:
    name, _, inner = field.partition(".")
    if not inner:
        return {name: most.most}
    had = msgspec.json.decode(body.fields.get(name, b"{}"))
    kind = {"type": "enabled" if most.most else "disabled"} if name == "thinking" else {}
    bounded = {inner: most.most} if most.most or name != "thinking" else {}
    return {name: {**(had if isinstance(had, dict) else {}), **kind, **bounded}}


def _length(fields: Mapping[str, Raw], most: int) -> dict[str, Any]:
    """The whole answer within the bound, where nothing else can hold it."""
    said = {name: number for name in LENGTHS if (number := _number(fields, name)) is not None}
    return {name: min(number, most) for name, number in (said or {LENGTHS[0]: most}).items()}
