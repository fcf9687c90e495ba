"""What the chips that are there do of a load, where they do not do all of it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from haneul.base.errors import HaneulError
from haneul.chips.plan.calibration import Planner
from haneul.chips.plan.choose import Search
from haneul.chips.plan.layouts import layout_text, layouts
from haneul.chips.plan.options import Terms
from haneul.chips.plan.predict import predict
from haneul.chips.plan.terms import Deployment, PlanChip


def most(search: Search, chips: Sequence[tuple[PlanChip, Terms]], *, planner: Planner) -> list[str]:
    """A sentence for each counted kind that serves a part of what is asked within the limits."""
    demand = search.demand
    if demand.rate is None and demand.users is None:
        return []
    said = []
    for chip, terms in chips:
        if terms.chips_most is None:
            continue
        found = _best(search, chip, terms.chips_most, planner)
        if found is not None:
            amount, deployment = found
            unit = "users at once" if demand.rate is None else "requests/s"
            how = f"{terms.chips_most // deployment.count} x {layout_text(deployment)}"
            there = f"{terms.chips_most} x {chip.name}"
            said.append(f"{there} serve {amount:,.3g} {unit} within these limits, as {how}.")
    return said


def _best(
    search: Search, chip: PlanChip, count: int, planner: Planner
) -> tuple[float, Deployment] | None:
    """The most requests a second, or users, of all chips of the kind in one aggregated layout."""
    load = replace(search.demand.load, rate=None)
    best: tuple[float, Deployment] | None = None
    for each in layouts(
        search.model,
        chip,
        precision=search.precision,
        engine=search.engine,
        count_most=count,
        kv_bits=search.kv_bits,
    ):
        try:
            found = predict(each, load, planner=planner)
        except HaneulError:
            continue
        one = found.batch if search.demand.rate is None else found.tokens_per_s.mid / load.osl
        amount = one * (count // each.count)
        if best is None or amount > best[0]:
            best = (amount, each)
    return best
