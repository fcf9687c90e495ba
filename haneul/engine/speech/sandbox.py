"""Renders chat templates, in a process of its own: `python -m haneul.engine.speech.sandbox`.

A template is a stranger's program. jinja2's immutable sandbox keeps it from files, imports and
attributes of Python's own; what no interpreter can keep it from - a loop without end, text without
end, nests that compare for years in one instruction - ends this process instead: the system counts
each rendering's seconds of processor time, and bounds its memory.

The environment is the one of Hugging Face's `apply_chat_template` (transformers 5.23,
utils/chat_template_utils.py). Two things are added, as llama.cpp renders them too: a filter
`from_json`, and that a list which the template made itself may be appended to and popped from.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NoReturn

import msgspec
from jinja2 import Environment, Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

RENDER_S = 3.0  # of the processor, for one rendering; the largest honest ones take a tenth of it
MEMORY_BYTES = 1 << 30
TEXT_MAX_CHARS = 16 << 20
HEAD_BYTES = 4


class Use(Struct, frozen=True, tag="use"):
    """From now on this template is rendered."""

    source: str


class Render(Struct, frozen=True, tag="render"):
    values: dict[str, Any]


class Rendered(Struct, frozen=True, tag="rendered"):
    text: str = ""


class Refused(Struct, frozen=True, tag="refused"):
    """The template cannot be compiled, or does not take these messages."""

    reason: str


Question = Use | Render
Reply = Rendered | Refused
questions: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)
replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class Given(list[Any]):
    """A list of the request's: no template changes it."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Lets a template fill lists of its own making, and nothing else."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if type(obj) is list and attr in ("append", "pop"):
            return True
        return super().is_safe_attribute(obj, attr, value)


class Generation(Extension):
    """`{% generation %}`, with which templates mark what a model learns: here it is plain text."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own form

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def environment() -> Environment:
    """What templates run in."""
    made = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters |= {"tojson": _to_json, "from_json": json.loads}
    made.globals |= {"raise_exception": _raise, "strftime_now": _now}
    return made


def rendered(template: Template, values: dict[str, Any]) -> Reply:
    """The text that a template makes of the values, or why there is none."""
    parts: list[str] = []
    length = 0
    try:
        for part in template.generate(_given(values)):
            parts.append(part)
            length += len(part)
            if length > TEXT_MAX_CHARS:
                return Refused(f"it writes more than {TEXT_MAX_CHARS} characters")
        return Rendered("".join(parts))
    except Exception as error:  # noqa: BLE001 - a template can make Python raise anything
        return Refused(_reason(error))


def compiled(source: str) -> Template | Refused:
    """The template, or why it is none."""
    try:
        return environment().from_string(source)
    except Exception as error:  # noqa: BLE001 - as above
        return Refused(_reason(error))


def framed(message: Question | Reply) -> bytes:
    """One message with its length before it."""
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(HEAD_BYTES, "little") + data


def _given(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _given(item) for key, item in value.items()}
    return Given(_given(item) for item in value) if isinstance(value, list) else value


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"it needs more than {MEMORY_BYTES >> 20} MiB of memory"
    if isinstance(error, RecursionError):
        return "it calls itself without end"
    words = str(error).strip() or type(error).__name__
    return words if isinstance(error, TemplateError) else f"{type(error).__name__}: {words}"


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _asked() -> Iterator[Question]:
    stream = sys.stdin.buffer
    while head := stream.read(HEAD_BYTES):
        yield questions.decode(stream.read(int.from_bytes(head, "little")))


def main() -> None:
    """Answers questions until its front goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the front decides when to end
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    template: Template | Refused = Refused("there is none")
    for question in _asked():
        # The alarm's default action ends the process, in the middle of whatever it does.
        signal.setitimer(signal.ITIMER_PROF, RENDER_S)
        reply: Reply = Rendered()
        if isinstance(question, Use):
            template = compiled(question.source)
        if isinstance(template, Refused):
            reply = template
        elif isinstance(question, Render):
            reply = rendered(template, question.values)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(framed(reply))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
