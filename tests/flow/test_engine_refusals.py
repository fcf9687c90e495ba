"""Whatever is not honoured is refused by name, and nothing of the machine shows."""

from __future__ import annotations

import json

import pytest

CHAT = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}

BAD_FIELDS = [
    ({"store": True}, "store"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
    ({"reasoning_effort": "low"}, "reasoning_effort"),
    ({"verbosity": "low"}, "verbosity"),
    ({"service_tier": "priority"}, "service_tier"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"grammar": "root ::= ."}, "grammar"),
    ({"chat_template": "{{ x }}"}, "chat_template"),
    ({"n_predict": 3}, "n_predict"),
    ({"mirostat": 2}, "mirostat"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
    ({"n": 0}, "n"),
    ({"n": 10**9}, "n"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": 7}, "temperature"),
    ({"top_p": 7}, "top_p"),
    ({"seed": "x"}, "seed"),
    ({"stop": {}}, "stop"),
    ({"stop": [""]}, "stop[0]"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 10**6}, "top_logprobs"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"99999": 1}}, "logit_bias"),
    ({"logit_bias": {"5": 101}}, "logit_bias[...]"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"x": True}}, "stream_options"),
    (
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        "stream_options.include_obfuscation",
    ),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": "always", "tools": [TOOL]}, "tool_choice"),
    ({"tool_choice": {"type": "allowed_tools"}, "tools": [TOOL]}, "tool_choice.type"),
    (
        {"tool_choice": {"type": "function", "function": {"name": "g"}}, "tools": [TOOL]},
        "tool_choice.function.name",
    ),
    ({"chat_template_kwargs": {"x": 1}}, "chat_template_kwargs.x"),
    ({"chat_template_kwargs": {"thinking": 1}}, "chat_template_kwargs.thinking"),
    ({"add_generation_prompt": False}, "add_generation_prompt"),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"response_format": {"type": "regex"}}, "response_format.regex"),
    ({"response_format": {"type": "regex", "regex": "a|^b"}}, "response_format.regex"),
    ({"response_format": {"type": "regex", "regex": "(a"}}, "response_format.regex"),
    ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"parallel_tool_calls": True}, "parallel_tool_calls"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": "x", "x": 1}]}, "messages[0].x"),
    ({"messages": [{"role": "function", "content": "x", "name": "f"}]}, "messages[0].role"),
]


@pytest.mark.parametrize(
    ("fields", "param"), BAD_FIELDS, ids=[json.dumps(f) for f, _ in BAD_FIELDS]
)
async def test_a_chat_field_that_is_not_honoured_is_named(engine, fields, param):
    status, told = await engine.ask("POST", CHAT, {**engine.body(), **fields})
    assert status == 400, told
    assert told["error"]["param"] == param
    assert told["error"]["type"] == "invalid_request_error"


BAD_SCHEMAS = [
    ({"type": "string", "pattern": "^((a{0,500}){0,500}){0,500}$"}, "pattern"),
    ({"type": "string", "pattern": "^((a|b)?(c|d)?){0,100}$"}, "pattern"),
    ({"type": "string", "pattern": "free"}, "pattern"),
    ({"type": "string", "pattern": "^(?=a)a$"}, "pattern"),
    ({"type": "string", "pattern": "^(a$"}, "pattern"),
    ({"type": "string", "format": "email"}, "format"),
    ({"type": "string", "maxLength": 10**9}, "maxLength"),
    ({"type": "number", "minimum": 3}, "minimum"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"not": {"type": "string"}}, "not"),
]


@pytest.mark.parametrize(
    ("schema", "keyword"), BAD_SCHEMAS, ids=[json.dumps(s) for s, _ in BAD_SCHEMAS]
)
async def test_a_schema_that_cannot_be_enforced_is_refused_at_its_keyword(engine, schema, keyword):
    described = {"name": "a", "schema": {"type": "object", "properties": {"x": schema}}}
    wanted = {"type": "json_schema", "json_schema": described}
    status, told = await engine.ask("POST", CHAT, engine.body(response_format=wanted))
    assert status == 400
    where = f"response_format.json_schema.schema.properties.x.{keyword}"
    assert told["error"]["param"] == where


@pytest.mark.parametrize("schema", [{"type": "blob"}, {"$ref": "#/definitions/x"}, {"$ref": "#"}])
async def test_a_schema_the_kernel_refuses_is_a_bad_request(engine, schema):
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    status, told = await engine.ask("POST", CHAT, engine.body(response_format=wanted))
    assert (status, told["error"]["type"]) == (400, "invalid_request_error")


BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff\xfe",
    b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
    b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
    b'{"model":"m","messages":[{"role":"user","content":"x"}],"n":11111111111111111111111}',
    b'{"model":"m","messages":' + b"[" * 100_000,
    b'{"model":"m","messages":[{"role":"user","content":"x"}],"metadata":'
    + b'{"a":' * 20_000
    + b"1"
    + b"}" * 20_001,
]


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings", "/tokenize"])
@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_a_broken_body_is_a_bad_request(engine, path, body):
    status, told = await engine.ask("POST", path, body)
    assert status == 400 or (status == 200 and b'"metadata"' in body)
    if status == 400:
        assert told["error"]["type"] == "invalid_request_error"
        assert not any(word in told["error"]["message"] for word in ("Traceback", "File", "/"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": 1, "echo": True}, "echo"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [999_999]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [[1], "a", None]}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": ["a"] * 100, "n": 2}, "n"),
    ],
)
async def test_a_completion_field_that_is_not_honoured_is_named(engine, fields, param):
    body = {"model": engine.model, "prompt": "x", **fields}
    status, told = await engine.ask("POST", "/v1/completions", body)
    assert (status, told["error"]["param"]) == (400, param)


async def test_another_model_is_not_found(engine):
    status, told = await engine.ask("POST", CHAT, {**engine.body(), "model": "../../etc/passwd"})
    assert (status, told["error"]["code"]) == (404, "model_not_found")


async def test_the_stem_of_the_file_is_a_name_too(engine):
    status, told = await engine.ask("POST", CHAT, {**engine.body(max_tokens=1), "model": "tiny"})
    assert (status, told["model"]) == (200, engine.model)


async def test_other_addresses_and_methods_are_refused(engine):
    assert (await engine.ask("GET", "/nothing"))[0] == 404
    assert (await engine.ask("GET", CHAT))[0] == 405
    assert (await engine.ask("POST", "/health", {}))[0] == 405


async def test_a_token_outside_the_vocabulary_cannot_be_shown(engine):
    status, told = await engine.ask("POST", "/detokenize", {"tokens": [999_999]})
    assert (status, told["error"]["param"]) == (400, "tokens")


async def test_special_words_and_templates_in_a_text_do_no_harm(engine):
    for text in ("{{ 7*7 }}{% for x in y %}", "<|im_end|>", "\x00", "word " * 100):
        await engine.chat(text, max_tokens=1)


async def test_a_text_beyond_any_vocabulary_is_refused_without_cutting_it_into_tokens(engine):
    text = " " * (2048 * 256 + 1)
    for path, body, param in (
        (CHAT, engine.body(text), "messages"),
        ("/v1/completions", {"model": engine.model, "prompt": text}, "prompt"),
        ("/v1/embeddings", {"model": engine.model, "input": [text]}, "input"),
    ):
        status, told = await engine.ask("POST", path, body)
        assert (status, told["error"]["code"]) == (400, "context_length_exceeded")
        assert told["error"]["param"] == param
