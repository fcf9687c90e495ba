"""Reads calls of functions from text as it comes, each family's in its own way.

A reader stands where a call may begin. It returns False, with nothing read, when there is none:
then that text is words. Once the name and the beginning of the arguments are there, the call has
begun and is told as it comes; what spoils it after that is words again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from haneul.engine.speech.arguments import Schemas, read_value
from haneul.engine.speech.format import Format, Shape
from haneul.engine.speech.gemma import as_json
from haneul.engine.speech.json_text import JsonText
from haneul.engine.speech.said import Saying
from haneul.engine.speech.tape import Tape, Waiting

NAME_MAX_CHARS = 256
KEY_MAX_CHARS = 1024
_NAME = re.compile(r"[^\s\"'<>{}\[\]|]{1,256}")
_ARGUMENT_KEYS = ("arguments", "parameters")


class Calls:
    """Reads the calls of one answer."""

    def __init__(self, tape: Tape, saying: Saying, form: Format, schemas: Schemas) -> None:
        self._tape = tape
        self._saying = saying
        self._form = form
        self._schemas = schemas
        self._readers = {
            Shape.OBJECT: self._objects,
            Shape.NAMED: self._named,
            Shape.TAGS: self._tags,
            Shape.GEMMA: self._gemma,
        }

    def read(self) -> Waiting[bool]:
        """Reads the calls that begin at one of the format's openers, and their section's end."""
        form, tape = self._form, self._tape
        at = 0
        if form.section.begin and (yield from tape.begins((form.section.begin,))):
            at = len(form.section.begin)
        is_first = True
        while (yield from self._one(at)):
            is_first, at = False, 0
        if form.section.end and not is_first:
            yield from self._drop_mark(form.section.end)
        return not is_first

    def read_bare(self) -> Waiting[bool]:
        """Reads calls without a mark before them, at the very beginning of the words."""
        tape = self._tape
        at = yield from tape.after_space()
        tag = self._form.call.begin
        if (yield from tape.begins((tag,), at)):
            at = yield from tape.after_space(at + len(tag))
        is_first = True
        while (yield from self._object(at)):
            is_first = False
            at = yield from tape.after_space()
            if not (yield from tape.begins((";",), at)):
                break
            at = yield from tape.after_space(at + 1)
        return not is_first

    def _one(self, at: int) -> Waiting[bool]:
        """One call with the marks around it."""
        begin, end = self._form.call
        at = yield from self._tape.after_space(at)
        if begin:
            if not (yield from self._tape.begins((begin,), at)):
                return False
            at = yield from self._tape.after_space(at + len(begin))
        if not (yield from self._readers[self._form.shape](at)):
            return False
        if end:
            yield from self._drop_mark(end)
        return True

    def _drop_mark(self, mark: str) -> Waiting[None]:
        """Reads the mark, if it is the next but for white space; models leave it out at times."""
        at = yield from self._tape.after_space()
        if (yield from self._tape.begins((mark,), at)):
            self._tape.drop(at + len(mark))

    def _objects(self, at: int) -> Waiting[bool]:
        """One object, or a list of them."""
        tape = self._tape
        is_list = bool((yield from tape.begins(("[",), at)))
        if is_list:
            at = yield from tape.after_space(at + 1)
        if not (yield from self._object(at)):
            return False
        while is_list:
            at = yield from tape.after_space()
            mark = yield from tape.begins((",", "]"), at)
            if mark == "]":
                tape.drop(at + 1)
            if mark != ",":
                break
            at = yield from tape.after_space(at + 1)
            if not (yield from self._object(at)):
                break
        return True

    def _object(self, at: int) -> Waiting[bool]:
        """{"name": …, "arguments": {…}}: told as it comes when the name is first, else whole."""
        tape = self._tape
        name, arguments_at = yield from self._head(at)
        if not name:
            return False if self._form.is_bare else (yield from self._whole_object(at))
        if self._form.is_bare and name not in self._schemas:
            return False
        follow = JsonText()
        for letter in tape.text[at:arguments_at]:
            follow.take(letter)
        tape.drop(arguments_at)
        self._saying.call(name)
        if (yield from self._stream(follow, floor=1)):
            yield from self._rest(follow)
        return True

    def _head(self, at: int) -> Waiting[tuple[str, int]]:
        """The name, and where the arguments begin; an empty name when it is not the usual head."""
        tape = self._tape
        at = yield from self._marks(at, ["{"])
        typed = yield from self._marks(at, ['"type"', ":", '"function"', ","])
        at = yield from self._marks(at if typed < 0 else typed, ['"name"', ":", '"'])
        if at < 0:
            return "", -1
        place = yield from tape.find(('"',), at, within=NAME_MAX_CHARS)
        name = tape.text[at:place]
        if place < 0 or not name or "\\" in name:
            return "", -1
        at = yield from self._marks(place + 1, [","])
        at = yield from self._marks(at, [f'"{key}"' for key in _ARGUMENT_KEYS], is_any=True)
        at = yield from self._marks(at, [":"])
        if at < 0:
            return "", -1
        at = yield from tape.after_space(at)
        return (name, at) if (yield from tape.begins(("{",), at)) else ("", -1)

    def _marks(self, at: int, marks: Sequence[str], *, is_any: bool = False) -> Waiting[int]:
        """The place after all the marks in their order (or after any one of them); -1: no."""
        for group in [marks] if is_any else [[mark] for mark in marks]:
            if at < 0:
                return -1
            at = yield from self._tape.after_space(at)
            mark = yield from self._tape.begins(group, at)
            at = at + len(mark) if mark else -1
        return at

    def _whole_object(self, at: int) -> Waiting[bool]:
        """An object with its members in another order, or with arguments as JSON in a text."""
        tape, follow, end = self._tape, JsonText(), at
        while not follow.is_whole:
            if end == len(tape.text) and not (yield from tape.more()):
                return False
            try:
                while end < len(tape.text) and not follow.is_whole:
                    follow.take(tape.text[end])
                    end += 1
            except ValueError:
                return False
        try:
            name, arguments = _parts(json.loads(tape.text[at:end], strict=False))
        except ValueError:
            return False
        tape.drop(end)
        self._saying.call(name)
        self._saying.arguments(arguments)
        return True

    def _named(self, at: int) -> Waiting[bool]:
        """The name, a mark, the arguments as JSON."""
        tape, form = self._tape, self._form
        place = yield from tape.find(form.name_ends, at, within=NAME_MAX_CHARS)
        if place < 0:
            return False
        found = re.fullmatch(form.name_pattern, tape.text[at:place].strip())
        mark = yield from tape.begins(form.name_ends, place)
        at = yield from tape.after_space(place + len(mark))
        if not found or not _NAME.fullmatch(found[1]) or not (yield from tape.begins(("{",), at)):
            return False
        tape.drop(at)
        self._saying.call(found[1])
        if (yield from self._stream(JsonText(), floor=0)) and "```" in form.tail:
            yield from self._drop_mark("```")
        return True

    def _tags(self, at: int) -> Waiting[bool]:
        """The name, then each argument between tags."""
        tape, tags = self._tape, self._form.tags
        assert tags is not None
        if tags.name.begin:
            at = yield from self._marks(at, [tags.name.begin])
            if at < 0:
                return False
            ends: tuple[str, ...] = (tags.name.end,)
        else:
            ends = ("\n", tags.key.begin, self._form.call.end)
        place = yield from tape.find(ends, at, within=NAME_MAX_CHARS)
        name = tape.text[at:place].strip()
        if place < 0 or not _NAME.fullmatch(name):
            return False
        tape.drop(place + len(tags.name.end))
        self._saying.call(name)
        if (yield from self._arguments(self._schemas.get(name, {}))) and tags.end:
            yield from self._drop_mark(tags.end)
        return True

    def _arguments(self, properties: Mapping[str, Any]) -> Waiting[bool]:
        """Arguments between tags, as JSON. False when the text is over in the middle of one."""
        tape, tags = self._tape, self._form.tags
        assert tags is not None
        opening = "{"
        while (at := (yield from self._marks(0, [tags.key.begin]))) >= 0:
            place = yield from tape.find((tags.key.end,), at, within=KEY_MAX_CHARS)
            value_at = place + len(tags.key.end)
            if place >= 0 and tags.value.begin:
                value_at = yield from self._marks(value_at, [tags.value.begin])
            if place < 0 or value_at < 0:
                break
            key, _, flag = tape.text[at:place].strip().partition('" string="')
            tape.drop(value_at)
            self._saying.arguments(f"{opening}{json.dumps(key, ensure_ascii=False)}: ")
            schema = {"type": "string"} if flag == "true" else properties.get(key)
            if not (yield from read_value(tape, self._saying, tags, schema)):
                return False
            opening = ", "
        self._saying.arguments("{}" if opening == "{" else "}")
        return True

    def _gemma(self, at: int) -> Waiting[bool]:
        """call:name{…}, told whole."""
        tape = self._tape
        at = yield from self._marks(at, ["call:"])
        place = -1 if at < 0 else (yield from tape.find(("{",), at, within=NAME_MAX_CHARS))
        end = -1 if place < 0 else (yield from tape.find((self._form.call.end,), place))
        name = tape.text[at:place].strip()
        if end < 0 or not _NAME.fullmatch(name):
            return False
        try:
            arguments = as_json(tape.text[place:end])
        except ValueError:
            return False
        tape.drop(end)
        self._saying.call(name)
        self._saying.arguments(arguments)
        return True

    def _stream(self, follow: JsonText, *, floor: int) -> Waiting[bool]:
        """Tells an object as it comes. False: it was spoilt or cut off, and no more is read."""
        tape = self._tape
        while True:
            said: list[str] = []
            is_good = True
            for letter in tape.text:
                try:
                    said.append(follow.take(letter))
                except ValueError:
                    is_good = False
                    break
                if follow.depth == floor:
                    break
            self._saying.arguments("".join(said))
            tape.drop(len(said))
            if not is_good or (said and follow.depth == floor):
                return is_good
            if not (yield from tape.more()):
                return False

    def _rest(self, follow: JsonText) -> Waiting[None]:
        """Passes over what stands in the call's object behind its arguments."""
        tape = self._tape
        while not follow.is_whole:
            if not tape.text and not (yield from tape.more()):
                return
            try:
                follow.take(tape.text[0])
            except ValueError:
                return
            tape.drop(1)


def _parts(call: Any) -> tuple[str, str]:
    """Name and arguments of a call that is there whole. Raises ValueError."""
    if isinstance(call, dict) and isinstance(call.get("function"), dict):
        call = call["function"]
    name = call.get("name") if isinstance(call, dict) else None
    if not isinstance(name, str) or not name:
        raise ValueError("no name")
    arguments = next((call[key] for key in _ARGUMENT_KEYS if key in call), None) or {}
    if isinstance(arguments, str):
        arguments = json.loads(arguments, strict=False)
    if not isinstance(arguments, dict):
        raise ValueError("no arguments")
    return name, json.dumps(arguments, ensure_ascii=False)
