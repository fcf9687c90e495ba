"""The seam between the engine's front and whatever computes tokens.

A kernel runs sequences, one answer each; fan-out, queueing, usage and the wire are the front's.
Counts in a Piece are totals of its sequence so far and exact: they are what is paid for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from msgspec import Struct

from haneul.base.wire import ChatRequest, CompletionRequest

Prompt = str | list[int]


class Scored(Struct, frozen=True):
    """A token and its log-probability (natural logarithm), before sampling changed it."""

    token: str
    bytes: list[int]
    logprob: float


class ScoredToken(Scored, frozen=True):
    """The token that was taken, and the likeliest ones at its place, best first."""

    top_logprobs: list[Scored] = []


class Piece(Struct, frozen=True, kw_only=True):
    """What one step added to one sequence. Text never ends inside a UTF-8 character."""

    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = []
    scores: list[ScoredToken] = []
    finish_reason: str | None = None
    stop_reason: str | None = None  # the stop string that ended it, where one did
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class Facts(Struct, frozen=True, kw_only=True):
    """What a loaded model says of itself. Zero: unknown."""

    context_tokens: int  # of one sequence
    trained_context_tokens: int
    vocabulary: int
    width: int  # of an embedding
    parameters: int
    size_bytes: int
    has_tools: bool  # whether the chat template knows tools


class Vectors(Struct, frozen=True):
    """One unit vector per input, and the tokens of all inputs."""

    rows: list[list[float]]
    prompt_tokens: int


class Ranks(Struct, frozen=True):
    """How well each document answers the query (the model's own scale, higher is better)."""

    scores: list[float]
    prompt_tokens: int  # of all pairs


class Terms(Struct, frozen=True, kw_only=True):
    """How one sequence is to be run, beside what its request says."""

    seed: int | None = None  # of this choice; None: another one each time
    priority: int = 0  # 0 interactive, 1 batch, 2 research: the higher waits for the lower
    owner: str = ""  # whose request it is: owners share the kernel fairly
    adapter: str = ""  # the LoRA adapter's name; empty: the model as it is


class Kernel(Protocol):
    """Computes one model's answers. Closing an answer's iterator frees its place at once."""

    async def start(self) -> Facts:
        """Loads the model; returns when it can answer. Raises BrokenFile."""
        ...

    async def died(self) -> str:
        """Returns, with the reason, only when the kernel has ended by itself."""
        ...

    def chat(self, request: ChatRequest, terms: Terms) -> AsyncGenerator[Piece, None]: ...

    def complete(
        self, prompt: Prompt, request: CompletionRequest, terms: Terms
    ) -> AsyncGenerator[Piece, None]: ...

    async def embed(self, inputs: list[Prompt]) -> Vectors: ...

    async def rerank(self, query: str, documents: list[str]) -> Ranks: ...

    async def tokenise(self, text: str, *, with_special: bool) -> list[int]: ...

    async def detokenise(self, tokens: list[int]) -> str: ...

    async def render(self, request: ChatRequest) -> str:
        """The prompt that the model's chat template makes of the messages."""
        ...

    async def counters(self) -> dict[str, float]:
        """The kernel's own counts since its start, by Prometheus name without prefix."""
        ...

    async def close(self) -> None: ...
