"""The cost-quality curve of our routing beside its rivals'.

    python -m bench.routing --data DIR                 the sets in DIR, cross-validated
    python -m bench.routing --fit DIR --judge OTHER    fitted on one folder, judged on another

cX is the cost that keeps X % of the best fixed model's good answers, as a share of its cost; AIQ
the mean quality over the logarithm of cost. The best fixed model is the fit's. A fit sees
nothing of what is judged, but the constants in haneul/auto were chosen on the public sets, so their
own cross-validation flatters a little: only --judge with other prompts does not. DIR is
HANEUL_ROUTING_DATA where it is left out; bench/routing_data.py has the format.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench import routing_rivals as rivals
from bench.routing_cases import guarantee, unseen
from bench.routing_data import load
from bench.routing_litellm import litellm
from haneul.auto.curve import cost_to_reach, mean_quality, recovered
from haneul.auto.familiar import CAUTION
from haneul.auto.outcomes import Outcomes
from haneul.auto.policy import Policy, arms_played, choose, decide, estimates, fit, price_for
from haneul.auto.space import embed_all
from haneul.base.errors import HaneulError

Row = dict[str, Any]
MIXED = [
    "phi-3-mini",
    "llama-3.1-8b",
    "llama-3.1-70b",
    "mixtral-8x7b",
    "gemini-1.5-flash",
    "gemini-1.5-pro",
]
OPEN = [
    "phi-3-mini",
    "llama-3.1-8b",
    "mixtral-8x7b",
    "qwen1.5-72b",
    "deepseek-coder-v2",
    "llama-3.1-70b",
]
TIERS = ["llama-3.1-8b", "gemini-1.5-flash", "gemini-1.5-pro"]
POOLS: dict[str, tuple[list[str], list[str] | None]] = {
    "mixed": (["mmlupro", "ze_gsm", "ze_crux"], MIXED),
    "mmlupro": (["mmlupro"], None),
    "open": (["mmlupro"], OPEN),
    "pair": (["mmlupro"], TIERS),
    "few": (["ze_gsm", "ze_crux"], None),
    "llmrouter": (["llmrouter8"], None),
}
GAPS = {"routellm-mmlu": "routellm_mmlu", "routellm-gsm8k": "routellm_gsm8k"}
CASES: dict[str, Callable[[Path], list[Row]]] = {
    "unseen": unseen,
    "guarantee": guarantee,
    "litellm": litellm,
}
PRICES = np.concatenate(([0.0], np.geomspace(1e-3, 1e4, 160)))
TARGETS = (0.95, 0.98, 1.0)

Splits = Iterator[tuple[Outcomes, Outcomes]]


def splits(fitted: Outcomes, judged: Outcomes | None, folds: int) -> Splits:
    """What is fitted and what is judged by it: two logs, or one in folds."""
    if judged is not None:
        yield fitted, judged
        return
    fold = np.random.default_rng(0).permutation(len(fitted.prompts)) % folds
    for one in range(folds):
        yield fitted.rows(np.flatnonzero(fold != one)), fitted.rows(np.flatnonzero(fold == one))


def curves(parts: Splits) -> list[Row]:
    """A row of measures for each way to choose; points are means over all judged prompts."""
    sums: dict[str, Any] = {}
    told: dict[float, Any] = {}
    total, fixed, means = 0, np.zeros(2), np.zeros(0)
    whole: list[Outcomes] = []
    for fitted, judged in parts:
        count = len(judged.prompts)
        policy = fit(fitted)
        for name, points in _points(policy, fitted, judged).items():
            sums[name] = sums.get(name, 0) + count * points
        for target in TARGETS:
            told[target] = told.get(target, 0) + count * _at(policy, judged, target)
        best = fitted.best
        fixed += count * np.array([judged.cost_usd[:, best].mean(), judged.good[:, best].mean()])
        means = count * judged.cost_usd.mean(0) + (means if len(means) else 0)
        whole.append(judged)
        total += count
    fixed, means = fixed / total, means / total
    every = {name: points / total for name, points in sums.items()}
    every = {
        "random mix": rivals.random_mix(_joined(whole)),
        "oracle": rivals.oracle(_joined(whole)),
        **every,
    }
    rows = [
        _row(name, points, fixed, low=means.min(), high=means.max())
        for name, points in every.items()
    ]
    for target, point in told.items():
        cost, quality = point / total
        rows.append(
            {
                "way": f"haneul told {target:.2f}",
                "quality": round(float(quality / fixed[1]), 4),
                "cost": round(float(cost / fixed[0]), 4),
            }
        )
    return [{"prompts": total, "best": float(fixed[1]), "usd_per_1k": fixed[0] * 1e3}, *rows]


def _points(policy: Policy, fitted: Outcomes, judged: Outcomes) -> dict[str, Any]:
    models = len(policy.models)
    prices = PRICES / max(float(fitted.cost_usd.mean(0)[fitted.best]), 1e-12)
    good, costs, alike = estimates(policy, judged.prompts, judged.tokens_in)
    foreign = alike < CAUTION
    truth, paid = arms_played(judged, policy.pairs)
    table, table_costs = rivals.task_table(fitted, judged)
    vectors, _ = embed_all(policy.space, fitted.prompts)
    asked, _ = embed_all(policy.space, judged.prompts)
    near, near_costs = rivals.nearest(fitted, judged, vectors, asked)

    def ours(arms: int) -> Any:
        points = []
        for price in prices:
            chosen = choose(
                policy, good[:, :arms], costs[:, :arms], price=price, is_foreign=foreign
            )
            rows = np.arange(len(chosen))
            points.append((paid[rows, chosen].mean(), truth[rows, chosen].mean()))
        return np.array(points)

    found = {
        "task table (true task)": rivals.chosen_points(table, table_costs, judged, prices),
        "kNN": rivals.chosen_points(near, near_costs, judged, prices),
        "haneul": ours(models),
    }
    if fitted.answers is not None:  # without any pair worth it, the same again
        found["haneul with pairs"] = ours(good.shape[1])
    return found


def _at(policy: Policy, judged: Outcomes, target: float) -> Any:
    good, costs, alike = estimates(policy, judged.prompts, judged.tokens_in)
    truth, paid = arms_played(judged, policy.pairs)
    price = price_for(policy, target)
    arms = choose(policy, good, costs, price=price, is_foreign=alike < CAUTION)
    rows = np.arange(len(arms))
    return np.array([paid[rows, arms].mean(), truth[rows, arms].mean()])


def _row(way: str, points: Any, fixed: Any, *, low: float, high: float) -> Row:
    cost, quality = fixed
    shares = {
        f"c{round(100 * share)}": round(cost_to_reach(points, share * quality) / cost, 4)
        for share in TARGETS
    }
    most = round(float(points[:, 1].max()), 4)
    aiq = round(mean_quality(points, low_usd=low, high_usd=high), 4)
    return {"way": way, "best": most, **shares, "AIQ": aiq}


def _joined(parts: list[Outcomes]) -> Outcomes:
    first = parts[0]
    if len(parts) == 1:
        return first
    whole = Outcomes(
        models=first.models,
        prompts=[prompt for one in parts for prompt in one.prompts],
        tasks=[task for one in parts for task in one.tasks],
        good=np.concatenate([one.good for one in parts]),
        tokens_in=np.concatenate([one.tokens_in for one in parts]),
        tokens_out=np.concatenate([one.tokens_out for one in parts]),
        usd_per_token_in=first.usd_per_token_in,
        usd_per_token_out=first.usd_per_token_out,
    )
    return whole


def gap(parts: Splits) -> list[Row]:
    """RouteLLM's measures: APGR, CPT50, CPT80 of two models, weak first by quality."""
    gains, truth = [], []
    for fitted, judged in parts:
        weak, strong = np.argsort(fitted.good.mean(0)).tolist()
        policy = fit(fitted, are_pairs_tried=False)
        good, _, _ = estimates(policy, judged.prompts, judged.tokens_in)
        gains.append(good[:, strong] - good[:, weak])
        truth.append(judged.good[:, [weak, strong]])
    both = np.concatenate(truth)[np.argsort(-np.concatenate(gains), kind="stable")]
    won = np.concatenate(([0.0], np.cumsum(both[:, 1] - both[:, 0]))) / len(both)
    weak_mean, strong_mean = both.mean(0).tolist()
    points = np.stack((np.linspace(0, 1, len(won)), weak_mean + won), axis=1)
    apgr, half, most = recovered(points, weak=weak_mean, strong=strong_mean)
    measures = {"APGR": round(apgr, 4), "CPT50": round(half, 4), "CPT80": round(most, 4)}
    return [{"prompts": len(both)}, {"way": "haneul", **measures}]


def latency(folder: Path) -> list[Row]:
    """How long one decision takes, prompt to choice, in this process."""
    outcomes = load(folder, ["mmlupro", "ze_gsm", "ze_crux"], models=MIXED)
    policy = fit(outcomes.rows(np.arange(0, len(outcomes.prompts), 4)))
    price = price_for(policy, 0.98)
    spent = []
    for at in np.random.default_rng(0).permutation(len(outcomes.prompts))[:2000].tolist():
        began = time.perf_counter()
        decide(policy, outcomes.prompts[at], tokens_in=200.0, price=price)
        spent.append(time.perf_counter() - began)
    half, most = np.quantile(spent[200:], (0.5, 0.99))
    return [{"way": "one decision", "p50_ms": round(half * 1e3, 3), "p99_ms": round(most * 1e3, 3)}]


def measure(name: str, folder: Path, judge: Path | None, folds: int) -> list[Row]:
    """The rows of one part of the table."""
    if name == "latency":
        return latency(folder)
    if name in CASES:
        return CASES[name](folder)
    sets, models = ([GAPS[name]], None) if name in GAPS else POOLS[name]
    fitted = load(folder, sets, models=models)
    judged = None if judge is None else load(judge, sets, models=models)
    if judged is not None and judged.models != fitted.models:
        shared = [one for one in fitted.models if one in judged.models]
        fitted, judged = fitted.pool(shared), judged.pool(shared)
    parts = splits(fitted, judged, folds)
    return gap(parts) if name in GAPS else curves(parts)


def _print(name: str, rows: list[Row]) -> None:
    print(f"\n{name}")
    for row in rows:
        way = row.pop("way", "")
        cells = (f"{key} {value:.4g}" if value == value else key for key, value in row.items())
        print(f"  {way:24s} " + "  ".join(cells), flush=True)


def main() -> None:
    """Prints the tables, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    default = os.environ.get("HANEUL_ROUTING_DATA")
    parser.add_argument("--fit", "--data", dest="fit", default=default, help="a folder of outcomes")
    parser.add_argument("--judge", help="another folder; without it the first is cross-validated")
    every = [*POOLS, *GAPS, *CASES, "latency"]
    parser.add_argument("--only", choices=every, action="append", help="a part; may be repeated")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.fit is None:
        parser.error("which data? --fit DIR, or HANEUL_ROUTING_DATA")
    found = {}
    for name in options.only or every:
        judge = None if options.judge is None else Path(options.judge)
        try:
            found[name] = measure(name, Path(options.fit), judge, options.folds)
        except HaneulError as error:
            found[name] = [{"way": error.message}]
        if not options.json:
            _print(name, found[name])
    if options.json:
        json.dump(found, sys.stdout, indent=2, default=float)


if __name__ == "__main__":
    main()
