"""An honest receiver of OpenTelemetry: OTLP over real http, decoded by the protocol's own classes.

    with OtlpReceiver() as receiver:
        ...  OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url ...
        receiver.spans, receiver.metrics

It can be slow or refuse, so that a test can see what is lost then.
"""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from msgspec import Struct
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class GotSpan(Struct, frozen=True):
    """One span, its ids in hexadecimal."""

    name: str
    kind: int
    trace_id: str
    id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    status: int
    message: str
    resource: dict[str, Any]


class GotPoint(Struct, frozen=True):
    """One point of a histogram or a sum."""

    name: str
    unit: str
    attributes: dict[str, Any]
    count: int
    sum: float
    bounds: tuple[float, ...]


class OtlpReceiver:
    """A free loopback port."""

    def __init__(self, *, status: int = 200, delay_s: float = 0.0) -> None:
        self.status = status
        self.delay_s = delay_s
        self.spans: list[GotSpan] = []
        self.points: list[GotPoint] = []  # of the newest export
        self.bodies: list[bytes] = []  # as they came, unpacked
        self.headers: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.take(self)

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing is said."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, request: BaseHTTPRequestHandler) -> None:
        """Decodes one export, or refuses it."""
        data = request.rfile.read(int(request.headers["content-length"]))
        if request.headers.get("content-encoding") == "gzip":
            data = gzip.decompress(data)
        time.sleep(self.delay_s)
        if self.status == 200:
            self.bodies.append(data)
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            if request.path == "/v1/traces":
                self.spans += _spans(data)
            elif request.path == "/v1/metrics":
                self.points = _points(data)
        request.send_response(self.status)
        request.send_header("content-type", "application/x-protobuf")
        request.send_header("content-length", "0")
        request.end_headers()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _spans(data: bytes) -> list[GotSpan]:
    request = ExportTraceServiceRequest.FromString(data)
    return [
        GotSpan(
            name=span.name,
            kind=span.kind,
            trace_id=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            attributes=_values(span.attributes),
            status=span.status.code,
            message=span.status.message,
            resource=_values(group.resource.attributes),
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _points(data: bytes) -> list[GotPoint]:
    request = ExportMetricsServiceRequest.FromString(data)
    return [
        GotPoint(
            name=metric.name,
            unit=metric.unit,
            attributes=_values(point.attributes),
            count=point.count,
            sum=point.sum,
            bounds=tuple(point.explicit_bounds),
        )
        for group in request.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
        for point in metric.histogram.data_points
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
