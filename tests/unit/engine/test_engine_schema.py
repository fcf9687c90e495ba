"""Which schemas pass, and which patterns would keep the kernel busy for ever."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haneul.base.errors import BadRequest
from haneul.engine.json_schema import check_schema

GOOD = [
    {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]},
    {"$defs": {"p": {"type": "integer", "minimum": 0}}, "$ref": "#/$defs/p"},
    {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 5},
    {"anyOf": [{"const": 1}, {"enum": ["a"]}], "description": "x"},
    {"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$"},
    {"type": "string", "pattern": "^\\(?[0-9]{3}\\)?[-. ][0-9]{4}$"},
    {"type": "string", "pattern": "^([0-9]{4}-){3}[0-9]{4}$"},
    {"type": "string", "format": "date-time"},
]


@pytest.mark.parametrize("schema", GOOD)
def test_schemas_in_daily_use_pass(schema):
    check_schema(schema, "s")


BOMBS = [
    "^(a{0,500}){0,500}$",
    "^((a|b)?(c|d)?){0,100}$",
    "^(?:(a{0,9}){0,9}){0,9}$",
    "^(a+){30}$",
    "^a{0,99999}$",
    "^" + "(" * 100 + "a" + ")" * 100 + "{2}" * 40 + "$",
]


@pytest.mark.parametrize("pattern", BOMBS)
def test_patterns_that_explode_are_refused(pattern):
    with pytest.raises(BadRequest) as refused:
        check_schema({"type": "string", "pattern": pattern}, "s")
    assert refused.value.param == "s.pattern"


@pytest.mark.parametrize("schema", [None, [], "x", 1, True])
def test_what_is_no_schema_is_refused(schema):
    with pytest.raises(BadRequest):
        check_schema(schema, "s")


def test_a_schema_too_deep_is_refused():
    schema: dict = {"type": "string"}
    for _ in range(40):
        schema = {"type": "array", "items": schema}
    with pytest.raises(BadRequest):
        check_schema(schema, "s")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text()
            | st.sampled_from(
                ["type", "items", "properties", "pattern", "anyOf", "maxLength", "$defs", "format"]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_any_value_passes_or_is_a_bad_request(value):
    with suppress(BadRequest):
        check_schema(value, "s")
