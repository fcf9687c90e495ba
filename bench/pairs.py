"""What a gateway adds: answers that came straight and answers that came through it, in pairs."""

from __future__ import annotations

from typing import Any

from bench.report import quantile, spread


def compare(runs: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """Both sides' medians and 99th percentiles over all rounds, and what lies between them.

    `added` is the median of gateway minus engine, pair by pair, with its range over the runs;
    `added_p99` the difference of the two 99th percentiles. All in seconds.
    """
    differences = [
        [
            through - straight
            for through, straight in zip(run["gateway"][what], run["engine"][what], strict=True)
        ]
        for run in runs
    ]
    gateway, engine = (
        [value for run in runs for value in run[side][what]] for side in ("gateway", "engine")
    )
    return {
        "engine_p50": quantile(engine, 0.5),
        "engine_p99": quantile(engine, 0.99),
        "gateway_p50": quantile(gateway, 0.5),
        "gateway_p99": quantile(gateway, 0.99),
        "added": spread([quantile(of_run, 0.5) for of_run in differences]),
        "added_p99": quantile(gateway, 0.99) - quantile(engine, 0.99),
        "errors": sum(run[side]["errors"] for run in runs for side in ("gateway", "engine")),
    }
