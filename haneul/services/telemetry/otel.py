"""OpenTelemetry as a watcher: a span for each request with one below it for each engine tried, and
the conventions' histograms, over OTLP and http.

Everything is set by the standard OTEL_ variables. Labels of metrics are bounded: models that exist,
engines, codes of our own.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from haneul import __version__
from haneul.services.telemetry import content, words
from haneul.services.telemetry.export import SpanQueue
from haneul.services.telemetry.watch import Story, Trial
from haneul.store.ledger import RequestRow

SCOPE = "haneul"
UNNAMED = "unknown_service"  # the SDK's word where nobody named it
NONE = "none"  # OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER may say so
SECONDS = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
TOKENS = tuple(4**power for power in range(14))
FIRST = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
EACH = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
HISTOGRAMS: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "gen_ai.server.request.duration": ("s", "From arrival to the last token", SECONDS),
    "gen_ai.server.time_to_first_token": ("s", "From arrival, of streams", FIRST),
    "gen_ai.server.time_per_output_token": ("s", "After the first, of streams", EACH),
    "gen_ai.client.token.usage": ("{token}", "Tokens of prompts and answers", TOKENS),
    "gen_ai.client.operation.duration": ("s", "Of one engine that was tried", SECONDS),
}
US = 1000  # nanoseconds


class Settings(NamedTuple):
    """What the environment says that the SDK does not read itself."""

    traces: bool
    metrics: bool
    content: bool
    queue_max: int
    batch_max: int
    delay_s: float


def settings(environ: Mapping[str, str]) -> Settings:
    """Read from the standard variables; a number that is none counts as not said."""

    def number(name: str, otherwise: int) -> int:
        said = environ.get(name, "")
        return int(said) if said.isascii() and said.isdigit() and int(said) > 0 else otherwise

    return Settings(
        traces=environ.get("OTEL_TRACES_EXPORTER", "") != NONE,
        metrics=environ.get("OTEL_METRICS_EXPORTER", "") != NONE,
        content=environ.get(content.SWITCH, "").lower() in content.ON,
        queue_max=number("OTEL_BSP_MAX_QUEUE_SIZE", 2048),
        batch_max=number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512),
        delay_s=number("OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000,
    )


class Telemetry:
    """Owns the SDK's providers, which are nobody else's; close it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._settings = said = settings(environ)
        self._codes = words.codes()
        facts = {"service.version": __version__, "service.instance.id": str(uuid.uuid4())}
        said_resource = Resource.create()  # as the environment says it
        if str(said_resource.attributes.get("service.name", UNNAMED)).startswith(UNNAMED):
            facts["service.name"] = "haneul"
        resource = said_resource.merge(Resource(facts))
        self._w3c = TraceContextTextMapPropagator()
        self._spans = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._queue: SpanQueue | None = None
        if said.traces:
            self._queue = SpanQueue(
                OTLPSpanExporter(),
                queue_max=said.queue_max,
                batch_max=said.batch_max,
                delay_s=said.delay_s,
            )
            self._spans.add_span_processor(self._queue)
        self._tracer = self._spans.get_tracer(SCOPE, __version__)
        readers = [PeriodicExportingMetricReader(OTLPMetricExporter())] if said.metrics else []
        self._meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        meter = self._meters.get_meter(SCOPE, __version__)
        self._histograms: dict[str, Histogram] = {
            name: meter.create_histogram(
                name, unit, text, explicit_bucket_boundaries_advisory=list(bounds)
            )
            for name, (unit, text, bounds) in HISTOGRAMS.items()
        }

    @property
    def lost(self) -> int:
        """Spans that were not exported."""
        return self._queue.lost if self._queue is not None else 0

    async def aclose(self) -> None:
        """Sends what is waiting, within bounds."""
        await asyncio.gather(
            asyncio.to_thread(self._spans.shutdown), asyncio.to_thread(self._meters.shutdown, 5000)
        )

    # a watcher
    def opened(self, story: Story) -> None:
        """Begins the request's span, below the client's where it sent a traceparent."""
        headers, call = story.call.headers, story.call
        carrier = {
            name: value.decode("latin-1")
            for name in ("traceparent", "tracestate")
            if (value := headers.get(name.encode())) is not None
        }
        above = self._w3c.extract(carrier) if carrier else None
        story.span = self._tracer.start_span(
            words.operation(None, story.route),
            context=above,
            kind=SpanKind.SERVER,
            start_time=call.received_us * US,
        )
        if self._settings.content and story.span.is_recording():
            story.answer = bytearray()

    def trying(self, story: Story, trial: Trial) -> None:
        """Begins the span of an engine, whose id the engine is told."""
        name = f"{words.operation(story.ask, story.route)} {trial.target.upstream_model}"
        trial.span = self._tracer.start_span(
            name,
            context=set_span_in_context(story.span),
            kind=SpanKind.CLIENT,
            start_time=trial.began_us * US,
        )
        carrier: dict[str, str] = {}
        self._w3c.inject(carrier, set_span_in_context(trial.span))
        trial.headers = {**trial.headers, **carrier}
        if story.answer is not None:
            story.answer.clear()  # of an engine that failed before

    def tried(self, story: Story, trial: Trial) -> None:
        """Ends it."""
        facts = words.tried(story, trial)
        if trial.span.is_recording():
            trial.span.set_attributes(facts)
            _tell(trial.span, trial.error)
        trial.span.end(trial.ended_us * US)
        names = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
        kept = {
            name: facts[name] for name in (*names, "server.address", "server.port") if name in facts
        }
        took_s = (trial.ended_us - trial.began_us) / 1e6
        self._record("gen_ai.client.operation.duration", took_s, self._failed(kept, trial.error))

    def counted(self, row: RequestRow, story: Story | None) -> None:
        """Books the record's tokens and times."""
        ask, route = (None, row.route) if story is None else (story.ask, story.route)
        labels: dict[str, Any] = {
            "gen_ai.operation.name": words.operation(ask, route),
            "gen_ai.provider.name": words.PROVIDER,
        }
        if row.engine and row.model:  # another name is somebody's invention, and no label
            labels["gen_ai.request.model"] = labels["gen_ai.response.model"] = row.model
            for kind, tokens in (("input", row.prompt_tokens), ("output", row.completion_tokens)):
                each = {**labels, "gen_ai.token.type": kind}
                self._record("gen_ai.client.token.usage", tokens, each)
        took_s = (row.finished_us - row.received_us) / 1e6
        error = None if row.state == "done" else row.error_code or row.state
        self._record("gen_ai.server.request.duration", took_s, self._failed(labels, error))
        if row.is_stream and row.first_token_us is not None:
            first_s = (row.first_token_us - row.received_us) / 1e6
            self._record("gen_ai.server.time_to_first_token", first_s, labels)
            if (gaps := row.completion_tokens - 1) > 0:
                rest_s = (row.finished_us - row.first_token_us) / 1e6
                self._record("gen_ai.server.time_per_output_token", rest_s / gaps, labels)

    def ended(self, story: Story) -> None:
        """Ends the request's span with all that is known of it."""
        span = story.span
        if span.is_recording():
            facts = words.root(story)
            span.set_attributes(facts)
            span.update_name(facts["gen_ai.operation.name"])
            if story.row is not None and story.row.engine and story.row.model:
                span.update_name(f"{facts['gen_ai.operation.name']} {story.row.model}")
            if self._settings.content:
                said = {
                    "gen_ai.input.messages": content.inputs(story),
                    "gen_ai.output.messages": content.outputs(story),
                }
                span.set_attributes({name: text for name, text in said.items() if text})
            _tell(span, story.error if story.status >= 500 else None)
        span.end(story.call.now_us() * US)

    def _failed(self, labels: dict[str, Any], error: str | None) -> dict[str, Any]:
        if error is None:
            return labels
        return {**labels, "error.type": error if error in self._codes else words.OTHER}

    def _record(self, name: str, value: float, labels: dict[str, Any]) -> None:
        self._histograms[name].record(value, labels)


def _tell(span: Any, error: str | None) -> None:
    """An error by its code alone: a message may hold what somebody wrote."""
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error))
