"""Which JSON schemas can be enforced while a model writes.

llama-server turns a schema into a grammar. It passes over keywords it does not know, and some
patterns keep it busy for ever (nested counted repetitions: seen to run for minutes on one request).
Both are refused here, by name, before it sees them.
"""

from __future__ import annotations

import re
from typing import Any

from haneul.base.errors import BadRequest, UnsupportedValue

DEPTH_MAX = 32
NODES_MAX = 2000
COUNT_MAX = 2000  # of characters or items that a schema may demand
PATTERN_MAX_CHARS = 256
GROUP_COUNT_MAX = 8  # of {m,n} behind a group that itself repeats something

_SUBSCHEMA = ("items", "additionalProperties")
_SUBSCHEMAS = ("oneOf", "anyOf", "allOf", "prefixItems")
_NAMED = ("properties", "$defs", "definitions")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_ENFORCED = {"type", "const", "enum", "required", "pattern", "format", "$ref"}
_REMARKS = {"title", "description", "default", "examples", "$schema", "$id", "$comment"}
_REMARKS |= {"deprecated", "readOnly", "writeOnly"}
_KEYWORDS = {*_SUBSCHEMA, *_SUBSCHEMAS, *_NAMED, *_COUNTS, *_BOUNDS, *_ENFORCED, *_REMARKS}
_FORMATS = {"date", "time", "date-time", "uuid"}
_COUNTED = re.compile(r"\{(\d{1,9})(?:,(\d{0,9}))?\}")


def check_schema(schema: Any, where: str) -> None:
    """Raises BadRequest or UnsupportedValue that names the first keyword not enforceable."""
    _Walk().visit(schema, where, 0)


class _Walk:
    def __init__(self) -> None:
        self.nodes = 0

    def visit(self, schema: Any, where: str, depth: int) -> None:
        self.nodes += 1
        if depth > DEPTH_MAX or self.nodes > NODES_MAX:
            raise UnsupportedValue("The schema is too large.", param=where[:200])
        if isinstance(schema, bool) and depth:
            return
        if not isinstance(schema, dict):
            raise BadRequest("A schema must be a JSON object.", param=where[:200])
        for name, value in schema.items():
            self._keyword(schema, name, value, f"{where}.{name[:64]}", depth)

    def _keyword(
        self, schema: dict[str, Any], name: str, value: Any, where: str, depth: int
    ) -> None:
        if name not in _KEYWORDS:
            raise UnsupportedValue(f"'{name[:64]}' cannot be enforced.", param=where[:200])
        if name in _SUBSCHEMA:
            self.visit(value, where, depth + 1)
        elif name in _SUBSCHEMAS:
            for position, part in enumerate(_of(list, value, where)):
                self.visit(part, f"{where}[{position}]", depth + 1)
        elif name in _NAMED:
            for key, part in _of(dict, value, where).items():
                self.visit(part, f"{where}.{key[:64]}", depth + 1)
        elif name in _COUNTS and not (type(value) is int and 0 <= value <= COUNT_MAX):
            raise UnsupportedValue(f"Must be from 0 to {COUNT_MAX}.", param=where[:200])
        elif name in _BOUNDS and schema.get("type") != "integer":
            raise UnsupportedValue(
                f"'{name}' can be enforced for integers only.", param=where[:200]
            )
        elif name == "format" and value not in _FORMATS:
            raise UnsupportedValue(
                f"Formats that can be enforced: {', '.join(sorted(_FORMATS))}.", param=where[:200]
            )
        elif name == "pattern":
            _check_pattern(_of(str, value, where), where[:200])


def _of(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, kind):
        raise BadRequest(f"Must be a JSON {kind.__name__}.", param=where[:200])
    return value


def _check_pattern(pattern: str, where: str) -> None:
    if len(pattern) > PATTERN_MAX_CHARS:
        raise UnsupportedValue("The pattern is too long.", param=where)
    if not (pattern.startswith("^") and pattern.endswith("$")):
        raise UnsupportedValue("A pattern must begin with ^ and end with $.", param=where)
    plain = re.sub(r"\\.", "x", pattern).replace("(?:", "(")
    if "(?" in plain or re.search(r"\\[bBpPkAZzGuxc1-9]", pattern):
        raise UnsupportedValue("The pattern uses what a grammar cannot express.", param=where)
    if re.search(r"[^\x00-\x7f][*+?{]", pattern):  # the kernel repeats its last byte only
        raise UnsupportedValue("Put a repeated letter into a group or class.", param=where)
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as cause:
        raise BadRequest("The pattern is not a regular expression.", param=where) from cause
    for count, follows_repetition in _repetitions(pattern):
        if count > (GROUP_COUNT_MAX if follows_repetition else COUNT_MAX):
            raise UnsupportedValue("The pattern repeats too often.", param=where)


def _repetitions(pattern: str) -> list[tuple[int, bool]]:
    """Each {m,n}: its larger number, and whether it repeats a group with a repetition inside."""
    found: list[tuple[int, bool]] = []
    plain = re.sub(r"\\.", "x", pattern)
    plain = re.sub(r"\[\^?\]?[^\]]*\]", "x", plain)
    stack = [False]  # per open group: has it a repetition inside?
    closed = False  # of the group that ended just before
    at = 0
    while at < len(plain):
        counted = _COUNTED.match(plain, at)
        if counted:
            found.append((max(int(counted[1]), int(counted[2] or 0)), closed))
            stack[-1], closed = True, False
            at = counted.end()
            continue
        letter = plain[at]
        if letter == "(":
            stack.append(False)
            if plain.startswith("(?:", at):
                at += 2
        elif letter == ")":
            closed = stack.pop()
            stack[-1] = stack[-1] or closed
        elif letter in "*+?|":
            stack[-1] = True
        if letter != ")":
            closed = False
        at += 1
    return found
