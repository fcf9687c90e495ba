"""What Prometheus reads at /metrics. Labels are bounded: models and engines that exist, states."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from haneul.services.targets import Target
from haneul.store.ledger import RequestRow

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """One registry for one cloud."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        by_model = ["model", "engine"]
        self.requests = self._counter("haneul_requests", "Requests ended", [*by_model, "state"])
        self.prompt = self._counter("haneul_prompt_tokens", "Prompt tokens", by_model)
        self.cached = self._counter("haneul_cached_tokens", "Prompt tokens from cache", by_model)
        self.completion = self._counter("haneul_completion_tokens", "Completion tokens", by_model)
        self.cost = self._counter("haneul_cost_nano", "Cost in 1e-9 of the currency", by_model)
        self.rejected = self._counter(
            "haneul_unauthenticated", "Requests without a valid key", ["code"]
        )
        self.first_token = self._histogram(
            "haneul_time_to_first_token_seconds", "From the request's arrival", by_model
        )
        self.duration = self._histogram(
            "haneul_request_duration_seconds", "From the request's arrival", by_model
        )
        self.in_flight = Gauge("haneul_in_flight", "Requests inside", registry=self.registry)
        self.ready = self._gauge("haneul_engine_ready", "Whether the engine answers", by_model)
        self.running = self._gauge("haneul_engine_running", "Requests inside it", by_model)
        self.waiting = self._gauge("haneul_engine_waiting", "Requests in its queue", by_model)
        self.restarts = self._gauge("haneul_engine_restarts", "Since the start", by_model)

    def count(self, row: RequestRow) -> None:
        """Books one terminal record."""
        # A name that no engine answered for is a user's invention and must not become a label.
        labels = (row.model or "", row.engine) if row.engine else ("", "")
        self.requests.labels(*labels, row.state).inc()
        self.prompt.labels(*labels).inc(row.prompt_tokens)
        self.cached.labels(*labels).inc(row.cached_tokens)
        self.completion.labels(*labels).inc(row.completion_tokens)
        self.cost.labels(*labels).inc(row.cost_nano)
        self.duration.labels(*labels).observe((row.finished_us - row.received_us) / 1e6)
        if row.first_token_us is not None:
            self.first_token.labels(*labels).observe((row.first_token_us - row.received_us) / 1e6)

    def text(self, targets: Iterable[Target], in_flight: int) -> bytes:
        """The page, with the state of every engine as it is now."""
        self.in_flight.set(in_flight)
        for gauge in (self.ready, self.running, self.waiting, self.restarts):
            gauge.clear()
        for target in targets:
            labels = (target.model, target.engine)
            self.ready.labels(*labels).set(target.state == "ready")
            self.running.labels(*labels).set(target.gate.busy.inside)
            self.waiting.labels(*labels).set(target.gate.waiting)
            self.restarts.labels(*labels).set(target.replica.restarts if target.replica else 0)
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: list[str]) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: list[str]) -> Histogram:
        return Histogram(name, text, labels, buckets=SECONDS, registry=self.registry)
