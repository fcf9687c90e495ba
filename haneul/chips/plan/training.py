"""What training a model takes: hours from 6 N D over a band of efficiencies, memory, money.

A token costs six operations for each active parameter, forward and back (Kaplan et al. 2020). What
a run reaches of its chips' 16-bit peak (MFU) is a band: published runs lie between 14 and 55 %,
large ones near a third; hours that makers publish may hold restarts and trials.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from haneul.base.errors import BadRequest, NotEnoughMemory, UnsupportedValue
from haneul.chips.estimate import Estimate, invert, scale, times
from haneul.chips.plan.asked import Group
from haneul.chips.plan.fit_memory import USABLE
from haneul.chips.plan.owning import watts_of
from haneul.chips.plan.terms import PlanModel

FLOP_PER_PARAMETER = 6
MFU = Estimate(
    low=0.25, mid=0.33, high=0.40, unit="", source="published pretraining runs, data/training.csv"
)
WEIGHT_BYTES = 4  # a weight and its gradient in 16 bits
STATE_BYTES = 12  # Adam: the weight in 32 bits and two moments; spread over all chips (ZeRO-1)
KEPT_BYTES = 2  # of each number between layers; the rest is computed again on the way back
LAYER_BYTES = 34  # per token and width, inside the one layer at work (Korthikanti et al. 2022)
SEQUENCE_TOKENS = 4096
TENSOR_MOST = 8  # chips that share one matrix
DEGREES = (1, 2, 4, 8, 16, 32, 64)
HOUR_S, DAY_H, MEGA = 3600, 24, 1e6


class Layout(Struct, frozen=True, kw_only=True):
    """How a model in training is split: tp x pp x dp is the count; ep of dp share the experts."""

    tp: int
    pp: int
    ep: int
    dp: int


class TrainingMemory(Struct, frozen=True, kw_only=True):
    """Bytes on each chip."""

    weights_bytes: int  # with gradients
    state_bytes: int  # of the optimiser
    activations_bytes: int
    capacity_bytes: int

    @property
    def need_bytes(self) -> int:
        """All that has to lie there at once."""
        return self.weights_bytes + self.state_bytes + self.activations_bytes


class Training(Struct, frozen=True, kw_only=True):
    """The answer; cost and energy are None where no price or no power is known."""

    model: str
    chips: str
    tokens: float
    flop: float
    mfu: Estimate
    chip_hours: Estimate
    days: Estimate
    cost: Estimate | None
    energy: Estimate | None
    layout: Layout
    memory: TrainingMemory
    assumptions: tuple[str, ...]


def plan_training(
    model: PlanModel,
    group: Group,
    *,
    tokens: float,
    rent: Estimate | None,
    mfu: Estimate = MFU,
    sequence_tokens: int = SEQUENCE_TOKENS,
) -> Training:
    """Hours, money and the first layout that fits; rent is money for an hour of one chip.

    Raises BadRequest, UnsupportedValue for a chip of unknown speed or memory, NotEnoughMemory.
    """
    if not 0 < mfu.low <= mfu.high <= 1:
        raise BadRequest("The MFU is a share above 0 and at most 1.")
    if not 1 <= sequence_tokens <= MEGA:
        raise BadRequest("A sequence has 1 to 1,000,000 tokens.")
    chip = group.chip
    if chip.bf16_tflops is None:
        raise UnsupportedValue(
            f"How fast {chip.name} computes is unknown: no training time is forecast."
        )
    layout, memory = _layout(model, group, sequence_tokens)
    flop = FLOP_PER_PARAMETER * model.active_parameters * tokens
    hours = invert(mfu, flop / (chip.bf16_tflops * 1e12 * HOUR_S), unit="chip-hours")
    watts = watts_of(group)
    return Training(
        model=model.name,
        chips=group.text,
        tokens=tokens,
        flop=flop,
        mfu=mfu,
        chip_hours=hours,
        days=scale(hours, 1 / (group.count * DAY_H), unit="days"),
        cost=times(hours, rent, unit=rent.unit) if rent else None,
        energy=scale(hours, watts / group.count / MEGA, unit="MWh") if watts else None,
        layout=layout,
        memory=memory,
        assumptions=_assumptions(group, rent, mfu, sequence_tokens),
    )


def training_memory(
    model: PlanModel, group: Group, layout: Layout, *, sequence_tokens: int
) -> TrainingMemory:
    """What lies on each chip with one sequence on its way; of pp stages as many are on theirs."""
    split = layout.tp * layout.pp
    mixed = model.expert_parameters
    weights = ((model.parameters - mixed) / split + mixed / (split * layout.ep)) * WEIGHT_BYTES
    width = sequence_tokens * model.hidden / layout.tp
    return TrainingMemory(
        weights_bytes=round(weights),
        state_bytes=round(model.parameters * STATE_BYTES / group.count),
        activations_bytes=round(width * (model.layers * KEPT_BYTES + LAYER_BYTES)),
        capacity_bytes=round((group.chip.memory_gb or 0) * 1e9 * USABLE),
    )


def _layout(model: PlanModel, group: Group, sequence_tokens: int) -> tuple[Layout, TrainingMemory]:
    """The layout that splits the least of those that fit."""
    chip = group.chip
    if chip.memory_gb is None:
        raise UnsupportedValue(f"The memory of {chip.name} is unknown: no fit is forecast.")
    tried = [
        (each, training_memory(model, group, each, sequence_tokens=sequence_tokens))
        for each in sorted(_layouts(model, group), key=lambda it: (it.tp * it.pp, it.tp, it.ep))
    ]
    for layout, memory in tried:
        if memory.need_bytes <= memory.capacity_bytes:
            return layout, memory
    least = min(memory.need_bytes for _, memory in tried) / 1e9
    raise NotEnoughMemory(
        f"Training {model.name} does not fit {group.text}: at least {least:,.0f} GB are needed on "
        f"each of {chip.memory_gb * USABLE:,.0f} GB usable."
    )


def _layouts(model: PlanModel, group: Group) -> Iterator[Layout]:
    """Every split by powers of two that the chips and the model allow."""
    for tp in (degree for degree in DEGREES if degree <= min(TENSOR_MOST, group.chip.domain_chips)):
        for pp in (degree for degree in DEGREES if degree <= model.layers):
            if group.count % (tp * pp) or model.heads % tp:
                continue
            dp = group.count // (tp * pp)
            for ep in DEGREES:
                if ep == 1 or (ep <= model.experts and dp % ep == 0):
                    yield Layout(tp=tp, pp=pp, ep=ep, dp=dp)


def _assumptions(
    group: Group, rent: Estimate | None, mfu: Estimate, sequence_tokens: int
) -> tuple[str, ...]:
    chip = group.chip
    return (
        f"{chip.name}: {chip.bf16_tflops:,.0f} TFLOP/s in 16 bits, {chip.source} ({chip.dated})",
        f"MFU: {mfu.source}; of the 16-bit peak, also where 8 bits are multiplied",
        f"price of an hour: {rent.source}" if rent else "price of an hour: unknown",
        f"memory: Adam in 32 bits over all chips, sequences of {sequence_tokens:,} tokens, "
        "activations computed again",
        "energy: at the chips' power limit, without cooling",
        "not counted: restarts, trials, attention to long contexts, storage",
    )
