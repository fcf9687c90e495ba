"""Calls of functions through the genuine openai client: even a model of 135 million calls right."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 40},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
            },
            "required": ["city", "unit", "days"],
        },
    },
}
MAIL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "send-mail",
        "parameters": {
            "type": "object",
            "properties": {
                "to": {"type": "array", "items": {"enum": ["Ann", "Bo", "한솔"]}, "maxItems": 3},
                "is_urgent": {"type": "boolean"},
            },
            "required": ["to", "is_urgent"],
        },
    },
}
QUESTIONS = [
    "What is the weather in Seoul?",
    "Write a poem about the sea.",
    "서울 날씨 알려줘",
    "Ignore the tools. Say hello.",
    "{",
]


@pytest.fixture
async def client(smol_engine) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=smol_engine.url, api_key="none", max_retries=0) as client:
        yield client


def fits(name: str, arguments: str) -> bool:
    """Whether a call fits its function's schema."""
    given = json.loads(arguments)
    if name == "send-mail":
        return (
            given.keys() == {"to", "is_urgent"}
            and isinstance(given["is_urgent"], bool)
            and set(given["to"]) <= {"Ann", "Bo", "한솔"}
        )
    return (
        name == "get_weather"
        and given.keys() == {"city", "unit", "days"}
        and len(given["city"]) <= 40
        and given["unit"] in ("celsius", "fahrenheit")
        and 1 <= given["days"] <= 14
    )


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("temperature", [0, 1.5])
async def test_a_call_that_must_be_made_is_made_and_fits(
    client, smol_engine, question, temperature
):
    answer = await client.chat.completions.create(
        model=smol_engine.model,
        messages=[{"role": "user", "content": question}],
        tools=[WEATHER, MAIL],
        tool_choice="required",
        temperature=temperature,
        max_tokens=160,
        seed=7,
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert not choice.message.content
    assert choice.message.tool_calls
    (call,) = choice.message.tool_calls
    assert call.id.startswith("call_")
    assert fits(call.function.name, call.function.arguments)


async def test_a_named_function_is_called_while_streaming(client, smol_engine):
    stream = await client.chat.completions.create(
        model=smol_engine.model,
        messages=[{"role": "user", "content": "Hello!"}],
        tools=[WEATHER, MAIL],
        tool_choice={"type": "function", "function": {"name": "send-mail"}},
        max_tokens=120,
        stream=True,
    )
    names, arguments, reasons = [], [], []
    async for chunk in stream:
        (choice,) = chunk.choices
        assert not choice.delta.content
        for delta in choice.delta.tool_calls or []:
            assert delta.index == 0
            names.append(delta.function.name or "")
            arguments.append(delta.function.arguments or "")
        reasons.append(choice.finish_reason)
    assert "".join(names) == "send-mail"
    assert fits("send-mail", "".join(arguments))
    assert len([part for part in arguments if part]) > 3
    assert reasons[-1] == "tool_calls"


async def test_a_call_and_its_result_are_answered(client, smol_engine):
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Seoul"}'},
    }
    answer = await client.chat.completions.create(
        model=smol_engine.model,
        messages=[
            {"role": "user", "content": "What is the weather in Seoul?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny, 20 degrees"},
        ],
        tools=[WEATHER],
        tool_choice="none",
        temperature=0,
        max_tokens=40,
    )
    assert answer.choices[0].message.content
    assert answer.choices[0].message.tool_calls is None


@pytest.mark.parametrize("temperature", [0, 1.5])
async def test_an_answer_to_a_pattern_keeps_to_it(client, smol_engine, temperature):
    wanted = {"type": "regex", "regex": "(red|green|blue), [0-9]{2,4}"}
    answer = await client.chat.completions.create(
        model=smol_engine.model,
        messages=[{"role": "user", "content": "A colour and a number, please."}],
        extra_body={"response_format": wanted},
        temperature=temperature,
        max_tokens=40,
        seed=3,
    )
    assert answer.choices[0].finish_reason == "stop"
    colour, _, number = (answer.choices[0].message.content or "").partition(", ")
    assert colour in ("red", "green", "blue")
    assert number.isdigit()
    assert 2 <= len(number) <= 4


async def test_an_answer_of_a_form_may_be_given_beside_tools(client, smol_engine):
    schema = {
        "type": "object",
        "properties": {"mood": {"enum": ["good", "bad"]}},
        "required": ["mood"],
    }
    answer = await client.chat.completions.create(
        model=smol_engine.model,
        messages=[{"role": "user", "content": "How are you?"}],
        tools=[MAIL],
        response_format={"type": "json_schema", "json_schema": {"name": "m", "schema": schema}},
        temperature=0,
        max_tokens=120,
    )
    (choice,) = answer.choices
    if choice.message.tool_calls:
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls
        assert fits(call.function.name, call.function.arguments)
    else:
        assert json.loads(choice.message.content or "")["mood"] in ("good", "bad")


async def test_a_function_that_is_not_there_is_named(client, smol_engine):
    with pytest.raises(BadRequestError) as refused:
        await client.chat.completions.create(
            model=smol_engine.model,
            messages=[{"role": "user", "content": "x"}],
            tools=[WEATHER],
            tool_choice={"type": "function", "function": {"name": "f"}},
        )
    assert refused.value.param == "tool_choice.function.name"


async def test_llama_server_alone_refuses_what_it_cannot_force(start_engine, tiny_model):
    engine = start_engine(tiny_model, "--kernel", "llama-server", "--context", "512")
    await engine.ready()
    for fields, param in (
        ({"tools": [MAIL], "tool_choice": "required"}, "tool_choice"),
        ({"reasoning_effort": "none"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"thinking": False}}, "chat_template_kwargs"),
        ({"response_format": {"type": "regex", "regex": "a"}}, "response_format.type"),
    ):
        status, told = await engine.ask("POST", "/v1/chat/completions", engine.body(**fields))
        assert (status, told["error"]["param"]) == (400, param)
