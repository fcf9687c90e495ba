"""The OpenAPI description at /openapi.json: the tables of this package as OpenAPI says them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from haneul import __version__
from haneul.base.errors import Conflict, HaneulError
from haneul.openapi import errors, headers
from haneul.openapi.addresses import FAMILIES, OPERATIONS
from haneul.openapi.operation import JSON, OPEN, Header, Operation, Schema
from haneul.openapi.schemas import REF, Schemas, answers_of, any_of, schemas

PATH: Schema = {"type": "string", "minLength": 1}
WAITS = {Conflict.status, 429, 503}  # statuses that may say when to ask again
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


class Shared(Struct, frozen=True):
    """Responses that several addresses have: described once, by a name."""

    names: dict[bytes, str]

    def ref(self, name: str, response: Schema) -> Schema:
        """Where the response is described; of several with one name the later have numbers."""
        data = msgspec.json.encode(response)
        if data not in self.names:
            taken = sum(each.partition("_")[0] == name for each in self.names.values())
            self.names[data] = f"{name}_{taken + 1}" if taken else name
        return {"$ref": f"#/components/responses/{self.names[data]}"}

    def responses(self) -> list[tuple[msgspec.Raw, str]]:
        return [(msgspec.Raw(data), name) for data, name in self.names.items()]


def document() -> dict[str, Any]:
    """The whole description, OpenAPI 3.1."""
    found, shared = schemas(), Shared({})
    paths: dict[str, dict[str, Any]] = {}
    for family, operations in FAMILIES.items():
        for each in operations:
            told = {"tags": [family], **_operation(each, found, shared)}
            paths.setdefault(each.address, {})[each.method.lower()] = told
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "haneul",
            "version": __version__,
            "description": "Addresses, fields, codes and headers only grow within a major version.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": family} for family in FAMILIES],
        "paths": paths,
        "components": {
            "schemas": found.components,
            "responses": {name: told for told, name in shared.responses()},
            "headers": {header.name: _header(header) for header in headers.GIVEN},
            "securitySchemes": SECURITY,
        },
    }


@lru_cache(maxsize=1)
def encoded() -> bytes:
    """The description as it is sent; it is the same as long as the process lives."""
    return msgspec.json.encode(document())


def _operation(operation: Operation, found: Schemas, shared: Shared) -> dict[str, Any]:
    words = operation.address.replace("{", "").replace("}", "").split("/")
    told: dict[str, Any] = {
        "operationId": "_".join([operation.method.lower(), *filter(None, words)]),
        "summary": operation.text,
        "x-haneul-scope": operation.scope,
        "security": [] if operation.scope == OPEN else [{name: []} for name in SECURITY],
        "responses": _responses(operation, found, shared),
    }
    if parameters := _parameters(operation):
        told["parameters"] = parameters
    if operation.body is not None:
        content = {JSON: {"schema": found.of[operation.body]}}
        told["requestBody"] = {"required": True, "content": content}
    elif operation.form is not None:
        content = {"multipart/form-data": {"schema": operation.form}}
        told["requestBody"] = {"required": True, "content": content}
    return told


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    """What stands in the address, behind it, and in the head."""
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": operation.path or PATH}
        for name in operation.names
    ]
    behind = [
        {"name": each.name, "in": "query", "description": each.text, "schema": each.schema}
        for each in operation.query
    ]
    in_head = [
        {
            "name": header.name,
            "in": "header",
            "description": _said(header),
            "required": header.is_always,
            "schema": header.schema,
        }
        for header in map(headers.taken, operation.takes)
    ]
    return [*in_path, *behind, *in_head]


def _responses(operation: Operation, found: Schemas, shared: Shared) -> dict[str, Any]:
    """By status: the good answer, then every error there can be."""
    good = [found.of[kind] for kind in answers_of(operation)]
    content: dict[str, Any] = {}
    if good:
        content[operation.media] = {"schema": any_of(good)}
    if operation.streams:
        content[operation.streams] = {}  # OpenAPI 3.1 cannot say what one event is
    told: dict[str, Any] = {
        "200": {
            "description": "What was asked for.",
            "headers": _headers([*headers.EVERYWHERE, *operation.gives]),
            **({"content": content} if content else {}),
        }
    }
    for status in [each for each in operation.also if each < 300]:
        told[str(status)] = {**told["200"], "description": "A part of it."}
    for status in operation.empty:
        told[str(status)] = {"description": "Taken.", "headers": _headers([*headers.EVERYWHERE])}
    by_status: dict[int, list[type[HaneulError]]] = {}
    for kind in errors.of(operation):
        by_status.setdefault(kind.status, []).append(kind)
    if operation.errors[: len(errors.ASKING)] == errors.ASKING:
        by_status[errors.UNSUPPORTED_MEDIA] = []
    shapes = [{"$ref": REF.format(name=name)} for name in operation.shapes]
    for status, kinds in sorted(by_status.items()):
        also = good if status in operation.also else []
        error = {
            "description": _codes(kinds),
            "headers": _headers(_error_headers(status, operation)),
            "content": {JSON: {"schema": any_of([*also, *shapes])}},
        }
        told[str(status)] = shared.ref(f"{operation.shapes[0]}{status}", error)
    return told


def _codes(kinds: list[type[HaneulError]]) -> str:
    told = [f"`{kind.code}`: {errors.said(kind)[0]}" for kind in kinds]
    return " ".join(told) or "What the engine refused."


def _error_headers(status: int, operation: Operation) -> list[str]:
    names = ["x-request-id", *operation.gives]
    names += ["www-authenticate"] if status == 401 else []
    return names + (["retry-after"] if status in WAITS else [])


def _headers(names: list[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _header(header: Header) -> dict[str, Any]:
    return {
        "description": _said(header),
        "required": header.is_always,
        "schema": header.schema,
    }


def _said(header: Header) -> str:
    return f"{header.text} Unit: {header.unit}." if header.unit else header.text


# As the documentation's test walks them.
ADDRESSES = [(each.method.lower(), each.address, each.text, each.scope) for each in OPERATIONS]
