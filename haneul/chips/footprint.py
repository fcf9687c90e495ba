"""The memory a model needs, and whether a chip has it free.

Three parts: the weights as they lie in the file, the keys and values of the context at 16 bits,
and what the engine itself works with. The last was fitted to the resident memory of llama.cpp's
server with two models (135 and 494 million active parameters) and two contexts (4,096 and 8,192
tokens) on a Linux CPU: the four readings of 267-772 MB were met within 5 %.
"""

from __future__ import annotations

from msgspec import Struct

from haneul.base.units import show_bytes
from haneul.chips.chip import Chip
from haneul.chips.estimate import Estimate, show
from haneul.chips.shape import Shape

CACHE_BYTES = 2  # of one key or value: f16
PROCESS_BYTES = 45_000_000  # the interpreter and the engine's libraries
VOCABULARY_BYTES = 420  # per token known: the tokenizer's tables and one row of scores
SLOT_VOCABULARY_BYTES = 16  # per token known and slot: candidates of its sampler
BATCH_TOKENS = 512  # of a prompt that llama.cpp computes at once
WORK_SPREAD = 1.6  # of the working memory; two architectures measured, others differ more

SOURCE = "file size; 16-bit cache by arithmetic; working memory fitted to llama.cpp's server"


class Footprint(Struct, frozen=True, kw_only=True):
    """The parts in bytes, each at its middle, and the whole with its interval."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    total: Estimate


class Fit(Struct, frozen=True, kw_only=True):
    """Whether it fits; None where the chip's free memory is unknown. The reason is a sentence."""

    fits: bool | None
    needed: Estimate
    free_bytes: int | None
    reason: str


def kv_bytes_per_token(shape: Shape) -> int:
    """Keys and values of one token in every layer; with kv_heads unknown, as many as heads."""
    heads = shape.kv_heads or shape.heads
    return shape.layers * heads * (shape.key_size + shape.value_size) * CACHE_BYTES


def footprint(shape: Shape, *, context_tokens: int, slots: int) -> Footprint:
    """What an engine with so many slots of so much context each will hold, in bytes.

    A sliding window bounds what each layer keeps; architectures that mix windowed and full layers
    keep more than that, so the interval then reaches up to the full context.
    """
    window = shape.sliding_window or context_tokens
    kept = min(context_tokens, window + BATCH_TOKENS if shape.sliding_window else window)
    per_token = kv_bytes_per_token(shape)
    kv_bytes = per_token * kept * slots
    kv_high = per_token * context_tokens * slots
    kv_low = kv_bytes if shape.kv_heads else kv_bytes // 8
    compute_bytes = _compute_bytes(shape, slots)
    return Footprint(
        weights_bytes=shape.weight_bytes,
        kv_bytes=kv_bytes,
        compute_bytes=compute_bytes,
        total=Estimate(
            low=shape.weight_bytes + kv_low + compute_bytes / WORK_SPREAD,
            mid=shape.weight_bytes + kv_bytes + compute_bytes,
            high=shape.weight_bytes + kv_high + compute_bytes * WORK_SPREAD,
            unit="B",
            source=SOURCE,
        ),
    )


def _compute_bytes(shape: Shape, slots: int) -> int:
    vocabulary = shape.vocabulary * (VOCABULARY_BYTES + SLOT_VOCABULARY_BYTES * slots)
    activations = BATCH_TOKENS * 4 * (2 * shape.feed_forward + 4 * shape.hidden)
    return PROCESS_BYTES + vocabulary + activations


def fits(need: Footprint, chip: Chip) -> Fit:
    """Compares the cautious end of the need with what is free on all chips of this kind."""
    free = chip.memory_free_bytes
    if free is None:
        reason = f"The free memory of {chip.name} is unknown; the model needs {show(need.total)}."
        return Fit(fits=None, needed=need.total, free_bytes=None, reason=reason)
    free *= chip.count
    enough = need.total.high <= free
    parts = (
        f"weights {show_bytes(need.weights_bytes)}, context {show_bytes(need.kv_bytes)}, "
        f"working memory {show_bytes(need.compute_bytes)}"
    )
    verb = "Fits" if enough else "Does not fit"
    reason = f"{verb}: needs {show(need.total)}, {show_bytes(free)} are free ({parts})."
    return Fit(fits=enough, needed=need.total, free_bytes=free, reason=reason)
