"""What this installation's matrix has beside a plan."""

from __future__ import annotations

from haneul.base.config import Config
from haneul.chips.plan.answer import Plan
from haneul.chips.plan.here import Here
from haneul.chips.plan.seen import Seen, nearest_seen
from haneul.cli.chips_matrix import known
from haneul.services.matrix.near import seen


def near(settings: Config, plan: Plan, here: Here | None) -> tuple[Seen, ...]:
    """The rows most like the plan, of this machine's chips before others where it was asked of.

    Of probes, tunings and what others signed: a plan does not read the whole ledger.
    """
    chips = [chip.id for chip in here.chips] if here else []
    rows = seen(known(settings, with_requests=False))
    return tuple(nearest_seen(rows, plan.search.model, plan.choice.options, chips))
