"""A bound on thoughts: after so many tokens the thought is ended and the answer begins.

No kernel knows of thoughts, so the bound is kept above them all: the sequence is stopped, what it
wrote and the mark that ends a thought become the end of its prompt, and it goes on from there. The
kernel has the beginning in its prefix cache, so that going on costs little. The mark is nobody's
token: it is not counted. A kernel that writes several tokens a step may be a step over the bound.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from haneul.base.wire import ChatRequest
from haneul.engine.speech.format import Format, Shape
from haneul.engine.worker.job import Job, Step

_CHANNELS_END = "<|end|><|start|>assistant<|channel|>final<|message|>"  # gpt-oss: words begin


class Thinking(Struct, frozen=True):
    """How many tokens a thought may have, and what ends it then."""

    most: int
    end: str


class Thought:
    """The thoughts of one answer, counted as they come."""

    def __init__(self, thinking: Thinking) -> None:
        self._thinking = thinking
        self._tokens = 0
        self._before = 0
        self._written = bytearray()

    def is_over(self, step: Step, *, is_thinking: bool) -> bool:
        """Takes one step; whether the thought has had all that it may, and goes on."""
        self._written += step.data
        if is_thinking:
            self._tokens += step.completion_tokens - self._before
        self._before = step.completion_tokens
        return is_thinking and self._tokens >= self._thinking.most

    def closed(self, job: Job) -> tuple[str, Job | None]:
        """What ends the thought, and the rest of the job; None where all its tokens are used up."""
        assert isinstance(job.prompt, str)  # of a chat it is text
        end = self._thinking.end
        if job.max_tokens is not None and job.max_tokens <= self._before:
            return end, None
        left = None if job.max_tokens is None else job.max_tokens - self._before
        written = self._written.decode(errors="ignore")
        return end, replace(job, prompt=job.prompt + written + end, max_tokens=left)


def bound(request: ChatRequest, form: Format) -> Thinking | None:
    """The bound that a request asks for; 0 switches thinking off and needs none."""
    if not request.thinking_budget:
        return None
    if form.shape is Shape.CHANNELS:
        return Thinking(request.thinking_budget, _CHANNELS_END)
    return Thinking(request.thinking_budget, f"\n{form.thought.end.strip()}\n\n")


def totals(step: Step, first: Step) -> Step:
    """A step of a sequence that went on, as a step of the whole answer."""
    return replace(
        step,
        prompt_tokens=first.prompt_tokens,
        cached_tokens=first.cached_tokens,
        completion_tokens=first.completion_tokens + step.completion_tokens,
    )
