"""The plan of one question of serving."""

from __future__ import annotations

from collections.abc import Sequence

from haneul.base.errors import BadRequest, UnsupportedValue
from haneul.chips.plan.answer import Plan, Wanted, make_plan, wanted
from haneul.chips.plan.asked import named_price, parse_prices
from haneul.chips.plan.calibration import Planner, load_calibration
from haneul.chips.plan.chipfiles import load_chips, load_models
from haneul.chips.plan.choose import Search
from haneul.chips.plan.here import THIS, Here, accelerators
from haneul.chips.plan.local import local_of
from haneul.chips.plan.options import Demand, Terms
from haneul.chips.plan.precision import GGUF_BITS, KNOWN
from haneul.chips.plan.rows import published, read_rows
from haneul.chips.plan.terms import Load, PlanModel
from haneul.services.planning.question import Question


def plan_serving(
    question: Question,
    model: PlanModel,
    *,
    name: str,
    cached_share: float,
    repository: str = "",
    said: Sequence[str] = (),
    here: Here | None = None,
) -> Plan:
    """The plan of a model that was found under that name.

    repository is what an engine is told to load, said what is assumed or not known of the model,
    here what the chip called "this" stands for. Raises BadRequest, NotFound, UnsupportedValue and
    NotEnoughMemory.
    """
    _refuse_unknown(question)
    chips = load_chips()
    load = Load(
        isl=question.isl,
        osl=question.osl,
        cache_hit=question.cache_hit,
        acceptance=question.acceptance,
        ttft_s=None if question.ttft is None else question.ttft / 1e3,
        tpot_s=None if question.tpot is None else question.tpot / 1e3,
    )
    search = Search(
        model=model,
        demand=Demand(load=load, rate=question.rate, users=question.users),
        precision=question.precision,
        engine=question.engine,
        kv_bits=question.kv_bits,
    )
    names = [each for each in question.chips if not _is_this(each)]
    prices = [each for each in question.prices if not _is_this(each.partition("=")[0])]
    told = [named_price(each)[1] for each in question.prices if each not in prices]
    rents = parse_prices(prices, chips)
    groups: list[Wanted] = []
    if names:
        groups = wanted(
            names,
            chips,
            rents=rents,
            utilisation=question.utilisation,
            cached_share=cached_share,
            is_assumed=question.assume_like,
        )
    local = None
    if len(names) < len(question.chips):
        if here is None:
            raise BadRequest("Chips of this machine can be planned by haneul plan serve alone.")
        terms = Terms(rent=None, utilisation=question.utilisation, cached_share=cached_share)
        found, unknown = accelerators(here, chips, rents, terms)
        groups += found
        said = (*said, *unknown)
        local = local_of(here, terms, name=question.model, told=told[-1] if told else None)
    return make_plan(
        search,
        groups,
        read_rows(published(), chips, load_models())[0],
        name=name,
        repository=repository,
        said=said,
        planner=Planner(load_calibration()),
        local=local,
    )


def _refuse_unknown(question: Question) -> None:
    """Raises UnsupportedValue for a precision nobody knows, once for all chips."""
    name = question.precision.lower()
    if name and name not in KNOWN and name not in GGUF_BITS:
        known = ", ".join((*KNOWN, *GGUF_BITS))
        raise UnsupportedValue(
            f"No precision is called {name!r}; known: {known}.", param="precision"
        )


def asks_for_this(question: Question) -> bool:
    """Whether chips of this machine are asked about."""
    return any(_is_this(each) for each in question.chips)


def _is_this(name: str) -> bool:
    return name.strip().lower() == THIS
