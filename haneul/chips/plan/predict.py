"""One answer: memory, the batch that does best inside the limits, its speed with intervals."""

from __future__ import annotations

import math

from msgspec import Struct

from haneul.base.errors import UnsupportedValue
from haneul.chips.estimate import Estimate
from haneul.chips.plan.calibration import Planner
from haneul.chips.plan.fit_memory import memory, refuse_unless_it_fits
from haneul.chips.plan.residual import Traits, traits
from haneul.chips.plan.serve import Rates, rates
from haneul.chips.plan.terms import Deployment, Load, Prediction

EIGHTY = 1.2816  # standard deviations of an 80 % interval
BATCH_MOST = 2048  # sequences that one replica takes at once


class _Answer(Struct, frozen=True, kw_only=True):
    """Physics at one batch, with the correction of its speed and of its TTFT."""

    rates: Rates
    traits: Traits
    speed: float
    ttft: float

    @property
    def tokens_per_s(self) -> float:
        return self.rates.tokens_per_s * self.speed

    @property
    def tpot_s(self) -> float:
        return self.rates.tpot_s / self.speed

    @property
    def ttft_s(self) -> float:
        return self.rates.ttft_s * self.ttft


def predict(deployment: Deployment, load: Load, *, planner: Planner) -> Prediction:
    """What the deployment does with the load.

    Without batch and rate: the most tokens per second within ttft_s and tpot_s. Raises
    NotEnoughMemory where it does not fit and UnsupportedValue where a figure of the chip is
    unknown or the layout, the limits or the rate cannot be.
    """
    refuse_unless_it_is_whole(deployment)
    found = memory(deployment, load)
    refuse_unless_it_fits(deployment, found)
    most = min(found.most_users, BATCH_MOST * deployment.dp)
    if load.batch is not None or load.requests is not None:
        batch = min(load.batch or load.requests or 1, most)
        best = _answers(deployment, load, planner, [batch])[0]
    else:
        best = _best(deployment, load, planner, most)
    return _prediction(deployment, load, planner, best)


def refuse_unless_it_is_whole(deployment: Deployment) -> None:
    """Raises UnsupportedValue where tp x pp x dp is not the count or a degree splits nothing."""
    degrees = deployment.tp * deployment.pp * deployment.dp
    if deployment.count < 1 or degrees != deployment.count:
        raise UnsupportedValue(
            f"{deployment.count} chips are not tp {deployment.tp} x pp {deployment.pp} "
            f"x dp {deployment.dp}."
        )
    if deployment.tp > deployment.model.heads or deployment.pp > deployment.model.layers:
        raise UnsupportedValue(
            f"{deployment.model.name} has {deployment.model.heads} heads and "
            f"{deployment.model.layers} layers: tp and pp cannot be more."
        )


def ladder(most: int) -> list[int]:
    """The batches that are tried: the same rungs for every limit, so that limits only take away."""
    rungs = {most}
    size = 1
    while size <= most:
        rungs |= {step for step in (size, size * 3 // 2) if 1 <= step <= most}
        size *= 2
    return sorted(rungs)


def _best(deployment: Deployment, load: Load, planner: Planner, most: int) -> _Answer:
    answers = _answers(deployment, load, planner, ladder(most))
    allowed = [each for each in answers if _is_within(each, load)]
    if not allowed:
        quickest = min(answers, key=lambda each: each.tpot_s)
        raise UnsupportedValue(
            f"{deployment.count} x {deployment.chip.name} miss the limits with any batch: at best "
            f"TPOT {quickest.tpot_s * 1e3:.1f} ms and TTFT {quickest.ttft_s * 1e3:.0f} ms."
        )
    if load.rate is None:
        return max(allowed, key=lambda each: each.tokens_per_s)
    wanted = load.rate * max(load.osl, 1)
    enough = [each for each in allowed if each.tokens_per_s >= wanted]
    if not enough:
        top = max(each.tokens_per_s for each in allowed)
        raise UnsupportedValue(
            f"{deployment.count} x {deployment.chip.name} serve {top / max(load.osl, 1):.3g} "
            f"requests/s within the limits, {load.rate:g} are asked."
        )
    return enough[0]


def _is_within(answer: _Answer, load: Load) -> bool:
    if load.tpot_s is not None and answer.tpot_s > load.tpot_s:
        return False
    return load.ttft_s is None or answer.ttft_s <= load.ttft_s


def _answers(
    deployment: Deployment, load: Load, planner: Planner, batches: list[int]
) -> list[_Answer]:
    """One for each batch; asking the corrections of all at once costs little more than of one."""
    asked = tuple(traits(deployment, load, batch=batch) for batch in batches)
    corrections = zip(asked, planner.speed(asked), planner.ttft(asked), strict=True)
    return [
        _Answer(
            rates=rates(deployment, load, planner.efficiency, batch=batch),
            traits=one,
            speed=math.exp(speed),
            ttft=math.exp(ttft),
        )
        for batch, (one, speed, ttft) in zip(batches, corrections, strict=True)
    ]


def _prediction(
    deployment: Deployment, load: Load, planner: Planner, answer: _Answer
) -> Prediction:
    found, chip = answer.rates, deployment.chip

    def around(value: float, deviation: float, unit: str) -> Estimate:
        factor = math.exp(EIGHTY * deviation)
        return Estimate(
            low=value / factor, mid=value, high=value * factor, unit=unit, source=planner.source
        )

    speed, first = planner.deviations(answer.traits)
    terms = {name: seconds / answer.speed for name, seconds in found.terms.items()}
    power = None if chip.power_w is None else chip.power_w * deployment.count
    if chip.domain_power_w is not None:
        power = chip.domain_power_w / chip.domain_chips * deployment.count
    return Prediction(
        tokens_per_s=around(answer.tokens_per_s, speed, "tok/s"),
        tokens_per_s_per_chip=around(answer.tokens_per_s / deployment.count, speed, "tok/s"),
        prefill_tokens_per_s=around(found.prefill_tokens_per_s * answer.speed, speed, "tok/s"),
        ttft=around(answer.ttft_s, first, "s"),
        tpot=around(answer.tpot_s, speed, "s"),
        batch=found.batch,
        memory=found.memory,
        terms=terms,
        binding=max(terms, key=lambda name: terms[name]),
        power_w=power,
        assumptions=_assumptions(deployment, load),
    )


def _assumptions(deployment: Deployment, load: Load) -> tuple[str, ...]:
    chip = deployment.chip
    said = [f"{chip.name}: {chip.source} ({chip.dated})"]
    if chip.notes:
        said.append(f"{chip.name}: {chip.notes}")
    if deployment.count > chip.domain_chips and deployment.count > 1 and chip.fabric_gb_s is None:
        said.append("between machines 25 GB/s are assumed")
    if load.acceptance:
        said.append(f"speculation gains {load.acceptance:g} tokens a step")
    if load.cache_hit:
        said.append(f"{load.cache_hit:.0%} of input tokens come from the prefix cache")
    return tuple(said)
