"""Bits of weights and caches, and which units of a chip multiply them."""

from __future__ import annotations

from msgspec import Struct

from haneul.base.errors import UnsupportedValue
from haneul.chips.plan.terms import Deployment, PlanChip


class Precision(Struct, frozen=True, kw_only=True):
    """How weights are kept and multiplied; bits include the scales of their blocks."""

    always_bits: float  # attention, dense and shared parts of a mixture
    expert_bits: float
    dense_bits: float  # every matrix of a model without experts
    unit: str  # the units meant for it: bf16, fp8, int8 or fp4
    kv_bits: int = 16


KNOWN = {
    "bf16": Precision(always_bits=16, expert_bits=16, dense_bits=16, unit="bf16"),
    "fp16": Precision(always_bits=16, expert_bits=16, dense_bits=16, unit="bf16"),
    "fp8": Precision(always_bits=8, expert_bits=8, dense_bits=8, unit="fp8"),
    "int8": Precision(always_bits=8, expert_bits=8, dense_bits=8, unit="int8"),
    "fp4": Precision(always_bits=8, expert_bits=4.5, dense_bits=4.5, unit="fp4"),
    "nvfp4": Precision(always_bits=8, expert_bits=4.5, dense_bits=4.5, unit="fp4"),
    "mxfp4": Precision(always_bits=16, expert_bits=4.25, dense_bits=4.25, unit="fp4"),
    "int4": Precision(always_bits=16, expert_bits=4.5, dense_bits=4.5, unit="bf16"),
    "awq-int4": Precision(always_bits=4.5, expert_bits=4.5, dense_bits=4.5, unit="bf16"),
    "int8/int4": Precision(always_bits=8, expert_bits=4.5, dense_bits=8, unit="int8"),
}
# llama.cpp's bits per weight over a whole file, from its own table of an 8B model.
GGUF_BITS = {
    "q2_k": 3.2,
    "q3_k_m": 4.0,
    "iq4_xs": 4.5,
    "q4_0": 4.7,
    "q4_1": 5.1,
    "q4_k_s": 4.7,
    "q4_k_m": 4.9,
    "q5_0": 5.6,
    "q5_k_m": 5.7,
    "q6_k": 6.6,
    "q8_0": 8.5,
}
HALF_CACHE_ENGINES = ("trt", "tensorrt", "cloudmatrix")  # 8-bit caches where weights have 8 or less


def precision_of(deployment: Deployment) -> Precision:
    """What the deployment's precision means for its model. Raises UnsupportedValue."""
    name = deployment.precision.lower()
    native = deployment.model.native
    if native == "mxfp4" and name in ("fp4", "fp8", "mxfp4", "nvfp4", "int4"):
        return KNOWN["mxfp4"]  # experts are published in 4 bits; only the cache is narrower
    if name in GGUF_BITS:
        bits = GGUF_BITS[name]
        return Precision(always_bits=bits, expert_bits=bits, dense_bits=bits, unit="bf16")
    if name not in KNOWN:
        raise UnsupportedValue(f"No precision is called {name!r}; known: {', '.join(KNOWN)}.")
    return KNOWN[name]


def cache_bits(deployment: Deployment) -> int:
    """Bits of one number of the cache: as told, or as the engine keeps it by default."""
    if deployment.kv_bits is not None:
        return deployment.kv_bits
    narrow = precision_of(deployment).unit in ("fp8", "fp4", "int8")
    engine = deployment.engine.lower()
    return 8 if narrow and engine.startswith(HALF_CACHE_ENGINES) else 16


def compute(chip: PlanChip, unit: str) -> tuple[float | None, bool]:
    """FLOP/s in the wanted units, or in 16 bits with True: weights are widened on the way."""
    sheet = {
        "fp4": chip.fp4_tflops,
        "fp8": chip.fp8_tflops,
        "int8": chip.int8_tops,
        "bf16": chip.bf16_tflops,
    }
    wanted = sheet[unit]
    if unit == "fp8" and wanted is None and chip.generation == "ascend":
        wanted = chip.int8_tops
    if wanted is not None:
        return wanted * 1e12, False
    bf16 = chip.bf16_tflops
    return (None if bf16 is None else bf16 * 1e12), True
