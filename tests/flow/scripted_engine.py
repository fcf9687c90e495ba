"""An engine that does what it is asked for by rules: calls tools, fills schemas, stops at words.

For clients whose own tests want more of a model than a tiny one can do. It knows no more than the
OpenAI protocol: everything it says is made from the request that came through the gateway.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

WORDS = ["Under", "a", "wide", "blue", "sky", "small", "boats", "wait", "for", "wind"]
NUMBER = 3
WIDTH = 8


@asynccontextmanager
async def scripted_engine() -> AsyncIterator[str]:
    """Its address, up to where /v1 begins, until the block is left."""
    app = web.Application(client_max_size=32 << 20)
    app.router.add_post("/v1/chat/completions", _chat)
    app.router.add_post("/v1/completions", _complete)
    app.router.add_post("/v1/embeddings", _embed)
    app.router.add_post("/v1/rerank", _rank)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def _chat(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    message, reason = _answer(asked)
    prompt = len(json.dumps(asked["messages"]).split())
    answer = len(message["content"].split()) + 5 * len(message.get("tool_calls", ()))
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": max(1, answer),
        "total_tokens": prompt + max(1, answer),
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    head = {"id": "chatcmpl-1", "created": 1, "model": asked["model"]}
    if not asked.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": reason}
        told = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
        return web.json_response(told)
    reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await reply.prepare(request)
    head["object"] = "chat.completion.chunk"
    for delta in _deltas(message):
        await _event(reply, {**head, "choices": [{"index": 0, "delta": delta}]})
    end = {"index": 0, "delta": {}, "finish_reason": reason}
    await _event(reply, {**head, "choices": [end]})
    await _event(reply, {**head, "choices": [], "usage": usage})
    await reply.write(b"data: [DONE]\n\n")
    return reply


def _answer(asked: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What is said, and why it ended: a call where one is asked for, else words or JSON."""
    tools = dict(filter(None, map(_tool, asked.get("tools") or ())))
    choice = asked.get("tool_choice")
    has_result = asked["messages"][-1]["role"] == "tool"
    if tools and choice != "none" and not has_result:
        is_named = isinstance(choice, dict) and choice["function"]["name"] in tools
        named = choice["function"]["name"] if is_named else next(iter(tools))
        given = _filled(tools[named].get("parameters") or {}, asked["messages"])
        function = {"name": named, "arguments": json.dumps(given, ensure_ascii=False)}
        call = {"id": "call_1", "type": "function", "function": function}
        return {"role": "assistant", "content": "", "tool_calls": [call]}, "tool_calls"
    wanted = asked.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema = wanted.get("json_schema", {}).get("schema") or {}
        text = json.dumps(_filled(schema, asked["messages"]))
    elif wanted.get("type") == "json_object":
        text = json.dumps({"setup": "Why is the sky blue?", "punchline": "It is honest."})
    else:
        text = " ".join(
            WORDS[: int(asked.get("max_completion_tokens") or asked.get("max_tokens") or 9)]
        )
    reason = "stop"
    for stop in [asked["stop"]] if isinstance(asked.get("stop"), str) else asked.get("stop") or ():
        text = text.partition(stop)[0]
    return {"role": "assistant", "content": text}, reason


def _tool(tool: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """A function by its name; None for what is no function."""
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return (name, function) if isinstance(name, str) else None


def _filled(schema: Any, messages: list[dict[str, Any]]) -> Any:
    """The same of any schema; {} where it is not understood."""
    try:
        return fill(schema, messages)
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return {}


def fill(schema: dict[str, Any], messages: list[dict[str, Any]]) -> Any:
    """A value of the schema: numbers are 3, texts are quoted from what was asked."""
    top = schema

    def value(one: dict[str, Any]) -> Any:
        if "$ref" in one:
            path = one["$ref"].removeprefix("#/").split("/")
            found: Any = top
            for name in path:
                found = found[name]
            return value(found)
        if "anyOf" in one:
            return value(one["anyOf"][0])
        if "enum" in one:
            return one["enum"][0]
        kind = one.get("type", "string" if "properties" not in one else "object")
        if kind == "object":
            return {name: value(each) for name, each in one.get("properties", {}).items()}
        if kind == "array":
            return [value(one.get("items", {}))]
        return {"integer": NUMBER, "number": NUMBER, "boolean": True, "null": None}.get(
            kind, _quoted(messages)
        )

    return value(schema)


def _quoted(messages: list[dict[str, Any]]) -> str:
    """What stands between quotation marks in the last question, else all of it."""
    content = next((each["content"] for each in messages[::-1] if each["role"] == "user"), "")
    content = content or ""
    if isinstance(content, list):
        content = " ".join(part.get("text", "") for part in content)
    parts = content.split("'")
    return parts[1] if len(parts) > 2 else content.split(" in ")[-1].strip(" ?.") or "text"


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message a piece at a time, as engines send it."""
    pieces: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    words = message["content"].split(" ")
    pieces += [
        {"content": word if at == 0 else f" {word}"} for at, word in enumerate(words) if word
    ]
    for at, call in enumerate(message.get("tool_calls", ())):
        name, text = call["function"]["name"], call["function"]["arguments"]
        first = {"index": at, "id": call["id"], "type": "function"}
        pieces.append({"tool_calls": [{**first, "function": {"name": name, "arguments": ""}}]})
        for half in (text[: len(text) // 2], text[len(text) // 2 :]):
            pieces.append({"tool_calls": [{"index": at, "function": {"arguments": half}}]})
    return pieces


async def _complete(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    text = " ".join(WORDS[: int(asked.get("max_tokens") or 9)])
    usage = {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    choice = {"index": 0, "text": text, "finish_reason": "stop"}
    told = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": asked["model"]}
    if not asked.get("stream"):
        return web.json_response({**told, "choices": [choice], "usage": usage})
    reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await reply.prepare(request)
    await _event(reply, {**told, "choices": [choice]})
    await _event(reply, {**told, "choices": [], "usage": usage})
    await reply.write(b"data: [DONE]\n\n")
    return reply


async def _rank(request: web.Request) -> web.Response:
    """The longest first."""
    asked = await request.json()
    sizes = [len(json.dumps(document)) for document in asked["documents"]]
    order = sorted(range(len(sizes)), key=lambda at: -sizes[at])[
        : int(asked.get("top_n") or len(sizes))
    ]
    results = [{"index": at, "relevance_score": float(sizes[at])} for at in order]
    return web.json_response({"results": results, "usage": {"total_tokens": sum(sizes)}})


async def _embed(request: web.Request) -> web.Response:
    """Vectors that tell texts apart, by their letters."""
    asked = await request.json()
    texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
    data = [
        {"object": "embedding", "index": at, "embedding": _vector(text)}
        for at, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return web.json_response({"object": "list", "data": data, "usage": usage})


def _vector(text: Any) -> list[float]:
    counts = [1.0] * WIDTH
    for number in json.dumps(text).encode():
        counts[number % WIDTH] += 1.0
    return counts


async def _event(reply: web.StreamResponse, value: dict[str, Any]) -> None:
    await reply.write(b"data: " + json.dumps(value).encode() + b"\n\n")
