"""LiteLLM's rules beside a coin: its complexity router as it ships, on the routing data.

Its four tiers are four models of the hull, cheapest to dearest. Needs `pip install litellm`, which
haneul does not.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bench.routing_data import load
from bench.routing_rivals import random_mix
from haneul.auto.outcomes import Outcomes

Row = dict[str, Any]
POOLS = {"mmlupro": ["mmlupro"], "few": ["ze_gsm", "ze_crux"]}
TIERS = ("SIMPLE", "MEDIUM", "COMPLEX", "REASONING")


def litellm(folder: Path) -> list[Row]:
    """Quality and cost of its choices, and a coin's quality at that cost."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it asks the internet otherwise
    try:
        library = importlib.import_module("litellm")
        rules = importlib.import_module(
            "litellm.router_strategy.complexity_router.complexity_router"
        )
    except ImportError:
        return [{"way": "litellm is not installed"}]
    tiers = {"tiers": {name: name for name in TIERS}}
    router = rules.ComplexityRouter(
        "auto", library.Router(model_list=[]), complexity_router_config=tiers
    )
    return [_row(name, load(folder, sets), router) for name, sets in POOLS.items()]


def _row(name: str, outcomes: Outcomes, router: Any) -> Row:
    arms = dict(zip(TIERS, _four(outcomes), strict=True))
    told = [str(router.classify(prompt)[0].value) for prompt in outcomes.prompts]
    chosen = np.array([arms[tier] for tier in told])
    rows = np.arange(len(chosen))
    cost = float(outcomes.cost_usd[rows, chosen].mean())
    mixed = random_mix(outcomes)
    best = float(outcomes.cost_usd[:, outcomes.best].mean())
    shares = {tier: count / len(told) for tier, count in sorted(Counter(told).items())}
    return {
        "way": name,
        "quality": round(float(outcomes.good[rows, chosen].mean()), 4),
        "cost": round(cost / best, 4),
        "coin at that cost": round(float(np.interp(cost, mixed[:, 0], mixed[:, 1])), 4),
        **{f"to {tier}": round(share, 3) for tier, share in shares.items()},
    }


def _four(outcomes: Outcomes) -> list[int]:
    """Four models of the hull, cheapest first, spread over it; the last is the best."""
    means = outcomes.cost_usd.mean(0)
    on_hull = [int(np.argmin(np.abs(means - cost))) for cost, _ in random_mix(outcomes)]
    return [on_hull[round(at)] for at in np.linspace(0, len(on_hull) - 1, len(TIERS))]
