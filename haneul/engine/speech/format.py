"""How each family of models writes its thoughts and its calls, as data.

Sources: the chat templates that the families publish, as each renders a past call. A format is
recognised by marks in a template's text; the first in FORMATS with all its marks is taken.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct


class Shape(StrEnum):
    """What stands between the marks of one call."""

    OBJECT = "object"  # {"name": …, "arguments": {…}}, one or a list of them
    NAMED = "named"  # the name, a mark, the arguments as JSON
    TAGS = "tags"  # the name, then each argument between tags
    GEMMA = "gemma"  # call:name{key:value,…}, text between <|"|>
    CHANNELS = "channels"  # gpt-oss: messages to functions on a channel


class Between(NamedTuple):
    begin: str
    end: str


class Tags(Struct, frozen=True, kw_only=True):
    """The marks of Shape.TAGS, in the order in which they come."""

    name: Between  # around the function's name; an empty beginning: it stands at once
    key: Between
    value: Between
    end: str = ""  # of the function
    is_padded: bool = False  # values stand on lines of their own


class Format(Struct, frozen=True, kw_only=True):
    """One family's way to call functions."""

    name: str
    marks: tuple[str, ...]  # that its template has
    shape: Shape = Shape.OBJECT
    section: Between = Between("", "")  # around all calls of an answer
    call: Between = Between("", "")  # around one call
    is_bare: bool = False  # a call is recognised without a mark, at the answer's beginning
    arguments_key: str = "arguments"
    name_ends: tuple[str, ...] = ()  # Shape.NAMED: what stands between name and arguments
    name_pattern: str = "(.+)"  # Shape.NAMED: which part of what stands before is the name
    tags: Tags | None = None
    # How a call that must be made begins, what stands before its arguments and after them, and what
    # parts two calls; an empty separator: one call only. NAME stands for the function's name.
    opening: str = "<tool_call>\n"
    head: str = '{"name": "NAME", "arguments": '
    tail: str = "}\n</tool_call>"
    separator: str = "\n<tool_call>\n"
    is_generic: bool = False  # for templates that know no tools, or whose way is not known here
    thought: Between = Between("<think>", "</think>")

    @property
    def forced(self) -> Format:
        """The format in which a call is written that must be made.

        Arguments between tags cannot be held to a schema, so those models are made to write JSON
        between the marks that most of them learnt as well.
        """
        return self if self.shape in (Shape.OBJECT, Shape.NAMED, Shape.CHANNELS) else HERMES

    @property
    def example(self) -> str:
        """What a call looks like, for a model that is told so in words."""
        head = self.head.replace("NAME", "<function-name>")
        end = "\n</tool_call>" if self.is_generic else self.section.end
        return f"{self.opening}{head}<args-json-object>{self.tail}{end}"

    @property
    def openers(self) -> tuple[str, ...]:
        """The marks at which a call, or the section of calls, begins."""
        return tuple(mark for mark in (self.section.begin, self.call.begin) if mark)

    @property
    def special(self) -> list[str]:
        """All marks, some of which may be single tokens that do not show by themselves."""
        found = [*self.thought, *self.section, *self.call, *self.name_ends]
        if self.tags:
            found += [*self.tags.name, *self.tags.key, *self.tags.value, self.tags.end]
        if self.shape is Shape.CHANNELS:
            found += HARMONY_MARKS
        if self.shape is Shape.GEMMA:
            found.append(GEMMA_QUOTE)
        return sorted({mark.strip() for mark in found} - {""})


HARMONY_MARKS = (
    "<|start|>",
    "<|channel|>",
    "<|message|>",
    "<|constrain|>",
    "<|end|>",
    "<|call|>",
    "<|return|>",
)
GEMMA_QUOTE = '<|"|>'

HERMES = Format(name="hermes", marks=("<tool_call>",), call=Between("<tool_call>", "</tool_call>"))
GENERIC = Format(
    name="generic",
    marks=(),
    call=HERMES.call,
    tail="}",
    separator="",  # a model that was not taught calls makes one at a time
    is_generic=True,
)
_DSML = Tags(  # DeepSeek's tags since V3.2
    name=Between('<｜DSML｜invoke name="', '">'),
    key=Between('<｜DSML｜parameter name="', '">'),
    value=Between("", "</｜DSML｜parameter>"),
    end="</｜DSML｜invoke>",
)
_DEEPSEEK = Format(
    name="deepseek-v3.1",
    marks=("<｜tool▁calls▁begin｜>",),
    shape=Shape.NAMED,
    section=Between("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    call=Between("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"),
    name_ends=("<｜tool▁sep｜>",),
    opening="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
    head="NAME<｜tool▁sep｜>",
    tail="<｜tool▁call▁end｜>",
    separator="<｜tool▁call▁begin｜>",
)
FORMATS = (
    Format(
        name="gpt-oss",
        marks=("<|channel|>", "<|message|>"),
        shape=Shape.CHANNELS,
        opening="<|channel|>commentary to=functions.",
        head="NAME <|constrain|>json<|message|>",
        tail="",
        separator="",
        thought=Between("", ""),
    ),
    Format(
        name="kimi-k2",
        marks=("<|tool_calls_section_begin|>",),
        shape=Shape.NAMED,
        section=Between("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        call=Between("<|tool_call_begin|>", "<|tool_call_end|>"),
        name_ends=("<|tool_call_argument_begin|>",),
        name_pattern=r"(?:functions\.)?(.+?)(?::\d+)?",
        opening="<|tool_calls_section_begin|><|tool_call_begin|>functions.",
        head="NAME:0<|tool_call_argument_begin|>",
        tail="<|tool_call_end|>",
        separator="<|tool_call_begin|>functions.",
    ),
    Format(
        name="deepseek-v3.2",
        marks=("｜DSML｜", "function_calls>"),
        shape=Shape.TAGS,
        section=Between("<｜DSML｜function_calls>", "</｜DSML｜function_calls>"),
        tags=_DSML,
    ),
    Format(
        name="deepseek-v4",
        marks=("｜DSML｜",),
        shape=Shape.TAGS,
        section=Between("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"),
        tags=_DSML,
    ),
    Format(
        name="deepseek-r1",
        marks=("<｜tool▁calls▁begin｜>", "```json"),
        shape=Shape.NAMED,
        section=_DEEPSEEK.section,
        call=_DEEPSEEK.call,
        name_ends=("\n```json\n",),
        name_pattern=r"(?:function<｜tool▁sep｜>)?(.+)",
        opening="<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>",
        head="NAME\n```json\n",
        tail="\n```<｜tool▁call▁end｜>",
        separator="\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    ),
    _DEEPSEEK,
    Format(
        name="minimax-m2",
        marks=("<minimax:tool_call>",),
        shape=Shape.TAGS,
        section=Between("<minimax:tool_call>", "</minimax:tool_call>"),
        tags=Tags(
            name=Between('<invoke name="', '">'),
            key=Between('<parameter name="', '">'),
            value=Between("", "</parameter>"),
            end="</invoke>",
        ),
    ),
    Format(
        name="minimax-m1",
        marks=("<tool_calls>", "<beginning_of_sentence>"),
        section=Between("<tool_calls>", "</tool_calls>"),
        opening="<tool_calls>\n",
        tail="}",
        separator="\n",
    ),
    Format(
        name="seed-oss",
        marks=("<seed:tool_call>", "<function="),
        shape=Shape.TAGS,
        call=Between("<seed:tool_call>", "</seed:tool_call>"),
        tags=Tags(
            name=Between("<function=", ">"),
            key=Between("<parameter=", ">"),
            value=Between("", "</parameter>"),
            end="</function>",
        ),
        thought=Between("<seed:think>", "</seed:think>"),
    ),
    Format(
        name="qwen3-coder",
        marks=("<tool_call>", "<function=", "<parameter="),
        shape=Shape.TAGS,
        call=HERMES.call,
        tags=Tags(
            name=Between("<function=", ">"),
            key=Between("<parameter=", ">"),
            value=Between("", "</parameter>"),
            end="</function>",
            is_padded=True,
        ),
    ),
    Format(
        name="glm",
        marks=("<tool_call>", "<arg_key>"),
        shape=Shape.TAGS,
        call=HERMES.call,
        tags=Tags(
            name=Between("", ""),
            key=Between("<arg_key>", "</arg_key>"),
            value=Between("<arg_value>", "</arg_value>"),
        ),
    ),
    Format(
        name="gemma-4",
        marks=("<|tool_call>call:",),
        shape=Shape.GEMMA,
        call=Between("<|tool_call>", "<tool_call|>"),
        thought=Between("<|channel>thought\n", "<channel|>"),
    ),
    Format(
        name="mistral-named",
        marks=("[TOOL_CALLS]", "[ARGS]"),
        shape=Shape.NAMED,
        call=Between("[TOOL_CALLS]", ""),
        name_ends=("[ARGS]",),
        name_pattern=r"(.+?)(?:\[CALL_ID\].*)?",
        opening="[TOOL_CALLS]",
        head="NAME[ARGS]",
        tail="",
        separator="[TOOL_CALLS]",
        thought=Between("[THINK]", "[/THINK]"),
    ),
    Format(
        name="mistral",
        marks=("[TOOL_CALLS]",),
        call=Between("[TOOL_CALLS]", ""),
        opening="[TOOL_CALLS][",
        tail="}",
        separator=", ",
        thought=Between("[THINK]", "[/THINK]"),
    ),
    Format(
        name="functionary",
        marks=("<function=", "</function>", "<|start_header_id|>"),
        shape=Shape.NAMED,
        call=Between("<function=", "</function>"),
        name_ends=(">",),
        opening="<function=",
        head="NAME>",
        tail="</function>",
        separator="<function=",
    ),
    HERMES,
    Format(
        name="llama-3",
        marks=('"parameters": ', "<|start_header_id|>"),
        is_bare=True,
        call=Between("<|python_tag|>", ""),
        arguments_key="parameters",
        opening="",
        head='{"name": "NAME", "parameters": ',
        tail="}",
        separator="",  # their templates render one call a turn
    ),
)


def format_of(template: str) -> Format:
    """The format that a template's text tells of; the generic one when it tells of none."""
    for known in FORMATS:
        if all(mark in template for mark in known.marks):
            return known
    return GENERIC
