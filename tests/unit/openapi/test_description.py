"""The tables that describe the API: whole, without contradiction, and small enough to be sent."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from haneul.base import errors as kinds
from haneul.base.wire import lenient
from haneul.openapi import errors, headers
from haneul.openapi.addresses import OPERATIONS, methods_at
from haneul.openapi.document import document, encoded
from haneul.openapi.operation import OPEN
from haneul.openapi.schemas import schemas
from haneul.services.roles import SCOPES

DESCRIPTION = document()


def refs(value):
    """Every place that a description refers to."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from refs(each)
    elif isinstance(value, list):
        for each in value:
            yield from refs(each)


def test_everything_that_is_referred_to_is_there_and_nothing_else():
    told = msgspec.json.decode(encoded())
    parts = told["components"]
    found = {ref.removeprefix("#/components/") for ref in refs(told)}
    there = {
        f"{kind}/{name}" for kind in ("schemas", "responses", "headers") for name in parts[kind]
    }
    assert found - there == set()
    unused = {name for name in there - found if not name.startswith("headers/")}
    assert unused == set()


def test_no_two_structs_are_described_under_one_name():
    structs = [
        kind
        for each in OPERATIONS
        for kind in (
            each.body,
            *(each.answer if isinstance(each.answer, tuple) else (each.answer,)),
        )
        if isinstance(kind, type) and issubclass(kind, Struct)
    ]
    names = {kind: schemas().of[kind]["$ref"] for kind in structs}
    assert len(set(names.values())) == len(names)
    for kind, ref in names.items():
        component = schemas().components[ref.rpartition("/")[2]]
        fields = {field.encode_name for field in msgspec.structs.fields(kind)}
        assert fields <= component["properties"].keys(), kind.__name__


def test_every_operation_has_a_name_of_its_own_and_a_scope_that_exists():
    ids = [told["operationId"] for path in DESCRIPTION["paths"].values() for told in path.values()]
    assert len(ids) == len(set(ids)) == len(OPERATIONS)
    for each in OPERATIONS:
        assert each.scope in {*SCOPES, "any key", OPEN}, each.address
        assert all(headers.taken(name) for name in each.takes)
        assert all(headers.given(name) for name in each.gives)


def test_every_error_that_clients_can_see_is_of_some_address():
    told = {kind for each in OPERATIONS for kind in errors.of(each)}
    # A method that is not taken is of no operation; some stand for those that extend them.
    missing = {kind for kind in errors.every() if kind not in told}
    assert missing <= {kinds.MethodNotAllowed}, missing


def test_the_methods_of_a_path_are_those_of_its_nearest_address():
    assert methods_at("/v1/models/owner/name") == ["GET", "HEAD"]
    assert methods_at("/v1/files/x") == ["DELETE", "GET", "HEAD"]
    assert methods_at("/v1/files/x/content") == ["GET", "HEAD"]
    assert methods_at("/v1/batches/x/cancel") == ["POST"]
    assert methods_at("/nowhere") == []


class Count(Struct):
    n: int | None = None
    each: list[int] = []


READER = msgspec.json.Decoder(Count)


@given(st.integers(-(2**40), 2**40), st.lists(st.integers(-9, 9)))
def test_a_whole_number_is_taken_in_either_spelling(n, each):
    floats = {"n": float(n), "each": [float(one) for one in each]}
    assert lenient(msgspec.json.encode(floats), READER) == Count(n, each)


@pytest.mark.parametrize("wrong", [b'{"n":1.5}', b'{"n":1e300}', b'{"n":"5.0"}', b'{"n":true}'])
def test_what_is_no_whole_number_is_not_taken(wrong):
    with pytest.raises(msgspec.ValidationError):
        lenient(wrong, READER)
