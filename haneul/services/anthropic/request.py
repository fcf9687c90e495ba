"""A Messages request as the neutral one.

Where the two protocols part:
- A user's turn may hold tool results and words; the neutral form has a message of its own for each
  result, in the same order. A result that is an error says so in its first word: "Error: …".
- An assistant's thinking goes back as `reasoning_content`; it is signed by nobody.
- A last turn of the assistant asks to be continued, which the neutral form cannot say: refused.
- `thinking.budget_tokens` is kept by the engines that take a bound of thoughts; at others an
  answer, thoughts included, is bounded by `max_tokens`. `adaptive` leaves it to the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from haneul.base.errors import BadRequest, UnsupportedValue
from haneul.services import openai, strict
from haneul.services.anthropic.wire import (
    Adaptive,
    AnyBlock,
    AnyChoice,
    AutoChoice,
    Base64Source,
    Disabled,
    Enabled,
    ImageBlock,
    Message,
    NoChoice,
    Prompting,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
    count_decoder,
    encoded,
    messages_decoder,
)
from haneul.services.ask import Ask

ROUTE = "messages"
_OF_ROLE: dict[str, tuple[type[Any], ...]] = {
    "user": (TextBlock, ImageBlock, ToolResultBlock),
    "assistant": (TextBlock, ThinkingBlock, ToolUseBlock),
    "system": (TextBlock,),
}


class Client(Struct, frozen=True):
    """What the answer must know of the request."""

    model: str  # as it was asked for, unless another answers
    hides_thinking: bool  # thinking.display "omitted"

    def answered_by(self, model: str) -> Client:
        """As the answer says it where another model gave it."""
        return msgspec.structs.replace(self, model=model)


def read(data: bytes) -> Ask:
    """What a message asks for. Raises BadRequest that names the field."""
    request = strict.read(data, messages_decoder)
    thinking = request.thinking
    if isinstance(thinking, Enabled) and thinking.budget_tokens >= request.max_tokens:
        raise BadRequest(
            "'thinking.budget_tokens' must be less than 'max_tokens'.",
            param="thinking.budget_tokens",
        )
    body = {
        **prompting(request),
        "max_completion_tokens": request.max_tokens,
        "stream": request.stream,
        "stop": request.stop_sequences or None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "user": request.metadata.user_id if request.metadata else None,
    }
    ask = openai.read(openai.CHAT, _encode(body))
    hides = isinstance(thinking, Enabled | Adaptive) and thinking.display == "omitted"
    most = thinking.budget_tokens if isinstance(thinking, Enabled) else None
    client = Client(request.model, hides)
    return msgspec.structs.replace(ask, name=ROUTE, client=client, thinking_max=most)


def read_count(data: bytes) -> tuple[str, bytes]:
    """The model, and the neutral request whose prompt is to be counted. Raises BadRequest."""
    request = strict.read(data, count_decoder)
    return request.model, _encode(prompting(request))


def prompting(request: Prompting) -> dict[str, Any]:
    """The fields that make the prompt, and the form of the answer."""
    return {
        "model": request.model,
        "messages": [*_system(request), *_messages(request.messages)],
        "tools": [_tool(tool, at) for at, tool in enumerate(request.tools or [])] or None,
        **_tool_choice(request),
        **_thinking(request),
        **_output(request),
    }


def _encode(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})


def _system(request: Prompting) -> list[dict[str, Any]]:
    if not request.system:
        return []
    return [{"role": "system", "content": _text(request.system)}]


def _text(content: str | list[TextBlock]) -> str:
    """Blocks of text as one text: a paragraph each."""
    if isinstance(content, str):
        return content
    return "\n\n".join(block.text for block in content)


def _messages(messages: list[Message]) -> list[dict[str, Any]]:
    if messages[-1].role == "assistant":
        where = f"messages[{len(messages) - 1}]"
        raise UnsupportedValue(
            "A last message of the assistant cannot be continued here; end with the user's.",
            param=where,
        )
    said: list[dict[str, Any]] = []
    for at, message in enumerate(messages):
        said += _message(message, f"messages[{at}]")
    return said


def _message(message: Message, where: str) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    if not message.content:
        raise BadRequest("A message needs content.", param=f"{where}.content")
    for at, block in enumerate(message.content):
        if not isinstance(block, _OF_ROLE[message.role]):
            kind = type(block).__struct_config__.tag
            raise UnsupportedValue(
                f"A block of type '{kind}' is not said by '{message.role}'.",
                param=f"{where}.content[{at}].type",
            )
    return _TURNS[message.role](message.content)


def _system_turn(blocks: list[AnyBlock]) -> list[dict[str, Any]]:
    texts = [block for block in blocks if isinstance(block, TextBlock)]
    return [{"role": "system", "content": _text(texts)}]


def _user_turn(blocks: list[AnyBlock]) -> list[dict[str, Any]]:
    """Results and words in their order; words that follow each other stay one message."""
    said: list[dict[str, Any]] = []
    parts: list[TextBlock | ImageBlock] = []
    for block in blocks:
        if isinstance(block, ToolResultBlock):
            said += _words(parts)
            said.append(_result(block))
            parts = []
        elif isinstance(block, TextBlock | ImageBlock):
            parts.append(block)
    return said + _words(parts)


def _words(parts: list[TextBlock | ImageBlock]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": _content(parts)}] if parts else []


def _result(block: ToolResultBlock) -> dict[str, Any]:
    content: str | list[dict[str, Any]]
    if block.content is None or isinstance(block.content, str):
        content = block.content or ""
    else:
        content = _content(block.content)
    if block.is_error:
        content = _as_error(content)
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}


def _as_error(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """The neutral form has no mark for a failed call: the words have to say it."""
    if isinstance(content, str):
        return f"Error: {content}" if content else "Error"
    return [{"type": "text", "text": "Error:"}, *content]


def _content(parts: list[TextBlock | ImageBlock]) -> str | list[dict[str, Any]]:
    """One text as itself, anything else as parts."""
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], TextBlock):
        return parts[0].text
    return [_part(part) for part in parts]


def _part(part: TextBlock | ImageBlock) -> dict[str, Any]:
    if isinstance(part, TextBlock):
        return {"type": "text", "text": part.text}
    source = part.source
    if isinstance(source, Base64Source):
        url = f"data:{source.media_type};base64,{source.data}"
    else:
        url = source.url
    return {"type": "image_url", "image_url": {"url": url}}


def _assistant_turn(blocks: list[AnyBlock]) -> list[dict[str, Any]]:
    texts = [block.text for block in blocks if isinstance(block, TextBlock)]
    thoughts = [block.thinking for block in blocks if isinstance(block, ThinkingBlock)]
    calls = [_call(block) for block in blocks if isinstance(block, ToolUseBlock)]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = calls
    return [message]


def _call(block: ToolUseBlock) -> dict[str, Any]:
    function = {"name": block.name, "arguments": encoded(block.input)}
    return {"id": block.id, "type": "function", "function": function}


_TURNS: dict[str, Callable[[list[AnyBlock]], list[dict[str, Any]]]] = {
    "user": _user_turn,
    "assistant": _assistant_turn,
    "system": _system_turn,
}


def _tool(tool: Tool, at: int) -> dict[str, Any]:
    if tool.defer_loading:
        where = f"tools[{at}].defer_loading"
        raise UnsupportedValue("Every tool is shown from the start here.", param=where)
    if tool.eager_input_streaming is False:
        where = f"tools[{at}].eager_input_streaming"
        raise UnsupportedValue("A tool's input is streamed as it is made here.", param=where)
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.input_schema,
        "strict": tool.strict,
    }
    kept = {name: value for name, value in function.items() if value is not None}
    return {"type": "function", "function": kept}


def _tool_choice(request: Prompting) -> dict[str, Any]:
    choice = request.tool_choice
    if choice is None:
        return {}
    if not request.tools:
        raise BadRequest("'tool_choice' needs 'tools'.", param="tool_choice")
    if isinstance(choice, NoChoice):
        return {"tool_choice": "none"}
    said: dict[str, Any] = {"tool_choice": _chosen(choice)}
    if choice.disable_parallel_tool_use is not None:
        said["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    return said


def _chosen(choice: AutoChoice | AnyChoice | ToolChoice) -> str | dict[str, Any]:
    if isinstance(choice, ToolChoice):
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if isinstance(choice, AnyChoice) else "auto"


def _thinking(request: Prompting) -> dict[str, Any]:
    if isinstance(request.thinking, Enabled | Disabled):
        is_wanted = isinstance(request.thinking, Enabled)
        return {"chat_template_kwargs": {"enable_thinking": is_wanted}}
    return {}


def _output(request: Prompting) -> dict[str, Any]:
    wanted = request.output_config
    if wanted is None:
        return {}
    said: dict[str, Any] = {}
    if wanted.effort in ("xhigh", "max"):
        raise UnsupportedValue("Efforts here: low, medium, high.", param="output_config.effort")
    if wanted.effort is not None:
        said["reasoning_effort"] = wanted.effort
    if wanted.format is not None:
        schema = {"name": "answer", "schema": wanted.format.schema}
        said["response_format"] = {"type": "json_schema", "json_schema": schema}
    return said
