"""What the engine counts, in Prometheus' text form."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from haneul.engine.slots import Slots
from haneul.engine.tally import Tally

_KERNEL = {  # llama-server's name -> ours, kind
    "prompt_tokens_total": "kernel_prompt_tokens_total",
    "prompt_tokens_cached_total": "kernel_prompt_tokens_cached_total",
    "tokens_predicted_total": "kernel_completion_tokens_total",
    "requests_processing": "kernel_running",
    "requests_deferred": "kernel_waiting",
    "kv_cells": "kv_cells",
    "kv_cells_used": "kv_cells_used",
    "drafted_tokens_total": "drafted_tokens_total",
    "accepted_tokens_total": "draft_accepted_tokens_total",
    "steps_total": "steps_total",
    "step_seconds_max": "step_seconds_max",
}
FIRST_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # bucket bounds
GAP_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


class Histogram:
    """How often a time fell under each bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, meaning: str) -> list[str]:
        """Prometheus' form: cumulative buckets, the sum and the count."""
        lines, total = head(name, "histogram", meaning), 0
        for bound, count in zip([*self._bounds, "+Inf"], self._counts, strict=True):
            total += count
            lines.append(f'haneul_engine_{name}_bucket{{le="{bound}"}} {total}')
        lines.append(f"haneul_engine_{name}_sum {self._sum:.6f}")
        lines.append(f"haneul_engine_{name}_count {total}")
        return lines


class Meters:
    """Counts since the start; cancelled requests count with the tokens they had."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.tokens: Counter[str] = Counter()
        self.hang_ups = 0
        self.firsts = Histogram(FIRST_S)
        self.gaps = Histogram(GAP_S)

    def add(self, tally: Tally) -> None:
        """The tokens of one request, when it is over."""
        self.tokens["prompt"] += tally.prompt_tokens
        self.tokens["cached"] += tally.cached_tokens
        self.tokens["completion"] += tally.completion_tokens
        for first_s in tally.firsts_s:
            self.firsts.add(first_s)
        for gap_s in tally.gaps_s:
            self.gaps.add(gap_s)

    def text(self, slots: Slots, kernel: dict[str, float]) -> str:
        """Every number, by name."""
        deferred = kernel.get("requests_deferred", 0) if slots.kernel_orders else 0
        lines = [
            *one("running", "gauge", "Sequences being computed", slots.running - deferred),
            *one("waiting", "gauge", "Sequences waiting for a place", slots.waiting + deferred),
            *one("requests_open", "gauge", "Requests not yet answered whole", slots.requests),
            *one("slots", "gauge", "Sequences the kernel takes at a time", slots.slots),
            *one("hang_ups_total", "counter", "Requests whose client left", self.hang_ups),
            *head("tokens_total", "counter", "Tokens told to clients; cached ones are prompt too"),
        ]
        for kind in ("prompt", "cached", "completion"):
            lines.append(f'haneul_engine_tokens_total{{kind="{kind}"}} {self.tokens[kind]}')
        lines += head("requests_total", "counter", "Requests by path and status")
        for (path, status), count in sorted(self.requests.items()):
            labels = f'path="{path}",status="{status}"'
            lines.append(f"haneul_engine_requests_total{{{labels}}} {count}")
        for theirs, ours in _KERNEL.items():
            if theirs in kernel:
                kind = "counter" if ours.endswith("_total") else "gauge"
                lines += one(ours, kind, "As the kernel counts", kernel[theirs])
        lines += self.firsts.lines(
            "time_to_first_token_seconds", "From acceptance to the first token"
        )
        lines += self.gaps.lines("inter_token_latency_seconds", "Between two tokens of an answer")
        return "\n".join(lines) + "\n"


def one(name: str, kind: str, meaning: str, value: float) -> list[str]:
    return [*head(name, kind, meaning), f"haneul_engine_{name} {value:g}"]


def head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP haneul_engine_{name} {meaning}", f"# TYPE haneul_engine_{name} {kind}"]
