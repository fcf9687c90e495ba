"""How long a model is to stay loaded: here until it is stopped, or not at all."""

from __future__ import annotations

import re

from haneul.base.errors import BadRequest
from haneul.services.ollama.wire import KeepAlive

UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PIECE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_WHOLE = re.compile(rf"[-+]?(?:{_PIECE.pattern})+")


def seconds(value: KeepAlive | None) -> float | None:
    """As Ollama reads it: a number of seconds, or a text such as "5m" or "1h30m"; negative: for
    ever. None where nothing is said. Raises BadRequest."""
    if value is None or isinstance(value, int | float):
        return value
    text = value.strip()
    if re.fullmatch(r"[-+]?\d{1,18}(?:\.\d*)?", text):
        return float(text)
    if len(text) > 64 or not _WHOLE.fullmatch(text):
        raise BadRequest(
            "'keep_alive' is a number of seconds or a duration such as '5m'.", param="keep_alive"
        )
    total = sum(float(number) * UNITS_S[unit] for number, unit in _PIECE.findall(text))
    return -total if text.startswith("-") else total
