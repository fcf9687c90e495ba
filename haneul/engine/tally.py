"""The usage of one request that runs several sequences, exact at any moment."""

from __future__ import annotations

from typing import Any

from haneul.engine.kernel import Piece


class Tally:
    """Each prompt is counted once, however many choices it has; completions are summed."""

    def __init__(self, *, choices: int) -> None:
        self._choices = choices
        self._prompts: dict[int, tuple[int, int]] = {}  # prompt -> its tokens, those cached
        self._completions: dict[int, int] = {}
        self._reasoning: dict[int, int] = {}

    def add(self, index: int, piece: Piece) -> None:
        """Takes the totals of the sequence with that index; the first to say them counts."""
        prompt = index // self._choices
        if prompt not in self._prompts:
            self._prompts[prompt] = (piece.prompt_tokens, piece.cached_tokens)
        self._completions[index] = piece.completion_tokens
        if piece.reasoning:
            self._reasoning[index] = piece.completion_tokens

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
