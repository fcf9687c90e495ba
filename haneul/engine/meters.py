"""What the engine counts, in Prometheus' text form."""

from __future__ import annotations

from collections import Counter

from haneul.engine.slots import Slots
from haneul.engine.tally import Tally

_KERNEL = {  # llama-server's name -> ours, kind
    "prompt_tokens_total": "kernel_prompt_tokens_total",
    "prompt_tokens_cached_total": "kernel_prompt_tokens_cached_total",
    "tokens_predicted_total": "kernel_completion_tokens_total",
    "requests_processing": "kernel_running",
    "requests_deferred": "kernel_waiting",
}


class Meters:
    """Counts since the start; cancelled requests count with the tokens they had."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.tokens: Counter[str] = Counter()
        self.hang_ups = 0

    def add(self, tally: Tally) -> None:
        """The tokens of one request, when it is over."""
        self.tokens["prompt"] += tally.prompt_tokens
        self.tokens["cached"] += tally.cached_tokens
        self.tokens["completion"] += tally.completion_tokens

    def text(self, slots: Slots, kernel: dict[str, float]) -> str:
        """Every number, by name."""
        lines = [
            *_one("running", "gauge", "Sequences in the kernel", slots.running),
            *_one("waiting", "gauge", "Sequences waiting for a place", slots.waiting),
            *_one("requests_open", "gauge", "Requests not yet answered whole", slots.requests),
            *_one("slots", "gauge", "Sequences the kernel takes at a time", slots.slots),
            *_one("hang_ups_total", "counter", "Requests whose client left", self.hang_ups),
            *_head("tokens_total", "counter", "Tokens told to clients; cached ones are prompt too"),
        ]
        for kind in ("prompt", "cached", "completion"):
            lines.append(f'haneul_engine_tokens_total{{kind="{kind}"}} {self.tokens[kind]}')
        lines += _head("requests_total", "counter", "Requests by path and status")
        for (path, status), count in sorted(self.requests.items()):
            labels = f'path="{path}",status="{status}"'
            lines.append(f"haneul_engine_requests_total{{{labels}}} {count}")
        for theirs, ours in _KERNEL.items():
            if theirs in kernel:
                kind = "counter" if ours.endswith("_total") else "gauge"
                lines += _one(ours, kind, "As the kernel counts", kernel[theirs])
        return "\n".join(lines) + "\n"


def _one(name: str, kind: str, meaning: str, value: float) -> list[str]:
    return [*_head(name, kind, meaning), f"haneul_engine_{name} {value:g}"]


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP haneul_engine_{name} {meaning}", f"# TYPE haneul_engine_{name} {kind}"]
