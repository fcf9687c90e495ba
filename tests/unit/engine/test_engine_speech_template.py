"""Templates as strangers might write them are bounded, and what each bears is found out."""

from __future__ import annotations

import time

import pytest

from haneul.base.errors import BadRequest
from haneul.engine.speech.messages import Dialect
from haneul.engine.speech.template import ChatTemplate

USER = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "done", "tool_call_id": "call_1"}
BOMB_S = 12.0  # a process's start, one rendering's bound, and a busy machine

BOMBS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
    "{% endfor %}",
    "a huge range": "{% for a in range(10**9) %}x{% endfor %}",
    "a huge text": "{{ 'a' * 10**9 }}",
    "a huge list": "{{ ([0] * 10**9) | length }}",
    "a text doubled": "{% set n = namespace(s='aa') %}{% for i in range(99) %}"
    "{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "text without end": "{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
    "a wide filter": "{{ 'x' | center(10**10) }}",
    "a wide number": "{{ '%01000000000d' % 7 }}",
    "a huge power": "{{ 9 ** (9 ** 9) }}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}"
    "{% endif %}{% endmacro %}{{ m(60) }}",
    "a nest that compares for years": "{% set n = namespace(a=[1], b=[1]) %}"
    "{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}"
    "{{ n.a == n.b }}",
    "a nest that is shown for years": "{% set n = namespace(a=[1]) %}{% for i in range(60) %}"
    "{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a | tojson }}",
    "a deep expression": "{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}",
}


@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS)
def test_a_template_that_would_eat_the_machine_is_refused_soon(ask, source):
    started = time.monotonic()
    template = ChatTemplate(source, bos="", eos="")
    assert template.problem
    with pytest.raises(BadRequest) as refused:
        template.render(ask(USER), thinking=None)
    assert time.monotonic() - started < BOMB_S
    assert "chat template" in refused.value.message
    assert "Traceback" not in refused.value.message


def test_a_bomb_for_some_messages_only_leaves_the_others_alone(ask):
    source = (
        "{% if messages[0].content == 'boom' %}{% for a in range(99999) %}"
        "{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}{{ messages[0].content }}"
    )
    template = ChatTemplate(source, bos="", eos="")
    assert template.render(ask(USER), thinking=None) == "hello"
    with pytest.raises(BadRequest, match="longer than"):
        template.render(ask({**USER, "content": "boom"}), thinking=None)
    assert template.render(ask(USER), thinking=None) == "hello"


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ raise_exception.__globals__['os'] }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{% include 'x' %}",
    "{% import 'os' as os %}",
    "{{ ''|attr('__class__') }}{{ (''|attr('__class__')).__mro__ }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ (messages|map(attribute='__class__')|list)[0].__mro__ }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_a_template_does_not_reach_beyond_its_own_words(ask, source):
    template = ChatTemplate(source, bos="", eos="")
    try:
        shown = template.render(ask(USER), thinking=None)
    except BadRequest:
        return
    assert "object" not in shown.lower().replace("json object", "")
    assert "class" not in shown


@pytest.mark.parametrize(
    "change",
    [
        "{% set _ = messages.append({'role': 'user'}) %}",
        "{% set _ = messages.clear() %}",
        "{% set _ = messages[0].update({'content': 'other'}) %}",
        "{% set _ = messages[0].pop('content') %}",
        "{% set _ = messages.insert(0, 1) %}",
    ],
)
def test_a_template_does_not_change_the_messages(ask, change):
    template = ChatTemplate(change + "{{ messages[0].content }}", bos="", eos="")
    with pytest.raises(BadRequest, match="unsafe"):
        template.render(ask(USER), thinking=None)


def test_a_template_may_fill_a_list_of_its_own(ask):
    source = "{% set n = [] %}{% set _ = n.append('x') %}{{ n.pop() ~ messages[0].content }}"
    assert ChatTemplate(source, bos="", eos="").render(ask(USER), thinking=None) == "xhello"


def test_a_broken_template_says_where(ask):
    template = ChatTemplate("{% for m in messages %}", bos="", eos="")
    assert "endfor" in str(template.problem)


def test_a_template_says_why_it_refuses_a_conversation(ask):
    source = "{% if messages|length > 2 %}{{ raise_exception('too many turns') }}{% endif %}ok"
    with pytest.raises(BadRequest, match="too many turns") as refused:
        ChatTemplate(source, bos="", eos="").render(ask(USER, USER, USER), thinking=None)
    assert refused.value.param == "messages"


def test_a_file_without_a_template_gets_chatml(ask):
    system = {"role": "developer", "content": "Be brief."}
    assert ChatTemplate(None, bos="<s>", eos="</s>").render(ask(system, USER), thinking=None) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_words_of_hugging_face_templates_are_known(ask):
    source = (
        "{{ bos_token }}{% generation %}{{ {'b': '한', 'a': 1} | tojson }}{% endgeneration %}"
        "{% for m in messages %}{% break %}{% endfor %}{{ strftime_now('%%') }}"
        "{{ (messages | tojson(indent=1))[0] }}{{ documents is none }}{{ tools is none }}"
        "{{ eos_token }}\n"
    )
    shown = ChatTemplate(source, bos="<s>", eos="</s>").render(ask(USER), thinking=None)
    assert shown == '<s>{"b": "한", "a": 1}%[TrueTrue</s>'


PLAIN = "{% for m in messages %}[{{ m.role }}|{{ m.content }}]{% endfor %}"


def test_parts_are_lines_and_a_developer_is_the_system(ask):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    request = ask({"role": "developer", "content": parts}, USER)
    shown = ChatTemplate(PLAIN, bos="", eos="").render(request, thinking=None)
    assert shown == "[system|one\ntwo][user|hello]"


def test_a_model_that_knows_no_tools_is_told_of_them_and_of_calls_in_words(ask):
    template = ChatTemplate(PLAIN, bos="", eos="")
    shown = template.render(ask(USER, CALLED, RESULT, RESULT, tools=[TOOL]), thinking=None)
    system, *turns = shown.removeprefix("[").removesuffix("]").split("][")
    assert system.startswith("system|# Tools")
    assert '"name":"f"' in system
    assert "<tool_call>" in system
    assert turns == [
        "user|hello",
        'assistant|<tool_call>\n{"name": "f", "arguments": {"a":1}}\n</tool_call>',
        "user|<tool_response>\ndone\n</tool_response>\n<tool_response>\ndone\n</tool_response>",
    ]


def test_tools_that_may_not_be_called_are_not_told(ask):
    template = ChatTemplate(PLAIN, bos="", eos="")
    shown = template.render(ask(USER, tools=[TOOL], tool_choice="none"), thinking=None)
    assert shown == "[user|hello]"


def test_where_there_is_no_system_a_user_says_it(ask):
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
    )
    template = ChatTemplate(source, bos="", eos="")
    system = {"role": "system", "content": "Be brief."}
    assert template.render(ask(system, USER), thinking=None) == "[user|Be brief.\n\nhello]"
    assert template.render(ask(system), thinking=None) == "[user|Be brief.]"


def test_a_template_that_takes_parts_only_gets_them(ask):
    source = (
        "{% for m in messages %}{% for c in m.content %}{{ c['text'] }};{% endfor %}{% endfor %}"
    )
    template = ChatTemplate(source, bos="", eos="")
    assert template.dialect == Dialect(wants_parts=True)
    assert template.render(ask(USER, USER), thinking=None) == "hello;hello;"


CALLING = (
    "{% if tools %}<tool_call>{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role }}:"
    "{% for c in m.tool_calls or [] %}CALL{% endfor %}{{ m.content }};{% endfor %}"
)


@pytest.mark.parametrize(
    ("call", "content", "objects", "null"),
    [
        ("c.function.arguments | tojson", "m.content or ''", True, True),
        ("c.function.arguments | tojson", "m.content", True, False),
        ("'' + c.function.arguments", "m.content or ''", False, True),
        ("'' + c.function.arguments", "'' + m.content", False, False),
    ],
)
def test_arguments_and_empty_content_are_what_the_template_bears(ask, call, content, objects, null):
    source = CALLING.replace("CALL", f"{{{{ c.function.name ~ {call} }}}}")
    template = ChatTemplate(source.replace("m.content", content), bos="", eos="")
    assert (template.dialect.takes_objects, template.dialect.takes_null) == (objects, null)
    shown = template.render(ask(USER, CALLED, RESULT, tools=[TOOL]), thinking=None)
    assert shown.endswith('user:hello;assistant:f{"a": 1};tool:done;')


def test_short_ids_of_a_call_and_its_result_stay_the_same(ask):
    source = CALLING.replace(
        "CALL",
        "{% if c.id|length != 9 %}{{ raise_exception('nine!') }}{% endif %}"
        "{{ c.id ~ (c.function.arguments|tojson) }}",
    ).replace("{{ m.content }}", "{{ m.tool_call_id }}{{ m.content or '' }}")
    template = ChatTemplate(source, bos="", eos="")
    shown = template.render(ask(USER, CALLED, RESULT, tools=[TOOL]), thinking=None)
    called, answered = shown.split("assistant:")[1].split(";tool:")
    assert called[:9] == answered[:9]
    assert called[:9].isalnum()


def test_a_call_whose_arguments_are_no_json_is_shown_as_it_stands(ask):
    spoilt = {**CALL, "function": {"name": "f", "arguments": "{oops"}}
    source = CALLING.replace("CALL", "{{ c.function.arguments | tojson }}")
    shown = ChatTemplate(source, bos="", eos="").render(
        ask(USER, {**CALLED, "tool_calls": [spoilt]}, RESULT, tools=[TOOL]), thinking=None
    )
    assert '"{oops"' in shown


def test_nothing_of_a_template_runs_before_it_is_used():
    started = time.monotonic()
    ChatTemplate(BOMBS["nested loops"], bos="", eos="")
    assert time.monotonic() - started < BOMB_S / 2
