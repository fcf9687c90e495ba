"""The usage of one request that runs several sequences, exact at any moment."""

from __future__ import annotations

import time
from typing import Any

from haneul.engine.kernel import Piece


class Tally:
    """Each prompt is counted once, however many choices it has; completions are summed."""

    def __init__(self, *, choices: int) -> None:
        self._choices = choices
        self._prompts: dict[int, tuple[int, int]] = {}  # prompt -> its tokens, those cached
        self._completions: dict[int, int] = {}
        self._reasoning: dict[int, int] = {}
        self._began = time.monotonic()
        self._last: dict[int, float] = {}  # sequence -> when its newest token came
        self.firsts_s: list[float] = []  # from the request's acceptance to each first token
        self.gaps_s: list[float] = []  # between tokens; several at once share their gap

    def add(self, index: int, piece: Piece) -> None:
        """Takes the totals of the sequence with that index; the first to say them counts."""
        prompt = index // self._choices
        if prompt not in self._prompts:
            self._prompts[prompt] = (piece.prompt_tokens, piece.cached_tokens)
        if new := piece.completion_tokens - self._completions.get(index, 0):
            self._time(index, new)
        self._completions[index] = piece.completion_tokens
        if piece.reasoning:
            self._reasoning[index] = piece.completion_tokens

    def _time(self, index: int, new: int) -> None:
        now = time.monotonic()
        if index in self._last:
            self.gaps_s.append((now - self._last[index]) / new)
        else:
            self.firsts_s.append(now - self._began)
        self._last[index] = now

    @property
    def prompt_tokens(self) -> int:
        return sum(tokens for tokens, _ in self._prompts.values())

    @property
    def cached_tokens(self) -> int:
        return sum(cached for _, cached in self._prompts.values())

    @property
    def completion_tokens(self) -> int:
        return sum(self._completions.values())

    def usage(self) -> dict[str, Any]:
        """OpenAI's usage object."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": sum(self._reasoning.values())},
        }
