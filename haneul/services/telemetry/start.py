"""Whether OpenTelemetry is wanted here, and the gateway that goes with it or without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from haneul.base.log import logger

if TYPE_CHECKING:
    from haneul.services.telemetry.otel import Telemetry

ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
log = logger("telemetry")


def open_telemetry(environ: Mapping[str, str]) -> Telemetry | None:
    """Telemetry where the environment names a receiver; None, with a word in the log, where the
    extra is missing."""
    is_off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_off or not any(environ.get(name) for name in ENDPOINTS):
        return None
    protocol = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    if protocol != "http/protobuf":
        log.warning("telemetry_over_http", asked=protocol[:32], used="http/protobuf")
    try:
        from haneul.services.telemetry.otel import Telemetry
    except ModuleNotFoundError as error:
        log.warning("telemetry_missing", package=error.name, install="haneul[otel]")
        return None
    return Telemetry(environ)
