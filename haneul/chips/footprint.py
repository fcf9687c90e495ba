"""The memory a model needs, and whether a chip has it free.

Three parts: the weights as they lie in the file, the keys and values of the context at 16 bits,
and what the engine itself works with. The last was fitted to the resident memory of llama.cpp's
server with two models (135 and 494 million active parameters) and two contexts (4,096 and 8,192
tokens) on a Linux CPU: the four readings of 267-772 MB were met within 5 %.
"""

from __future__ import annotations

import math

from msgspec import Struct

from haneul.base.units import show_bytes
from haneul.chips.chip import Chip
from haneul.chips.estimate import Estimate, show
from haneul.chips.shape import Shape, remembering

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
    """Keys and values of one token in every layer, before any window is full."""
    shared = sum(layers.count * layers.numbers / layers.every for layers in remembering(shape))
    return math.ceil(shared * CACHE_BYTES)


def kv_bytes(
    shape: Shape,
    context_tokens: int,
    *,
    batch_tokens: int = BATCH_TOKENS,
    is_cautious: bool = False,
) -> int:
    """What one sequence of so many tokens keeps: keys, values and states of fixed size.

    A windowed layer keeps its window and the batch being computed; cautiously counted it keeps
    everything, as engines do that give all layers one cache.
    """
    total = 0
    for layers in remembering(shape):
        window = context_tokens if is_cautious or not layers.window else layers.window
        kept = min(context_tokens, window + batch_tokens)
        entries = -(-kept // layers.every)
        total += layers.count * (layers.numbers * entries * CACHE_BYTES + layers.state_bytes)
    return total


def footprint(
    shape: Shape, *, context_tokens: int, slots: int, has_windows: bool = False
) -> Footprint:
    """What an engine with so many slots of so much context each will hold, in bytes.

    haneul's own kernel keeps the whole context in every layer, so that what a window has left
    behind can serve another request; has_windows is for engines that let it go. The interval
    covers both.
    """
    windowed = kv_bytes(shape, context_tokens) * slots
    kv_high = kv_bytes(shape, context_tokens, is_cautious=True) * slots
    kv_mid = windowed if has_windows else kv_high
    kv_low = windowed if shape.kv_heads or shape.memory else windowed // 8
    compute_bytes = _compute_bytes(shape, slots)
    return Footprint(
        weights_bytes=shape.weight_bytes,
        kv_bytes=kv_mid,
        compute_bytes=compute_bytes,
        total=Estimate(
            low=shape.weight_bytes + kv_low + compute_bytes / WORK_SPREAD,
            mid=shape.weight_bytes + kv_mid + compute_bytes,
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
