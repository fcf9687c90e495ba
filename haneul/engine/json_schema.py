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
_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
_FORMATS = {"date", "time", "date-time", "uuid"}
_COUNTED = re.compile(r"\{(\d{1,9})(?:,(\d{0,9}))?\}")


def check_schema(schema: Any, where: str) -> None:
    """Raises BadRequest or UnsupportedValue that names the first keyword not enforceable."""
    _Walk(schema).visit(schema, where, 0)


def check_regex(regex: Any, where: str) -> None:
    """Raises BadRequest or UnsupportedValue for what is no regular expression to be enforced."""
    inside = without_anchors(_of(str, regex, where))
    if re.search(r"[\^$]", re.sub(r"\\.|\[\^?[^\]]*\]", "x", inside)):
        raise UnsupportedValue("An answer's pattern is anchored at its ends only.", param=where)
    _check_pattern(f"^{inside}$", where)


def without_anchors(regex: str) -> str:
    """The expression for a whole text, without the marks that say so."""
    inside = regex.removeprefix("^")
    slashes = len(inside[:-1]) - len(inside[:-1].rstrip("\\"))
    return inside[:-1] if inside.endswith("$") and slashes % 2 == 0 else inside


def enforceable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without what cannot be enforced: all that fits the schema fits this one too."""
    kept: dict[str, Any] = _Keep(schema).kept(schema, 0)
    return kept


def closed(schema: Any) -> Any:
    """The schema, but objects have no members that it does not name (where it leaves that open).

    What fits it fits the schema as well, and a weak model does not write members for ever. Schemas
    that are put together from several stay open: members of one are unknown to the others.
    """
    if not isinstance(schema, dict):
        return schema
    kept = dict(schema)
    for name in _NAMED:
        if isinstance(schema.get(name), dict):
            kept[name] = {key: closed(part) for key, part in schema[name].items()}
    if "items" in schema:
        kept["items"] = closed(schema["items"])
    if not schema.keys() & {"allOf", "anyOf", "oneOf", "$ref"}:
        named, needed = schema.get("properties"), schema.get("required", [])
        if isinstance(named, dict) and isinstance(needed, list) and all(n in named for n in needed):
            kept.setdefault("additionalProperties", False)
    elif "properties" not in schema and "allOf" not in schema and "$ref" not in schema:
        for name in schema.keys() & {"anyOf", "oneOf"}:
            kept[name] = [closed(part) for part in schema[name]]
    return kept


class _Walk:
    def __init__(self, root: Any) -> None:
        self.nodes = 0
        self._root = root

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
        elif name == "format" and not (isinstance(value, str) and value in _FORMATS):
            raise UnsupportedValue(
                f"Formats that can be enforced: {', '.join(sorted(_FORMATS))}.", param=where[:200]
            )
        elif name == "pattern":
            _check_pattern(_of(str, value, where), where[:200])
        elif name == "type" and not _TYPES.issuperset(_listed(value)):
            raise BadRequest(f"Types are: {', '.join(sorted(_TYPES))}.", param=where[:200])
        elif name == "enum" and not (isinstance(value, list) and value):
            raise BadRequest("Must be a list of values.", param=where[:200])
        elif name == "required" and not all(
            isinstance(item, str) for item in _of(list, value, where)
        ):
            raise BadRequest("Must be a list of names.", param=where[:200])
        elif name == "$ref":
            self._follow(_of(str, value, where), where[:200])

    def _follow(self, reference: str, where: str) -> None:
        """Refuses what does not lead to a schema: nowhere, elsewhere, or round in a circle."""
        seen: set[str] = set()
        while reference not in seen:
            seen.add(reference)
            found = _at(self._root, reference)
            if not isinstance(found, dict | bool):
                raise UnsupportedValue("There is no schema at this place.", param=where)
            if isinstance(found, bool) or not isinstance(found.get("$ref"), str):
                return
            reference = found["$ref"]
        raise UnsupportedValue("The schema refers to nothing but itself.", param=where)


class _Keep(_Walk):
    """Leaves out what a walk would stop at."""

    def kept(self, schema: Any, depth: int) -> Any:
        self.nodes += 1
        if depth > DEPTH_MAX or self.nodes > NODES_MAX:
            raise UnsupportedValue("The schema is too large.", param="tools")
        if not isinstance(schema, dict):
            return schema if isinstance(schema, bool) else {}
        kept: dict[str, Any] = {}
        for name, value in schema.items():
            if name in _SUBSCHEMA:
                kept[name] = self.kept(value, depth + 1)
            elif name in _SUBSCHEMAS:
                if isinstance(value, list):
                    kept[name] = [self.kept(part, depth + 1) for part in value]
            elif name in _NAMED:
                if isinstance(value, dict):
                    kept[name] = {key: self.kept(part, depth + 1) for key, part in value.items()}
            elif self._is_enforceable(schema, name, value):
                kept[name] = value
        return kept

    def _is_enforceable(self, schema: dict[str, Any], name: str, value: Any) -> bool:
        try:
            self._keyword(schema, name, value, "", 0)
        except BadRequest:
            return False
        return True


def _at(root: Any, reference: str) -> Any:
    """What stands at a place such as "#/$defs/name" of the schema; None when nothing does."""
    first, *names = reference.split("/")
    found = root if first == "#" else None
    for name in names:
        key = name.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _listed(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item if isinstance(item, str) else "?" for item in items]


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
