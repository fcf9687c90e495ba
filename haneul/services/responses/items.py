"""The items of a conversation: as clients send them, as they are kept, and as a chat's messages.

An item is kept in the one form that the API gives it back in: with an id, its content a list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from haneul.base.errors import BadRequest, UnknownField, UnsupportedValue
from haneul.base.ids import new_id

Item = dict[str, Any]
ITEMS_MAX = 10_000
ID_MAX = 64
PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}
WORDS = ("input_text", "output_text")


def read_items(value: str | list[Item]) -> list[Item]:
    """The items of an input, a text being a user's message. Raises BadRequest."""
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if not 0 < len(value) <= ITEMS_MAX:
        raise BadRequest(f"'input' has 1 to {ITEMS_MAX} items.", param="input")
    return [_item(item, f"input[{at}]") for at, item in enumerate(value)]


def _item(item: Item, where: str) -> Item:
    kind = item.get("type", "message" if "role" in item else None)
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None or not isinstance(kind, str):
        shown = kind[:64] if isinstance(kind, str) else "…"
        message = f"Items of type '{shown}' are not supported here."
        raise UnsupportedValue(message, param=f"{where}.type")
    item_id = item.get("id")
    if not isinstance(item_id, str | None) or len(item_id or "") > ID_MAX:
        raise BadRequest(f"An id is a text of {ID_MAX} characters at most.", param=f"{where}.id")
    status = item.get("status")
    if status not in (None, "in_progress", "completed", "incomplete"):
        raise BadRequest("There is no such status.", param=f"{where}.status")
    read = reader(item, where)
    head = {"id": item_id or new_id(PREFIXES[kind]), "type": kind}
    return {**head, "status": status or "completed", **read}


def _only(item: Item, known: set[str], where: str) -> None:
    """Refuses what is said beyond the known; null and [] say nothing."""
    for name, value in item.items():
        if name not in known and value is not None and value != []:
            place = f"{where}.{name[:64]}"
            raise UnknownField(f"'{place}' is not honoured here.", param=place)


def _text(item: Item, name: str, where: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise BadRequest("Must be a text.", param=f"{where}.{name}")
    return value


def _message(item: Item, where: str) -> Item:
    # An assistant's phase is a label for whoever shows the messages.
    _only(item, {"id", "type", "status", "role", "content", "phase"}, where)
    role = item.get("role")
    if role not in ("user", "system", "developer", "assistant"):
        raise BadRequest("There is no such role.", param=f"{where}.role")
    content = item.get("content")
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    return {"role": role, "content": _parts(content, role == "assistant", f"{where}.content")}


def _parts(content: Any, is_assistant: bool, where: str) -> list[Item]:
    if not isinstance(content, list):
        raise BadRequest("Must be a text or a list of parts.", param=where)
    return [_part(part, is_assistant, f"{where}[{at}]") for at, part in enumerate(content)]


def _part(part: Any, is_assistant: bool, where: str) -> Item:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in WORDS:
        # What was once said beside a text, citations and scores, is no part of a prompt.
        _only(part, {"type", "text", "annotations", "logprobs"}, where)
        text = _text(part, "text", where)
        if is_assistant:
            return {"type": "output_text", "text": text, "annotations": []}
        return {"type": "input_text", "text": text}
    if kind == "refusal" and is_assistant:
        _only(part, {"type", "refusal"}, where)
        return {"type": "refusal", "refusal": _text(part, "refusal", where)}
    if kind == "input_image" and not is_assistant:
        _only(part, {"type", "image_url", "detail"}, where)
        if part.get("detail") not in (None, "auto", "low", "high"):
            raise UnsupportedValue("There is no such detail here.", param=f"{where}.detail")
        url = _text(part, "image_url", where)
        return {"type": kind, "image_url": url, "detail": part.get("detail") or "auto"}
    shown = kind[:64] if isinstance(kind, str) else "…"
    message = f"Content of type '{shown}' is not supported here."
    raise UnsupportedValue(message, param=f"{where}.type")


def _call(item: Item, where: str) -> Item:
    _only(item, {"id", "type", "status", "call_id", "name", "arguments"}, where)
    return {name: _text(item, name, where) for name in ("call_id", "name", "arguments")}


def _output(item: Item, where: str) -> Item:
    _only(item, {"id", "type", "status", "call_id", "output"}, where)
    output = item.get("output")
    if not isinstance(output, str):
        output = _parts(output, False, f"{where}.output")
        if any(part["type"] != "input_text" for part in output):
            message = "What a function gave back is text here."
            raise UnsupportedValue(message, param=f"{where}.output")
    return {"call_id": _text(item, "call_id", where), "output": output}


def _reasoning(item: Item, where: str) -> Item:
    _only(item, {"id", "type", "status", "summary", "content"}, where)
    read: dict[str, list[Item]] = {}
    for name, kind in (("summary", "summary_text"), ("content", "reasoning_text")):
        read[name] = []
        parts = item.get(name)
        if not isinstance(parts, list | None):
            raise BadRequest("Must be a list.", param=f"{where}.{name}")
        for at, part in enumerate(parts or []):
            place = f"{where}.{name}[{at}]"
            if not isinstance(part, dict) or part.get("type") != kind:
                raise UnsupportedValue(f"Must be of type '{kind}'.", param=f"{place}.type")
            _only(part, {"type", "text"}, place)
            read[name].append({"type": kind, "text": _text(part, "text", place)})
    return dict(read)


_READERS: dict[str, Callable[[Item, str], Item]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _output,
    "reasoning": _reasoning,
}


def messages(items: list[Item]) -> list[Item]:
    """The same as a chat's messages: thoughts, words and calls of one turn are one message."""
    told: list[Item] = []
    for item in items:
        if item["type"] == "reasoning":
            texts = [part["text"] for part in item["content"] or item["summary"]]
            _turn(told, "reasoning_content")["reasoning_content"] = "".join(texts)
        elif item["type"] == "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "type": "function", "function": function}
            _turn(told, None).setdefault("tool_calls", []).append(call)
        elif item["type"] == "function_call_output":
            content = _joined(item["output"])
            told.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})
        elif item["role"] == "assistant":
            _turn(told, "content")["content"] = "".join(_words(part) for part in item["content"])
        else:
            told.append({"role": item["role"], "content": _content(item["content"])})
    return [_whole(message) for message in told]


def _turn(told: list[Item], adds: str | None) -> Item:
    """The assistant's message that goes on, or a new one where it has what is added, or more."""
    order = ("reasoning_content", "content", "tool_calls")
    later = order[order.index(adds) :] if adds else ()
    last = told[-1] if told else {}
    if last.get("role") != "assistant" or any(name in last for name in later):
        told.append({"role": "assistant"})
    return told[-1]


def _whole(message: Item) -> Item:
    if message["role"] == "assistant" and not message.get("tool_calls"):
        return {**message, "content": message.get("content") or ""}
    return message


def _joined(output: str | list[Item]) -> str:
    return output if isinstance(output, str) else "".join(part["text"] for part in output)


def _words(part: Item) -> str:
    return str(part["refusal"] if part["type"] == "refusal" else part["text"])


def _content(parts: list[Item]) -> str | list[Item]:
    if len(parts) == 1 and parts[0]["type"] == "input_text":
        return str(parts[0]["text"])
    return [_chat_part(part) for part in parts]


def _chat_part(part: Item) -> Item:
    if part["type"] == "input_text":
        return {"type": "text", "text": part["text"]}
    image = {"url": part["image_url"], "detail": part["detail"]}
    return {"type": "image_url", "image_url": image}
