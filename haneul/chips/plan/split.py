"""Prefill and decode on chips of their own: how many of each, and what a first token waits.

Decoding chips set the rate; prefill chips are as many as keep them at most so busy that prompts do
not pile up. A prompt waits in line, is computed, its cache moves, one step follows.
"""

from __future__ import annotations

import math

from msgspec import Struct

from haneul.chips.estimate import Estimate, plus, scale
from haneul.chips.plan.step import NO_LINK_B_S, cache_bytes
from haneul.chips.plan.terms import Deployment, Load, Prediction

BUSY_MOST = 0.8  # of the prefill chips' time
WORSE_MOST = 0.05  # of the best ratio's tokens a chip, for a deployment of fewer chips
DECODERS_MOST = 8  # decode groups that a ratio is sought with


class Split(Struct, frozen=True, kw_only=True):
    """So many prefill groups feed so many decode groups; rates are of the whole."""

    prefills: int
    decodes: int
    chips: int
    requests_per_s: float
    busy: float  # of the prefill groups' time
    ttft: Estimate
    input_share: float  # of the chips


def join(
    load: Load,
    prefill: tuple[Deployment, Prediction],
    decode: tuple[Deployment, Prediction],
    *,
    rate: float | None,
    chips_most: int | None = None,
) -> Split | None:
    """The fewest chips that do almost as well, for each chip, as the best ratio does.

    None where no ratio stays inside chips_most. With a rate, the fewest groups that serve it.
    tokens_per_s of prefill counts tokens that no cache had.
    """
    fresh = max(1.0, load.isl * (1 - load.cache_hit))
    one_prefill = prefill[1].tokens_per_s.mid / fresh
    one_decode = decode[1].tokens_per_s.mid / load.osl
    if rate is not None:
        decoders = [max(1, math.ceil(rate / one_decode))]
    else:
        decoders = list(range(1, DECODERS_MOST + 1))
    found = []
    for decodes in decoders:
        served = rate if rate is not None else decodes * one_decode
        prefills = max(1, math.ceil(served / (BUSY_MOST * one_prefill)))
        chips = prefills * prefill[0].count + decodes * decode[0].count
        if chips_most is None or chips <= chips_most:
            found.append((served / chips, prefills, decodes, chips, served))
    if not found:
        return None
    enough = max(found)[0] * (1 - WORSE_MOST)
    _, prefills, decodes, chips, served = min(
        (each for each in found if each[0] >= enough), key=lambda each: each[3]
    )
    busy = served / (prefills * one_prefill)
    wait = waiting(busy, prefills) / one_prefill
    return Split(
        prefills=prefills,
        decodes=decodes,
        chips=chips,
        requests_per_s=served,
        busy=busy,
        ttft=_first(load, prefill, decode, wait),
        input_share=prefills * prefill[0].count / chips,
    )


def waiting(busy: float, servers: int) -> float:
    """Services that a customer waits on average: M/M/k by Sakasegawa's approximation (1977)."""
    return float(busy ** (math.sqrt(2 * (servers + 1)) - 1) / (servers * (1 - busy)))


def _first(
    load: Load,
    prefill: tuple[Deployment, Prediction],
    decode: tuple[Deployment, Prediction],
    wait_s: float,
) -> Estimate:
    """Seconds to the first token: computing with waiting, which err together, then the rest."""
    alone = prefill[1].ttft
    queued = scale(alone, 1 + wait_s / alone.mid)
    chip = decode[0].chip
    link_b_s = (chip.fabric_gb_s or NO_LINK_B_S / 1e9) * 1e9
    moved_s = cache_bytes(prefill[0], load.isl) / link_b_s
    steps = scale(decode[1].tpot, 1 + moved_s / decode[1].tpot.mid)
    return plus(queued, steps)
