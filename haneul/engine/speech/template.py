"""A model's chat template: the text that the model continues, and what the template knows.

What a template bears is found by trying it on small conversations when it is first used, because
its text does not tell reliably (trial.py). Rendering itself happens in a sandbox (sandbox.py).
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from haneul.base.errors import BadRequest
from haneul.base.wire import ChatRequest
from haneul.engine.speech.format import GENERIC, Format, Shape, format_of
from haneul.engine.speech.messages import Dialect, plain_messages, plain_tools
from haneul.engine.speech.renderer import Renderer
from haneul.engine.speech.trial import Trial

CHATML = (  # what llama-server takes for a file without a template
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
# Shapes of calls that a model can be told of by an example.
_TELLABLE = (Shape.OBJECT, Shape.NAMED)


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
        trial = Trial(self._text, self._source)
        try:
            trial.find_form()
            self._has_switch = trial.has_switch()
            if not self._format.is_generic:
                trial.find_tools(is_told=self._format.shape in _TELLABLE)
        except BadRequest as error:
            self._problem = error.message
        return trial.dialect
