"""Does a value have the shape that a JSON schema says: the keywords suites need, no others.

A keyword that is not looked at here is refused when the suite is read, so nothing is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from haneul.base.errors import BadRequest

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}
KEYWORDS = {
    *("type", "enum", "const", "properties", "required", "additionalProperties", "items"),
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "anyOf"),
    *("title", "description"),
}
DEEP_MAX = 32


def check_schema(schema: Any, where: str = "schema", deep: int = 0) -> None:
    """Raises BadRequest for what this module would not look at."""
    if not isinstance(schema, dict) or deep > DEEP_MAX:
        raise BadRequest(f"{where} is no schema, or too deep")
    if unknown := sorted(schema.keys() - KEYWORDS):
        raise BadRequest(f"{where} has '{unknown[0]}', which is not looked at here")
    kinds = schema.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind not in TYPES:
            raise BadRequest(f"{where} has the unknown type '{kind}'")
    try:
        re.compile(schema.get("pattern", ""))
    except (re.error, TypeError) as cause:
        raise BadRequest(f"{where} has a pattern that is none: {cause}") from cause
    for name, part in schema.get("properties", {}).items():
        check_schema(part, f"{where}.{name}", deep + 1)
    parts = [schema[name] for name in ("items",) if name in schema]
    for part in [*parts, *schema.get("anyOf", [])]:
        check_schema(part, f"{where}[]", deep + 1)
    if isinstance(schema.get("additionalProperties", True), dict):
        check_schema(schema["additionalProperties"], f"{where}.*", deep + 1)


def faults(value: Any, schema: dict[str, Any], where: str = "it") -> Iterator[str]:
    """What is wrong with the value, in words; nothing where it has the shape."""
    if "type" in schema and not _is_of(value, schema["type"]):
        yield f"{where} is no {schema['type']}"
        return
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{where} is not {schema['const']!r}"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        yield f"{where} is none of {schema['enum']}"
    if "anyOf" in schema and all(any(faults(value, one)) for one in schema["anyOf"]):
        yield f"{where} fits none of its forms"
    if isinstance(value, dict):
        yield from _object_faults(value, schema, where)
    elif isinstance(value, list):
        yield from _size_faults(len(value), schema, "Items", where)
        for index, item in enumerate(value):
            yield from faults(item, schema.get("items", {}), f"{where}[{index}]")
    elif isinstance(value, str):
        yield from _size_faults(len(value), schema, "Length", where)
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where} does not match {schema['pattern']}"
    elif _is_one(value, "number") and not (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
    ):
        yield f"{where} is out of range"


def _object_faults(value: dict[str, Any], schema: dict[str, Any], where: str) -> Iterator[str]:
    known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in schema.get("required", []):
        if name not in value:
            yield f"{where} lacks '{name}'"
    for name, item in value.items():
        if name in known:
            yield from faults(item, known[name], f"{where}.{name}")
        elif more is False:
            yield f"{where} has '{name}' too much"
        elif isinstance(more, dict):
            yield from faults(item, more, f"{where}.{name}")


def _size_faults(size: int, schema: dict[str, Any], what: str, where: str) -> Iterator[str]:
    if not schema.get(f"min{what}", size) <= size <= schema.get(f"max{what}", size):
        yield f"{where} is too long or too short"


def _is_of(value: Any, kinds: str | list[str]) -> bool:
    return any(_is_one(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _is_one(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[kind])


def _same(one: Any, other: Any) -> bool:
    """Equal, and true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
