"""One question of serving, as a command or a page asks it, and its plan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from haneul.base.errors import BadRequest
from haneul.chips.plan.answer import Plan, make_plan, wanted
from haneul.chips.plan.asked import parse_prices
from haneul.chips.plan.calibration import Planner, load_calibration
from haneul.chips.plan.chipfiles import load_chips, load_models
from haneul.chips.plan.choose import Search
from haneul.chips.plan.options import Demand
from haneul.chips.plan.rows import published, read_rows
from haneul.chips.plan.terms import Load, PlanModel

USUAL = ("H100", "H200", "B200", "MI300X")  # chips, where nobody named any
TEXT_MAX = 200  # characters of a name, a chip or a price
LIST_MAX = 40
Text = Annotated[str, Meta(max_length=TEXT_MAX)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=LIST_MAX)]
Tokens = Annotated[int, Meta(ge=1, le=100_000_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Above = Annotated[float, Meta(gt=0, le=1e9)]


class Question(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be served, on which chips, at which prices; limits are milliseconds."""

    model: Annotated[str, Meta(min_length=1, max_length=TEXT_MAX)]
    isl: Tokens
    osl: Tokens
    rate: Above | None = None  # requests per second
    users: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    ttft: Above | None = None
    tpot: Above | None = None
    chips: Texts = USUAL
    prices: Texts = ()  # such as H100=2.95
    cache_hit: Share = 0.0
    acceptance: Annotated[float, Meta(ge=0, le=8)] = 0.0
    precision: Text = ""
    engine: Text = "vllm"
    utilisation: Annotated[float, Meta(gt=0, le=1)] = 1.0
    assume_like: bool = False


def asked(**facts: Any) -> Question:
    """The question of a command. Raises BadRequest with the field that is out of range."""
    try:
        return msgspec.convert(facts, Question)
    except msgspec.ValidationError as cause:
        reason, _, where = str(cause).partition(" - at ")
        name = where.strip("`$.")
        told = re.sub(r"Expected `(int|float)` ", "it is a number ", reason).replace("`", "")
        raise BadRequest(f"{name or 'The question'}: {told}.", param=name or None) from cause


def plan_serving(
    question: Question,
    model: PlanModel,
    *,
    name: str,
    cached_share: float,
    repository: str = "",
    said: Sequence[str] = (),
) -> Plan:
    """The plan of a model that was found under that name.

    repository is what an engine is told to load, said what is assumed or not known of the model.
    Raises BadRequest, NotFound, UnsupportedValue and NotEnoughMemory.
    """
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
    )
    groups = wanted(
        question.chips,
        chips,
        rents=parse_prices(question.prices, chips),
        utilisation=question.utilisation,
        cached_share=cached_share,
        is_assumed=question.assume_like,
    )
    return make_plan(
        search,
        groups,
        read_rows(published(), chips, load_models())[0],
        name=name,
        repository=repository,
        said=said,
        planner=Planner(load_calibration()),
    )
