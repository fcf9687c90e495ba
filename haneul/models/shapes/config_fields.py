"""Numbers from a config.json: the same measure has a name of its own in every family of models.

A config comes from anybody, so each number is read within bounds and each list by its length.
"""

from __future__ import annotations

import json
from typing import Any, cast

from msgspec import Struct

from haneul.base.errors import BrokenFile

CONFIG_BYTES_MAX = 32_000_000  # quantised mixtures list every tensor that stays as it is: 3 MB seen
NUMBER_MAX = 1 << 31
LAYERS_MAX = 1024

# What the configs of a family leave out because its code has it as a default (transformers 4.57).
DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "tie_word_embeddings": True,
    },
    "gemma2": {"sliding_window": 4096, "sliding_window_pattern": 2, "tie_word_embeddings": True},
    "gemma4_text": {"tie_word_embeddings": True},
    "gemma": {"tie_word_embeddings": True},
    "cohere2": {"sliding_window_pattern": 4, "tie_word_embeddings": True},
    "llama4_text": {"attention_chunk_size": 8192, "no_rope_layer_interval": 4},
    "gpt_oss": {"sliding_window": 128, "sliding_window_pattern": 2},
    "qwen3_next": {"full_attention_interval": 4},
    "qwen3_5_text": {"full_attention_interval": 4},
    "qwen3_5_moe_text": {"full_attention_interval": 4},
}
ENCODERS = ("bert", "distilbert", "roberta", "xlm-roberta")  # read a text at once, write none
TEXT_PARTS = ("text_config", "llm_config", "language_config")


def read_config(data: bytes) -> dict[str, Any]:
    """The object that a config.json holds. Raises BrokenFile."""
    if len(data) > CONFIG_BYTES_MAX:
        raise BrokenFile(f"config.json has more than {CONFIG_BYTES_MAX} bytes.")
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise BrokenFile("config.json is not JSON.") from cause
    if not isinstance(config, dict):
        raise BrokenFile("config.json holds no object.")
    return config


class Fields:
    """The measures of a model's text part, by the names its family gives them."""

    def __init__(self, config: dict[str, Any]) -> None:
        inner: dict[str, Any] = next(
            (config[name] for name in TEXT_PARTS if isinstance(config.get(name), dict)), {}
        )
        kind = inner.get("model_type") or config.get("model_type") or ""
        if not isinstance(kind, str):
            raise BrokenFile("model_type of config.json is not a name.")
        self.model_type = kind
        self._given = {**DEFAULTS.get(kind, {}), **config, **inner}

    def has(self, name: str) -> bool:
        """Whether the config says anything but null."""
        return self._given.get(name) is not None

    def number(self, *names: str, default: int | None = None) -> int:
        """The first of these that is there; of a list by layers the most. Raises BrokenFile."""
        for name in names:
            value = self._given.get(name)
            if value is None:
                continue
            return max(self._whole(name, each) for each in (value if _is_full(value) else [value]))
        if default is None:
            raise BrokenFile(f"config.json has no {names[0]}.")
        return default

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A yes or no; anything else counts as the default."""
        value = self._given.get(name)
        return value if isinstance(value, bool) else default

    def text(self, name: str) -> str:
        """A word or a pattern; "" where there is none."""
        value = self._given.get(name)
        return value if isinstance(value, str) else ""

    def each(self, name: str) -> list[Any]:
        """A list, such as one by layers; empty where there is none. Raises BrokenFile."""
        value = self._given.get(name)
        if not isinstance(value, list):
            return []
        if len(value) > LAYERS_MAX:
            raise BrokenFile(f"{name} of config.json has more than {LAYERS_MAX} items.")
        return value

    def whole_each(self, name: str) -> list[int]:
        """A list of whole numbers. Raises BrokenFile."""
        return [self._whole(name, value) for value in self.each(name)]

    def inside(self, name: str) -> Fields:
        """The fields of an object within; none where there is none."""
        value = self._given.get(name)
        return Fields(cast("dict[str, Any]", value) if isinstance(value, dict) else {})

    def _whole(self, name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < NUMBER_MAX:
            raise BrokenFile(f"{name} of config.json is not a whole number in its bounds.")
        return value


def _is_full(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= LAYERS_MAX


class Attention(Struct, frozen=True, kw_only=True):
    """One layer's attention: its parameters, and what it keeps of a sequence."""

    parameters: int
    numbers: int = 0  # of each token
    window: int = 0
    every: int = 1
    state_bytes: int = 0


def writes(fields: Fields) -> bool:
    """Whether the model writes token by token; encoders tell where in a space a text lies."""
    return fields.model_type not in ENCODERS


def heads(fields: Fields) -> int:
    """Query heads of an ordinary layer."""
    return fields.number("num_attention_heads")


def head_size(fields: Fields) -> int:
    """Numbers of one head's key."""
    even = fields.number("hidden_size") // max(1, heads(fields))
    return fields.number("head_dim", "attention_head_dim", default=even)
