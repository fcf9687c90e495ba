"""Finds out what a chat template bears, by rendering small conversations with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from haneul.base.errors import BadRequest
from haneul.engine.speech.messages import Dialect, as_parts
from haneul.engine.speech.renderer import Unbounded

# Ways to give messages, the usual one first.
_FORMS: tuple[dict[str, bool], ...] = ({}, {"wants_parts": True}, {"wants_tool_list": True})
# Words that no template has of itself.
_NAME, _KEY, _WORD = "zq_tool", "zq_key", "zq-word"
_PARAMETERS = {"parameters": {"type": "object", "properties": {_KEY: {"type": "string"}}}}
_USER = {"role": "user", "content": "zq-hello"}
_CALL = {"id": "abcdef123", "type": "function"}
_RESULT = {"role": "tool", "content": "done", "tool_call_id": "abcdef123"}
_BEARABLE = ((True, True), (True, False), (False, True), (False, False))  # objects, null


class Trial:
    """Small conversations, rendered to see what comes of them."""

    def __init__(self, render: Callable[..., str], source: str) -> None:
        self.dialect = Dialect(
            has_short_ids="length != 9" in source,
            has_named_ids="<|tool_calls_section_begin|>" in source,  # Kimi's
            has_thinking_field="message.thinking" in source,
        )
        self._problem = BadRequest()
        self._render = render

    def text(
        self, messages: list[dict[str, Any]], tool: dict[str, Any] | None = None, **values: Any
    ) -> str | None:
        tools = [tool] if tool else [] if self.dialect.wants_tool_list else None
        try:
            listed = as_parts(messages) if self.dialect.wants_parts else messages
            return self._render(listed, tools, **values)
        except Unbounded:
            raise  # it would not be the only one
        except BadRequest as error:
            self._problem = error
            return None

    def find_form(self) -> None:
        """How messages are taken. Raises BadRequest when they are not taken at all."""
        system = {"role": "system", "content": _WORD}
        base, rendered = self.dialect, None
        for change in _FORMS:
            self.dialect = replace(base, **change)
            told = self.text([system, _USER])
            plain = self.text([_USER]) or told
            if plain is not None:
                has_system = told is not None and _WORD in told
                rendered = rendered or replace(self.dialect, has_system=has_system)
                if _USER["content"] in plain:
                    rendered = replace(self.dialect, has_system=has_system)
                    break
        if rendered is None:
            raise self._problem
        self.dialect = rendered

    def has_switch(self) -> bool:
        """Whether it matters if thinking is asked for."""
        wishes: list[dict[str, Any]] = [
            {"enable_thinking": wish, "thinking": wish} for wish in (True, False)
        ]
        first, second = (self.text([_USER], **wish) for wish in wishes)
        return first != second

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


def _is_whole(text: str) -> bool:
    """Whether the call is shown, as JSON or tags and not as Python's own spelling."""
    if _WORD not in text or "done" not in text:
        return False
    return not any(wrong in text for wrong in ("None", f"{{'{_KEY}'", f'\\"{_KEY}'))
