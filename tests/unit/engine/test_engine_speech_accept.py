"""Fields of tools, forms and thinking: taken, or refused by name."""

from __future__ import annotations

import msgspec
import pytest

from haneul.base.errors import BadRequest
from haneul.engine.accept import accept_chat
from haneul.engine.json_schema import check_regex, closed, enforceable, without_anchors
from haneul.engine.kernel import Facts

FACTS = Facts(
    context_tokens=1024,
    trained_context_tokens=1024,
    vocabulary=100,
    width=8,
    parameters=1,
    size_bytes=1,
    has_tools=True,
)
USER = {"role": "user", "content": "hello"}
F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
NAMED = {"type": "function", "function": {"name": "f"}}
UNENFORCEABLE = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}
STRICT = {
    "type": "function",
    "function": {"name": "f", "strict": True, "parameters": UNENFORCEABLE},
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def accepted(**fields):
    body = {"model": "m", "messages": [USER], **fields}
    return accept_chat(msgspec.json.encode(body), FACTS)[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [F], "tool_choice": "required"},
        {"tools": [F], "tool_choice": NAMED},
        {"tools": [F], "tool_choice": "none"},
        {"tools": [STRICT]},
        {"tool_choice": "none"},
        {"chat_template_kwargs": {"enable_thinking": False, "thinking": None}},
        {"chat_template_kwargs": {}, "reasoning_effort": "high"},
        {"response_format": {"type": "regex", "regex": "[a-z]{3}"}},
        {"messages": [USER, {"role": "assistant", "content": "x", "reasoning_content": "y"}, USER]},
        {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}]},
    ],
)
def test_what_is_honoured_is_taken(fields):
    accepted(**fields)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [F], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [F], "tool_choice": {"type": "custom"}}, "tool_choice.type"),
        (
            {"tools": [F], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice.function.name",
        ),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "strict": 1}}]},
            "tools[0].function.strict",
        ),
        (
            {"tools": [STRICT], "tool_choice": "required"},
            "tools[0].function.parameters.properties.a.not",
        ),
        (
            {"tools": [STRICT], "response_format": {"type": "json_object"}},
            "tools[0].function.parameters.properties.a.not",
        ),
        ({"chat_template_kwargs": {"date_string": "x"}}, "chat_template_kwargs.date_string"),
        ({"chat_template_kwargs": {"thinking": "no"}}, "chat_template_kwargs.thinking"),
        (
            {"chat_template_kwargs": {"thinking": True, "enable_thinking": False}},
            "chat_template_kwargs",
        ),
        (
            {"chat_template_kwargs": {"thinking": True}, "reasoning_effort": "none"},
            "chat_template_kwargs",
        ),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"response_format": {"type": "regex"}}, "response_format.regex"),
        ({"response_format": {"type": "regex", "regex": "a(?=b)"}}, "response_format.regex"),
        (
            {"response_format": {"type": "regex", "regex": "((a{0,99}){0,99}){0,99}"}},
            "response_format.regex",
        ),
        ({"response_format": {"type": "regex", "json_schema": {}}}, "response_format.json_schema"),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "x"}]}]},
            "messages[1].tool_calls[0]",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
                    }
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_what_is_not_honoured_is_named(fields, param):
    with pytest.raises(BadRequest) as refused:
        accepted(**fields)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("regex", "inside"),
    [("^a$", "a"), ("a", "a"), (r"a\$", r"a\$"), (r"a\\$", r"a\\"), ("^$", ""), ("", "")],
)
def test_a_whole_answer_needs_no_anchors(regex, inside):
    assert without_anchors(regex) == inside


@pytest.mark.parametrize("regex", ["a|^b", "a$|b", "(^a)", 7, "(", "[", "a" * 300])
def test_an_expression_that_cannot_be_held_to_is_refused(regex):
    with pytest.raises(BadRequest):
        check_regex(regex, "r")


def test_anchors_in_a_class_or_escaped_are_letters():
    check_regex(r"[$^]\$\^", "r")


def test_what_is_closed_still_fits_the_schema_it_came_from():
    schema = {
        "type": "object",
        "properties": {
            "open": {"type": "object", "properties": {}, "additionalProperties": True},
            "inner": {"type": "array", "items": {"properties": {"x": {}}}},
            "both": {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
            "either": {"anyOf": [{"properties": {"a": {}}}, {"type": "null"}]},
            "odd": {"properties": {}, "required": ["y"]},
        },
    }
    shut = closed(schema)
    assert shut["additionalProperties"] is False
    inner = shut["properties"]
    assert inner["open"]["additionalProperties"] is True
    assert inner["inner"]["items"]["additionalProperties"] is False
    assert "additionalProperties" not in str(inner["both"])
    assert inner["either"]["anyOf"][0]["additionalProperties"] is False
    assert "additionalProperties" not in inner["odd"]
    assert "additionalProperties" not in str(schema["properties"]["inner"])


def test_a_schema_too_deep_to_hold_to_is_refused():
    schema: dict = {"type": "string"}
    for _ in range(40):
        schema = {"type": "array", "items": schema}
    with pytest.raises(BadRequest):
        enforceable(schema)
