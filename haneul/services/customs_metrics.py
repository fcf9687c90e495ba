"""What Prometheus reads of kept answers and guards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from haneul.services.customs import Customs


class CustomsMetrics(Collector):
    """The counts of one cloud's customs; labels are bounded: two results, six kinds."""

    def __init__(self, customs: Customs) -> None:
        self._customs = customs

    def describe(self) -> Iterable[Metric]:
        """Nothing is promised before it is counted."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every series, made now."""
        answers = CounterMetricFamily(
            "haneul_kept_answers", "Requests that a kept answer was looked for", labels=["result"]
        )
        for result, count in self._customs.answers.counts.items():
            answers.add_metric([result], count)
        masked = CounterMetricFamily(
            "haneul_masked", "Pieces of personal data masked or refused", labels=["kind"]
        )
        for kind, count in self._customs.guards.counts.items():
            masked.add_metric([kind], count)
        yield from (answers, masked)
