"""One answer in the making, as the scheduler sees it, and the part of it that a step computes."""

from __future__ import annotations

from msgspec import Struct

from haneul.engine.libllama.pool import Line

FORCED_MOST = 64  # tokens known ahead (by a grammar) that still go as one step of writing


class Task:
    """Prompt and answer as one list of tokens, of which the line has computed the first."""

    def __init__(
        self,
        number: int,
        prompt: list[int],
        *,
        most: int,
        now_s: float,
        priority: int = 0,
        owner: str = "",
        adapter: str = "",
    ) -> None:
        self.number = number
        self.tokens = [*prompt]
        self.prompt_tokens = len(prompt)
        self.most = most  # tokens, prompt and answer: no more than one sequence may have
        self.arrived_s = now_s
        self.begun_s = now_s  # when it got its line
        self.priority = priority
        self.owner = owner
        self.adapter = adapter
        self.line: Line | None = None
        self.cached = -1  # tokens of the prompt that were in memory when it began; -1: it has not
        self.drafts: list[int] = []  # guessed tokens that the next step tries

    @property
    def computed(self) -> int:
        return self.line.computed if self.line else 0

    @property
    def pending(self) -> int:
        """Tokens that are known but not computed: at least one until the task ends."""
        return len(self.tokens) - self.computed

    @property
    def answer_tokens(self) -> int:
        return len(self.tokens) - self.prompt_tokens

    @property
    def is_writing(self) -> bool:
        return len(self.tokens) > self.prompt_tokens and self.pending <= FORCED_MOST


class Part(Struct, frozen=True):
    """Tokens of one task that a step computes, from that position on."""

    task: Task
    tokens: list[int]
    position: int
    rows: int  # after how many of the last tokens the next one is to be chosen
