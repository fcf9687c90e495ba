"""Under which digest an answer is kept: whose it is, what made it, and what was asked.

Two requests that are the same to an engine have the same digest, however they were written: the
order of fields, blanks, fields that are null, how the answer is to be sent, and who asks are no
part of it. Everything else is, known here or not.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from haneul.base.errors import BadRequest
from haneul.services import openai
from haneul.services.ask import Ask
from haneul.services.targets import EMBEDDED, Target

ROUTES = (openai.CHAT, openai.COMPLETIONS, openai.EMBEDDINGS)
# How the answer is sent, who asks, and what is said in another place.
NO_PART = frozenset({"model", "stream", "stream_options", "user", "safety_identifier", "metadata"})
NO_PART |= frozenset({"prompt_cache_key", "max_tokens", "max_completion_tokens"})


class Wish(msgspec.Struct, frozen=True):
    """What a request says of stored answers, in the words of RFC 9111, 5.2.1."""

    stores: bool = True
    reads: bool = True
    only_kept: bool = False
    max_age_s: int | None = None


def wish_of(value: bytes | None) -> Wish:
    """The wish in a header. Raises BadRequest for a word that is not known."""
    wish = Wish()
    for word in (value or b"").decode("latin-1").lower().split(","):
        name, _, number = word.strip().partition("=")
        if name == "no-store":
            wish = msgspec.structs.replace(wish, stores=False, reads=False)
        elif name == "no-cache":
            wish = msgspec.structs.replace(wish, reads=False)
        elif name == "only-if-cached":
            wish = msgspec.structs.replace(wish, only_kept=True)
        elif name == "max-age" and number.isascii() and number.isdigit() and len(number) < 10:
            wish = msgspec.structs.replace(wish, max_age_s=int(number))
        elif name:
            raise BadRequest(
                "'x-haneul-cache' can be no-store, no-cache, only-if-cached and max-age=SECONDS.",
                param="x-haneul-cache",
            )
    return wish


def is_same_again(ask: Ask) -> bool:
    """Whether a request would be answered the same again: it leaves nothing to chance."""
    if ask.route is openai.EMBEDDINGS:
        return True
    fields = ask.body.fields
    if (seed := fields.get("seed")) is not None and bytes(seed) != b"null":
        return True
    temperature = fields.get("temperature")
    return temperature is not None and msgspec.json.decode(temperature) in (0, 0.0)


def digest(tenant_id: str, ask: Ask, target: Target) -> bytes:
    """Where the answer of a target to a request is kept."""
    asked = {
        name: _plain(msgspec.json.decode(raw))
        for name, raw in ask.body.fields.items()
        if name not in NO_PART and bytes(raw) != b"null"
    }
    facts = [tenant_id, ask.route.path, version(target), ask.completion_max, ask.thinking_max]
    text = msgspec.json.encode([*facts, asked], order="deterministic")
    return hashlib.sha256(text).digest()


def version(target: Target) -> list[Any]:
    """What stands for the model as it is: another one answers other things."""
    if target.engine == EMBEDDED:
        return [target.digest, target.engine_version]
    return [target.engine, target.upstream_model, target.created_us]


def _plain(value: Any) -> Any:
    """1.0 and 1 are the same number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
