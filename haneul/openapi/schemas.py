"""The schemas of requests and answers, from the structs that read and say them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, cast

import msgspec
from msgspec import Struct

from haneul.base.wire import ChatRequest
from haneul.openapi.addresses import FIELDS, OPERATIONS, fields_of
from haneul.openapi.errors import SHAPES
from haneul.openapi.operation import Operation, Schema
from haneul.openapi.own_answers import EITHER

REF = "#/components/schemas/{name}"
# Structs of the same name in several protocols: msgspec tells them apart by their modules.
PREFIXES = {
    "haneul.base.wire.": "Chat",
    "haneul.services.anthropic.wire.": "Anthropic",
    "haneul.services.ollama.wire.": "Ollama",
    "haneul.services.responses.request.": "Response",
}
PLAIN: dict[Any, Schema] = {
    bytes: {"type": "string", "format": "binary"},
    str: {"type": "string"},
}


class Schemas(Struct, frozen=True):
    """The schema of each type by itself, and the components that they refer to."""

    of: dict[Any, Schema]
    components: dict[str, Schema]


@lru_cache(maxsize=1)
def schemas() -> Schemas:
    """Of everything that any address takes or gives."""
    kinds = list(dict.fromkeys(kind for each in OPERATIONS for kind in _kinds(each)))
    structs = [kind for kind in kinds if kind not in PLAIN]
    found, components = msgspec.json.schema_components(structs, ref_template=REF)
    text = msgspec.json.encode([found, components]).decode()
    for module, prefix in PREFIXES.items():
        text = text.replace(module, prefix)
    found, components = msgspec.json.decode(text)
    for kind in FIELDS:
        if kind.__name__ in components:
            _describe(components[kind.__name__], fields_of(kind))
    for operation in OPERATIONS:
        if operation.body is not None:
            _complete(components, operation)
    for kind, lists in EITHER.items():
        for name, entries in lists.items():
            several = [{"$ref": REF.format(name=entry.__name__)} for entry in entries]
            components[kind.__name__]["properties"][name]["items"] = any_of(several)
    return Schemas({**dict(zip(structs, found, strict=True)), **PLAIN}, {**components, **SHAPES})


def answers_of(operation: Operation) -> list[Any]:
    """The types that a good answer may be of."""
    if operation.answer is None:
        return []
    return list(operation.answer) if isinstance(operation.answer, tuple) else [operation.answer]


def name_of(schema: Schema) -> str:
    """The component that a schema refers to; "" for none."""
    return cast(str, schema.get("$ref", "")).rpartition("/")[2]


def any_of(found: Iterable[Schema]) -> Schema:
    """One of them."""
    every = list(found)
    return every[0] if len(every) == 1 else {"anyOf": every}


def _kinds(operation: Operation) -> list[Any]:
    bodies = [] if operation.body is None else [operation.body]
    forwards = [ChatRequest] if operation.forwards else []
    return [*bodies, *forwards, *answers_of(operation)]


def _describe(schema: Schema, told: dict[str, str]) -> None:
    for name, text in told.items():
        if name in schema["properties"]:
            schema["properties"][name]["description"] = text


def _complete(components: dict[str, Schema], operation: Operation) -> None:
    """What the struct of a body cannot say: fields that go on, or are refused; rules."""
    schema = components[operation.body.__name__]
    chat = components[ChatRequest.__name__]["properties"] if operation.forwards else {}
    schema["properties"] |= {name: chat[name] for name in operation.forwards}
    for name in operation.spared:
        schema["required"].remove(name)
        schema["properties"][name].pop("minItems", None)
    if operation.others == "refused":
        schema["additionalProperties"] = False
    if operation.rules:
        schema["allOf"] = list(operation.rules)
