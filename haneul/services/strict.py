"""Reads a request whose every field is known: what is not, is refused by name."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from haneul.base.errors import BadRequest, UnknownField
from haneul.base.wire import lenient

UNKNOWN = "unknown field `"
MISSING = "missing required field `"
NAME_MAX = 120
T = TypeVar("T")


def read(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The request. Raises BadRequest, UnknownField, with the field's place in `param`."""
    try:
        return lenient(data, decoder)
    except msgspec.ValidationError as cause:
        raise _refusal(str(cause)) from cause
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise BadRequest(f"The request body is not valid JSON: {cause}") from cause


def _refusal(sentence: str) -> BadRequest:
    """msgspec's sentence, such as "Expected `int`, got `str` - at `$.a[0].b`", as an error."""
    reason, _, path = sentence.partition(" - at `")
    where = path.rpartition("$")[2].rstrip("`").lstrip(".")
    if UNKNOWN in reason:
        name = _join(where, reason.partition(UNKNOWN)[2].rstrip("`"))
        return UnknownField(f"'{name}' is not taken here.", param=name)
    if MISSING in reason:
        name = _join(where, reason.partition(MISSING)[2].rstrip("`"))
        return BadRequest(f"'{name}' is missing.", param=name)
    if not where:
        return BadRequest(f"Invalid request: {reason}.")
    return BadRequest(f"Invalid '{where[:NAME_MAX]}': {reason[:400]}.", param=where[:NAME_MAX])


def _join(where: str, name: str) -> str:
    return f"{where}.{name}"[:NAME_MAX] if where else name[:NAME_MAX]
