"""Writes docs/reference from the tables in haneul/openapi: `make docs` runs it, a test compares."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from haneul.openapi import errors, headers
from haneul.openapi.addresses import FAMILIES
from haneul.openapi.operation import OPEN, Header, Operation
from haneul.openapi.schemas import answers_of, name_of, schemas
from haneul.services.batches.ending import CANCELLED, EXPIRED
from haneul.services.batches.lines import PROBLEMS

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
MADE = "Written by `make docs` from the tables in `haneul/openapi`."
UNKNOWN = {
    "forwarded": "Fields that are not here go on to a remote engine byte by byte; the embedded one "
    "refuses them by name.",
    "refused": "Fields that are not here are refused by name.",
    "ignored": "Fields that are not here mean nothing.",
}
SHAPES = {
    "Error": "OpenAI's",
    "AnthropicError": "Anthropic's",
    "OllamaError": "Ollama's",
    "TeiError": "text-embeddings-inference's",
    "McpError": "JSON-RPC's",
    "HubError": "Hugging Face's",
    "ScopeError": "ModelScope's",
}


def render() -> dict[str, str]:
    """Every file of the folder by its name."""
    files = {f"{family.lower()}.md": _family(family) for family in FAMILIES}
    parts = {"README.md": _index(), "headers.md": _headers(), "errors.md": _errors()}
    return {name: text.rstrip() + "\n" for name, text in {**parts, **files}.items()}


def _index() -> str:
    rows = [
        (f"[`{each.method} {each.address}`]({family.lower()}.md{_anchor(each)})", each.text)
        for family, operations in FAMILIES.items()
        for each in operations
    ]
    said = (
        "Every address, with what it takes and gives; [headers](headers.md) and [errors](errors.md)"
        " are the same everywhere. `/openapi.json` says the same to programs."
    )
    return "\n\n".join(["# Reference", f"{said} {MADE}", _table(("address", "what"), rows)])


def _family(family: str) -> str:
    operations = FAMILIES[family]
    parts = [f"# {family}: reference", MADE]
    for each in operations:
        parts += [f"## `{each.method} {each.address}`", *_operation(each)]
    names = _structures(operations)
    if names:
        parts.append("## Structures")
    for name in names:
        schema = schemas().components[name]
        parts += [f"### {name}", *_introduced(schema), _fields(schema)]
    return "\n\n".join(parts)


def _operation(operation: Operation) -> list[str]:
    scope = "No key." if operation.scope == OPEN else errors.scope_said(operation.scope) + "."
    parts = [f"{operation.text} {scope[0].upper()}{scope[1:]}"]
    if operation.body is not None:
        schema = schemas().components[operation.body.__name__]
        parts += [_fields(schema), UNKNOWN[operation.others]]
    if operation.form is not None:
        parts += ["A form (`multipart/form-data`):", _fields(operation.form)]
    asked = [(f"`?{each.name}=`", _type(each.schema), each.text) for each in operation.query]
    asked += [
        (f"`{each.name}:`", _type(each.schema), _said(each))
        for each in map(headers.taken, operation.takes)
    ]
    if asked:
        parts.append(_table(("beside it", "type", "what"), asked))
    return [*parts, _answer(operation), _failures(operation)]


def _answer(operation: Operation) -> str:
    kinds = [schemas().of[kind] for kind in answers_of(operation)]
    whole = " or ".join(map(_type, kinds)) or "nothing"
    said = f"**200** {whole}, `{operation.media}`" if kinds else f"**200** {whole}"
    if operation.streams:
        said += f"; streamed as `{operation.streams}`"
    for status in operation.also:
        said += f"; **{status}** the same"
    for status in operation.empty:
        said += f"; **{status}** nothing"
    if operation.gives:
        said += ". With " + ", ".join(f"`{name}`" for name in operation.gives)
    return said + "."


def _failures(operation: Operation) -> str:
    by_status: dict[int, list[str]] = {}
    for kind in errors.of(operation):
        by_status.setdefault(kind.status, []).append(f"`{kind.code}`")
    if operation.errors[: len(errors.ASKING)] == errors.ASKING:
        by_status[errors.UNSUPPORTED_MEDIA] = ["the engine's own"]
    told = [f"**{status}** {', '.join(codes)}" for status, codes in sorted(by_status.items())]
    shapes = " or ".join(SHAPES[shape] for shape in operation.shapes)
    return f"Errors in {shapes} shape: {'; '.join(told)}."


def _introduced(schema: dict[str, Any]) -> list[str]:
    return [schema["description"]] if "description" in schema else []


def _fields(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (
            f"`{name}`{' (needed)' if name in required else ''}",
            _type(one),
            one.get("description", ""),
        )
        for name, one in schema.get("properties", {}).items()
    ]
    if not any(text for _, _, text in rows):
        return _table(("field", "type"), [row[:2] for row in rows])
    return _table(("field", "type", "what becomes of it"), rows)


def _structures(operations: Iterable[Operation]) -> list[str]:
    """The components that the operations lead to, beside the bodies that are told above."""
    bodies = {each.body.__name__ for each in operations if each.body is not None}
    found: dict[str, None] = {}
    waiting: list[Any] = [schemas().components[name] for name in sorted(bodies)]
    waiting += [schemas().of[kind] for each in operations for kind in answers_of(each)]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            name = name_of(one) if isinstance(one.get("$ref"), str) else ""
            if name and name not in found and name not in bodies:
                found[name] = None
                waiting.append(schemas().components[name])
            waiting += [value for key, value in one.items() if key != "discriminator"]
    return sorted(found)


def _type(schema: Any) -> str:
    """A schema in words: its type with its bounds."""
    if name := name_of(schema):
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            kinds = [_type(one) for one in schema[several]]
            if all(re.fullmatch(r"`[^`]*`", kind) for kind in kinds):
                return ", ".join(kinds)
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return ", ".join(f"`{_value(one)}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{_value(schema['const'])}`"
    kind = schema.get("type", "anything")
    if kind == "array":
        few, many = schema.get("minItems"), schema.get("maxItems")
        return f"list of {_type(schema.get('items', {}))}{_range(few, many)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    if kind == "string":
        bounds = _range(schema.get("minLength"), schema.get("maxLength"), " characters")
        pattern = f", `{schema['pattern']}`" if "pattern" in schema else ""
        return f"text{bounds}{pattern}"
    if kind in ("integer", "number"):
        return f"{kind}{_numbers(schema)}"
    return str(kind)


def _value(value: Any) -> str:
    """As JSON, but a word as it is."""
    return value if isinstance(value, str) and value else json.dumps(value)


def _numbers(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        above, below = schema["exclusiveMinimum"], schema.get("exclusiveMaximum")
        upper = f"below {below:g}" if below is not None else f"to {most:g}"
        return f", above {above:g} {upper}"
    return _range(least, most)


def _range(least: float | None, most: float | None, unit: str = "") -> str:
    if least is None and most is None:
        return ""
    if most is None:
        return f", {least}{unit} or more"
    return f", {least if least is not None else 'up'} to {most}{unit}"


def _headers() -> str:
    columns = ("header", "unit", "what")
    parts = ["# Headers", MADE]
    for title, every in (("Of requests", headers.TAKEN), ("Of answers", headers.GIVEN)):
        rows = [(f"`{each.name}`", each.unit or "–", each.text) for each in every]
        parts += [f"## {title}", _table(columns, rows)]
    return "\n\n".join(parts)


def _errors() -> str:
    rows = [
        (str(kind.status), f"`{kind.code}`", f"`{kind.type}`", *errors.said(kind))
        for kind in errors.every()
    ]
    columns = ("status", "code", "type", "what it means", "what to do")
    passed = (
        "An engine's own refusals (400, 404, 413, 415) keep their status and, where it has one, "
        "their code."
    )
    problems = _table(("code", "what it means"), [(f"`{a}`", b) for a, b in PROBLEMS.items()])
    lines = [(f"`{code}`", message) for code, message in (EXPIRED, CANCELLED)]
    batches = [
        "## In batches",
        "In a batch's `errors`, where its file cannot be run:",
        problems,
        "In its error file, beside the codes above, for lines that were not run:",
        _table(("code", "what it says"), lines),
    ]
    made = f"Made of the docstrings in `haneul/base/errors.py`. {passed}"
    return "\n\n".join(["# Errors", made, MADE, _table(columns, rows), *batches])


def _said(header: Header) -> str:
    return f"{header.text} In {header.unit}." if header.unit else header.text


def _anchor(operation: Operation) -> str:
    """As Markdown's readers name the heading."""
    title = f"{operation.method} {operation.address}".lower()
    return "#" + re.sub(r"[^\w -]", "", title).replace(" ", "-")


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def write(folder: Path) -> None:
    """Writes every file; what is no longer told goes."""
    folder.mkdir(exist_ok=True)
    files = render()
    for path in folder.glob("*.md"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
