"""Answers as models of each family write them, and what is said of them, however they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haneul.engine.speech.format import FORMATS, GENERIC, Format
from haneul.engine.speech.reader import Reader
from haneul.engine.speech.said import Said

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "code": {"type": "string"},
                "is_long": {"type": "boolean"},
                "at": {"type": "object"},
            },
        },
    },
}
OTHER = {"type": "function", "function": {"name": "time.now"}}
KNOWN = {form.name: form for form in (*FORMATS, GENERIC)}
SEOUL = {"city": "Seoul 서울", "days": 3}
ONE = [("weather", SEOUL)]
TWO = [*ONE, ("time.now", {})]
JSON = '{"name": "weather", "arguments": {"city": "Seoul 서울", "days": 3}}'
NOW = '{"name": "time.now", "arguments": {}}'
ARGUMENTS = '{"city": "Seoul 서울", "days": 3}'
# Format, the model's text, and what it says: words, thoughts, calls.
STREAMS: list[tuple[str, str, str, str, list[tuple[str, Any]]]] = [
    ("hermes", f"<tool_call>\n{JSON}\n</tool_call>", "", "", ONE),
    (
        "hermes",
        f"<think>\nHm.\n</think>\n\nLook:\n\n<tool_call>\n{JSON}\n</tool_call>\n"
        f"<tool_call>{NOW}</tool_call>",
        "Look:",
        "Hm.",
        TWO,
    ),
    (
        "hermes",
        '<tool_call>{"arguments": {"a": 1}, "name": "weather"}</tool_call> Done.',
        "Done.",
        "",
        [("weather", {"a": 1})],
    ),
    (
        "hermes",
        '<tool_call>{"name": "weather", "arguments": "{\\"a\\": 1}"}</tool_call>',
        "",
        "",
        [("weather", {"a": 1})],
    ),
    ("hermes", '<tool_call>{"name": "weather"}</tool_call>', "", "", [("weather", {})]),
    ("hermes", f"<tool_call>\n[{JSON}, {NOW}]\n</tool_call>", "", "", TWO),
    ("hermes", f"<tool_call>\n{JSON}", "", "", ONE),
    ("generic", f"Yes.\n<tool_call>\n{JSON}\n</tool_call>", "Yes.", "", ONE),
    (
        "qwen3-coder",
        "I write.\n<tool_call>\n<function=weather>\n<parameter=code>\nif a < b:\n"
        '  print("</x>")\n\n</parameter>\n<parameter=days>\n3\n</parameter>\n'
        "<parameter=is_long>\nTrue\n</parameter>\n<parameter=city>\n17\n</parameter>\n"
        "</function>\n</tool_call>\n<tool_call>\n<function=time.now>\n</function>\n</tool_call>",
        "I write.",
        "",
        [
            (
                "weather",
                {
                    "code": 'if a < b:\n  print("</x>")\n',
                    "days": 3,
                    "is_long": True,
                    "city": "17",
                },
            ),
            ("time.now", {}),
        ],
    ),
    (
        "glm",
        "\n<think>Hm.</think>\nNow.\n<tool_call>weather\n<arg_key>city</arg_key>\n"
        "<arg_value>Seoul 서울</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n"
        "</tool_call><tool_call>time.now</tool_call>",
        "Now.",
        "Hm.",
        TWO,
    ),
    (
        "deepseek-v3.1",
        f"Hm.</think>Now.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{ARGUMENTS}"
        "<｜tool▁call▁end｜><｜tool▁call▁begin｜>time.now<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜>",
        "Now.",
        "Hm.",
        TWO,
    ),
    (
        "deepseek-r1",
        "<think>\nHm.\n</think>\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>"
        f"weather\n```json\n{ARGUMENTS}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function"
        "<｜tool▁sep｜>time.now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "",
        "Hm.",
        TWO,
    ),
    (
        "deepseek-v3.2",
        'Now.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="weather">\n<｜DSML｜parameter '
        'name="city" string="true">Seoul 서울</｜DSML｜parameter>\n<｜DSML｜parameter name='
        '"days" string="false">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke '
        'name="time.now">\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        "Now.",
        "",
        TWO,
    ),
    (
        "kimi-k2",
        "<think>Hm.</think>Now.<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0"
        f"<|tool_call_argument_begin|>{ARGUMENTS}<|tool_call_end|><|tool_call_begin|>"
        "functions.time.now:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
        "<|tool_calls_section_end|>",
        "Now.",
        "Hm.",
        TWO,
    ),
    (
        "minimax-m1",
        f"<think>Hm.</think>\n<tool_calls>\n{JSON}\n{NOW}\n</tool_calls>",
        "",
        "Hm.",
        TWO,
    ),
    (
        "minimax-m2",
        'Hm.\n</think>\n\nNow.\n<minimax:tool_call>\n<invoke name="weather">\n<parameter '
        'name="city">Seoul 서울</parameter>\n<parameter name="days">3</parameter>\n</invoke>\n'
        '<invoke name="time.now">\n</invoke>\n</minimax:tool_call>',
        "Now.",
        "Hm.",
        TWO,
    ),
    ("llama-3", JSON.replace("arguments", "parameters"), "", "", ONE),
    (
        "llama-3",
        '<|python_tag|>{"type": "function", "name": "weather", "parameters": {}}; '
        '{"name": "time.now", "parameters": {}}',
        "",
        "",
        [("weather", {}), ("time.now", {})],
    ),
    ("mistral", f"[TOOL_CALLS][{JSON[:-1]}, \"id\": \"abcdefghi\"}}, {NOW}]", "", "", TWO),
    (
        "mistral-named",
        f"[THINK]Hm.[/THINK]Now.[TOOL_CALLS]weather[CALL_ID]abcdefghi[ARGS]{ARGUMENTS}"
        "[TOOL_CALLS]time.now[ARGS]{}",
        "Now.",
        "Hm.",
        TWO,
    ),
    (
        "functionary",
        f"Now.<function=weather>{ARGUMENTS}</function><function=time.now>{{}}</function>",
        "Now.",
        "",
        TWO,
    ),
    (
        "seed-oss",
        "<seed:think>Hm.</seed:think>Now.\n<seed:tool_call>\n<function=weather>\n<parameter=city>"
        "Seoul 서울</parameter>\n<parameter=days>3</parameter>\n</function>\n</seed:tool_call>",
        "Now.",
        "Hm.",
        ONE,
    ),
    (
        "gemma-4",
        '<|channel>thought\nHm.\n<channel|>Now.<|tool_call>call:weather{at:{n:[1,true,<|"|>,}<|"|>'
        ']},city:<|"|>Seoul {서울}, "x"<|"|>}<tool_call|>',
        "Now.",
        "Hm.",
        [("weather", {"at": {"n": [1, True, ",}"]}, "city": 'Seoul {서울}, "x"'})],
    ),
    (
        "gpt-oss",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>"
        "Now.<|end|><|start|>assistant<|channel|>commentary to=functions.weather "
        f"<|constrain|>json<|message|>{ARGUMENTS}<|call|>",
        "Now.",
        "Hm.",
        ONE,
    ),
    (
        "gpt-oss",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>"
        "It is {sunny}.",
        "It is {sunny}.",
        "Hm.",
        [],
    ),
    (
        "gpt-oss",
        f" to=functions.weather<|channel|>commentary json<|message|>{ARGUMENTS}",
        "",
        "",
        ONE,
    ),
    # What only looks like a call, or is broken, stays words.
    ("hermes", "Write <tool_call> like this.", "Write <tool_call> like this.", "", []),
    ("hermes", "<tool_call>{}</tool_call>", "<tool_call>{}</tool_call>", "", []),
    ("hermes", '<tool_call>{"name": 7, "arguments": {}}', '<tool_call>{"name": 7, "arguments": {}}',
     "", []),
    ("hermes", '<tool_call>\n{"name": "wea', '<tool_call>\n{"name": "wea', "", []),
    ("hermes", f"<tool_call> x <tool_call>{JSON}", "<tool_call> x", "", ONE),
    ("llama-3", '{"name": "Ann", "parameters": 3}', '{"name": "Ann", "parameters": 3}', "", []),
    ("llama-3", '{"name": "unknown", "parameters": {}}', '{"name": "unknown", "parameters": {}}',
     "", []),
    ("kimi-k2", "<|tool_call_begin|> no <|tool_call_end|>",
     "<|tool_call_begin|> no <|tool_call_end|>", "", []),
    ("glm", "<tool_call>two words</tool_call>", "<tool_call>two words</tool_call>", "", []),
    ("gemma-4", "<|tool_call>call:weather{x}<tool_call|>",
     "<|tool_call>call:weather{x}<tool_call|>", "", []),
    ("gpt-oss", "Plain words.", "Plain words.", "", []),
    ("hermes", "The mark <think> opens a thought. ", "The mark <think> opens a thought. ", "", []),
    ("hermes", "<think>\nNever closed", "", "Never closed", []),
    ("hermes", "  two\n\n lines \n", "  two\n\n lines \n", "", []),
]  # fmt: skip
OPENED = {"deepseek-v3.1", "minimax-m2"}  # here the prompt opened the thought
IDS = [f"{place}-{stream[0]}" for place, stream in enumerate(STREAMS)]


def reader_of(form: Format, text: str, tools: list[dict[str, Any]] | None = None) -> Reader:
    is_thinking = form.name in OPENED and "</think>" in text
    return Reader(form, tools=[TOOL, OTHER] if tools is None else tools, is_thinking=is_thinking)


def whole(said: list[Said]) -> tuple[str, str, list[tuple[str, Any]]]:
    """Words, thoughts and calls of all that was said."""
    calls: dict[int, list[str]] = {}
    ids: dict[int, str] = {}
    for one in said:
        for delta in one.tool_calls:
            if "id" in delta:
                assert delta["type"] == "function"
                assert delta["index"] == len(calls)
                ids[delta["index"]] = delta["id"]
                calls[delta["index"]] = [delta["function"]["name"], ""]
            calls[delta["index"]][1] += delta["function"]["arguments"]
    assert len(set(ids.values())) == len(ids)
    assert all(given.startswith("call_") for given in ids.values())
    return (
        "".join(one.text for one in said),
        "".join(one.reasoning for one in said),
        [(name, json.loads(arguments)) for name, arguments in calls.values()],
    )


def read(reader: Reader, pieces: list[str]) -> list[Said]:
    return [said for piece in pieces for said in reader.add(piece)] + reader.end()


@pytest.mark.parametrize(("name", "text", "words", "thoughts", "calls"), STREAMS, ids=IDS)
def test_an_answer_is_told_apart(name, text, words, thoughts, calls):
    reader = reader_of(KNOWN[name], text)
    assert whole(read(reader, [text])) == (words, thoughts, calls)
    assert reader.has_calls == bool(calls)


@pytest.mark.parametrize(("name", "text", "words", "thoughts", "calls"), STREAMS, ids=IDS)
def test_letter_by_letter_the_same_is_said(name, text, words, thoughts, calls):
    reader = reader_of(KNOWN[name], text)
    assert whole(read(reader, list(text))) == (words, thoughts, calls)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 400), max_size=12))
def test_however_an_answer_is_cut_the_same_is_said(stream, places):
    name, text, *expected = stream
    ends = sorted({place % (len(text) + 1) for place in places})
    pieces = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    assert whole(read(reader_of(KNOWN[name], text), pieces)) == tuple(expected)


MARKS = sorted({mark for form in KNOWN.values() for mark in form.special})
SOUP = st.lists(
    st.sampled_from([*MARKS, JSON, ARGUMENTS, "weather", "{", "}", '"', "\n", " ", "word", "한"]),
    max_size=14,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(KNOWN)), SOUP, st.lists(st.integers(0, 300), max_size=8))
def test_any_soup_of_marks_is_read_alike_however_it_is_cut(name, text, places):
    ends = sorted({place % (len(text) + 1) for place in places})
    pieces = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    assert flat(read(reader_of(KNOWN[name], ""), pieces)) == flat(
        read(reader_of(KNOWN[name], ""), [text])
    )


def flat(said: list[Said]) -> tuple[str, str, list[tuple[str, str]]]:
    """As whole, but calls that were cut off may have half their arguments."""
    calls: dict[int, tuple[str, str]] = {}
    for one in said:
        for delta in one.tool_calls:
            name, arguments = calls.get(delta["index"], ("", ""))
            function = delta["function"]
            calls[delta["index"]] = (
                name + function.get("name", ""),
                arguments + function["arguments"],
            )
    return (
        "".join(one.text for one in said),
        "".join(one.reasoning for one in said),
        list(calls.values()),
    )


@given(st.sampled_from(sorted(set(KNOWN) - {"gpt-oss"})), SOUP.filter(lambda t: "hink" not in t))
@settings(max_examples=200, deadline=None)
def test_without_tools_all_marks_are_words(name, text):
    reader = Reader(KNOWN[name], tools=[])
    thought = KNOWN[name].thought.begin
    if text.lstrip().startswith(thought):
        return
    assert flat(read(reader, [text])) == (text, "", [])


@given(SOUP)
@settings(max_examples=200, deadline=None)
def test_words_are_never_lost_or_shown_twice(text):
    """Without a whole call every letter of the text is said, once, but for space at the end."""
    reader = Reader(KNOWN["hermes"], tools=[OTHER])
    words, thoughts, calls = flat(read(reader, list(text)))
    if not calls and not thoughts and "<think>" not in text:
        assert words == text


def test_arguments_leave_as_they_come():
    reader = Reader(KNOWN["hermes"], tools=[TOOL])
    shown = [reader.add(letter) for letter in f"<tool_call>{JSON}</tool_call>"]
    deltas = [
        delta["function"]["arguments"] for said in shown for one in said for delta in one.tool_calls
    ]
    assert deltas == list(ARGUMENTS)


def test_a_long_text_argument_between_tags_leaves_as_it_comes():
    reader = Reader(KNOWN["qwen3-coder"], tools=[TOOL])
    head = "<tool_call>\n<function=weather>\n<parameter=code>\n"
    reader.add(head)
    assert whole_arguments(reader.add("print(")) == "print("
    assert whole_arguments(reader.add('"x")\n')) == '\\"x\\")'
    assert whole_arguments(reader.add("next")) == "\\nnext"


def whole_arguments(said: list[Said]) -> str:
    return "".join(delta["function"]["arguments"] for one in said for delta in one.tool_calls)


def test_words_leave_at_once_where_there_are_no_tools():
    reader = Reader(KNOWN["hermes"], tools=[])
    assert [reader.add(piece)[0].text for piece in ("Hi", " ", "there \n", "x")] == [
        "Hi",
        " ",
        "there \n",
        "x",
    ]


def test_what_spoils_a_call_that_has_begun_is_words():
    reader = Reader(KNOWN["hermes"], tools=[TOOL])
    text = '<tool_call>{"name": "weather", "arguments": {"city": oops'
    words, _, calls = flat(read(reader, [text]))
    assert words == "oops"
    assert calls == [("weather", '{"city": ')]


def test_an_answer_that_the_prompt_began_is_read_from_there():
    reader = Reader(KNOWN["hermes"], tools=[TOOL], begun="<tool_call>\n")
    assert whole(read(reader, [JSON, "\n</tool_call>"])) == ("", "", ONE)


def test_a_cut_off_call_between_tags_is_not_made_to_look_whole():
    reader = Reader(KNOWN["qwen3-coder"], tools=[TOOL])
    text = "<tool_call>\n<function=weather>\n<parameter=city>\nSeo"
    _, _, calls = flat(read(reader, [text]))
    assert calls == [("weather", '{"city": "Seo')]
