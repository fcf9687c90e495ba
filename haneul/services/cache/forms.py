"""An engine's answer in its two forms, whole and streamed, each made of the other.

Only what is understood is made: a stream with a part that is not known here makes no whole answer,
rather than one that lacks it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from haneul.services import openai
from haneul.services.ask import Ask

DONE = b"data: [DONE]\n\n"
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
_OF_DELTA = frozenset({"role", "tool_calls", *_TEXTS})
_OF_CHOICE = frozenset(
    {"index", "delta", "text", "finish_reason", "logprobs", "stop_reason", "matched_stop"}
)
_ENDS = ("stop", "tool_calls", "function_call")


def whole_of(ask: Ask, data: bytes) -> bytes | None:
    """The whole answer that a stream says; None where it says something that is not known here."""
    events = [event for event in data.replace(b"\r\n", b"\n").split(b"\n\n") if event.strip()]
    head: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    usage: Any = None
    for event in events:
        payload = _payload(event)
        if not payload or payload == b"[DONE]":
            continue
        chunk = msgspec.json.decode(payload)
        usage = chunk.pop("usage", None) or usage
        for part in chunk.pop("choices", []):
            choice = choices.setdefault(part.get("index", 0), _empty(ask, part.get("index", 0)))
            if not _add(choice, part):
                return None
        head = {**chunk, **head}
    if not choices:
        return None
    head["object"] = "chat.completion" if ask.route is openai.CHAT else "text_completion"
    told = [_told(choices[index]) for index in sorted(choices)]
    return msgspec.json.encode({**head, "choices": told, **({"usage": usage} if usage else {})})


def stream_of(ask: Ask, data: bytes) -> bytes:
    """The events of a stream that says a whole answer."""
    whole = msgspec.json.decode(data)
    usage = whole.pop("usage", None)
    choices = whole.pop("choices")
    is_chat = ask.route is openai.CHAT
    head = {**whole, "object": "chat.completion.chunk" if is_chat else "text_completion"}
    parts = [part for choice in choices for part in (_deltas if is_chat else _texts)(choice)]
    chunks = [{**head, "choices": [part]} for part in parts]
    if usage is not None:
        chunks.append({**head, "choices": [], "usage": usage})
    return b"".join(b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in chunks) + DONE


def is_whole(ask: Ask, data: bytes) -> bool:
    """Whether an answer came to its own end, not to one that was set for it here."""
    answer = msgspec.json.decode(data)
    if ask.route is openai.EMBEDDINGS:
        return bool(answer.get("data"))
    ends = _ENDS if ask.completion_max is None else (*_ENDS, "length")
    choices = answer.get("choices")
    return bool(choices) and all(choice.get("finish_reason") in ends for choice in choices)


def _payload(event: bytes) -> bytes:
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)


def _empty(ask: Ask, index: int) -> dict[str, Any]:
    if ask.route is openai.CHAT:
        return {"index": index, "message": {"role": "assistant", "content": None}, "calls": {}}
    return {"index": index, "text": ""}


def _add(choice: dict[str, Any], part: dict[str, Any]) -> bool:
    """Adds what a chunk says of a choice; whether all of it is known."""
    delta = part.get("delta") or {}
    unknown = {name for name in part if part[name] is not None} - _OF_CHOICE
    unknown |= {name for name in delta if delta[name] is not None} - _OF_DELTA
    if unknown:
        return False
    if part.get("text"):
        choice["text"] += part["text"]
    for name in _TEXTS:
        if delta.get(name) is not None:
            message = choice["message"]
            message[name] = (message.get(name) or "") + delta[name]
    for call in delta.get("tool_calls") or []:
        _add_call(choice["calls"], call)
    for name in ("finish_reason", "stop_reason", "matched_stop"):
        if part.get(name) is not None:
            choice[name] = part[name]
    if part.get("logprobs"):
        _add_scores(choice.setdefault("logprobs", {}), part["logprobs"])
    return True


def _add_call(calls: dict[int, dict[str, Any]], part: dict[str, Any]) -> None:
    call = calls.setdefault(part.get("index", 0), {"function": {"name": "", "arguments": ""}})
    function = part.get("function") or {}
    call |= {name: part[name] for name in part if name not in ("index", "function") and part[name]}
    for name in ("name", "arguments"):
        call["function"][name] += function.get(name) or ""


def _add_scores(scores: dict[str, Any], part: dict[str, Any]) -> None:
    for name, values in part.items():
        had = scores.get(name)
        scores[name] = [*had, *values] if isinstance(had, list) and values else had or values


def _told(choice: dict[str, Any]) -> dict[str, Any]:
    calls = choice.pop("calls", None)
    if calls:
        choice["message"]["tool_calls"] = [calls[index] for index in sorted(calls)]
        choice["message"]["content"] = choice["message"]["content"] or None  # as OpenAI has it
    choice.setdefault("logprobs", None)
    choice.setdefault("finish_reason", None)
    return choice


def _deltas(choice: dict[str, Any]) -> list[dict[str, Any]]:
    """A chat's choice: its role, what it says one after another, and how it ended."""
    message, index = dict(choice.get("message") or {}), choice.get("index", 0)
    role = {"role": message.pop("role", "assistant"), "content": ""}
    calls = [{"index": at, **call} for at, call in enumerate(message.pop("tool_calls", None) or [])]
    first = [name for name in ("reasoning_content", "reasoning") if message.get(name)]
    rest = [name for name in message if name not in first and message[name]]
    said: list[dict[str, Any]] = [{name: message[name]} for name in (*first, *rest)]
    said += [{"tool_calls": calls}] if calls else []
    parts = [{"index": index, "delta": delta, "finish_reason": None} for delta in (role, *said)]
    if choice.get("logprobs"):
        parts[-1 if len(parts) > 1 else 0]["logprobs"] = choice["logprobs"]
    end = {name: value for name, value in choice.items() if name not in ("message", "logprobs")}
    return [*parts, {**end, "delta": {}}]


def _texts(choice: dict[str, Any]) -> list[dict[str, Any]]:
    """A continued text: what it says, and how it ended."""
    said = {**choice, "finish_reason": None}
    return [said, {**choice, "text": "", "logprobs": None}]
