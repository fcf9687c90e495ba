"""What a gateway costs when its engine costs nothing: haneul and its peers before the same mock.

Each gateway is kept on the first core; the mock and the client are on the others. The gateways take
turns, window by window, so that a change of the machine's load meets all of them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench import client, processes
from bench.cloud import chat
from bench.pairs import compare
from bench.report import spread

CONNECTIONS = 64
PACES = {"at once": (0.0, 300), "40 a second": (0.025, 120)}  # between requests; rounds
WARM_UP = 20


class Gateway(NamedTuple):
    """A gateway in front of the mock."""

    name: str
    pids: list[int]  # whose processor time counts
    to: dict[str, Any]  # where client.Target finds it
    model: str  # as it calls the mock's model


class Cores(NamedTuple):
    """Who runs where."""

    gateway: set[int]
    others: set[int]


def cores() -> Cores:
    """The first core for the gateway; on a machine with one core they share it."""
    first, *others = sorted(os.sched_getaffinity(0))
    return Cores({first}, set(others) or {first})


def load(
    gateways: Sequence[Gateway], where: Cores, *, seconds: float, repeats: int
) -> dict[str, dict[str, Any]]:
    """For each gateway what requests and events cost, with their ranges over the windows."""
    windows: dict[str, dict[str, list[dict[str, float]]]] = {
        gateway.name: {"whole": [], "stream": []} for gateway in gateways
    }
    for repeat in range(repeats):
        turn = repeat % len(gateways)
        for gateway in [*gateways[turn:], *gateways[:turn]]:
            for kind in ("whole", "stream"):
                windows[gateway.name][kind].append(_window(gateway, where, kind, seconds))
    return {
        gateway.name: {
            **_figures(windows[gateway.name]),
            "memory_bytes": processes.memory_bytes(gateway.pids) if gateway.pids else None,
        }
        for gateway in gateways
    }


def latency(
    gateways: Sequence[Gateway], mock: Gateway, where: Cores, *, repeats: int
) -> dict[str, dict[str, Any]]:
    """Seconds that each gateway adds to one whole answer, one at a time, by pace.

    Each takes turns with the mock alone: what another does after its answer (haneul writes its
    ledger then) meets none but itself. `added` is the median of the differences, with its range
    over the repeats; `added_p99` the difference of the 99th percentiles of all rounds.
    """
    found: dict[str, dict[str, Any]] = {gateway.name: {} for gateway in gateways}
    for pace, (interval_s, rounds) in PACES.items():
        runs: dict[str, list[dict[str, Any]]] = {gateway.name: [] for gateway in gateways}
        for _ in range(repeats):
            for gateway in gateways:
                targets = {
                    side: {**one.to, "body": chat(one.model)}
                    for side, one in (("engine", mock), ("gateway", gateway))
                }
                plan = {"work": "alternate", "cores": list(where.others), "targets": targets}
                paced = {"rounds": rounds, "warm_up": WARM_UP, "interval_s": interval_s}
                runs[gateway.name].append(client.run(plan | paced))
        for name, of_gateway in runs.items():
            found[name][pace] = compare(of_gateway, "total_s")
    return found


def _window(gateway: Gateway, where: Cores, kind: str, seconds: float) -> dict[str, float]:
    body = chat(gateway.model, stream=kind == "stream")
    before_s = processes.cpu_s(gateway.pids)
    counted = client.run(
        {
            "work": "saturate",
            "cores": list(where.others),
            "target": {**gateway.to, "body": body},
            "connections": CONNECTIONS,
            "seconds": seconds,
        }
    )
    return {**counted, "cpu_s": processes.cpu_s(gateway.pids) - before_s}


def _figures(windows: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    whole, stream = windows["whole"], windows["stream"]
    return {
        "request_cpu_s": spread([one["cpu_s"] / one["requests"] for one in whole]),
        "requests_per_s": spread([one["requests"] / one["seconds"] for one in whole]),
        "p99_s": spread([one["p99_s"] for one in whole]),
        "event_cpu_s": spread([one["cpu_s"] / (one["events"] or math.nan) for one in stream]),
        "events_per_s": spread([one["events"] / one["seconds"] for one in stream]),
        "events_per_read": spread([one["events"] / (one["reads"] or math.nan) for one in stream]),
        "errors": sum(one["errors"] for one in [*whole, *stream]),
    }
