"""One forward pass as a roofline with named terms, in seconds.

Weights and caches are read at a share of the memory's bandwidth, matrices multiplied at a share of
the units' speed; of reading and multiplying the longer hides most of the shorter. Communication,
the launch of every layer and the loop around the pass come on top.
"""

from __future__ import annotations

import math

from msgspec import Struct

from haneul.base.errors import UnsupportedValue
from haneul.chips.plan.precision import cache_bits, compute, precision_of
from haneul.chips.plan.terms import Deployment, PlanModel

INDEX_SHARE = 0.1  # of a full read of the cache: what sparse attention reads to choose
NARROW_PREFILL_LATENT = 0.3  # (128+64+128) / (576+512): a prompt is not multiplied compressed
LIGHT = 0.12  # of the loop around a pass, in engines that serve one user from one process
SPECULATED_MOST = 8  # new tokens that attend in compressed form (MLA); more are a prompt
RIDGE = 300.0  # FLOP to the byte of an H100 in 16 bits, what half_tokens is told for
INTERPRETED = ("vllm", "sglang")
LIGHT_ENGINES = ("llama", "mlx", "haneul")
NODES_MOST = 4.0  # machines that one token's experts lie on, where routing is limited (DeepSeek)
NO_LINK_B_S = 25e9  # between chips of different machines where nothing is published (200 Gbit/s)


class Efficiency(Struct, frozen=True, kw_only=True):
    """Constants that data sheets do not have; `haneul plan calibrate` fits them to measurements."""

    bandwidth: float = 0.75
    cache_bandwidth: float = 0.65
    compute: float = 0.6
    saturation_pflop_s: float = 10.0  # units this wide are fed for half of their time
    compute_fp8: float = 0.8  # of that share, in 8-bit units
    compute_fp4: float = 0.55
    widening: float = 0.7  # of the 16-bit speed where narrower weights must be widened first
    experts_compute: float = 0.7  # of that share, in grouped matrices
    variety: float = 0.85  # n tokens choose experts as n ** variety unlike ones would
    experts_bandwidth: float = 0.8  # of the share for weights, where experts are many and small
    half_tokens: float = 60.0  # rows of a matrix at which units reach half their speed, of a
    # chip with 300 FLOP to the byte: the wider the units, the more rows they need
    half_experts: float = 30.0  # rows of one expert: a tile is computed whole, however few they are
    attention_compute: float = 0.35
    link: float = 0.6
    collective_s: float = 10e-6
    layer_s: float = 12e-6
    routing_s: float = 10e-6  # more for a layer with experts
    choosing_s: float = 50e-6  # more for a layer whose attention chooses the tokens it reads
    step_s: float = 1e-3
    interpreted: float = 1.5  # of the loop, where an interpreter drives it (vLLM, SGLang)
    sequence_s: float = 4e-6  # of the host, for each sequence of each step
    alone: float = 1.2  # of compute, where prompts and decoding have chips of their own
    overlap: float = 3.0  # the norm that joins reading and multiplying; infinity hides all
    exposed: float = 0.3  # of communication, where two batches alternate and hide the rest
    imbalance: float = 0.06  # of the busiest rank, for each doubling of expert ranks
    mixing: float = 1.0  # how much of the time of prompts a decoding neighbour waits
    bubble: float = 0.1  # of a decoding pass, for each pipeline stage that waits for another
    arrival_s: float = 0.04  # of a request, from its HTTP to the first pass that knows it
    queue: float = 0.08  # of the prompts of a whole batch: what a new one finds before it


class Work(Struct, frozen=True, kw_only=True):
    """What one pass has to do, in the whole deployment."""

    sequences: float
    new_tokens: float  # of each sequence
    context: float  # tokens each sequence remembers before the new ones, on average
    is_prompt: bool = False  # then only the last of the new tokens is answered


class Speeds(Struct, frozen=True, kw_only=True):
    """A chip's rates for one deployment before efficiencies: B/s and FLOP/s."""

    bandwidth_b_s: float
    dense_flop_s: float
    experts_flop_s: float
    attention_flop_s: float
    link_b_s: float


def speeds(deployment: Deployment, efficiency: Efficiency) -> Speeds:
    """The rates of data sheet and efficiency. Raises UnsupportedValue where one is unknown."""
    chip = deployment.chip
    if chip.bandwidth_tb_s is None or chip.bf16_tflops is None:
        unknown = "memory bandwidth" if chip.bandwidth_tb_s is None else "compute"
        raise UnsupportedValue(f"The {unknown} of {chip.name} is unknown: no speed is forecast.")
    precision = precision_of(deployment)
    dense_unit = precision.unit
    if deployment.model.experts and precision.always_bits == 16:
        dense_unit = "bf16"
    elif deployment.model.experts and precision.always_bits == 8 and precision.unit == "fp4":
        dense_unit = "fp8"
    return Speeds(
        bandwidth_b_s=chip.bandwidth_tb_s * 1e12 * efficiency.bandwidth,
        dense_flop_s=_flop_s(deployment, dense_unit, precision.always_bits, efficiency),
        experts_flop_s=_flop_s(deployment, precision.unit, precision.expert_bits, efficiency)
        * efficiency.experts_compute,
        attention_flop_s=chip.bf16_tflops * 1e12 * efficiency.attention_compute,
        link_b_s=_link_b_s(deployment) * efficiency.link,
    )


def _flop_s(deployment: Deployment, unit: str, bits: float, efficiency: Efficiency) -> float:
    found, is_widened = compute(deployment.chip, unit)
    assert found is not None  # speeds() has looked
    share = efficiency.compute
    if deployment.role != "aggregated":
        share *= efficiency.alone
    if is_widened or (unit == "bf16" and bits < 16):
        share *= efficiency.widening
    elif unit in ("fp8", "int8"):
        share *= efficiency.compute_fp8
    elif unit == "fp4":
        share *= efficiency.compute_fp4
    fed = 1 / (1 + found / (efficiency.saturation_pflop_s * 1e15))
    return found * share * fed


def _link_b_s(deployment: Deployment) -> float:
    chip = deployment.chip
    group = deployment.count // deployment.pp
    if group <= chip.domain_chips and chip.link_gb_s is not None:
        return chip.link_gb_s * 1e9
    if chip.domain_chips == 1 and chip.link_gb_s is not None:  # a bus of the machine
        return chip.link_gb_s * 1e9
    return chip.fabric_gb_s * 1e9 if chip.fabric_gb_s else NO_LINK_B_S


def expert_share(model: PlanModel, tokens: float, *, variety: float = 1.0) -> float:
    """The part of the routed experts that so many tokens touch.

    Routes of independent tokens would have a variety of one; those of a text are more alike.
    """
    if not model.experts:
        return 0.0
    missed = 1 - model.experts_used / model.experts
    touched: float = 1.0 - missed ** max(0.0, min(tokens, tokens**variety))
    return touched


def cache_bytes(deployment: Deployment, context: float) -> float:
    """What one sequence of so many tokens keeps in all layers, bytes; states included."""
    size = cache_bits(deployment) / 8
    total = 0.0
    for layers in deployment.model.memory:
        kept = min(context, layers.window) if layers.window else context
        total += layers.count * (layers.numbers * kept / layers.every * size + layers.state_bytes)
    return total


def _read_bytes(deployment: Deployment, context: float) -> float:
    most = deployment.model.attended_most
    if most and context > most:
        context = most + INDEX_SHARE * (context - most)
    states = sum(layers.count * layers.state_bytes for layers in deployment.model.memory)
    return cache_bytes(deployment, context) + states  # a state is read and written again


def attention_flops(model: PlanModel, work: Work) -> float:
    """Of one sequence: every new token against what it looks back at, in all layers."""
    each = 2.0 * model.heads * (model.key_size + model.value_size)
    if model.is_latent and work.new_tokens > SPECULATED_MOST:
        each *= NARROW_PREFILL_LATENT
    back = work.context + work.new_tokens / 2
    total = 0.0
    for layers in model.memory:
        if not layers.numbers:
            continue
        seen = min(back, layers.window) if layers.window else back
        seen = min(seen, model.attended_most) if model.attended_most else seen
        total += layers.count * seen
    return each * total * work.new_tokens


def pass_terms(deployment: Deployment, work: Work, efficiency: Efficiency) -> dict[str, float]:
    """Seconds of one pass by name; their sum is the pass.

    Through pipeline stages go as many microbatches as there are stages: each passes the whole
    model, and when the last is through, every sequence has its token.
    """
    model, rates = deployment.model, speeds(deployment, efficiency)
    sequences = work.sequences / deployment.pp  # one of the microbatches that fill the stages
    tokens = sequences * work.new_tokens
    of_rank = max(tokens / deployment.dp, min(work.new_tokens, tokens))
    rank_sequences = max(sequences / deployment.dp, min(1.0, sequences))
    weights, dense_s = _dense_s(deployment, work, rates, efficiency, of_rank)
    experts, expert_s = _experts_s(deployment, rates, efficiency, tokens)
    cache_s, attention_s = _attention_s(deployment, work, rates, efficiency, rank_sequences)
    linear = _joined(weights + experts, dense_s + expert_s, efficiency.overlap)
    attention = _joined(cache_s, attention_s, efficiency.overlap)
    whole = (weights + experts + dense_s + expert_s) or 1.0
    attention_whole = (cache_s + attention_s) or 1.0
    moving_s = _communication_s(deployment, of_rank, tokens, rates, efficiency)
    if deployment.role != "aggregated":  # of two batches one moves while the other is multiplied
        hidden_s = (1 - min(1.0, efficiency.exposed)) * moving_s
        moving_s -= min(hidden_s, dense_s + expert_s + attention_s)
    layer_s = efficiency.layer_s + (efficiency.routing_s if model.experts else 0.0)
    layer_s += efficiency.choosing_s if model.attended_most else 0.0
    around_s = efficiency.step_s + efficiency.sequence_s * rank_sequences * deployment.pp
    light, loop = host(deployment.engine, efficiency)
    terms = {
        "weights": linear * weights / whole,
        "experts": linear * experts / whole,
        "compute": linear * (dense_s + expert_s) / whole
        + attention * attention_s / attention_whole,
        "cache": attention * cache_s / attention_whole,
        "communication": moving_s,
        "layers": model.layers * layer_s * light,
        "step": around_s * loop,
    }
    if deployment.pp > 1 and not work.is_prompt:
        terms["stages"] = efficiency.bubble * (deployment.pp - 1) * sum(terms.values())
    return terms


def host(engine: str, efficiency: Efficiency) -> tuple[float, float]:
    """How heavy an engine's layers and its loop are, over those of a compiled server."""
    lower = engine.lower()
    light = LIGHT if lower.startswith(LIGHT_ENGINES) else 1.0
    return light, efficiency.interpreted if lower.startswith(INTERPRETED) else light


def _dense_s(
    deployment: Deployment, work: Work, rates: Speeds, efficiency: Efficiency, of_rank: float
) -> tuple[float, float]:
    """Seconds of reading what every token meets, and of multiplying it."""
    model, precision = deployment.model, precision_of(deployment)
    bits = precision.always_bits if model.experts else precision.dense_bits
    read_s = model.always_parameters * bits / 8 / deployment.tp / rates.bandwidth_b_s
    half = efficiency.half_tokens / RIDGE / rates.bandwidth_b_s * efficiency.bandwidth
    full = of_rank / (of_rank + half * rates.dense_flop_s / efficiency.compute)
    answered = of_rank / work.new_tokens if work.is_prompt else of_rank
    multiplied = (model.always_parameters - model.head_parameters) * of_rank
    multiplied += model.head_parameters * answered
    return read_s, 2.0 * multiplied / deployment.tp / rates.dense_flop_s / full


def _experts_s(
    deployment: Deployment, rates: Speeds, efficiency: Efficiency, tokens: float
) -> tuple[float, float]:
    """Seconds of reading the routed experts that are touched, and of multiplying them."""
    model = deployment.model
    if not model.experts:
        return 0.0, 0.0
    chips = deployment.count // deployment.pp
    touched = expert_share(model, tokens, variety=min(1.0, efficiency.variety))
    size = model.expert_parameters * touched * precision_of(deployment).expert_bits / 8
    read_s = size / (chips * rates.bandwidth_b_s * efficiency.experts_bandwidth)
    uneven = 1 + efficiency.imbalance * math.log2(deployment.ep) if deployment.ep > 1 else 1.0
    met = tokens * model.experts_used / max(1.0, model.experts * touched)
    full = met / (met + efficiency.half_experts)
    active = model.expert_parameters * model.experts_used / model.experts
    return read_s, 2.0 * active * tokens / chips / rates.experts_flop_s * uneven / full


def _attention_s(
    deployment: Deployment, work: Work, rates: Speeds, efficiency: Efficiency, sequences: float
) -> tuple[float, float]:
    """Seconds of reading the caches of a rank's sequences, and of multiplying by them."""
    model = deployment.model
    split = 1 if model.is_latent else min(deployment.tp, max(1, model.kv_heads))
    cache = sequences * _read_bytes(deployment, work.context) / split
    read_s = cache / (rates.bandwidth_b_s / efficiency.bandwidth * efficiency.cache_bandwidth)
    flops = sequences * attention_flops(model, work) / deployment.tp
    return read_s, flops / rates.attention_flop_s


def _joined(read: float, multiply: float, power: float) -> float:
    larger = max(read, multiply)
    if larger <= 0:
        return 0.0
    smaller = min(read, multiply) / larger
    joined: float = larger * (1 + smaller**power) ** (1 / power)
    return joined


def _communication_s(
    deployment: Deployment,
    of_rank: float,
    tokens: float,
    rates: Speeds,
    efficiency: Efficiency,
) -> float:
    """All-reduces of tensor-parallel layers, and the way of tokens to their experts and back."""
    model, tp = deployment.model, deployment.tp
    seconds = 0.0
    size = of_rank * model.hidden * 2
    if tp > 1:
        share = 2 * (tp - 1) / tp
        seconds += 2 * model.layers * (efficiency.collective_s + size * share / rates.link_b_s)
    if model.experts and deployment.ep > 1 and deployment.dp > 1:
        is_wide = deployment.ep > deployment.chip.domain_chips > 1
        copies = min(model.experts_used, NODES_MOST) if is_wide else model.experts_used
        routed = tokens / deployment.ep * copies * model.hidden * 3  # 8 bits in, 16 out
        away = (deployment.ep - 1) / deployment.ep
        latency_s = efficiency.collective_s * math.log2(deployment.ep)  # a tree, as DeepEP's table
        seconds += model.layers * (2 * latency_s + routed * away / rates.link_b_s)
    return seconds
