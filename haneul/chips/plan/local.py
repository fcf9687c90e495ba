"""A model in haneul's own engine on this machine's processor, as one more option of a plan.

The speed is the forecast by which the engine's models are priced here (haneul/chips/speed.py), from
the bandwidth that was measured, corrected by what models did here before. The serving loop is that
of other engines: while some decode, prompts of others are computed in between.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from haneul.chips.calibrate import Correction, refine
from haneul.chips.chip import Chip
from haneul.chips.estimate import Estimate, scale
from haneul.chips.footprint import Footprint, footprint
from haneul.chips.plan.charging import charge
from haneul.chips.plan.curve import Point, pareto
from haneul.chips.plan.here import Here, processor_hour
from haneul.chips.plan.options import Demand, Lost, Option, Terms
from haneul.chips.plan.precision import GGUF_BITS, precision_of
from haneul.chips.plan.step import Efficiency
from haneul.chips.plan.terms import Deployment, Load, Memory, PlanChip, PlanModel
from haneul.chips.shape import Shape
from haneul.chips.speed import decode_speed, prefill_speed, step_terms

RUNS = (*GGUF_BITS, "bf16", "fp16")  # what its files are written in
USUAL = "q4_k_m"  # what is pulled for an engine on a processor, where nobody says otherwise
SLOTS = (1, 2, 4, 8, 16)  # answers at a time that the engine is set up for
USABLE = 0.9  # of memory: the rest is the system's
QUEUE = Efficiency().queue
ENGINE = "haneul"


class Local(Struct, frozen=True, kw_only=True):
    """This machine's processor, priced, with what it did before."""

    chip: Chip
    terms: Terms
    power_w: float | None
    name: str = ""  # what haneul up is given
    corrections: dict[str, Correction] = {}
    shape: Shape | None = None  # of a file that is here


class _Rates(Struct, frozen=True, kw_only=True):
    """The loop with so many slots; estimates of tokens/s and seconds."""

    slots: int
    made: Estimate
    ttft: Estimate
    tpot: Estimate
    input_share: float


def offers(
    local: Local, model: PlanModel, demand: Demand, *, precision: str = ""
) -> tuple[list[Option], list[Lost]]:
    """The best setup inside the limits, or why there is none. Raises UnsupportedValue."""
    deployment = _deployment(local, model, precision)
    load, name = demand.load, deployment.chip.name
    if deployment.precision not in (*RUNS, _own(local)):
        known = ", ".join(sorted(RUNS))
        why = f"haneul's engine reads no file in {deployment.precision}: name one of {known}."
        return [], [Lost(name, "aggregated", deployment.precision, why)]
    shape = local_shape(local, model, deployment)
    fitting = [slots for slots in SLOTS if _needed(shape, load, slots) <= _capacity(local.chip)]
    if not fitting:
        need = _needed(shape, load, 1) / 1e9
        why = f"{need:,.1f} GB are needed of {_capacity(local.chip) / 1e9:,.1f} GB usable."
        return [], [Lost(name, "aggregated", deployment.precision, why)]
    tried = [_rates(local, shape, load, slots) for slots in fitting]
    best, why = _best([each for each in tried if each is not None], demand)
    if best is None:
        return [], [Lost(name, "aggregated", deployment.precision, why)]
    return [_option(local, shape, deployment, demand, best, most=fitting[-1])], []


def local_curve(local: Local, model: PlanModel, load: Load, *, precision: str = "") -> list[Point]:
    """The setups that no other beats on both sides, slowest user first."""
    shape = local_shape(local, model, _deployment(local, model, precision))
    fitting = [slots for slots in SLOTS if _needed(shape, load, slots) <= _capacity(local.chip)]
    tried = [_rates(local, shape, load, slots) for slots in fitting]
    return pareto(
        [
            Point(
                batch=each.slots,
                user_tokens_per_s=1 / each.tpot.mid,
                chip_tokens_per_s=each.made.mid,
            )
            for each in tried
            if each is not None
        ]
    )


def local_shape(local: Local, model: PlanModel, deployment: Deployment) -> Shape:
    """The file's own measures, or those that a file of that precision will have."""
    if local.shape is not None and deployment.precision == _own(local):
        return local.shape
    bits = precision_of(deployment)
    always = bits.always_bits if model.experts else bits.dense_bits
    experts = model.expert_parameters * bits.expert_bits
    dense = model.always_parameters * always
    used = model.experts_used / model.experts if model.experts else 0.0
    return Shape(
        architecture="",
        layers=model.layers,
        hidden=model.hidden,
        heads=model.heads,
        kv_heads=model.kv_heads,
        key_size=model.key_size,
        value_size=model.value_size,
        feed_forward=4 * model.hidden,  # counts for some MB of working memory alone
        vocabulary=model.table_parameters // model.hidden,
        context_tokens=model.context_tokens,
        parameters=model.parameters,
        active_parameters=model.active_parameters,
        weight_bytes=round((dense + model.table_parameters * always + experts) / 8),
        active_bytes=round((dense + experts * used) / 8),
        quantisation=deployment.precision.upper(),
        experts=model.experts,
        experts_used=model.experts_used,
        memory=model.memory,
    )


def local_of(here: Here, terms: Terms, *, name: str = "", told: str | None = None) -> Local:
    """The processor of this machine for a model that haneul up knows by that name.

    told is USD of an hour, where somebody named them.
    """
    chip, fleet = here.chips[0], here.fleet
    own = fleet.chips.get(chip.id)
    watts = own.power_w.value if own and own.power_w else None
    if watts is None:
        watts = fleet.cpu.load_w_per_core.value * (chip.cores or 1)
    return Local(
        chip=chip,
        terms=replace(terms, rent=processor_hour(here, told), chips_most=1),
        power_w=watts,
        name=name,
        corrections=here.corrections,
        shape=here.shape,
    )


def _deployment(local: Local, model: PlanModel, precision: str) -> Deployment:
    chip, bandwidth = local.chip, local.chip.bandwidth
    as_planned = PlanChip(
        id="this",
        name=f"{chip.name}, {chip.cores or 'unknown'} cores, here",
        vendor=chip.vendor,
        generation="cpu",
        aliases=("this",),
        source=bandwidth.source if bandwidth else "the bandwidth of its memory was not measured",
        dated="today",
        memory_gb=None if chip.memory_bytes is None else chip.memory_bytes / 2**30,
        bandwidth_tb_s=bandwidth.mid / 1e12 if bandwidth else None,
        power_w=local.power_w,
    )
    native = model.native if model.native in GGUF_BITS else USUAL
    asked = precision.lower() or _own(local) or native
    return Deployment(model=model, chip=as_planned, precision=asked, engine=ENGINE)


def _own(local: Local) -> str:
    """The precision of the file that haneul up loads; "" where none is known."""
    name = local.shape.quantisation.lower() if local.shape is not None else ""
    return "fp16" if name == "f16" else name


def _memory(shape: Shape, load: Load, slots: int) -> Footprint:
    return footprint(shape, context_tokens=load.isl + load.osl, slots=slots)


def _needed(shape: Shape, load: Load, slots: int) -> float:
    return _memory(shape, load, slots).total.mid


def _capacity(chip: Chip) -> float:
    """Bytes; 0 where the memory is unknown, so that nothing is said to fit."""
    return (chip.memory_bytes or 0) * USABLE


def _rates(local: Local, shape: Shape, load: Load, slots: int) -> _Rates | None:
    """None where the chip's figures are unknown."""
    context = round(load.isl + load.osl / 2)
    decode = decode_speed(shape, local.chip, streams=slots, context_tokens=context)
    prefill = prefill_speed(shape, local.chip)
    if decode is None or prefill is None:
        return None
    decode = refine(decode, local.corrections.get("decode" if slots == 1 else "capacity"))
    prefill = refine(prefill, local.corrections.get("prefill"))
    new = max(1.0, load.isl * (1 - load.cache_hit))
    slow, usual, fast = (
        _loop(load, slots, slots / decode_s, new / prefill_s)
        for decode_s, prefill_s in (
            (decode.low, prefill.low),
            (decode.mid, prefill.mid),
            (decode.high, prefill.high),
        )
    )
    source = f"{decode.source}; {prefill.source}" if prefill.source != decode.source else ""
    said = source or decode.source

    def spread(low: float, mid: float, high: float, unit: str) -> Estimate:
        return Estimate(low=low, mid=mid, high=high, unit=unit, source=said)

    return _Rates(
        slots=slots,
        made=spread(slow[0], usual[0], fast[0], "tok/s"),
        ttft=spread(fast[1], usual[1], slow[1], "s"),
        tpot=spread(fast[2], usual[2], slow[2], "s"),
        input_share=usual[3],
    )


def _loop(
    load: Load, slots: int, step_s: float, prompt_s: float
) -> tuple[float, float, float, float]:
    """Tokens/s of all slots, seconds to the first token and for each after it, prompts' share."""
    steps = max(1, load.osl - 1)
    waiting = prompt_s * (slots - 1) / steps
    whole = prompt_s + steps * (step_s + waiting)
    first = prompt_s + step_s + QUEUE * prompt_s * (slots - 1)
    share = slots * prompt_s / (slots * prompt_s + steps * step_s)
    return slots * load.osl / whole, first, step_s + waiting, share


def _best(tried: Iterable[_Rates], demand: Demand) -> tuple[_Rates | None, str]:
    """The fastest of all within the limits; of a rate or of users the smallest that serves."""
    load = demand.load
    kept = [each for each in tried if _is_within(each, load)]
    if not kept:
        return None, "Its TTFT or TPOT would be above the limit, or its speed is unknown."
    if demand.users is not None:
        enough = [each for each in kept if each.slots >= demand.users]
        why = f"{kept[-1].slots} users at once are the most within the limits."
        return (enough[0] if enough else None), why
    if demand.rate is not None:
        enough = [each for each in kept if each.made.mid >= demand.rate * load.osl]
        most = max(each.made.mid for each in kept) / load.osl
        return (enough[0] if enough else None), f"{most:,.3g} requests/s are the most it serves."
    return max(kept, key=lambda each: each.made.mid), ""


def _is_within(rates: _Rates, load: Load) -> bool:
    if load.tpot_s is not None and rates.tpot.mid > load.tpot_s:
        return False
    return load.ttft_s is None or rates.ttft.mid <= load.ttft_s


def _option(
    local: Local,
    shape: Shape,
    deployment: Deployment,
    demand: Demand,
    best: _Rates,
    *,
    most: int,
) -> Option:
    load, terms = demand.load, local.terms
    sold = best.made
    if demand.rate is not None:
        sold = scale(sold, demand.rate * load.osl / sold.mid)
    price = None
    if terms.rent is not None:
        price = charge(
            load,
            hour=terms.rent,
            tokens_per_s=sold,
            input_share=best.input_share,
            utilisation=terms.utilisation,
            cached_share=terms.cached_share,
        )
    context = round(load.isl + load.osl / 2)
    step = step_terms(shape, local.chip, streams=best.slots, context_tokens=context) or {}
    return Option(
        chip=deployment.chip.name,
        chips=1,
        replicas=1,
        kind="aggregated",
        layout=f"{deployment.precision.upper()}, {best.slots} slots",
        precision=deployment.precision,
        engine=ENGINE,
        batch=best.slots,
        tokens_per_s=best.made,
        tokens_per_s_per_chip=best.made,
        ttft=best.ttft,
        tpot=best.tpot,
        price=price,
        hour=terms.rent,
        power_w=local.power_w,
        terms=step,
        binding=max(step, key=lambda name: step[name]) if step else "unknown",
        memory=_held(local, shape, load, best.slots, most),
        assumptions=_assumptions(local, deployment),
        deployments=(deployment,),
    )


def _held(local: Local, shape: Shape, load: Load, slots: int, most: int) -> Memory:
    need = _memory(shape, load, slots)
    return Memory(
        weights_bytes=need.weights_bytes,
        kv_bytes=need.kv_bytes,
        work_bytes=need.compute_bytes,
        capacity_bytes=round(_capacity(local.chip)),
        most_users=most,
    )


def _assumptions(local: Local, deployment: Deployment) -> tuple[str, ...]:
    chip = local.chip
    said = [
        f"{chip.name}: {chip.cores or 'unknown'} cores ({chip.sources.get('cores', 'unknown')}), "
        f"{deployment.chip.source}",
        f"haneul's own engine with weights in {deployment.precision}, if it knows the architecture",
    ]
    own = _own(local)
    if deployment.precision != own:
        said.append("sizes of a file of that precision: parameters times its usual bits")
        named = f"weights in {own}" if own else "what it finds by that name"
        said.append(
            f"haneul up loads {named}: for {deployment.precision} it has to be given such a file"
        )
    if deployment.model.kind != "dense":
        said.append("no mixture and no compressed cache was measured in this engine")
    if not local.corrections:
        said.append("nothing was measured here yet that would correct the forecast")
    return tuple(said)
