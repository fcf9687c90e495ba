"""Rates of a row or a question by physics alone: which batch, then the loop."""

from __future__ import annotations

from haneul.chips.plan.fit_memory import memory, refuse_unless_it_fits
from haneul.chips.plan.rows import Row
from haneul.chips.plan.serve import Rates, rates
from haneul.chips.plan.step import Efficiency


def row_rates(row: Row, efficiency: Efficiency) -> Rates:
    """What the loop says of a published row, at the batch of the row."""
    found = memory(row.deployment, row.load)
    refuse_unless_it_fits(row.deployment, found)
    most = min(found.most_users, row.batch_most)
    wanted = row.load.requests or row.load.batch or most
    best = rates(row.deployment, row.load, efficiency, batch=max(1, min(wanted, most)))
    if row.load.tpot_s and row.load.batch is None and row.load.requests is None:
        low, high = 1, most
        while high - low > max(1, low // 50):
            middle = (low + high) // 2
            best = rates(row.deployment, row.load, efficiency, batch=middle)
            low, high = (middle, high) if best.tpot_s <= row.load.tpot_s else (low, middle)
    return best
