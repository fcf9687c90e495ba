"""What a worker is asked and what it answers: one sequence of tokens, described whole.

A worker is a kernel that knows tokens only. Chat templates, thoughts, tool calls, stop strings and
the wire are above it (haneul.engine.speech), so that every worker speaks alike.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from haneul.engine.kernel import Facts, Prompt, ScoredToken

INTERACTIVE, BATCH, RESEARCH = 0, 1, 2  # of Job.priority: who waits for whom


class Branch(Struct, frozen=True, kw_only=True):
    """One way an answer may go: fixed text, then JSON of a schema or text of a regex, then text."""

    head: str = ""
    schema: dict[str, Any] | None = None
    regex: str | None = None
    tail: str = ""


class Constraint(Struct, frozen=True, kw_only=True):
    """What the whole answer must look like: one of the branches; each kernel enforces it.

    `is_repeated`: one or more of them, parted by `separator`, as in parallel tool calls.
    """

    branches: list[Branch]
    separator: str = ""
    is_repeated: bool = False


class Job(Struct, frozen=True, kw_only=True):
    """One sequence to compute. Numbers are resolved: nothing here means "the default"."""

    prompt: Prompt  # text in which special tokens count as such, or token ids
    adds_special: bool = True  # begin-of-text before a prompt of text, where the vocabulary says so
    max_tokens: int | None = None  # None: to the end of the context
    temperature: float = 0.8  # 0: greedy
    top_k: int = 40  # 0: all
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_tokens: int = 64  # that the penalties look back at
    seed: int | None = None  # 32 bits; None: another one each time
    ignores_end: bool = False  # goes on after the model's end-of-turn token
    biases: list[tuple[int, float]] = []  # token, what is added to its logit; -inf bans it
    logprobs: int | None = None  # None: none; else the alternatives wanted beside each token
    marks: list[str] = []  # special tokens to be seen in the text, e.g. "<|tool_call_begin|>"
    constraint: Constraint | None = None
    adapter: str = ""  # the name of a LoRA adapter; empty: the model as it is
    priority: int = INTERACTIVE
    owner: str = ""  # whose request it is (a key's number): owners share fairly


class Step(Struct, frozen=True, kw_only=True):
    """What one step of the kernel added to one sequence. Counts are totals so far, and exact.

    `data` may end inside a UTF-8 character. The end-of-turn token is counted but has no bytes.
    """

    data: bytes = b""
    scores: list[ScoredToken] = []
    finish_reason: str | None = None  # "stop": the model ended; "length": its tokens are used up
    prompt_tokens: int
    cached_tokens: int  # of the prompt: those that were in the prefix cache
    completion_tokens: int


class Loaded(Struct, frozen=True, kw_only=True, tag="loaded"):
    """A worker's first word: its model can answer."""

    facts: Facts
    kernel: str  # which kernel, with its version, for people: "llama.cpp b11549 (own scheduler)"
    lacks: list[str]  # fields of Job that this kernel cannot honour for this model, by name
    bos: str  # texts of the special tokens that templates use; empty: there is none
    eos: str
    template: str | None  # the chat template as it stands in the file


class WorkerSpec(Struct, frozen=True, kw_only=True):
    """What one worker process is to load."""

    kernel: str  # "libllama" or "openvino"
    file: str
    parent: int  # process id
    context_tokens: int  # of one sequence
    slots: int  # sequences at a time
    threads: int
    adapters: dict[str, str] = {}  # name -> GGUF LoRA file, known from the start
    options: dict[str, Any] = {}  # what tuning found, by the kernel's own names
