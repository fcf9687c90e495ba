"""What the gateway adds to answers of a real engine: the same request straight to the engine's
socket and through the gateway, in turn.
"""

from __future__ import annotations

import os
from typing import Any

from bench import client, processes
from bench.cloud import Measured, chat
from bench.pairs import compare
from bench.report import Spread, spread

WARM_UP = 5
PACES = {"at once": (0.0, 80), "20 a second": (0.05, 25)}  # between requests; rounds
CASES = [(tokens, is_stream) for is_stream in (False, True) for tokens in (1, 32)]
STREAMS = 4
STREAM_TOKENS = 200


def added(cloud: Measured, repeats: int) -> list[dict[str, Any]]:
    """One row a case and pace, as `pairs.compare` gives it."""
    rows = []
    for pace, (interval_s, rounds) in PACES.items():
        for tokens, is_stream in CASES:
            runs = [
                _alternate(cloud, tokens, is_stream, interval_s, rounds) for _ in range(repeats)
            ]
            row = {"tokens": tokens, "is_stream": is_stream, "pace": pace}
            row["total"] = compare(runs, "total_s")
            row["first"] = compare(runs, "first_s") if is_stream else None
            rows.append(row)
    return rows


def event_cpu(cloud: Measured, seconds: float, repeats: int) -> Spread:
    """Processor seconds of the gateway for one token that the embedded engine streams."""
    body = chat(cloud.model, max_tokens=STREAM_TOKENS, ignore_eos=True, stream=True)
    plan = {
        "work": "saturate",
        "cores": list(os.sched_getaffinity(0)),
        "target": {**cloud.gateway, "body": body},
        "connections": STREAMS,
        "seconds": seconds,
    }
    found = []
    for _ in range(repeats):
        before_s = processes.cpu_s([cloud.pid])
        counted = client.run(plan)
        found.append((processes.cpu_s([cloud.pid]) - before_s) / counted["events"])
    return spread(found)


def _alternate(
    cloud: Measured, tokens: int, is_stream: bool, interval_s: float, rounds: int
) -> dict[str, Any]:
    body = chat(cloud.model, max_tokens=tokens, temperature=0, ignore_eos=True, stream=is_stream)
    return client.run(
        {
            "work": "alternate",
            "cores": list(os.sched_getaffinity(0)),
            "targets": {
                "engine": {**cloud.engine, "body": body},
                "gateway": {**cloud.gateway, "body": body},
            },
            "rounds": rounds,
            "warm_up": WARM_UP,
            "interval_s": interval_s,
        }
    )
