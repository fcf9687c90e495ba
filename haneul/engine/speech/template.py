"""A model's chat template: the text that the model continues, and what the template knows.

What a template bears is found by trying it on small conversations when it is first used, because
its text does not tell reliably. Rendering itself happens in the sandbox (see sandbox.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from haneul.base.errors import BadRequest
from haneul.base.wire import ChatRequest
from haneul.engine.speech.format import GENERIC, Format, Shape, format_of
from haneul.engine.speech.messages import Dialect, as_parts, plain_messages, plain_tools
from haneul.engine.speech.renderer import Renderer

CHATML = (  # what llama-server takes for a file without a template
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
# Shapes of calls that a model can be told of by an example.
_TELLABLE = (Shape.OBJECT, Shape.NAMED)
# Words that no template has of itself.
_NAME, _KEY, _WORD = "zq_tool", "zq_key", "zq-word"
_PARAMETERS = {"parameters": {"type": "object", "properties": {_KEY: {"type": "string"}}}}
_USER = {"role": "user", "content": "hello"}
_CALL = {"id": "abcdef123", "type": "function"}
_RESULT = {"role": "tool", "content": "done", "tool_call_id": "abcdef123"}
_BEARABLE = ((True, True), (True, False), (False, True), (False, False))  # objects, null


class ChatTemplate:
    """One model's template. Nothing runs before it is first used."""

    def __init__(self, source: str | None, *, bos: str, eos: str) -> None:
        self._source = source or CHATML
        self._words = {"bos_token": bos, "eos_token": eos}
        self._renderer = Renderer(self._source)
        self._dialect: Dialect | None = None
        self._problem: str | None = None
        self._has_switch = False
        self._format = format_of(self._source)
        self.has_effort = "reasoning_effort" in self._source
        self.knows_thoughts = self._format.thought.begin.strip() in self._source

    @property
    def has_tools(self) -> bool:
        """Whether tools can be given; models that know none are told of them in plain words."""
        return self.problem is None

    @property
    def problem(self) -> str | None:
        """Why no conversation can be rendered at all, if so."""
        self.dialect  # noqa: B018 - finds it out
        return self._problem

    @property
    def has_thinking_switch(self) -> bool:
        """Whether the template lets thinking be turned on and off."""
        self.dialect  # noqa: B018 - finds it out
        return self._has_switch

    @property
    def format(self) -> Format:
        """How the model writes thoughts and calls."""
        if self.dialect.writes_calls:
            return self._format
        return replace(GENERIC, thought=self._format.thought)

    @property
    def dialect(self) -> Dialect:
        """What the template bears, found out at the first call (some 20 renderings, 10 ms)."""
        if self._dialect is None:
            self._dialect = self._find_out()
        return self._dialect

    def render(self, request: ChatRequest, *, thinking: bool | None) -> str:
        """The prompt, up to where the assistant's answer begins. Raises BadRequest."""
        if self.problem is not None:
            raise BadRequest(f"This model's chat template cannot be used: {self.problem}")
        values: dict[str, Any] = {}
        if thinking is not None:
            values |= {"enable_thinking": thinking, "thinking": thinking}
        if self.has_effort and request.reasoning_effort not in (None, "none"):
            values["reasoning_effort"] = request.reasoning_effort
        messages = plain_messages(request, self.dialect, call=self.format.example)
        return self._text(messages, plain_tools(request, self.dialect), **values)

    def _text(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, **values: Any
    ) -> str:
        return self._renderer.render(
            {
                "messages": messages,
                "tools": tools,
                "documents": None,
                "add_generation_prompt": True,
                **self._words,
                **values,
            }
        )

    def _find_out(self) -> Dialect:
        """Tries one thing after another; each trial is made as the ones before it showed."""
        trial = _Trial(self._text)
        found = Dialect(
            has_short_ids="length != 9" in self._source,
            has_thinking_field="message.thinking" in self._source,
        )
        plain: str | None = None
        for change in ({}, {"wants_parts": True}, {"wants_tool_list": True}):
            if plain is None:
                trial.dialect = replace(found, **change)
                plain = trial.text([_USER])
        told = trial.text([{"role": "system", "content": _WORD}, _USER])
        if plain is None and told is None:
            self._problem = trial.problem
            return found
        trial.dialect = replace(trial.dialect, has_system=told is not None and _WORD in told)
        wishes = [trial.text([_USER], **_thinking(wish)) for wish in (True, False)]
        self._has_switch = wishes[0] != wishes[1]
        if not self._format.is_generic:
            trial.find_tools(is_told=self._format.shape in _TELLABLE)
        return trial.dialect


class _Trial:
    """Small conversations, rendered to see what comes of them."""

    def __init__(self, render: Callable[..., str]) -> None:
        self.dialect = Dialect()
        self.problem = ""
        self._render = render

    def text(
        self, messages: list[dict[str, Any]], tool: dict[str, Any] | None = None, **values: Any
    ) -> str | None:
        tools = [tool] if tool else [] if self.dialect.wants_tool_list else None
        try:
            listed = as_parts(messages) if self.dialect.wants_parts else messages
            return self._render(listed, tools, **values)
        except BadRequest as error:
            self.problem = error.message
            return None

    def find_tools(self, *, is_told: bool) -> None:
        """Whether tools and calls are written by the template itself, and in which form."""
        bare: dict[str, Any] = {"type": "function", "function": {"name": _NAME, **_PARAMETERS}}
        full = {"type": "function", "function": {**bare["function"], "description": "x"}}
        texts = {name: self.text([_USER], tool) for name, tool in (("bare", bare), ("full", full))}
        shows = _NAME in (texts["full"] or "")
        if not shows and not is_told:
            return
        for objects, null in _BEARABLE:
            arguments = {_KEY: _WORD} if objects else f'{{"{_KEY}": "{_WORD}"}}'
            call = {**_CALL, "function": {"name": _NAME, "arguments": arguments}}
            said = {"role": "assistant", "content": None if null else "", "tool_calls": [call]}
            text = self.text([_USER, said, _RESULT], full if shows else None)
            if text is not None and _is_whole(text):
                self.dialect = replace(
                    self.dialect,
                    shows_tools=shows,
                    writes_calls=True,
                    takes_objects=objects,
                    takes_null=null,
                    wants_descriptions=texts["bare"] is None,
                )
                return


def _thinking(wish: bool) -> dict[str, Any]:
    return {"enable_thinking": wish, "thinking": wish}


def _is_whole(text: str) -> bool:
    """Whether the call is shown, as JSON or tags and not as Python's own spelling."""
    if _WORD not in text or "done" not in text:
        return False
    return not any(wrong in text for wrong in ("None", f"{{'{_KEY}'", f'\\"{_KEY}'))
