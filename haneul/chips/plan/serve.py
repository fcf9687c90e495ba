"""The serving loop: how passes make up TTFT, TPOT and throughput, before any correction.

An aggregated engine mixes prompts into decoding: while B sequences each live for some steps, every
step carries B / steps new prompts and waits for them. Of a burst, what the engine does not take at
once waits in line. Prefill and decode chips of a split deployment run alone.
"""

from __future__ import annotations

import math

from msgspec import Struct, structs

from haneul.chips.plan.fit_memory import memory
from haneul.chips.plan.step import Efficiency, Work, host, pass_terms
from haneul.chips.plan.terms import Deployment, Load, Memory

CHUNK_TOKENS = 8192  # of prompts that one pass of a rank computes
PREFILL_PASS_TOKENS = 16384  # of a prefill-only rank
ALWAYS_PAID = ("layers", "step")  # by decoding, whether a prompt rides along or not
BURST_QUEUE = 0.5  # of the time a burst takes: what its average request waits in line


class Rates(Struct, frozen=True, kw_only=True):
    """What the loop says: tokens/s of the whole deployment, seconds, and the pass's terms."""

    tokens_per_s: float
    prefill_tokens_per_s: float
    ttft_s: float
    tpot_s: float
    batch: int
    memory: Memory
    terms: dict[str, float]


class Prompts(Struct, frozen=True, kw_only=True):
    """Seconds a prompt takes: alone, packed with others, and on top of decoding."""

    alone_s: float
    packed_s: float
    mixed_s: float
    terms: dict[str, float]


def prompts(deployment: Deployment, load: Load, efficiency: Efficiency) -> Prompts:
    """What computing this load's prompts costs; what a cache has of them is only read."""
    known = load.isl * load.cache_hit
    new = max(1.0, load.isl - known)
    one = Work(sequences=1, new_tokens=new, context=known, is_prompt=True)
    alone = pass_terms(deployment, one, efficiency)
    most = PREFILL_PASS_TOKENS if deployment.role == "prefill" else CHUNK_TOKENS
    packed = max(1.0, most / new) * deployment.dp
    together = pass_terms(
        deployment,
        structs.replace(one, sequences=packed * deployment.pp),
        efficiency,
    )
    whole = sum(together.values())
    chunks = math.ceil(new / most)
    again = (chunks - 1) * (alone["layers"] + alone["step"])
    riding = whole - sum(together[name] for name in ALWAYS_PAID)
    packed *= deployment.pp
    return Prompts(
        alone_s=sum(alone.values()) + again,
        packed_s=whole / packed,
        mixed_s=riding / packed,
        terms=together,
    )


def rates(deployment: Deployment, load: Load, efficiency: Efficiency, *, batch: int) -> Rates:
    """The loop with so many sequences at once in the whole deployment."""
    prompt = prompts(deployment, load, efficiency)
    if deployment.role == "prefill" or load.osl <= 0:
        return _prefill(deployment, load, prompt, batch)
    gained = 1 + load.acceptance
    work = Work(
        sequences=batch,
        new_tokens=1 + math.ceil(load.acceptance),
        context=load.isl + load.osl / 2,
    )
    terms = pass_terms(deployment, work, efficiency)
    step_s = sum(terms.values())
    steps = max(1.0, load.osl - 1) / gained
    per_s = load.isl / prompt.packed_s
    if deployment.role == "decode" or load.isl <= 0:
        ttft, tpot, total = step_s, step_s / gained, batch * gained / step_s
    elif load.is_static or load.osl <= 1:
        ttft = prompt.alone_s if batch == 1 else prompt.packed_s * batch
        tpot, total = step_s / gained, batch * load.osl / (ttft + steps * step_s)
    elif load.requests is not None:
        few = work if load.longest <= 1 else structs.replace(work, sequences=batch / load.longest)
        tail_s = sum(pass_terms(deployment, few, efficiency).values())
        ttft, tpot, total = _burst(load, prompt, efficiency, batch, steps, (step_s, tail_s))
    else:
        waiting = efficiency.mixing * prompt.mixed_s * batch / steps
        ttft = prompt.alone_s + step_s + efficiency.queue * prompt.mixed_s * (batch - 1)
        ttft += efficiency.arrival_s * host(deployment.engine, efficiency)[0]
        tpot = (step_s + waiting) / gained
        total = batch * load.osl / (prompt.alone_s + steps * (step_s + waiting))
        terms["prompts"] = waiting
    return Rates(
        tokens_per_s=total,
        prefill_tokens_per_s=per_s,
        ttft_s=ttft,
        tpot_s=tpot,
        batch=batch,
        memory=memory(deployment, load, batch=batch),
        terms=terms,
    )


def _burst(
    load: Load,
    prompt: Prompts,
    efficiency: Efficiency,
    batch: int,
    steps: float,
    pass_s: tuple[float, float],
) -> tuple[float, float, float]:
    """TTFT, TPOT and tokens/s of requests that all come at once.

    pass_s is a step of the full batch and one of the tail, when only long answers are left.
    """
    step_s, tail_s = pass_s
    requests = load.requests or batch
    at_once = min(requests, batch)
    rounds = max(1.0, requests / at_once)
    decode_s = (rounds - 1) * steps * step_s + load.longest * steps * tail_s
    whole_s = requests * prompt.mixed_s + decode_s + prompt.alone_s
    in_line = (requests - at_once) / requests
    queue_s = in_line * whole_s + (1 - in_line) * at_once * prompt.mixed_s
    shared = 1.0 if rounds > 1 else BURST_QUEUE
    waiting = efficiency.mixing * shared * at_once * prompt.mixed_s / steps
    tpot = (step_s + waiting) / (1 + load.acceptance)
    return BURST_QUEUE * queue_s + prompt.alone_s, tpot, requests * load.osl / whole_s


def _prefill(deployment: Deployment, load: Load, prompt: Prompts, batch: int) -> Rates:
    """Prompts only: tokens per second counts input tokens, without those a cache had."""
    new = load.isl * (1 - load.cache_hit)
    each = prompt.alone_s if batch == 1 else prompt.packed_s
    return Rates(
        tokens_per_s=new / each,
        prefill_tokens_per_s=new / each,
        ttft_s=prompt.alone_s,
        tpot_s=0.0,
        batch=batch,
        memory=memory(deployment, load, batch=batch),
        terms=prompt.terms,
    )
