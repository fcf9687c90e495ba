"""The four forms of a prompt (or an input to embed), as one list."""

from __future__ import annotations

from typing import Any

from haneul.base.errors import BadRequest, UnsupportedValue
from haneul.engine.accept import SEQUENCES_MAX, check_length
from haneul.engine.kernel import Facts, Prompt


def as_prompts(value: str | list[Any], facts: Facts, *, param: str) -> list[Prompt]:
    """Texts and token lists, one for each prompt. Raises BadRequest that names the param."""
    if isinstance(value, str):
        prompts: list[Any] = [value]
    elif value and all(type(part) is int for part in value):
        prompts = [value]
    else:
        prompts = value
    if not prompts:
        raise BadRequest(f"'{param}' is empty.", param=param)
    if len(prompts) > SEQUENCES_MAX:
        raise UnsupportedValue(f"'{param}' holds more than {SEQUENCES_MAX}.", param=param)
    for prompt in prompts:
        _check(prompt, facts, param)
    return prompts


def _check(prompt: Any, facts: Facts, param: str) -> None:
    is_tokens = isinstance(prompt, list) and all(type(part) is int for part in prompt)
    if not isinstance(prompt, str) and not is_tokens:
        raise BadRequest(
            f"'{param}' must be text, a list of texts, token ids, or a list of such lists.",
            param=param,
        )
    if isinstance(prompt, str):
        check_length(len(prompt), facts, param)
    if not prompt:
        raise BadRequest(f"'{param}' is empty.", param=param)
    if is_tokens and not all(0 <= token < facts.vocabulary for token in prompt):
        raise BadRequest(
            f"'{param}' has a token outside the vocabulary of {facts.vocabulary}.", param=param
        )
