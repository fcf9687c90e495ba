"""What was asked and answered, as the conventions write it: only where it is switched on."""

from __future__ import annotations

from typing import Any

import msgspec

from haneul.base.errors import HaneulError
from haneul.services import answer
from haneul.services.telemetry.watch import Story

SWITCH = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
ON = frozenset({"true", "span_only", "span_and_event"})
KEPT_MAX_BYTES = 256 << 10  # of a prompt or of an answer; a larger one is not told at all


def inputs(story: Story) -> str | None:
    """The messages of a chat as JSON; None where there are none, or too much."""
    raw = None if story.ask is None else story.ask.body.fields.get("messages")
    if raw is None or len(bytes(raw)) > KEPT_MAX_BYTES:
        return None
    messages = msgspec.json.decode(bytes(raw), type=list[dict[str, Any]])
    return _text([{"role": each.get("role"), "parts": _parts(each)} for each in messages])


def outputs(story: Story) -> str | None:
    """What the engine answered as JSON; None where nothing came, or too much."""
    if not story.answer or len(story.answer) > KEPT_MAX_BYTES:
        return None
    text, calls, reason = "", 0, None
    for data in _events(bytes(story.answer)):
        try:
            choice = answer.read(data).choice
        except HaneulError:
            continue
        text += choice.said.content or ""
        calls += len(choice.said.tool_calls or ())
        reason = choice.finish_reason or reason
    parts = [{"type": "text", "content": text}] if text or not calls else []
    return _text([{"role": "assistant", "parts": parts, "finish_reason": reason}])


def _events(data: bytes) -> list[bytes]:
    """The JSON documents in an answer, whole or streamed."""
    if data.lstrip().startswith(b"{"):
        return [data]
    lines = (line.strip() for line in data.split(b"\n"))
    return [line[5:].strip() for line in lines if line.startswith(b"data:") and b"{" in line]


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    parts = [part for part in content or [] if isinstance(part, dict)]
    return [
        {"type": "text", "content": part["text"]} if "text" in part else {"type": part.get("type")}
        for part in parts
    ]


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
