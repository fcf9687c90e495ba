"""One way to serve a demand, with what it does and costs; and ways that are none, with the reason.

What is wanted is a rate of requests, a number of users at once, or the most one replica does.
"""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import UnsupportedValue
from haneul.chips.estimate import Estimate, scale
from haneul.chips.plan.calibration import Planner
from haneul.chips.plan.charging import TokenMoney, charge, prompt_share
from haneul.chips.plan.layouts import layout_text
from haneul.chips.plan.predict import predict
from haneul.chips.plan.split import Split, join
from haneul.chips.plan.terms import Deployment, Load, Memory, Prediction

Pair = tuple[Deployment, Prediction]


class Demand(Struct, frozen=True, kw_only=True):
    """What is to be served; the limits are in the load, which has no rate of its own."""

    load: Load
    rate: float | None = None  # requests per second
    users: int | None = None  # at once


class Terms(Struct, frozen=True, kw_only=True):
    """What an hour of one chip costs (None: unknown), and how the hours are charged."""

    rent: Estimate | None
    utilisation: float = 1.0
    cached_share: float = 0.1
    chips_most: int | None = None


class Option(Struct, frozen=True, kw_only=True):
    """A way that works; None where a price or a power is not known."""

    chip: str
    chips: int
    replicas: int
    kind: str  # aggregated or split
    layout: str
    precision: str
    engine: str
    batch: int  # sequences at once in one replica (in one decode group)
    tokens_per_s: Estimate  # output, of all chips
    tokens_per_s_per_chip: Estimate
    ttft: Estimate
    tpot: Estimate
    price: TokenMoney | None
    hour: Estimate | None
    power_w: float | None
    terms: dict[str, float]  # seconds of a decode step
    binding: str
    memory: Memory
    assumptions: tuple[str, ...]
    deployments: tuple[Deployment, ...]  # one, or prefill and decode
    copies: tuple[int, ...] = (1,)  # of each of them


class Lost(Struct, frozen=True):
    """A way that does not work, and why."""

    chip: str
    kind: str
    layout: str
    why: str
    chips_needed: int | None = None  # where there are too few


def aggregated(deployment: Deployment, demand: Demand, terms: Terms, *, planner: Planner) -> Option:
    """Replicas of one deployment. Raises NotEnoughMemory and UnsupportedValue."""
    load = demand.load
    best = predict(deployment, load, planner=planner)
    replicas = 1
    if demand.rate is not None:
        replicas = math.ceil(demand.rate * load.osl / best.tokens_per_s.mid)
        each = replace(load, rate=demand.rate / replicas)
        best = predict(deployment, each, planner=planner)
    elif demand.users is not None:
        replicas = math.ceil(demand.users / best.batch)
        each = replace(load, batch=math.ceil(demand.users / replicas))
        best = predict(deployment, each, planner=planner)
        _hold(best.ttft, best.tpot, load)
    chips = replicas * deployment.count
    _refuse_beyond(chips, terms)
    made = scale(best.tokens_per_s, replicas)
    sold = made if demand.rate is None else scale(made, demand.rate * load.osl / made.mid)
    return _option(
        (deployment,),
        best,
        load,
        terms,
        chips=chips,
        replicas=replicas,
        made=made,
        sold=sold,
        input_share=prompt_share(load, best),
    )


def separate(prefill: Pair, decode: Pair, demand: Demand, terms: Terms) -> Option:
    """Groups that prefill and groups that decode. Raises UnsupportedValue."""
    load = demand.load
    rate = demand.rate
    if demand.users is not None:
        rate = demand.users / (load.osl * decode[1].tpot.mid + prefill[1].ttft.mid)
    found = join(load, prefill, decode, rate=rate, chips_most=terms.chips_most)
    if found is None:
        raise UnsupportedValue(f"More than {terms.chips_most} chips would be needed.")
    _hold(found.ttft, decode[1].tpot, load)
    made = scale(
        decode[1].tokens_per_s, found.requests_per_s * load.osl / decode[1].tokens_per_s.mid
    )
    option = _option(
        (prefill[0], decode[0]),
        decode[1],
        load,
        terms,
        chips=found.chips,
        replicas=found.decodes,
        made=made,
        sold=made,
        input_share=found.input_share,
    )
    return replace(
        option,
        kind="split",
        ttft=found.ttft,
        layout=_split_text(found, prefill[0], decode[0]),
        copies=(found.prefills, found.decodes),
        assumptions=(*option.assumptions, f"prefill chips are busy {found.busy:.0%} of the time"),
    )


def _option(
    deployments: tuple[Deployment, ...],
    best: Prediction,
    load: Load,
    terms: Terms,
    *,
    chips: int,
    replicas: int,
    made: Estimate,
    sold: Estimate,
    input_share: float,
) -> Option:
    last = deployments[-1]
    hour = scale(terms.rent, chips) if terms.rent else None
    price = None
    if hour is not None:
        price = charge(
            load,
            hour=hour,
            tokens_per_s=sold,
            input_share=input_share,
            utilisation=terms.utilisation,
            cached_share=terms.cached_share,
        )
    power = None if best.power_w is None else best.power_w / last.count * chips
    return Option(
        chip=last.chip.name,
        chips=chips,
        replicas=replicas,
        kind="aggregated",
        layout=layout_text(last),
        precision=last.precision,
        engine=last.engine,
        batch=best.batch,
        tokens_per_s=made,
        tokens_per_s_per_chip=scale(made, 1 / chips),
        ttft=best.ttft,
        tpot=best.tpot,
        price=price,
        hour=hour,
        power_w=power,
        terms=best.terms,
        binding=best.binding,
        memory=best.memory,
        assumptions=best.assumptions,
        deployments=deployments,
        copies=(replicas,),
    )


def _split_text(found: Split, prefill: Deployment, decode: Deployment) -> str:
    return f"{found.prefills} x {layout_text(prefill)} : {found.decodes} x {layout_text(decode)}"


def _hold(ttft: Estimate, tpot: Estimate, load: Load) -> None:
    """Raises UnsupportedValue where a limit is missed."""
    if load.ttft_s is not None and ttft.mid > load.ttft_s:
        raise UnsupportedValue(f"TTFT would be {ttft.mid * 1e3:,.0f} ms.")
    if load.tpot_s is not None and tpot.mid > load.tpot_s:
        raise UnsupportedValue(f"TPOT would be {tpot.mid * 1e3:,.1f} ms.")


def _refuse_beyond(chips: int, terms: Terms) -> None:
    if terms.chips_most is not None and chips > terms.chips_most:
        raise UnsupportedValue(
            f"{chips} chips would be needed, {terms.chips_most} are there.", chips_needed=chips
        )
