"""What each layer of a GGUF file's model remembers: windows, latent attention, linear layers."""

from __future__ import annotations

from collections import Counter

from haneul.chips.shape import Layers
from haneul.models.shapes.gguf_fields import Fields

LAYERS_MAX = 1024  # a header that states more is not worth a closer look

# Of so many layers of these, all but the last look back a window; their files do not say it, or
# not always. 0: which layers do is not known here. Source: llama.cpp, src/models, set_swa_pattern.
WINDOW_PATTERNS = {
    "cohere2": 4,
    "exaone4": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gemma4": 0,
    "gpt-oss": 2,
    "llama4": 4,
    "phi3": 0,
    "plamo3": 0,
    "smallthinker": 0,
}
STATE_BYTES = 4  # of a number in a linear layer's state, or of its last inputs


def window(fields: Fields) -> int:
    """Tokens that every layer looks back; 0 for all of them, or where layers differ."""
    if fields.architecture in WINDOW_PATTERNS:
        return 0
    if fields.numbers("attention.sliding_window_pattern"):
        return 0
    windows = fields.numbers("attention.sliding_window")
    return max(windows) if windows and min(windows) > 0 else 0


def memory(fields: Fields) -> tuple[Layers, ...]:
    """What each layer remembers, where layers differ or attention is latent; else nothing."""
    layers, rank = fields.number("block_count"), fields.number("attention.kv_lora_rank")
    heads = fields.numbers("attention.head_count_kv") or fields.numbers("attention.head_count")
    if not heads or layers > LAYERS_MAX:
        return ()
    if rank and max(heads) == 1:  # older files keep each head's keys and values
        return (Layers(count=layers, numbers=rank + fields.number("rope.dimension_count")),)
    slides, states = _slides(fields, layers), _states(fields, layers)
    if len(set(heads)) == 1 and not any(slides) and not any(states):
        return ()
    each = heads if len(heads) >= layers else heads[:1] * layers
    alike = Counter(zip(each, slides, states, strict=False))
    size = fields.head_size("key") + fields.head_size("value")
    back = fields.number("attention.sliding_window")
    return tuple(
        Layers(
            count=count,
            numbers=0 if state else kept * size,
            window=back if is_sliding else 0,
            state_bytes=state,
        )
        for (kept, is_sliding, state), count in alike.items()
    )


def _slides(fields: Fields, layers: int) -> list[bool]:
    """Which layers look back a window only; none where it is not known."""
    none = [False] * layers
    if not fields.number("attention.sliding_window"):
        return none
    said = fields.flags("attention.sliding_window_pattern")
    if len(said) > 1:
        return [said[at % len(said)] for at in range(layers)]
    every = fields.number("attention.sliding_window_pattern")
    every = every or WINDOW_PATTERNS.get(fields.architecture, 0)
    return [(at + 1) % every != 0 for at in range(layers)] if every > 1 else none


def _states(fields: Fields, layers: int) -> list[int]:
    """Bytes of each layer's state, where so many layers of one with attention keep one."""
    inner, state = fields.number("ssm.inner_size"), fields.number("ssm.state_size")
    every = fields.number("full_attention_interval")
    if not inner or every < 2:
        return [0] * layers
    mixed = inner + 2 * fields.number("ssm.group_count") * state
    inputs = mixed * max(0, fields.number("ssm.conv_kernel") - 1)
    kept = (inner * state + inputs) * STATE_BYTES
    return [0 if (at + 1) % every == 0 else kept for at in range(layers)]
