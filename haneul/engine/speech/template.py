"""A model's chat template, rendered in a sandbox: the text that the model continues.

Templates come out of model files, so they are strangers' programs: jinja2's immutable sandbox gives
them no attribute, no file and no import. The settings are those every reader of such files uses.
"""

from __future__ import annotations

import datetime
import json
from typing import Any, NoReturn

from jinja2 import TemplateError, meta
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from haneul.base.errors import BadRequest
from haneul.base.wire import ChatRequest, Message
from haneul.engine.llama_server.body import _message as plain_message

CHATML = (  # what llama-server takes for a file without a template
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
# Templates with these make a model think aloud or speak in channels: telling that apart from the
# answer is llama-server's art, so they are left to it.
_REASONING = ("<think", "reasoning_content", "enable_thinking", "<|channel|>", "[THINK]")


class ChatTemplate:
    """One model's template, compiled once."""

    def __init__(self, source: str | None, *, bos: str, eos: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
        text = source or CHATML
        self._words = {"bos_token": bos, "eos_token": eos}
        self.has_tools = "tools" in meta.find_undeclared_variables(environment.parse(text))
        self.is_plain = not any(mark in text for mark in _REASONING)
        self._template = environment.from_string(text)

    def render(self, request: ChatRequest, *, thinking: bool | None) -> str:
        """The prompt, up to where the assistant's answer begins. Raises BadRequest."""
        listed = [_whole(plain_message(message)) for message in request.messages]
        try:
            return self._template.render(messages=listed, add_generation_prompt=True, **self._words)
        except (TemplateError, TypeError, ValueError, RecursionError) as cause:
            raise BadRequest(f"The model's chat template refuses: {str(cause)[:300]}") from cause


def _whole(message: dict[str, Any]) -> dict[str, Any]:
    """Parts of text become one text, joined as llama-server does."""
    if isinstance(message["content"], list):
        message["content"] = "\n".join(part.text or "" for part in message["content"])
    return message


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form)
