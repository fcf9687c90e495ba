"""One turn of a chat: the prompt, what the answer must look like, and how it is read.

Decided here, where OpenAI's protocol leaves it open:
- `tool_choice: "none"`: the model is not told of the tools, so it cannot call them.
- A call that must be made is begun in the prompt and held to the function's schema, so that a model
  of any strength makes it. It is one call: weak models, once let, call until their tokens are used
  up. "required" with `parallel_tool_calls: true` lets it be several, where the model's format knows
  several; a named function is called once.
- An answer whose form is demanded (such a call, or a response_format) is not thought about: form
  is enforced from the first token, so thinking is switched off, or its thought is closed empty.
- Of a function's schema only what can be enforced is enforced, and members it does not name are
  not written. `strict` asks that no keyword is left out so: then it is refused by name.
- With `tool_choice: "auto"` the model is free; how well its arguments fit is the model's own art.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.errors import UnsupportedValue
from haneul.base.wire import ChatRequest
from haneul.engine.json_schema import closed, enforceable, without_anchors
from haneul.engine.speech.format import Format, Shape
from haneul.engine.speech.messages import offered_tools
from haneul.engine.speech.reader import PlainReader, Reader
from haneul.engine.speech.said import Said
from haneul.engine.speech.template import ChatTemplate
from haneul.engine.speech.thinking import Thinking, bound
from haneul.engine.worker.job import Branch, Constraint

__all__ = ["PlainReader", "Reader", "Said", "Turn", "needs_worker", "open_turn"]

SWITCHES = ("enable_thinking", "thinking")  # of chat_template_kwargs
_FINAL = "<|channel|>final<|message|>"  # where gpt-oss begins its words
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


class Turn(Struct, frozen=True, kw_only=True):
    """What the kernel is given, and what reads its answer."""

    prompt: str  # it may end with the beginning of the answer
    constraint: Constraint | None
    marks: list[str]
    reader: Reader
    thinking: Thinking | None = None  # where thoughts are bounded


def open_turn(request: ChatRequest, template: ChatTemplate) -> Turn:
    """The turn that a request asks for. Raises BadRequest."""
    form = template.format
    tools = offered_tools(request)
    forced = forced_tools(request)
    begun, constraint = "", None
    if forced:
        form = form.forced
        begun, constraint = form.opening, _calls(forced, form, is_repeated=_is_repeated(request))
    elif branch := _answer(request):
        form = form.forced if tools else form
        calls = [_call(tool, form, head=form.opening) for tool in tools]
        constraint = Constraint(branches=[branch, *calls])
    prompt, is_thinking = _prompt(request, template, is_free=constraint is None)
    if form.shape is Shape.CHANNELS and not forced:
        begun, constraint = _final(request, constraint, has_tools=bool(tools))
    return Turn(
        prompt=prompt + begun,
        constraint=constraint,
        marks=sorted({*form.special, *template.format.special}),
        reader=Reader(form, tools=tools, is_thinking=is_thinking, begun=begun),
        thinking=bound(request, form),
    )


def needs_worker(request: ChatRequest) -> str | None:
    """The field that only a worker can honour: llama-server was seen not to."""
    if forced_tools(request):
        return "tool_choice"
    if (request.response_format or {}).get("type") == "regex":
        return "response_format.type"
    if request.chat_template_kwargs:
        return "chat_template_kwargs"
    for name in ("enable_thinking", "thinking_budget"):
        if getattr(request, name) is not None:
            return name
    return "reasoning_effort" if request.reasoning_effort is not None else None


def forced_tools(request: ChatRequest) -> list[dict[str, Any]]:
    """The functions of which one must be called; empty when none must be."""
    choice, tools = request.tool_choice, request.tools or []
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        return [tool for tool in tools if tool["function"]["name"] == name]
    return tools if choice == "required" else []


def _asked_thinking(request: ChatRequest) -> bool | None:
    if request.reasoning_effort == "none" or request.thinking_budget == 0:
        return False
    if request.enable_thinking is not None:
        return request.enable_thinking
    told = request.chat_template_kwargs or {}
    return next((told[name] for name in SWITCHES if told.get(name) is not None), None)


def _prompt(request: ChatRequest, template: ChatTemplate, *, is_free: bool) -> tuple[str, bool]:
    """The rendered prompt, and whether it ends inside a thought."""
    asked = _asked_thinking(request)
    begin, end = template.format.thought
    if not is_free and asked:
        raise UnsupportedValue(
            "An answer of a demanded form is not thought about; leave thinking out.",
            param="chat_template_kwargs",
        )
    _check_effort(request, template)
    wanted = asked if is_free else False
    prompt = template.render(request, thinking=wanted if template.has_thinking_switch else None)
    is_open = bool(begin) and prompt.rstrip().endswith(begin.rstrip())
    if asked and not (is_open or template.has_thinking_switch or template.knows_thoughts):
        raise UnsupportedValue("This model does not think.", param="chat_template_kwargs")
    if wanted is False and is_open:
        return f"{prompt.rstrip()}\n\n{end}\n\n", False
    if wanted is False and template.knows_thoughts and not template.has_thinking_switch and begin:
        return f"{prompt}{begin}\n\n{end}\n\n", False
    return prompt, is_open


def _final(
    request: ChatRequest, constraint: Constraint | None, *, has_tools: bool
) -> tuple[str, Constraint | None]:
    """gpt-oss: which part of its answer's head is written for it, and the constraint behind that.

    Its words stand on a channel. They begin there at once when their form is demanded or thoughts
    are not wanted, unless it may also call: then a demanded form has the channel in its head.
    """
    if constraint is None:
        return (_FINAL if _asked_thinking(request) is False and not has_tools else ""), None
    if not has_tools:
        return _FINAL, constraint
    answer, *calls = constraint.branches
    return "", replace(constraint, branches=[replace(answer, head=_FINAL), *calls])


def _check_effort(request: ChatRequest, template: ChatTemplate) -> None:
    """An effort is honoured where the template speaks of it; "none" by switching thinking off."""
    effort = request.reasoning_effort
    if effort in (None, "none"):
        return
    if not template.has_effort:
        raise UnsupportedValue(
            "This model's template knows no effort; 'none' switches thinking off.",
            param="reasoning_effort",
        )
    if effort == "minimal":
        raise UnsupportedValue(
            "Efforts of this model: low, medium, high.", param="reasoning_effort"
        )


def _answer(request: ChatRequest) -> Branch | None:
    """The form that response_format demands; None when it demands none."""
    wanted = request.response_format or {}
    kind = wanted.get("type")
    if kind == "json_object":
        return Branch(schema={"type": "object"})
    if kind == "json_schema":
        return Branch(schema=closed(wanted["json_schema"]["schema"]))
    return Branch(regex=without_anchors(wanted["regex"])) if kind == "regex" else None


def _is_repeated(request: ChatRequest) -> bool:
    return request.parallel_tool_calls is True and request.tool_choice == "required"


def _calls(tools: list[dict[str, Any]], form: Format, *, is_repeated: bool) -> Constraint:
    """One call of one of the tools, or several."""
    is_repeated = is_repeated and bool(form.separator)
    return Constraint(
        branches=[_call(tool, form, head="") for tool in tools],
        separator=form.separator if is_repeated else "",
        is_repeated=is_repeated,
    )


def _call(tool: dict[str, Any], form: Format, *, head: str) -> Branch:
    function = tool["function"]
    name = function["name"]
    schema = function.get("parameters") or _NO_PARAMETERS
    kept = schema if function.get("strict") else enforceable(schema)
    return Branch(head=head + form.head.replace("NAME", name), schema=closed(kept), tail=form.tail)
