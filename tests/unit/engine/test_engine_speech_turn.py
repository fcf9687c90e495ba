"""What one request makes of a turn: its prompt, its constraint, its reader."""

from __future__ import annotations

import json

import pytest

from haneul.base.errors import BadRequest
from haneul.engine.speech.template import ChatTemplate
from haneul.engine.speech.turn import needs_worker, open_turn

USER = {"role": "user", "content": "hello"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CLOSED = {**SCHEMA, "additionalProperties": False}
F = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
G = {"type": "function", "function": {"name": "g"}}
NAMED = {"type": "function", "function": {"name": "f"}}
SHOWN = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role }}:"
    "{% for c in m.tool_calls or [] %}MARK{{ c.function.name }}{{ c.function.arguments | tojson }}"
    "{% endfor %}{{ m.content or '' }};{% endfor %}"
)
HERMES = SHOWN.replace("MARK", "<tool_call>")
SWITCHED = (
    "{{ messages[0].content }}<a>{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}"
)
OPENED = "{{ messages[0].content }}<a><think>\n"
EFFORT = "{{ messages[0].content }}{{ reasoning_effort }}"


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos="", eos="")


def said(turn, text):
    answer = turn.reader.add(text) + turn.reader.end()
    return (
        "".join(one.text for one in answer),
        "".join(one.reasoning for one in answer),
        [delta for one in answer for delta in one.tool_calls],
    )


def test_a_free_turn_is_the_prompt_alone(ask):
    turn = open_turn(ask(USER), template(HERMES))
    assert turn.prompt == "user:hello;"
    assert turn.constraint is None
    assert said(turn, "<tool_call> is a mark")[0] == "<tool_call> is a mark"


def test_a_call_that_must_be_made_is_begun_in_the_prompt(ask):
    request = ask(USER, tools=[F, G], tool_choice="required", parallel_tool_calls=True)
    turn = open_turn(request, template(HERMES))
    assert turn.prompt.endswith("user:hello;<tool_call>\n")
    assert turn.constraint is not None
    first, second = turn.constraint.branches
    assert first.head == '{"name": "f", "arguments": '
    assert first.schema == CLOSED
    assert first.tail == "}\n</tool_call>"
    assert second.schema == {"type": "object", "properties": {}, "additionalProperties": False}
    assert (turn.constraint.is_repeated, turn.constraint.separator) == (True, "\n<tool_call>\n")
    words, _, calls = said(turn, '{"name": "f", "arguments": {"a": 1}}\n</tool_call>')
    assert words == ""
    assert calls[0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert turn.reader.has_calls


def test_a_named_function_is_called_once_and_alone(ask):
    turn = open_turn(ask(USER, tools=[F, G], tool_choice=NAMED), template(HERMES))
    assert turn.constraint is not None
    assert [branch.head for branch in turn.constraint.branches] == ['{"name": "f", "arguments": ']
    assert not turn.constraint.is_repeated


@pytest.mark.parametrize("fields", [{}, {"parallel_tool_calls": False}])
def test_a_call_that_must_be_made_is_one_unless_several_are_asked_for(ask, fields):
    turn = open_turn(ask(USER, tools=[F], tool_choice="required", **fields), template(HERMES))
    assert turn.constraint is not None
    assert not turn.constraint.is_repeated


def test_a_model_that_was_not_taught_calls_makes_one(ask):
    request = ask(USER, tools=[F], tool_choice="required", parallel_tool_calls=True)
    turn = open_turn(request, template("{{ messages }}"))
    assert turn.constraint is not None
    assert not turn.constraint.is_repeated


FORCED = {
    "[TOOL_CALLS]": ("[TOOL_CALLS][", '{"name": "f", "arguments": ', "}"),
    "[TOOL_CALLS][ARGS]": ("[TOOL_CALLS]", "f[ARGS]", ""),
    "<|tool_calls_section_begin|>": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.",
        "f:0<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
    ),
    "<｜tool▁calls▁begin｜>": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
        "f<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
    ),
    "<tool_call><arg_key>": (
        "<tool_call>\n",
        '{"name": "f", "arguments": ',
        "}\n</tool_call>",
    ),
    "<|channel|><|message|>": (
        "<|channel|>commentary to=functions.",
        "f <|constrain|>json<|message|>",
        "",
    ),
    '"parameters": <|start_header_id|>': ("", '{"name": "f", "parameters": ', "}"),
}


@pytest.mark.parametrize("mark", FORCED)
def test_each_family_is_made_to_call_in_its_own_way_and_is_understood(ask, mark):
    opening, head, tail = FORCED[mark]
    turn = open_turn(ask(USER, tools=[F], tool_choice=NAMED), template(SHOWN.replace("MARK", mark)))
    assert turn.prompt.endswith(";" + opening)
    assert turn.constraint is not None
    (branch,) = turn.constraint.branches
    assert (branch.head, branch.tail) == (head, tail)
    _, _, calls = said(turn, head + '{"a": 1}' + tail)
    assert "".join(call["function"]["arguments"] for call in calls) == '{"a": 1}'
    assert calls[0]["function"]["name"] == "f"


def test_tools_that_may_not_be_called_are_neither_told_nor_read(ask):
    turn = open_turn(ask(USER, tools=[F], tool_choice="none"), template(HERMES))
    assert turn.prompt == "user:hello;"
    text = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    assert said(turn, text) == (text, "", [])


@pytest.mark.parametrize(
    ("wanted", "schema", "regex"),
    [
        ({"type": "json_object"}, {"type": "object"}, None),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}, CLOSED, None),
        ({"type": "regex", "regex": "^[a-z]+$"}, None, "[a-z]+"),
        ({"type": "regex", "regex": "a|b"}, None, "a|b"),
    ],
)
def test_a_response_format_is_a_constraint(ask, wanted, schema, regex):
    turn = open_turn(ask(USER, response_format=wanted), template(HERMES))
    assert turn.constraint is not None
    (branch,) = turn.constraint.branches
    assert (branch.schema, branch.regex) == (schema, regex)
    assert (branch.head, branch.tail) == ("", "")


def test_an_answer_of_a_form_may_be_a_call_instead(ask):
    request = ask(USER, tools=[F], response_format={"type": "json_object"})
    turn = open_turn(request, template(HERMES))
    assert turn.constraint is not None
    answer, call = turn.constraint.branches
    assert answer.schema == {"type": "object"}
    assert call.head == '<tool_call>\n{"name": "f", "arguments": '
    assert said(turn, '{"x": 1}') == ('{"x": 1}', "", [])


def test_gpt_oss_writes_a_form_on_its_final_channel(ask):
    source = SHOWN.replace("MARK", "<|channel|><|message|>")
    wanted = {"type": "json_object"}
    turn = open_turn(ask(USER, response_format=wanted), template(source))
    assert turn.prompt.endswith("<|channel|>final<|message|>")
    assert said(turn, "{}") == ("{}", "", [])
    both = open_turn(ask(USER, tools=[F], response_format=wanted), template(source))
    assert both.constraint is not None
    assert both.constraint.branches[0].head == "<|channel|>final<|message|>"


def test_special_tokens_of_the_format_are_to_be_seen(ask):
    turn = open_turn(ask(USER), template(SHOWN.replace("MARK", "<｜tool▁calls▁begin｜>")))
    assert {"<think>", "</think>", "<｜tool▁sep｜>", "<｜tool▁calls▁end｜>"} <= set(turn.marks)


def test_thinking_is_switched_by_the_template(ask):
    on, off = ({"enable_thinking": wish} for wish in (True, False))
    switched = template(SWITCHED)
    assert open_turn(ask(USER), switched).prompt == "hello<a>"
    assert open_turn(ask(USER, chat_template_kwargs=on), switched).prompt == "hello<a>"
    for fields in ({"chat_template_kwargs": off}, {"reasoning_effort": "none"}):
        turn = open_turn(ask(USER, **fields), switched)
        assert turn.prompt == "hello<a><think>\n\n</think>\n\n"
        assert said(turn, "Hi") == ("Hi", "", [])


def test_a_thought_that_the_template_opens_is_read_as_one(ask):
    turn = open_turn(ask(USER), template(OPENED))
    assert turn.prompt == "hello<a><think>"
    assert said(turn, "Hm.\n</think>\n\nHi") == ("Hi", "Hm.", [])


def test_a_thought_that_is_not_wanted_is_closed_empty(ask):
    turn = open_turn(ask(USER, reasoning_effort="none"), template(OPENED))
    assert turn.prompt == "hello<a><think>\n\n</think>\n\n"
    assert said(turn, "Hi") == ("Hi", "", [])


def test_an_answer_of_a_form_is_not_thought_about(ask):
    wanted = {"type": "json_object"}
    for source in (SWITCHED, OPENED):
        turn = open_turn(ask(USER, response_format=wanted), template(source))
        assert turn.prompt == "hello<a><think>\n\n</think>\n\n"
        told = {"enable_thinking": True}
        thinking = ask(USER, response_format=wanted, chat_template_kwargs=told)
        with pytest.raises(BadRequest) as refused:
            open_turn(thinking, template(source))
        assert refused.value.param == "chat_template_kwargs"


def test_a_model_that_does_not_think_is_not_made_to(ask):
    plain = template("{{ messages[0].content }}")
    off, on = ask(USER, chat_template_kwargs={"thinking": False}), {"thinking": True}
    assert open_turn(off, plain).prompt == "hello"
    with pytest.raises(BadRequest) as refused:
        open_turn(ask(USER, chat_template_kwargs=on), plain)
    assert refused.value.param == "chat_template_kwargs"


def test_an_effort_is_told_where_the_template_speaks_of_it(ask):
    assert open_turn(ask(USER, reasoning_effort="low"), template(EFFORT)).prompt == "hellolow"
    for effort, source in (("low", HERMES), ("low", SWITCHED), ("minimal", EFFORT)):
        with pytest.raises(BadRequest) as refused:
            open_turn(ask(USER, reasoning_effort=effort), template(source))
        assert refused.value.param == "reasoning_effort"


def test_a_schema_is_held_to_as_far_as_it_can_be(ask):
    loose = {
        "type": "object",
        "properties": {
            "mail": {"type": "string", "format": "email", "minLength": 1},
            "all": {"type": "array", "items": {"$ref": "#/$defs/n"}, "uniqueItems": True},
        },
        "$defs": {"n": {"type": "number", "minimum": 3}},
        "if": {"required": ["mail"]},
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": loose}}
    turn = open_turn(ask(USER, tools=[tool], tool_choice="required"), template(HERMES))
    assert turn.constraint is not None
    assert turn.constraint.branches[0].schema == {
        "type": "object",
        "properties": {
            "mail": {"type": "string", "minLength": 1},
            "all": {"type": "array", "items": {"$ref": "#/$defs/n"}},
        },
        "$defs": {"n": {"type": "number"}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, None),
        ({"tools": [F]}, None),
        ({"tools": [F], "tool_choice": "auto"}, None),
        ({"response_format": {"type": "json_object"}}, None),
        ({"tools": [F], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [F], "tool_choice": NAMED}, "tool_choice"),
        ({"response_format": {"type": "regex", "regex": "a"}}, "response_format.type"),
        ({"chat_template_kwargs": {"thinking": False}}, "chat_template_kwargs"),
        ({"reasoning_effort": "none"}, "reasoning_effort"),
    ],
)
def test_what_only_a_worker_can_do_is_named(ask, fields, field):
    assert needs_worker(ask(USER, **fields)) == field


def test_a_history_of_calls_is_shown_with_arguments_as_an_object(ask):
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    turn = open_turn(
        ask(
            USER,
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "done"},
            tools=[F],
        ),
        template(HERMES),
    )
    shown = json.dumps([F], ensure_ascii=False).replace(" ", "")
    assert turn.prompt.replace(" ", "").startswith(shown)
    assert turn.prompt.endswith('user:hello;assistant:<tool_call>f{"a": 1};tool:done;')
