"""How fast a model will be on a chip: a few lines of physics with measured constants.

A step that decodes one token for each of B streams takes

    bytes read ÷ (bandwidth × share reached)          the weights, once for all streams
    + B × parameters × seconds per multiplication     dequantising and multiplying
    + layers × (wait + B × work)                      starting and joining threads, attention

CPU constants are fitted to 27 readings of llama.cpp (its AVX2 build): two AMD Zen 4 cores at
60 GB/s and two Intel Sapphire Rapids cores at 22 GB/s, models of 134 and 494 million parameters,
four weight formats, 1-32 streams. Median error 6 % decoding and 17 % in prefill, worst 32 %.
These are errors of the fit: on other machines expect more, which is why the interval is wider.
GPU constants are fitted to five published llama-bench readings (RTX 4090, RTX 6000 Ada, RTX 3090,
M1 Max, M4); no GPU was at hand. The intervals are meant to hold four of five truths.
"""

from __future__ import annotations

from msgspec import Struct

from haneul.chips.chip import Chip
from haneul.chips.estimate import Estimate, around, times
from haneul.chips.footprint import kv_bytes
from haneul.chips.shape import Shape, met

PICO = 1e-12


class Constants(Struct, frozen=True, kw_only=True):
    """Seconds and shares of one kind of chip; spread is the factor of the 80 % interval."""

    bandwidth_share: float  # of the measured or published bandwidth
    weight_s: float  # per parameter and stream, decoding
    prefill_weight_s: float  # per parameter and prompt token
    wait_s: float  # per layer and step
    work_s: float  # per layer and stream, decoding
    prefill_work_s: float  # per layer and prompt token
    spread: float
    source: str


# Core-seconds per parameter in the formats that llama.cpp keeps interleaved, and in all others.
FAST_FORMATS = ("Q4_0", "Q8_0", "IQ4_NL")
FAST_WEIGHT_S = 28 * PICO
WEIGHT_S = 48 * PICO
WORK_S = 172e-6  # core-seconds per layer and stream
WAIT_S = 70e-6  # seconds per layer and step
PREFILL_SHARE = 0.64  # of the decoding cost, when hundreds of tokens share one weight
CPU_BANDWIDTH_SHARE = 0.76
CPU_SPREAD = 1.4  # 1.28 deviations of 0.17 in the fit and 0.2 assumed between machines
UNMEASURED_SPREAD = 2.5  # a kernel family never measured here: the factor below is an assumption

# Slower than AVX2 by; only the first was measured, AVX-512 runs the same build of the engine.
SLOWER = (("avx2", 1.0), ("i8mm", 1.0), ("asimddp", 1.3), ("asimd", 2.5), ("avx", 2.0))
SLOWEST = 4.0
UNKNOWN_CORE_BANDWIDTH = 10e9  # B/s of one core when nothing was measured; at most four add up
UNKNOWN_BANDWIDTH_SPREAD = 2.0

GPU_BANDWIDTH_SHARE = 0.75
GPU_WAIT_S = 20e-6
GPU_COMPUTE_SHARE = 0.27  # of the published dense 16-bit rate, in prefill
GPU_SPREAD = 1.6
NPU_SPREAD = 2.5  # never measured with this engine


def decode_speed(
    shape: Shape, chip: Chip, *, streams: int = 1, context_tokens: int = 0
) -> Estimate | None:
    """Tokens per second of all streams together, each with so much context already behind it.

    One chip of its kind, since layers split over several run one after another. None where the
    chip's bandwidth or compute was never published.
    """
    bandwidth, constants = _bandwidth(chip), _constants(shape, chip)
    if bandwidth is None or constants is None:
        return None
    behind = kv_bytes(shape, context_tokens, is_cautious=True)  # as this engine keeps it
    count = step_bytes(shape, streams) + streams * behind
    fixed_s = streams * met(shape) * constants.weight_s
    fixed_s += shape.layers * (constants.wait_s + streams * constants.work_s)

    def speed(bytes_per_s: float) -> float:
        return streams / (count / (bytes_per_s * constants.bandwidth_share) + fixed_s)

    source = f"{constants.source}; bandwidth: {bandwidth.source}"
    physics = Estimate(
        low=speed(bandwidth.low),
        mid=speed(bandwidth.mid),
        high=speed(bandwidth.high),
        unit="tok/s",
        source=source,
    )
    doubt = around(1.0, "", factor=constants.spread, source="")
    return times(physics, doubt, unit="tok/s", source=source)


def step_terms(
    shape: Shape, chip: Chip, *, streams: int = 1, context_tokens: int = 0
) -> dict[str, float] | None:
    """Seconds of one step of decode_speed by what they go into, at its middle; None as there."""
    bandwidth, constants = _bandwidth(chip), _constants(shape, chip)
    if bandwidth is None or constants is None:
        return None
    reached = bandwidth.mid * constants.bandwidth_share
    behind = streams * kv_bytes(shape, context_tokens, is_cautious=True)
    return {
        "weights": step_bytes(shape, streams) / reached,
        "compute": streams * met(shape) * constants.weight_s,
        "cache": behind / reached,
        "layers": shape.layers * (constants.wait_s + streams * constants.work_s),
    }


def prefill_speed(shape: Shape, chip: Chip) -> Estimate | None:
    """Prompt tokens per second of one prompt of a few hundred tokens; None where unknown.

    The output head is met once per prompt, so its parameters do not count.
    """
    constants = _constants(shape, chip)
    if constants is None:
        return None
    weights = max(1, met(shape) - shape.vocabulary * shape.hidden)
    token_s = weights * constants.prefill_weight_s + shape.layers * constants.prefill_work_s
    spread = constants.spread if chip.kind == "cpu" else constants.spread * 1.25
    return around(1 / token_s, "tok/s", factor=spread, source=constants.source)


def step_bytes(shape: Shape, streams: int) -> float:
    """Weights read by one step: all experts that any of the streams asks for, evenly spread."""
    if not 0 < shape.experts_used < shape.experts:
        return float(shape.active_bytes)
    share = shape.experts_used / shape.experts
    idle = max(0, shape.weight_bytes - shape.active_bytes)
    experts = idle / (1 - share)  # what is not read for one token is the experts it skips
    touched = 1 - (1 - share) ** streams
    return shape.active_bytes + experts * (touched - share)


def _bandwidth(chip: Chip) -> Estimate | None:
    if chip.bandwidth is not None or chip.kind != "cpu":
        return chip.bandwidth
    assumed = UNKNOWN_CORE_BANDWIDTH * min(4, chip.cores or 1)
    source = "assumed: 10 GB/s a core, four at most"
    return around(assumed, "B/s", factor=UNKNOWN_BANDWIDTH_SPREAD, source=source)


def _constants(shape: Shape, chip: Chip) -> Constants | None:
    return _cpu(shape, chip) if chip.kind == "cpu" else _accelerator(chip)


def _cpu(shape: Shape, chip: Chip) -> Constants:
    cores = chip.cores or 1
    kernels, slower = _kernels(chip)
    fast = shape.quantisation.upper().startswith(FAST_FORMATS)
    weight_s = (FAST_WEIGHT_S if fast else WEIGHT_S) * slower / cores
    work_s = WORK_S * slower / cores
    measured = kernels == "avx2"
    how = "fitted to llama.cpp on two kinds of x86 cores" if measured else "assumed, not measured"
    return Constants(
        bandwidth_share=CPU_BANDWIDTH_SHARE,
        weight_s=weight_s,
        prefill_weight_s=weight_s * PREFILL_SHARE,
        wait_s=WAIT_S,
        work_s=work_s,
        prefill_work_s=work_s * PREFILL_SHARE,
        spread=CPU_SPREAD if measured else UNMEASURED_SPREAD,
        source=f"{kernels} kernels, {cores} cores, {how}",
    )


def _kernels(chip: Chip) -> tuple[str, float]:
    for name, slower in SLOWER:
        if name in chip.instruction_sets:
            return name, slower
    return "plain", SLOWEST


def _accelerator(chip: Chip) -> Constants | None:
    if chip.compute is None:
        return None
    token_s = 2 / (chip.compute.mid * GPU_COMPUTE_SHARE)  # a multiplication and an addition
    return Constants(
        bandwidth_share=GPU_BANDWIDTH_SHARE,
        weight_s=token_s,
        prefill_weight_s=token_s,
        wait_s=GPU_WAIT_S,
        work_s=0.0,
        prefill_work_s=0.0,
        spread=GPU_SPREAD if chip.kind == "gpu" else NPU_SPREAD,
        source="roofline fitted to published llama-bench readings, not measured here",
    )
