"""The planner's errors on published measurements beside those of plainer models of the same rows.

    python -m bench.plan [--json]

peak     a roofline: bytes over the data sheet's bandwidth or operations over its peak, whichever is
         longer, nothing else
guessed  all terms of the planner, with the constants that stand in its code before any fit
planner  fitted, each (chip, model) group forecast by a calibration that has not seen it

The first two have seen no row. A row a model refuses is left out of all three.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct

from haneul.chips.plan.backtest import backtest, metric_of
from haneul.chips.plan.calibration import load_calibration
from haneul.chips.plan.chipfiles import load_chips, load_models
from haneul.chips.plan.fitting import measure
from haneul.chips.plan.rows import Row, published, read_rows
from haneul.chips.plan.step import Efficiency

TIER = "A"
NOTHING = ("half_tokens", "half_experts", "imbalance", "exposed", "queue")


def peak() -> Efficiency:
    """Constants under which nothing but the data sheet counts."""
    values = {}
    for name in Efficiency.__struct_fields__:
        if name.startswith("saturation") or name == "overlap":
            values[name] = math.inf
        else:
            values[name] = 0.0 if name in NOTHING or name.endswith("_s") else 1.0
    return Efficiency(**values)


class Line(Struct, frozen=True, kw_only=True):
    """Errors of one model as shares of what was measured."""

    model: str
    rows: int
    median: float
    p90: float
    within_20: float
    within_2x: float
    ttft_median: float


def physics(rows: Sequence[Row], efficiency: Efficiency) -> dict[str, tuple[float, float]]:
    """By row, errors of speed (throughput, else TPOT) and of TTFT; nan where there is none."""
    found, _ = measure(rows, efficiency)
    return {
        each.row.id: (math.expm1(-metric_of(each.row)[2] * each.speed), math.expm1(-each.ttft))
        for each in found
        if math.isfinite(each.speed)
    }


def line(model: str, errors: Sequence[tuple[float, float]]) -> Line:
    """The errors in a line."""
    speed = np.abs([each for each, _ in errors])
    first = np.abs([each for _, each in errors if math.isfinite(each)])
    factor = [max(1 + each, 1 / (1 + each)) for each, _ in errors]
    return Line(
        model=model,
        rows=len(errors),
        median=float(np.median(speed)),
        p90=float(np.percentile(speed, 90)),
        within_20=float(np.mean(speed <= 0.2)),
        within_2x=float(np.mean(np.array(factor) <= 2)),
        ttft_median=float(np.median(first)),
    )


def main() -> None:
    """Prints the table."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--json", action="store_true")
    as_json = words.parse_args().json
    every, unread = read_rows(published(), load_chips(), load_models())
    rows = [row for row in every if row.tier == TIER]
    scored = backtest(rows, unread, load_calibration(), known=rows).scored
    ours = {
        each.id: (
            each.forecast / each.measured - 1,
            each.ttft_forecast / each.ttft_measured - 1
            if each.ttft_forecast and each.ttft_measured
            else math.nan,
        )
        for each in scored
    }
    models = {
        "peak": physics(rows, peak()),
        "guessed": physics(rows, Efficiency()),
        "planner": ours,
    }
    common = set.intersection(*(set(each) for each in models.values()))
    lines = [line(name, [errors[row] for row in sorted(common)]) for name, errors in models.items()]
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(lines), indent=2).decode())
        return
    print("| model | rows | median error | p90 | within 20 % | within 2x | TTFT, median |")
    print("|---|---|---|---|---|---|---|")
    for each in lines:
        shares = (each.median, each.p90, each.within_20, each.within_2x, each.ttft_median)
        print(f"| {each.model} | {each.rows} | {' | '.join(f'{it:.1%}' for it in shares)} |")


if __name__ == "__main__":
    main()
