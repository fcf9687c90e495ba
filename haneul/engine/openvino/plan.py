"""What one step reads of which prompts: bounded in time, and no beginning computed twice.

Prompts are read in parts of whole blocks, each a small request of its own that leaves its blocks in
the cache, so that the next part begins where it ended. So the length of a step is ours to choose
each time, several prompts can take turns, and a prompt that is given up leaves whole blocks only.

Two rules keep the shared cache true:
- The leader rule: whose next block another computes in this step waits for it.
- A block that is only partly filled is taken over by one prompt per step. The pipeline would let
  two write their different continuations into the same block (openvino.genai 2026.4: shown by a
  test), and each would read some of the other's text.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from haneul.engine.openvino.blocks import BLOCK_TOKENS, Blocks, Key, Sequence
from haneul.engine.openvino.line import AGING_S
from haneul.engine.openvino.pace import Pace

ALONE_S = 0.25  # of a step when nobody is writing
BESIDE_S = 0.2  # of a step that others' next tokens wait for


class Prompt(Protocol):
    """A job whose prompt is not read yet."""

    number: int
    priority: int
    since: float
    sequence: Sequence


class Part(Struct, frozen=True):
    """Tokens `start` to `end` of a prompt are computed in this step."""

    number: int
    start: int
    end: int
    is_last: bool


class Planner:
    """Chooses the parts of each step."""

    def __init__(
        self,
        blocks: Blocks,
        pace: Pace,
        *,
        step_tokens: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._blocks = blocks
        self._pace = pace
        self._step_tokens = step_tokens
        self._clock = clock

    def parts(self, prompts: list[Prompt], *, writers: int) -> list[Part]:
        """What to read now, beside so many sequences that write one token each."""
        left_s = (BESIDE_S if writers else ALONE_S) - self._pace.writing_s(writers)
        left_tokens = self._step_tokens - writers
        computed: set[Key] = set()
        chosen: list[Part] = []
        for prompt in self._ordered(prompts):
            start = self._start(prompt.sequence)
            if computed & self._claims(prompt.sequence, start):
                continue
            room = min(self._pace.room(depth=start, seconds=left_s), left_tokens)
            if chosen and room < BLOCK_TOKENS:
                break
            part = _part(prompt, start, max(room, BLOCK_TOKENS))
            if part.end - part.start > left_tokens:
                break
            chosen.append(part)
            computed |= self._computes(prompt.sequence, part)
            left_s -= self._pace.reading_s(depth=start, tokens=part.end - start)
            left_tokens -= part.end - start
        return chosen

    def _ordered(self, prompts: list[Prompt]) -> list[Prompt]:
        """By priority with age; the shortest first, so that a long one stands in nobody's way."""
        now = self._clock()

        def rank(prompt: Prompt) -> tuple[int, int, int]:
            waited = int((now - prompt.since) / AGING_S)
            left = prompt.sequence.prompt_tokens - self._start(prompt.sequence)
            return (prompt.priority - waited, left, prompt.number)

        return sorted(prompts, key=rank)

    def _start(self, sequence: Sequence) -> int:
        ends = self._blocks.found(sequence)
        found = ends[-1] if ends else 0
        return min(found, sequence.prompt_tokens - 1)

    def _claims(self, sequence: Sequence, start: int) -> set[Key]:
        """Keys of which none may be computed or taken over by another in the same step."""
        keys = set()
        if start % BLOCK_TOKENS:
            keys.add(sequence.key(start))
        following = (start // BLOCK_TOKENS + 1) * BLOCK_TOKENS
        if following <= sequence.prompt_tokens:
            keys.add(sequence.key(following))
        return keys

    def _computes(self, sequence: Sequence, part: Part) -> set[Key]:
        first = part.start // BLOCK_TOKENS + 1
        keys = {
            sequence.key(block * BLOCK_TOKENS)
            for block in range(first, part.end // BLOCK_TOKENS + 1)
        }
        if part.start % BLOCK_TOKENS:
            keys.add(sequence.key(part.start))
        return keys


def _part(prompt: Prompt, start: int, room: int) -> Part:
    length = prompt.sequence.prompt_tokens
    if length - start <= room:
        return Part(prompt.number, start, length, is_last=True)
    end = max((start + room) // BLOCK_TOKENS, start // BLOCK_TOKENS + 1) * BLOCK_TOKENS
    return Part(prompt.number, start, min(end, length), is_last=end >= length)
