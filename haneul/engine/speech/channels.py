"""Reads gpt-oss: an answer in messages, each with a channel and perhaps a function to go to.

Source: OpenAI's description of the harmony format. Thoughts are on "analysis", words on "final" and
"commentary", calls are messages to "functions.NAME".
"""

from __future__ import annotations

import re

from haneul.engine.speech.arguments import Schemas
from haneul.engine.speech.json_text import JsonText
from haneul.engine.speech.said import Saying
from haneul.engine.speech.tape import Tape, Waiting

HEAD_MAX_CHARS = 512
_BEGINNINGS = ("<|channel|>", "<|start|>", "<|message|>", "to=", "assistant")
_ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"to=functions\.([^\s<]+)")
_MESSAGE = "<|message|>"


def read_channels(tape: Tape, saying: Saying, schemas: Schemas) -> Waiting[None]:
    """Reads all messages; text outside any is words."""
    while tape.text or (yield from tape.more()):
        at = yield from tape.after_space()
        place = -1
        if (yield from tape.begins(_BEGINNINGS, at)):
            place = yield from tape.find((_MESSAGE,), at, within=HEAD_MAX_CHARS)
        if place < 0:
            if mark := (yield from tape.begins(("<|channel|>", "<|start|>", _MESSAGE), at)):
                saying.text(tape.text[: at + len(mark)])
                tape.drop(at + len(mark))
            yield from tape.flow(("<|channel|>", "<|start|>"), saying.text)
            continue
        head = tape.text[:place]
        tape.drop(place + len(_MESSAGE))
        yield from _message(tape, saying, schemas, head)


def _message(tape: Tape, saying: Saying, schemas: Schemas, head: str) -> Waiting[None]:
    """What stands between a message's head and its end."""
    recipient, channel = _RECIPIENT.search(head), _CHANNEL.search(head)
    if recipient and schemas:
        at = yield from tape.after_space()
        if (yield from tape.begins(("{",), at)):
            tape.drop(at)
            saying.call(recipient[1])
            yield from _arguments(tape, saying)
    is_thought = channel is not None and channel[1] == "analysis" and not recipient
    saying.is_thinking = is_thought
    mark = yield from tape.flow(_ENDS, saying.reasoning if is_thought else saying.text)
    if is_thought:
        saying.end_thought()
    if mark and mark != "<|start|>":  # which begins the next head
        tape.drop(len(mark))


def _arguments(tape: Tape, saying: Saying) -> Waiting[None]:
    follow = JsonText()
    while not follow.is_whole:
        said: list[str] = []
        for letter in tape.text:
            try:
                said.append(follow.take(letter))
            except ValueError:
                break
            if follow.is_whole:
                break
        saying.arguments("".join(said))
        is_spoilt = len(said) < len(tape.text) and not follow.is_whole
        tape.drop(len(said))
        if is_spoilt or (not follow.is_whole and not (yield from tape.more())):
            return
