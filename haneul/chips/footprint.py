"""The memory a model needs, and whether a chip has it free.

Four parts: the weights as they lie in the file, the keys and values of the context at 16 bits,
a second copy of weights that the kernels want interleaved, and what the engine itself works with.
The last was fitted to the memory of haneul's engine, all its processes together (shared pages by
their share), with two models (135 and 494 million parameters) in three formats each, with one and
eight slots of 4,096 tokens on a Linux CPU: the twelve readings of 332-1,354 MB are met within 2 %.
"""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.units import show_bytes
from haneul.chips.chip import Chip
from haneul.chips.estimate import Estimate, show
from haneul.chips.shape import Shape, looked_up, remembering

CACHE_BYTES = 2  # of one key or value: f16
PROCESS_BYTES = 89_000_000  # the engine's three processes and its libraries
VOCABULARY_BYTES = 780  # per token known: the tokenizer's tables and one row of scores
SLOT_BYTES = 2_800_000  # of each slot: its sampler, its text
# Formats that x86 kernels keep a second, interleaved copy of, and its bits for each weight.
INTERLEAVED = ("Q4_0", "IQ4_NL", "Q4_K")
INTERLEAVED_BITS = 4.5
BLOCK = 256  # weights of one block of a K format; narrower matrices are kept in another format
K_SHARE = 0.85  # of such a file's matrices that have 4 bits; the rest has 6
NARROW_K_SHARE = 0.5  # of the matrices that leave the feed-forward, where the others are narrower
BATCH_TOKENS = 512  # of a prompt that llama.cpp computes at once
WORK_SPREAD = 1.6  # of the working memory; two architectures measured, others differ more

SOURCE = "file size; 16-bit cache by arithmetic; working memory fitted to haneul's engine"


class Footprint(Struct, frozen=True, kw_only=True):
    """The parts in bytes, each at its middle, and the whole with its interval.

    copied_bytes are weights that are there twice, in the file's own pages and interleaved: the
    pages are seen in the process, but nobody reads them again, so they make room for others.
    """

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    total: Estimate
    copied_bytes: int = 0

    @property
    def lasting(self) -> Estimate:
        """What must stay free for it: all but pages that make room for others."""
        total, copied = self.total, self.copied_bytes
        return replace(total, mid=total.mid - copied, high=total.high - copied)


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
    compute_bytes, copied = _compute_bytes(shape, slots), interleaved_bytes(shape)
    return Footprint(
        weights_bytes=shape.weight_bytes,
        kv_bytes=kv_mid,
        compute_bytes=compute_bytes,
        total=Estimate(
            low=shape.weight_bytes + kv_low + compute_bytes / WORK_SPREAD,
            mid=shape.weight_bytes + kv_mid + compute_bytes + copied,
            high=shape.weight_bytes + kv_high + compute_bytes * WORK_SPREAD + copied,
            unit="B",
            source=SOURCE,
        ),
        copied_bytes=copied,
    )


def _compute_bytes(shape: Shape, slots: int) -> int:
    vocabulary = shape.vocabulary * VOCABULARY_BYTES
    activations = BATCH_TOKENS * 4 * (2 * shape.feed_forward + 4 * shape.hidden)
    return PROCESS_BYTES + vocabulary + slots * SLOT_BYTES + activations


def interleaved_bytes(shape: Shape) -> int:
    """The second copy of the matrices in formats that the kernels interleave; 0 for others.

    The file's own pages stay mapped beside it, until somebody else needs the memory.
    """
    if not shape.quantisation.upper().startswith(INTERLEAVED):
        return 0
    tables = looked_up(shape) + shape.vocabulary * shape.hidden
    weights = max(0.0, shape.parameters - tables)
    if shape.quantisation.upper().startswith("Q4_K"):
        weights *= K_SHARE
        if shape.hidden % BLOCK:
            weights = NARROW_K_SHARE * shape.layers * shape.feed_forward * shape.hidden
    return round(weights * INTERLEAVED_BITS / 8)


def fits(need: Footprint, chip: Chip) -> Fit:
    """Compares the cautious end of the need with what is free on all chips of this kind."""
    free = chip.memory_free_bytes
    if free is None:
        reason = f"The free memory of {chip.name} is unknown; the model needs {show(need.lasting)}."
        return Fit(fits=None, needed=need.lasting, free_bytes=None, reason=reason)
    free *= chip.count
    enough = need.lasting.high <= free
    parts = (
        f"weights {show_bytes(need.weights_bytes)}, context {show_bytes(need.kv_bytes)}, "
        f"working memory {show_bytes(need.compute_bytes)}"
    )
    verb = "Fits" if enough else "Does not fit"
    reason = f"{verb}: needs {show(need.lasting)}, {show_bytes(free)} are free ({parts})."
    return Fit(fits=enough, needed=need.lasting, free_bytes=free, reason=reason)
