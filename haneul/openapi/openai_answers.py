"""What OpenAI's addresses answer. Of answers that engines write only what haneul relies on is
promised; the embedded engine gives all of OpenAI's fields."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

Text = str | None


class AnsweredUsage(Struct, kw_only=True):
    """Tokens, and what they cost."""

    prompt_tokens: int
    completion_tokens: int | UnsetType | None = UNSET
    total_tokens: int | UnsetType | None = UNSET
    prompt_tokens_details: dict[str, Any] | UnsetType | None = UNSET
    completion_tokens_details: dict[str, Any] | UnsetType | None = UNSET
    cost_nano: int | UnsetType = UNSET
    currency: str | UnsetType = UNSET


class AnswerMessage(Struct, kw_only=True):
    """What was said."""

    role: str
    content: Text | UnsetType = UNSET
    reasoning_content: Text | UnsetType = UNSET
    refusal: Text | UnsetType = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType | None = UNSET


class ChatChoice(Struct, kw_only=True):
    """One of the answers asked for."""

    index: int
    message: AnswerMessage
    finish_reason: Text | UnsetType = UNSET
    stop_reason: str | int | UnsetType | None = UNSET
    logprobs: dict[str, Any] | UnsetType | None = UNSET


class ChatCompletion(Struct, kw_only=True):
    """A whole answer of a chat."""

    choices: list[ChatChoice]
    id: Text | UnsetType = UNSET
    object: str | UnsetType = UNSET
    created: int | UnsetType = UNSET
    model: str | UnsetType = UNSET
    system_fingerprint: Text | UnsetType = UNSET
    usage: AnsweredUsage | UnsetType | None = UNSET


class TextChoice(Struct, kw_only=True):
    """One continuation of a prompt."""

    index: int
    text: str
    finish_reason: Text | UnsetType = UNSET
    logprobs: dict[str, Any] | UnsetType | None = UNSET


class TextCompletion(Struct, kw_only=True):
    """A whole answer of a completion."""

    choices: list[TextChoice]
    id: Text | UnsetType = UNSET
    object: str | UnsetType = UNSET
    created: int | UnsetType = UNSET
    model: str | UnsetType = UNSET
    system_fingerprint: Text | UnsetType = UNSET
    usage: AnsweredUsage | UnsetType | None = UNSET


class Vector(Struct, kw_only=True):
    """The vector of one input; base64 of 32-bit floats where that was asked for."""

    embedding: list[float] | str
    index: int
    object: str | UnsetType = UNSET


class Vectors(Struct, kw_only=True):
    """The vectors of the inputs, in their order."""

    data: list[Vector]
    object: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    usage: AnsweredUsage | UnsetType = UNSET


class Ranked(Struct, kw_only=True):
    """One document in its place; a higher score is better."""

    index: int
    relevance_score: float
    document: Any = UNSET


class Ranking(Struct, kw_only=True):
    """The documents from the best on."""

    results: list[Ranked]
    id: Text | UnsetType = UNSET
    model: str | UnsetType = UNSET
    object: str | UnsetType = UNSET
    usage: dict[str, Any] | UnsetType | None = UNSET


class TeiScore(Struct, kw_only=True):
    """One text in its place."""

    index: int
    score: float
    text: str | UnsetType = UNSET


class ResponseUsage(Struct, kw_only=True):
    """Tokens, and what they cost."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int
    cost_nano: int
    currency: str


class Response(Struct, kw_only=True):
    """An answer of the Responses API: what was asked, and what came of it."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete", "in_progress", "failed"]
    background: bool
    completed_at: int | None
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    instructions: Text
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[dict[str, Any]]
    parallel_tool_calls: bool
    previous_response_id: Text
    prompt_cache_key: Text
    reasoning: dict[str, Any]
    safety_identifier: Text
    service_tier: str
    store: bool
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float | None
    truncation: str
    usage: ResponseUsage | None
    user: Text


class Deleted(Struct, kw_only=True):
    """What is gone."""

    id: str
    object: str
    deleted: bool


class Items(Struct, kw_only=True):
    """A page of the items that a response was asked with."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: Text
    last_id: Text
    has_more: bool


class File(Struct, kw_only=True):
    """A file that a client put here. Times are seconds since 1970."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: str
    status_details: None


class FilePage(Struct, kw_only=True):
    """A page of the key's files."""

    object: Literal["list"]
    data: list[File]
    first_id: Text
    last_id: Text
    has_more: bool


class LineCounts(Struct, kw_only=True):
    """The lines of a batch."""

    total: int
    completed: int
    failed: int


class Batch(Struct, kw_only=True):
    """A batch. Times are seconds since 1970."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: Text
    errors: dict[str, Any] | None
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
    ]
    output_file_id: Text
    error_file_id: Text
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    cancelling_at: int | None
    completed_at: int | None
    expired_at: int | None
    cancelled_at: int | None
    failed_at: int | None
    request_counts: LineCounts
    usage: dict[str, Any] | None
    metadata: dict[str, str] | None


class BatchPage(Struct, kw_only=True):
    """A page of the key's batches, the newest first."""

    object: Literal["list"]
    data: list[Batch]
    first_id: Text
    last_id: Text
    has_more: bool
