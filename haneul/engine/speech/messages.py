"""A request's messages in the form that a template knows: what Hugging Face's users pass to it.

Templates differ in what they bear: arguments of a call as an object or as JSON text, a call beside
no content, system messages at all. A Dialect says it; template.py finds it out by trying.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from haneul.base.wire import ChatRequest, ContentPart, Message

SHORT_ID_CHARS = 9
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")

# For templates that do not show tools. The words are those that Qwen and Hermes models learn from;
# the example is of the format in which the model calls.
_TOOLS_TOLD = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return the function name and a json object of arguments like this:
{example}"""


class Dialect(Struct, frozen=True, kw_only=True):
    """What one template bears and knows."""

    has_system: bool = True  # takes system messages
    wants_parts: bool = False  # takes content as a list of parts only
    wants_tool_list: bool = False  # takes an empty list for no tools, not null
    wants_descriptions: bool = False  # takes tools with a description only
    shows_tools: bool = False  # by itself; else they are told in a system message
    writes_calls: bool = False  # and results, by itself; else they are told as text
    takes_objects: bool = True  # arguments of calls as objects; else as JSON text
    takes_null: bool = True  # a call may stand beside the content null
    has_short_ids: bool = False  # wants ids of calls of nine letters and digits
    has_named_ids: bool = False  # writes ids as the models do: functions.NAME:NUMBER
    has_thinking_field: bool = False  # reads old thoughts from "thinking", not "reasoning_content"


def offered_tools(request: ChatRequest) -> list[dict[str, Any]]:
    """The tools that the model is told of: none when it may not call any."""
    return [] if request.tool_choice == "none" else request.tools or []


def plain_tools(request: ChatRequest, dialect: Dialect) -> list[dict[str, Any]] | None:
    """The tools that the template shows; None or empty when there are none."""
    tools = offered_tools(request) if dialect.shows_tools else []
    if dialect.wants_descriptions:
        tools = [_described(tool) for tool in tools]
    return tools if tools or dialect.wants_tool_list else None


def plain_messages(request: ChatRequest, dialect: Dialect, *, call: str) -> list[dict[str, Any]]:
    """The messages as dictionaries, as the dialect has it. `call`: what a call looks like."""
    ids = _ids(request, dialect)
    listed = [_plain(message, dialect, ids) for message in request.messages]
    if not dialect.writes_calls:
        listed = _without_tool_roles(listed)
    tools = offered_tools(request)
    if tools and not dialect.shows_tools:
        signatures = "\n".join(msgspec.json.encode(tool).decode() for tool in tools)
        listed = _with_system(listed, _TOOLS_TOLD.format(tools=signatures, example=call))
    if not dialect.has_system:
        listed = _without_system(listed)
    return as_parts(listed) if dialect.wants_parts else listed


def as_parts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with their texts as lists of one part."""
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message["content"], str)
        else message
        for message in messages
    ]


def text_of(content: str | list[ContentPart] | None) -> str | None:
    """Parts of text become one text, a line each."""
    if isinstance(content, list):
        return "\n".join(part.text or "" for part in content)
    return content


def _ids(request: ChatRequest, dialect: Dialect) -> dict[str, str]:
    """What the template is told for each id of a call: the same for the call and its result."""
    calls = [call for message in request.messages for call in message.tool_calls or []]
    given = [call.get("id") or "" for call in calls]
    given += [message.tool_call_id for message in request.messages if message.tool_call_id]
    if dialect.has_short_ids:
        return {one: one if _SHORT_ID.fullmatch(one) else _short(one) for one in given}
    if not dialect.has_named_ids:
        return {}
    return {
        call.get("id") or "": f"functions.{call['function']['name']}:{number}"
        for number, call in enumerate(calls)
    }


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:SHORT_ID_CHARS]


def _plain(message: Message, dialect: Dialect, ids: Mapping[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": text_of(message.content),
    }
    if message.role == "assistant":
        said |= _assistant(message, dialect, ids)
    if message.tool_call_id is not None:
        said["tool_call_id"] = ids.get(message.tool_call_id, message.tool_call_id)
    if message.name is not None:
        said["name"] = message.name
    if said["content"] is None and not (dialect.takes_null and message.tool_calls):
        said["content"] = ""
    return said


def _assistant(message: Message, dialect: Dialect, ids: Mapping[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if message.reasoning_content:
        name = "thinking" if dialect.has_thinking_field else "reasoning_content"
        said[name] = message.reasoning_content
    if message.tool_calls:
        said["tool_calls"] = [_call(call, dialect, ids) for call in message.tool_calls]
    return said


def _call(call: dict[str, Any], dialect: Dialect, ids: Mapping[str, str]) -> dict[str, Any]:
    function, given = call["function"], call.get("id") or ""
    arguments: Any = function.get("arguments") or "{}"
    if dialect.takes_objects:
        try:
            arguments = msgspec.json.decode(arguments)
        except msgspec.DecodeError:  # a model wrote it: shown as it stands
            pass
    return {
        "id": ids.get(given, given),
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def _described(tool: dict[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {"description": "", **tool["function"]}}


def _without_tool_roles(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calls and results as text, for a template that knows neither."""
    kept: list[dict[str, Any]] = []
    was_result = False
    for message in messages:
        is_result = message["role"] == "tool"
        if is_result:
            text = f"<tool_response>\n{message['content']}\n</tool_response>"
            if was_result:
                kept[-1]["content"] += f"\n{text}"
            else:
                kept.append({"role": "user", "content": text})
        elif calls := message.pop("tool_calls", None):
            texts = [message["content"]] if message["content"] else []
            texts += [f"<tool_call>\n{_shown(call)}\n</tool_call>" for call in calls]
            kept.append({**message, "content": "\n".join(texts)})
        else:
            kept.append(message)
        was_result = is_result
    return kept


def _shown(call: dict[str, Any]) -> str:
    function = call["function"]
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    name = msgspec.json.encode(function["name"]).decode()
    return f'{{"name": {name}, "arguments": {arguments}}}'


def _with_system(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The text after what the first system message says, or as one."""
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": text}, *messages]
    first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
    return [first, *messages[1:]]


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What system messages say, before the words of the next user."""
    kept: list[dict[str, Any]] = []
    told: list[str] = []
    for message in messages:
        if message["role"] == "system":
            told.append(message["content"])
        elif told and message["role"] == "user":
            kept.append({**message, "content": "\n\n".join([*told, message["content"]])})
            told = []
        else:
            kept.append(message)
    return [*kept, {"role": "user", "content": "\n\n".join(told)}] if told else kept
