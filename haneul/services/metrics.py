"""What Prometheus reads at /metrics. Labels are bounded: models and engines that exist, states.

Counting is adding to plain numbers, because it happens at every request; the series are made when
somebody reads them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from haneul.services.targets import Target
from haneul.store.ledger import RequestRow

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
CONTENT_TYPE = CONTENT_TYPE_LATEST
BY_MODEL = ("model", "engine")
SUMS = (
    ("haneul_prompt_tokens", "Prompt tokens"),
    ("haneul_cached_tokens", "Prompt tokens from cache"),
    ("haneul_completion_tokens", "Completion tokens"),
    ("haneul_cost_nano", "Cost in 1e-9 of the currency"),
)
TIMES = (
    ("haneul_time_to_first_token_seconds", "From the request's arrival"),
    ("haneul_request_duration_seconds", "From the request's arrival"),
    ("haneul_time_per_output_token_seconds", "Of a stream, after its first token"),
)
GAPS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
_BOUNDS_US = tuple(round(1e6 * bound) for bound in SECONDS)
_GAPS_US = tuple(round(1e6 * bound) for bound in GAPS)


class Times:
    """How many took how long."""

    def __init__(self, bounds_us: tuple[int, ...] = _BOUNDS_US) -> None:
        self.counts = [0] * (len(bounds_us) + 1)
        self.sum_us = 0
        self._bounds_us = bounds_us

    def add(self, took_us: int, times: int = 1) -> None:
        self.counts[bisect_left(self._bounds_us, took_us)] += times
        self.sum_us += took_us * times

    def buckets(self, scale: float = 1e6) -> list[tuple[str, float]]:
        """So many took at most so long, as Prometheus wants it."""
        total, found = 0, []
        for bound, count in zip([*self._bounds_us, None], self.counts, strict=True):
            total += count
            found.append(("+Inf" if bound is None else str(bound / scale), float(total)))
        return found


class Series:
    """What is counted for one model at one engine."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()  # by state
        self.prompt = self.cached = self.completion = self.cost_nano = 0
        self.first_token, self.duration, self.gap = Times(), Times(), Times(_GAPS_US)


class Metrics(Collector):
    """One registry for one cloud."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self.rejected: Counter[str] = Counter()  # requests without a valid key, by error code
        self.watchers: list[Callable[[RequestRow], None]] = []  # told of what is counted
        self._series: dict[tuple[str, str], Series] = {}
        self._targets: list[Target] = []
        self._in_flight = 0

    def count(self, row: RequestRow) -> None:
        """Books one terminal record."""
        # A name that no engine answered for is a user's invention and must not become a label.
        labels = (row.model or "", row.engine) if row.engine else ("", "")
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Series()
        series.requests[row.state] += 1
        series.prompt += row.prompt_tokens
        series.cached += row.cached_tokens
        series.completion += row.completion_tokens
        series.cost_nano += row.cost_nano
        series.duration.add(row.finished_us - row.received_us)
        if row.first_token_us is not None:
            series.first_token.add(row.first_token_us - row.received_us)
            if row.is_stream and row.completion_tokens > 1:
                took_us = row.finished_us - row.first_token_us
                series.gap.add(took_us // (row.completion_tokens - 1))
        for watcher in self.watchers:
            watcher(row)

    def text(self, targets: Iterable[Target], in_flight: int) -> bytes:
        """The page, with the state of every engine as it is now."""
        self._targets, self._in_flight = list(targets), in_flight
        return generate_latest(self.registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing is promised before it is counted."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every series, made now."""
        yield from self._counted()
        yield from self._timed()
        rejected = CounterMetricFamily(
            "haneul_unauthenticated", "Requests without a valid key", labels=["code"]
        )
        for code, count in self.rejected.items():
            rejected.add_metric([code], count)
        yield rejected
        yield GaugeMetricFamily("haneul_in_flight", "Requests inside", value=self._in_flight)
        yield from self._engines()

    def _counted(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "haneul_requests", "Requests ended", labels=[*BY_MODEL, "state"]
        )
        sums = [CounterMetricFamily(name, text, labels=BY_MODEL) for name, text in SUMS]
        for labels, one in self._series.items():
            for state, count in one.requests.items():
                requests.add_metric([*labels, state], count)
            values = (one.prompt, one.cached, one.completion, one.cost_nano)
            for family, value in zip(sums, values, strict=True):
                family.add_metric(labels, value)
        yield from (requests, *sums)

    def _timed(self) -> Iterator[Metric]:
        families = [HistogramMetricFamily(name, text, labels=BY_MODEL) for name, text in TIMES]
        for labels, one in self._series.items():
            for family, times in zip(
                families, (one.first_token, one.duration, one.gap), strict=True
            ):
                family.add_metric(labels, times.buckets(), sum_value=times.sum_us / 1e6)
        yield from families

    def _engines(self) -> Iterator[Metric]:
        names = {
            "haneul_engine_ready": "Whether the engine answers",
            "haneul_engine_running": "Requests inside it",
            "haneul_engine_waiting": "Requests in its queue",
            "haneul_engine_restarts": "Since the start",
        }
        gauges = [GaugeMetricFamily(name, text, labels=BY_MODEL) for name, text in names.items()]
        for target in self._targets:
            values = (
                target.state == "ready",
                target.gate.busy.inside,
                target.gate.waiting,
                target.replica.restarts if target.replica else 0,
            )
            for gauge, value in zip(gauges, values, strict=True):
                gauge.add_metric((target.model, target.engine), value)
        yield from gauges
