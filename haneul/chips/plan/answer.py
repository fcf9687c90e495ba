"""The whole answer to one question of serving: the options, and all that speaks for the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from haneul.base.errors import BadRequest, NotEnoughMemory
from haneul.chips.estimate import Estimate, scale, show
from haneul.chips.plan.asked import parse_group
from haneul.chips.plan.calibration import Planner
from haneul.chips.plan.chipfiles import assume_like
from haneul.chips.plan.choose import Choice, Search, choose, reasons
from haneul.chips.plan.curve import Point, curve
from haneul.chips.plan.launch import Launch, launches
from haneul.chips.plan.local import ENGINE, Local, local_curve
from haneul.chips.plan.most import most
from haneul.chips.plan.options import Option, Terms
from haneul.chips.plan.owning import rent_of
from haneul.chips.plan.rows import Row
from haneul.chips.plan.seen import Seen
from haneul.chips.plan.similar import Near, nearest
from haneul.chips.plan.terms import Load, PlanChip, PlanModel

KINDS_MOST = 40  # of chips in one question
Wanted = tuple[PlanChip, Terms]


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that is told; the lists after the choice are of its first option."""

    answer: str
    search: Search
    choice: Choice
    refused: dict[str, str]  # chips that serve it in no way or only split, and why
    curve: tuple[Point, ...]
    nearest: tuple[Near, ...]
    launch: tuple[Launch, ...]
    assumptions: tuple[str, ...]
    seen: tuple[Seen, ...] = ()  # of like models in this installation's matrix


def wanted(
    names: Iterable[str],
    chips: Mapping[str, PlanChip],
    *,
    rents: Mapping[str, str],
    utilisation: float = 1.0,
    cached_share: float = 0.1,
    is_assumed: bool = False,
) -> list[Wanted]:
    """Chips by name, or with how many there are; unknown speeds as of a like chip when told.

    Raises BadRequest and NotFound.
    """
    found: list[Wanted] = []
    for text in names:
        group = parse_group(text, chips)
        is_counted = text.strip().lower() not in (group.chip.id, group.chip.name.lower())
        is_counted = is_counted and text.strip().lower() not in group.chip.aliases
        chip = assume_like(group.chip, chips) if is_assumed else group.chip
        terms = Terms(
            rent=rent_of(chip, rents),
            utilisation=utilisation,
            cached_share=cached_share,
            chips_most=group.count if is_counted else None,
        )
        found.append((chip, terms))
    if not 1 <= len(found) <= KINDS_MOST:
        raise BadRequest(f"A plan is of 1 to {KINDS_MOST} kinds of chips.")
    return found


def make_plan(
    search: Search,
    chips: Sequence[Wanted],
    rows: Iterable[Row],
    *,
    name: str,
    planner: Planner,
    repository: str = "",
    said: Sequence[str] = (),
    local: Local | None = None,
) -> Plan:
    """The plan of a model called name; repository is what an engine loads, said what is known of
    the model, local this machine's processor where it is asked about. Raises NotEnoughMemory with
    the reasons where no chip serves it in any way.
    """
    choice = choose(search, chips, planner=planner, local=local)
    served = {option.chip for option in choice.options}
    together = {option.chip for option in choice.options if option.kind == "aggregated"}
    refused = {
        f"{chip}, aggregated" if chip in served else chip: f"{why}{_alike(chip, chips)}"
        for chip, why in reasons(choice.lost).items()
        if chip not in together
    }
    if not choice.options:
        whys = [f"{chip}, {why}" for chip, why in refused.items()]
        whys += most(search, chips, planner=planner)
        raise NotEnoughMemory("\n".join((f"No chip serves {name} so:", *whys)))
    first = choice.options[0]
    load, last = search.demand.load, first.deployments[-1]
    called = repository or name
    if local is not None and last.engine == ENGINE:
        called = local.name or called
    if local is not None and last.engine == ENGINE:
        points = local_curve(local, search.model, load, precision=search.precision)
    else:
        points = curve(last, load, planner=planner)
    priced = {chip.name: terms for chip, terms in chips}
    if local is not None:
        priced.setdefault(first.chip, local.terms)
    return Plan(
        answer=answer(first),
        search=search,
        choice=choice,
        refused=refused,
        curve=tuple(points),
        nearest=tuple(nearest(rows, last, load, planner=planner)),
        launch=launches(
            first.deployments, load, copies=first.copies, batch=first.batch, model=called
        ),
        assumptions=(
            *said,
            *_context(search.model, load),
            *_assumptions(first, priced),
        ),
    )


def _alike(name: str, chips: Sequence[Wanted]) -> str:
    """How a chip of unknown speed can be planned all the same."""
    for chip, _ in chips:
        is_unknown = chip.bandwidth_tb_s is None or chip.bf16_tflops is None
        if chip.name == name and chip.like and is_unknown:
            return f" With --assume-like it is planned as {chip.like.upper()} is."
    return ""


def answer(option: Option) -> str:
    """One line: '12 x H100 SXM, 3 x TP4 in fp8: 11,080 tok/s (…), TPOT 35 ms (…), …'."""
    how = option.layout if option.kind == "split" else f"{option.replicas} x {option.layout}"
    bits = "" if option.precision.upper() in option.layout else f" in {option.precision}"
    parts = [
        f"{option.chips} x {option.chip}, {how}{bits}: {show(option.tokens_per_s)}",
        f"TTFT {show(milliseconds(option.ttft))}",
        f"TPOT {show(milliseconds(option.tpot))}",
    ]
    if option.price is not None:
        parts.append(f"{show(option.price.output)} output, {show(option.price.input)} input")
    return ", ".join(parts)


def milliseconds(estimate: Estimate) -> Estimate:
    """Of seconds."""
    return scale(estimate, 1e3, unit="ms")


def _context(model: PlanModel, load: Load) -> tuple[str, ...]:
    """What a request longer than the model's context needs."""
    asked = load.isl + load.osl
    if not model.context_tokens or asked <= model.context_tokens:
        return ()
    return (
        f"{asked:,} tokens of a request are more than the {model.context_tokens:,} that "
        f"{model.name} was trained for: an engine refuses them unless positions are scaled",
    )


def _assumptions(first: Option, terms: Mapping[str, Terms]) -> tuple[str, ...]:
    told = terms[first.chip]
    rent = told.rent
    return (
        *first.assumptions,
        f"speed: {first.tokens_per_s.source}",
        f"an hour of {first.chip}: {show(rent)}, {rent.source}" if rent else "price unknown",
        f"{told.utilisation:.0%} of hours sold",
        f"a cached token costs {told.cached_share:.0%} of an input token",
        "power: at the chips' limit, without cooling",
    )
