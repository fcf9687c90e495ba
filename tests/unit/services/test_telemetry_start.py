"""When telemetry is opened: a receiver is named, nobody says no, and the extra is there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from haneul.services.telemetry.start import open_telemetry

WITHOUT = """
import sys
sys.modules["opentelemetry"] = None  # as where the extra is not installed
from haneul.base.log import open_log
from haneul.services.telemetry.start import open_telemetry
import haneul.cloud
open_log(None)
assert open_telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) is None
"""


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "TRUE"},
    ],
)
def test_nothing_is_opened_where_nobody_asked_for_it(environ):
    assert open_telemetry(environ) is None


def test_without_the_extra_the_cloud_starts_and_says_what_is_missing():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stderr)
    assert (line["event"], line["install"]) == ("telemetry_missing", "haneul[otel]")
