"""Spans on their way out: a bounded queue, one thread, and a count of what was lost.

A receiver that is slow or away costs memory for so many spans and no request a moment.
"""

from __future__ import annotations

import threading
from collections import deque

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from haneul.base.log import logger

CLOSE_S = 5.0  # for what is waiting to be sent at the end
log = logger("telemetry")


class SpanQueue(SpanProcessor):
    """Sends ended spans in batches: at once when a batch is full, else after a while."""

    def __init__(
        self, exporter: SpanExporter, *, queue_max: int, batch_max: int, delay_s: float
    ) -> None:
        self.lost = 0
        self._exporter = exporter
        self._queue_max = queue_max
        self._batch_max = min(batch_max, queue_max)
        self._delay_s = delay_s
        self._waiting: deque[ReadableSpan] = deque()
        self._due = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing to do yet."""

    def on_end(self, span: ReadableSpan) -> None:
        """Takes a span, or counts it as lost; returns at once."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if len(self._waiting) >= self._queue_max or self._is_closing:
            self.lost += 1
            return
        self._waiting.append(span)
        if len(self._waiting) >= self._batch_max:
            self._due.set()

    def shutdown(self) -> None:
        """Sends what is waiting, as far as it goes within CLOSE_S; blocks."""
        self._is_closing = True
        self._due.set()
        self._thread.join(CLOSE_S)
        self._exporter.shutdown()
        self.lost += len(self._waiting)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Spans go when they are due; nobody waits for them."""
        return True

    def _run(self) -> None:
        while not self._is_closing:
            self._due.wait(self._delay_s)
            self._due.clear()
            self._send()

    def _send(self) -> None:
        while self._waiting:
            size = min(len(self._waiting), self._batch_max)
            batch = [self._waiting.popleft() for _ in range(size)]
            try:
                is_sent = self._exporter.export(batch) is SpanExportResult.SUCCESS
            except Exception:  # whatever it was, this thread must go on
                log.exception("spans_not_sent", spans=len(batch))
                is_sent = False
            if not is_sent:
                self.lost += len(batch)
