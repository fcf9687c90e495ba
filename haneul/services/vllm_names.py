"""vLLM's names for what haneul counts, so that dashboards made for vLLM show a haneul cloud.

Names, types and bucket bounds are those of vllm/v1/metrics/loggers.py and buckets.py. What haneul
does not know is absent: preemptions, LoRA, iterations, and times of answers that were not streamed.
The time per output token is a request's mean, counted once for each of its tokens after the first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from haneul.services.targets import EMBEDDED, Target
from haneul.services.telemetry.watch import Story, Trial
from haneul.store.ledger import RequestRow

FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
GAP = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0),
)
LATENCY = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0),
    *(240.0, 480.0, 960.0, 1920.0, 7680.0),
)
TOKENS = tuple(float(m * 10**e) for e in range(6) for m in (1, 2, 5))
LABELS = ("model_name", "engine")
FINISHED = {"aborted": "abort", "failed": "error", "refused": "error"}  # by state of the ledger
HISTOGRAMS = {
    "vllm:time_to_first_token_seconds": ("Of streams", FIRST_TOKEN),
    "vllm:time_per_output_token_seconds": ("Of streams", GAP),
    "vllm:inter_token_latency_seconds": ("Of streams", GAP),
    "vllm:request_time_per_output_token_seconds": ("Of streams, each once", GAP),
    "vllm:e2e_request_latency_seconds": ("From the request's arrival", LATENCY),
    "vllm:request_queue_time_seconds": ("Until its engine began", LATENCY),
    "vllm:request_inference_time_seconds": ("Inside its engine", LATENCY),
    "vllm:request_prefill_time_seconds": ("Of streams, until the first token", LATENCY),
    "vllm:request_decode_time_seconds": ("Of streams, after the first token", LATENCY),
    "vllm:request_prompt_tokens": ("Of one request", TOKENS),
    "vllm:request_generation_tokens": ("Of one request", TOKENS),
}
COUNTERS = {
    "vllm:prompt_tokens": "Prompt tokens",
    "vllm:generation_tokens": "Completion tokens",
}


class Buckets:
    """A histogram."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self.sum += value * times

    def cumulative(self) -> list[tuple[str, float]]:
        total, found = 0, []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Counted:
    """What is counted for one model at one engine."""

    def __init__(self) -> None:
        self.histograms = {name: Buckets(bounds) for name, (_, bounds) in HISTOGRAMS.items()}
        self.finished: Counter[str] = Counter()
        self.prompt = self.cached = self.completion = 0

    def add(self, row: RequestRow, reason: str) -> None:
        """Books a request that its engine was asked for."""
        self.finished[reason] += 1
        self.prompt += row.prompt_tokens
        self.cached += row.cached_tokens
        self.completion += row.completion_tokens
        if row.state != "done" or row.started_us is None:
            return
        self._add_times(row, row.started_us)
        for name, tokens in (("prompt", row.prompt_tokens), ("generation", row.completion_tokens)):
            self.histograms[f"vllm:request_{name}_tokens"].add(tokens)

    def _add_times(self, row: RequestRow, started_us: int) -> None:
        self._add("e2e_request_latency", row.finished_us - row.received_us)
        self._add("request_queue_time", started_us - row.received_us)
        self._add("request_inference_time", row.finished_us - started_us)
        if not row.is_stream or row.first_token_us is None:
            return
        decode_us = row.finished_us - row.first_token_us
        self._add("time_to_first_token", row.first_token_us - row.received_us)
        self._add("request_prefill_time", row.first_token_us - started_us)
        self._add("request_decode_time", decode_us)
        if (gaps := row.completion_tokens - 1) > 0:
            self._add("time_per_output_token", decode_us / gaps, gaps)
            self._add("inter_token_latency", decode_us / gaps, gaps)
            self._add("request_time_per_output_token", decode_us / gaps)

    def _add(self, name: str, took_us: float, times: int = 1) -> None:
        self.histograms[f"vllm:{name}_seconds"].add(took_us / 1e6, times)


class VllmNames(Collector):
    """A collector for the registry of /metrics, and a watcher of what is counted there."""

    def __init__(
        self,
        targets: Callable[[], list[Target]],
        caches: Callable[[], dict[tuple[str, str], float]],
    ) -> None:
        self._targets = targets
        self._caches = caches
        self._counted: dict[tuple[str, str], Counted] = {}

    def opened(self, story: Story) -> None:
        """Nothing is counted yet."""

    def trying(self, story: Story, trial: Trial) -> None:
        """Nor here."""

    def tried(self, story: Story, trial: Trial) -> None:
        """Nor here."""

    def ended(self, story: Story) -> None:
        """It is counted already."""

    def counted(self, row: RequestRow, story: Story | None) -> None:
        """Books one terminal record of a request that reached an engine."""
        said = story.finished[0] if story and story.finished else ""
        reason = FINISHED.get(row.state) or ("length" if said == "length" else "stop")
        if row.engine and row.model:
            self._counted.setdefault((row.model, row.engine), Counted()).add(row, reason)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every series, made now."""
        yield from self._gauges()
        for name, text in COUNTERS.items():
            family = CounterMetricFamily(name, text, labels=LABELS)
            for labels, one in self._counted.items():
                is_prompt = name == "vllm:prompt_tokens"
                family.add_metric(labels, one.prompt if is_prompt else one.completion)
            yield family
        yield from self._prefix_caches()
        finished = CounterMetricFamily(
            "vllm:request_success", "Requests ended", labels=[*LABELS, "finished_reason"]
        )
        for labels, one in self._counted.items():
            for reason, count in one.finished.items():
                finished.add_metric([*labels, reason], count)
        yield finished
        for name, (text, _) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, text, labels=LABELS)
            for labels, one in self._counted.items():
                buckets = one.histograms[name]
                histogram.add_metric(labels, buckets.cumulative(), sum_value=buckets.sum)
            yield histogram

    def _prefix_caches(self) -> Iterator[Metric]:
        """In tokens, as vLLM counts; of an engine that says nothing of its cache nothing."""
        for name in ("vllm:prefix_cache", "vllm:gpu_prefix_cache"):  # the second is the older
            queries = CounterMetricFamily(f"{name}_queries", "Prompt tokens", labels=LABELS)
            hits = CounterMetricFamily(f"{name}_hits", "Of them from a cache", labels=LABELS)
            for labels, one in self._counted.items():
                if labels[1] == EMBEDDED or one.cached:
                    queries.add_metric(labels, one.prompt)
                    hits.add_metric(labels, one.cached)
            yield from (queries, hits)

    def _gauges(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("vllm:num_requests_running", "In its engine", labels=LABELS)
        waiting = GaugeMetricFamily("vllm:num_requests_waiting", "In its queue", labels=LABELS)
        for target in self._targets():
            labels = (target.model, target.engine)
            running.add_metric(labels, target.gate.busy.inside)
            waiting.add_metric(labels, target.gate.waiting)
        yield from (running, waiting)
        for name in ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"):
            used = GaugeMetricFamily(name, "1 is all of the cache", labels=LABELS)
            for labels, share in self._caches().items():
                used.add_metric(labels, share)
            yield used
