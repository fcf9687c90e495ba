"""Decides what each step of the model computes: this kernel's heart, without any native code.

All running sequences go through the model together, one token each, and prompts are read beside
them in pieces that are measured in time. A prompt that begins like anything in memory starts behind
what is computed already; one that begins like a prompt being read just now waits for it.
"""

from __future__ import annotations

from typing import Protocol

from haneul.engine.libllama.pace import LEAST_TOKENS, Pace
from haneul.engine.libllama.pool import Line, Pool, common
from haneul.engine.libllama.tasks import Part, Task
from haneul.engine.libllama.turns import Turns

STEP_S = 0.2  # of a step while answers are being written: what a reader may have to wait
ALONE_S = 0.25  # of a step while none is: still what a hang-up or a newcomer may have to wait
WORTH_WAITING = 8  # tokens; a leader who computes fewer of mine is not waited for
WORTH_COPYING = 16  # tokens; fewer are computed again rather than copied
TIDY_TOKENS = 2048  # in two rooms that are still swapped: tens of milliseconds
TIDY_LEFT = 16  # tokens that an answer may still have; fewer are not worth a swap
WHOLE = 1.25  # a rest up to this share over the budget is read at once, not in two steps
PAUSE_AFTER_S = 1.0  # a task runs at least so long before a more urgent one takes its place


class Memory(Protocol):
    """The part of the model that remembers sequences, each under its line's number."""

    def copy(self, source: Line, target: Line, length: int) -> None:
        """Gives an empty sequence the first tokens of another; nothing is computed."""
        ...

    def swap(self, line: Line, number: int) -> None:
        """Exchanges what two rooms remember, the other one perhaps nothing."""
        ...

    def cut(self, line: Line, length: int) -> None:
        """Forgets all but the first tokens of a sequence."""
        ...


class Scheduler:
    """Tasks from their arrival to their end, over one pool of cells."""

    def __init__(
        self,
        memory: Memory,
        pool: Pool,
        pace: Pace,
        *,
        places: int,
        rest_cells: int,
        batch_tokens: int,
    ) -> None:
        self.waiting: list[Task] = []
        self.running: list[Task] = []
        self.pool = pool
        self.pace = pace
        self.turns = Turns()
        self._memory = memory
        self._places = places
        self._rest_cells = rest_cells  # that finished sequences may hold: idle cells slow the rest
        self._batch_tokens = batch_tokens
        self._adapter = ""  # of the last step

    # tasks come and go
    def add(self, task: Task) -> None:
        assert 0 < task.prompt_tokens < task.most <= (self.pool.room or self.pool.capacity)
        self.turns.arrive(task, [*self.waiting, *self.running])
        self.waiting.append(task)

    def push(self, task: Task, token: int) -> None:
        """A token that was chosen, or is known to come: a later step computes it."""
        task.tokens.append(token)

    def end(self, task: Task) -> None:
        """The task is over, finished or not; its line rests for others."""
        if task in self.waiting:
            self.waiting.remove(task)
            return
        self.running.remove(task)
        self._rest(task)

    def _tidy(self, mine: list[Task]) -> None:
        """Moves the last running line into the first gap between the others.

        The library computes neighbouring rooms in one go, and each group apart in one of its own.
        """
        if self.pool.room is None or len(mine) < 2:
            return
        used = {task.line.number: task for task in mine if task.line}
        first, last = min(used), max(used)
        if last - first < len(used):
            return
        gap = next(number for number in range(first, last) if number not in used)
        task, other = used[last], self.pool.lines.get(gap)
        size = task.computed + (other.computed if other else 0)
        if task.line and task.most - len(task.tokens) >= TIDY_LEFT and size <= TIDY_TOKENS:
            self._memory.swap(task.line, gap)
            self.pool.swap(task.line, gap)

    def _rest(self, task: Task) -> None:
        line, task.line = task.line, None
        assert line is not None
        self.pool.rest(line)
        if line.computed < WORTH_COPYING:
            self._evict(line)
        while self.pool.room is None and self.pool.used - self.pool.live > self._rest_cells:
            self._evict(self.pool.resting[0])

    # steps
    def plan(self, now_s: float) -> list[Part]:
        """What the next step computes; empty when there is nothing to do."""
        self._admit(now_s)
        self._adapter = self._next_adapter()
        mine = [task for task in self.running if task.adapter == self._adapter]
        self._tidy(mine)
        parts = [_written(task) for task in mine if task.is_writing]
        parts += self._reading(mine, parts, now_s)
        self._make_room(sum(len(part.tokens) for part in parts))
        return sorted(parts, key=lambda part: part.task.line.number if part.task.line else 0)

    def done(self, parts: list[Part], took_s: float) -> None:
        """The step has been computed. Rejected drafts are cut afterwards, by `keep`."""
        for part in parts:
            assert part.task.line is not None
            self.pool.grow(part.task.line, part.tokens)
            self.turns.serve(part.task, len(part.tokens))
        self.pace.learn(*_size(parts), took_s)

    def keep(self, task: Task, length: int) -> None:
        """Of what the last step computed for a task only the first tokens count."""
        assert task.line is not None
        if length < task.line.computed:
            self._memory.cut(task.line, length)
            self.pool.shrink(task.line, length)

    def forget(self) -> None:
        """Drops all that rests."""
        for line in self.pool.resting:
            self._evict(line)

    def _next_adapter(self) -> str:
        """Adapters take turns step by step: sequences under different ones share no step."""
        wanted = sorted({task.adapter for task in self.running})
        after = [adapter for adapter in wanted if adapter > self._adapter]
        return (after or wanted or [""])[0]

    def _reading(self, mine: list[Task], writing: list[Part], now_s: float) -> list[Part]:
        """Prompts, as far as they can be read in the time that the writing ones leave."""
        tokens, seen = _size(writing)
        groups = {task.adapter for task in self.running if task.is_writing} | {self._adapter}
        whole_s = STEP_S / len(groups) if any(task.is_writing for task in self.running) else ALONE_S
        left_s = whole_s - self.pace.cost_s(tokens, seen)
        room = self._batch_tokens - tokens
        parts: list[Part] = []
        for task in sorted(
            (task for task in mine if not task.is_writing),
            key=lambda task: self.turns.to_read(task, now_s, self.pace.token_s),
        ):
            if room <= 0 or (parts and left_s <= self.pace.token_s * LEAST_TOKENS):
                break
            begin, pending = task.computed, task.pending
            count = self.pace.tokens_in(max(0.0, left_s), position=begin, most=room)
            count = min(pending, room) if pending <= WHOLE * count else count
            is_whole = count == pending
            parts.append(Part(task, task.tokens[begin : begin + count], begin, int(is_whole)))
            left_s -= self.pace.cost_s(*_size(parts[-1:])) - self.pace.fixed_s
            room -= count
        return parts

    # places and cells
    def _admit(self, now_s: float) -> None:
        if not self.waiting:
            return
        for task in sorted(self.waiting, key=lambda task: self.turns.to_begin(task, now_s)):
            if len(self.running) >= self._places and not self._pause_for(task, now_s):
                return
            source, length = self._source(task)
            if self._promised(task) - length >= WORTH_WAITING:
                continue  # whoever computes it will soon have: then it costs nothing
            if not self._fits(task, source, length):
                return  # nobody overtakes one that waits for room, else it might wait for ever
            self._begin(task, source, length, now_s)

    def _pause_for(self, task: Task, now_s: float) -> bool:
        """Makes place for an urgent task: the least urgent, latest one waits with what it has."""
        level = self.turns.level(task, now_s)
        least = max(self.running, key=lambda one: (self.turns.level(one, now_s), one.begun_s))
        if self.turns.level(least, now_s) <= max(0, level):
            return False
        if now_s - least.begun_s < PAUSE_AFTER_S:
            return False
        self.running.remove(least)
        self.waiting.append(least)
        least.drafts = []
        self._rest(least)
        return True

    def _source(self, task: Task) -> tuple[Line | None, int]:
        """The line that has most of the prompt computed, and how much of it."""
        best, most = None, 0
        for line in self.pool.lines.values():
            if line.adapter != task.adapter:
                continue
            length = min(common(task.tokens, line.tokens), line.computed, len(task.tokens) - 1)
            if length > most or (length == most and length and best and best.is_live):
                best, most = line, length  # as good, but resting: may be taken over
        return (best, most) if most >= WORTH_COPYING else (None, 0)

    def _promised(self, task: Task) -> int:
        """How much of the prompt the tasks that are read just now will have computed."""
        reading = (
            other
            for other in self.running
            if other.adapter == task.adapter and not other.is_writing
        )
        most = max((common(task.tokens, other.tokens) for other in reading), default=0)
        return min(most, len(task.tokens) - 1)

    def _fits(self, task: Task, source: Line | None, length: int) -> bool:
        """Whether all running tasks could become as long as they may, this one among them."""
        if self.pool.room is not None:
            return True
        growing = sum(other.most - other.computed for other in self.running)
        shared = length if source and source.is_live else 0
        return self.pool.live + growing + task.most - shared <= self.pool.capacity

    def _begin(self, task: Task, source: Line | None, length: int, now_s: float) -> None:
        self.waiting.remove(task)
        self.running.append(task)
        task.begun_s = now_s
        if task.cached < 0:
            task.cached = length
        if source and not source.is_live and self._is_taken_over(source, length):
            self._memory.cut(source, length)
            self.pool.wake(source, length)
            task.line = source
            return
        if not self.pool.has_number:
            self._evict(next(line for line in self.pool.resting if line is not source))
        if self.pool.room is not None:
            self._make_room(length)
        task.line = self.pool.open(task.adapter)
        if source:
            self._memory.copy(source, task.line, length)
            self.pool.share(source, task.line, length)

    def _is_taken_over(self, source: Line, length: int) -> bool:
        """A finished line that is a beginning of the prompt is continued; or there is no other."""
        others = [line for line in self.pool.resting if line is not source]
        return length == source.computed or not (self.pool.has_number or others)

    def _make_room(self, cells: int) -> None:
        while self.pool.room is None and self.pool.free < cells:
            self._evict(self.pool.resting[0])

    def _evict(self, line: Line) -> None:
        self._memory.cut(line, 0)
        self.pool.drop(line)


def _written(task: Task) -> Part:
    """The tokens of an answer that are known but not computed, and those that are guessed."""
    begin = task.computed
    return Part(task, task.tokens[begin:] + task.drafts, begin, 1 + len(task.drafts))


def _size(parts: list[Part]) -> tuple[int, int]:
    """Tokens, and the places they look back at."""
    tokens = sum(len(part.tokens) for part in parts)
    seen = sum(len(part.tokens) * (2 * part.position + len(part.tokens)) // 2 for part in parts)
    return tokens, seen
