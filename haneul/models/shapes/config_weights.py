"""In how many bits a config.json says that weights are stored."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

BITS = {"float32": 32.0, "float16": 16.0, "bfloat16": 16.0}
NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

# Of one weight with its share of the scales: 8-bit floats have one of 32 bits for 128 x 128, MXFP4
# 8 bits for 32, NVFP4 8 bits for 16, integers of AWQ, GPTQ and their kin 16 bits for 128.
FP8, MXFP4, NVFP4, GROUP_BITS = 8.0, 4.25, 4.5, 0.25
INTEGERS = ("awq", "gptq", "compressed-tensors", "auto-round", "autoround", "bitsandbytes")


class Weights(Struct, frozen=True, kw_only=True):
    """The kind, and bits a weight of the tables, of the experts and of all others."""

    name: str
    table_bits: float
    expert_bits: float
    other_bits: float


def weights(config: dict[str, Any]) -> Weights:
    """How the weights are stored; a config that does not say is taken for 16-bit floats."""
    inner = config.get("text_config")
    inner = inner if isinstance(inner, dict) else {}
    kind = config.get("torch_dtype") or config.get("dtype") or inner.get("dtype") or "bfloat16"
    kind = str(inner.get("torch_dtype") or kind).removeprefix("torch.")
    plain = BITS.get(kind, 16.0)
    said = config.get("quantization_config") or inner.get("quantization_config")
    if not isinstance(said, dict):
        return _even(NAMES.get(kind, "BF16"), plain, plain)
    method = str(said.get("quant_method", "")).lower()
    algorithm = str(said.get("quant_algo", "")).upper()
    if method == "mxfp4":
        return Weights(name="MXFP4", table_bits=plain, expert_bits=MXFP4, other_bits=plain)
    if "NVFP4" in algorithm or "nvfp4" in str(said.get("format", "")).lower():
        # what stays finer is listed tensor by tensor; in mixtures it is what is no expert
        return Weights(name="NVFP4", table_bits=plain, expert_bits=NVFP4, other_bits=FP8)
    if "fp4" in (str(config.get("expert_dtype")), str(inner.get("expert_dtype"))):
        return Weights(name="FP4", table_bits=plain, expert_bits=MXFP4, other_bits=FP8)
    if method in ("fp8", "fbgemm_fp8") or "FP8" in algorithm:
        return _even("FP8", FP8, plain)
    if method in INTEGERS:
        bits = _bits(said)
        return _even(f"INT{bits}", bits + GROUP_BITS, plain)
    return _even(method.upper() or NAMES.get(kind, "BF16"), plain, plain)


def _even(name: str, bits: float, table_bits: float) -> Weights:
    return Weights(name=name, table_bits=table_bits, expert_bits=bits, other_bits=bits)


def _bits(said: dict[str, Any]) -> int:
    """Bits of the integers: of the first group of weights, where there are groups."""
    groups = said.get("config_groups")
    first: object = next(iter(groups.values()), {}) if isinstance(groups, dict) else {}
    inside = first.get("weights") if isinstance(first, dict) else None
    value = inside.get("num_bits") if isinstance(inside, dict) else said.get("bits")
    return value if isinstance(value, int) and 1 <= value <= 16 else 4
