"""The addresses of OpenAI's protocol: what they take, what becomes of each field."""

from __future__ import annotations

from haneul.base import errors
from haneul.base.wire import ChatRequest, CompletionRequest, EmbeddingRequest, Sampling
from haneul.openapi import openai_answers as answers
from haneul.openapi import rules
from haneul.openapi.errors import ASKING as FAILS
from haneul.openapi.errors import READING
from haneul.openapi.headers import ASKED, ASKING
from haneul.openapi.operation import EVENTS, Operation, Query, Schema
from haneul.openapi.words import SAMPLING, shared
from haneul.services.batches.addresses import LISTED_MAX as BATCHES_MAX
from haneul.services.batches.addresses import LISTED_USUAL as BATCHES_USUAL
from haneul.services.batches.addresses import BatchRequest
from haneul.services.batches.file_addresses import LISTED_MAX as FILES_MAX
from haneul.services.batches.file_addresses import SECONDS_MAX, SECONDS_MIN
from haneul.services.responses.addresses import ITEMS_MAX, ITEMS_USUAL
from haneul.services.responses.request import FORWARDED, ResponseRequest

AFTER: Schema = {"type": "string"}
ORDER: Schema = {"enum": ["asc", "desc"], "default": "desc"}
FORM: Schema = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "Lines of JSON."},
        "purpose": {"const": "batch"},
        "expires_after[anchor]": {"const": "created_at"},
        "expires_after[seconds]": {
            "type": "integer",
            "minimum": SECONDS_MIN,
            "maximum": SECONDS_MAX,
        },
    },
    "required": ["file", "purpose"],
    "dependentRequired": {
        "expires_after[anchor]": ["expires_after[seconds]"],
        "expires_after[seconds]": ["expires_after[anchor]"],
    },
    "additionalProperties": False,
}
NOT_FOUND = (errors.NotFound,)


def limit(usual: int, most: int) -> Query:
    """How many of a list."""
    whole = {"type": "integer", "minimum": 1, "maximum": most, "default": usual}
    return Query("limit", "How many at most.", whole)


OPERATIONS = (
    Operation(
        method="POST",
        address="/v1/chat/completions",
        text="Answers a chat, whole or streamed.",
        scope="infer",
        body=ChatRequest,
        others="forwarded",
        rules=(rules.STREAMED, rules.ONE_LENGTH, rules.LENGTHS, rules.BEST_OF),
        answer=answers.ChatCompletion,
        streams=EVENTS,
        takes=ASKING,
        gives=ASKED,
        errors=FAILS,
    ),
    Operation(
        method="POST",
        address="/v1/completions",
        text="Continues a text, whole or streamed.",
        scope="infer",
        body=CompletionRequest,
        others="forwarded",
        rules=(rules.STREAMED, rules.LENGTHS, rules.BEST_OF),
        answer=answers.TextCompletion,
        streams=EVENTS,
        takes=ASKING,
        gives=ASKED,
        errors=FAILS,
    ),
    Operation(
        method="POST",
        address="/v1/embeddings",
        text="Turns texts into vectors.",
        scope="infer",
        body=EmbeddingRequest,
        others="forwarded",
        rules=(rules.LENGTHS,),
        answer=answers.Vectors,
        takes=ASKING,
        gives=ASKED,
        errors=FAILS,
    ),
    Operation(
        method="POST",
        address="/v1/responses",
        text="Answers a conversation, whole or as typed events.",
        scope="infer",
        body=ResponseRequest,
        forwards=tuple(sorted(FORWARDED)),
        rules=(rules.STREAMED, rules.RESPONSE),
        answer=answers.Response,
        streams=EVENTS,
        takes=ASKING,
        gives=ASKED,
        errors=(*FAILS, errors.NotFound),
    ),
    Operation(
        method="GET",
        address="/v1/responses/{id}",
        text="A response that is kept.",
        scope="infer",
        answer=answers.Response,
        errors=(*NOT_FOUND, errors.UnsupportedValue),
    ),
    Operation(
        method="DELETE",
        address="/v1/responses/{id}",
        text="Forgets a response.",
        scope="infer",
        answer=answers.Deleted,
        errors=NOT_FOUND,
    ),
    Operation(
        method="GET",
        address="/v1/responses/{id}/input_items",
        text="What a response was asked with, in pages.",
        scope="infer",
        answer=answers.Items,
        query=(
            Query("after", "The item that the page follows.", AFTER),
            limit(ITEMS_USUAL, ITEMS_MAX),
            Query("order", "The newest first, or the oldest.", ORDER),
        ),
        errors=(*NOT_FOUND, errors.UnsupportedValue),
    ),
    Operation(
        method="POST",
        address="/v1/files",
        text="Takes a file for a batch.",
        scope="infer",
        form=FORM,
        answer=answers.File,
        errors=(*READING, errors.UnsupportedValue),
    ),
    Operation(
        method="GET",
        address="/v1/files",
        text="This key's files, in pages.",
        scope="infer",
        answer=answers.FilePage,
        query=(
            Query("after", "The file that the page follows.", AFTER),
            limit(FILES_MAX, FILES_MAX),
            Query("order", "The newest first, or the oldest.", ORDER),
            Query("purpose", "Only those put for it.", {"type": "string"}),
        ),
    ),
    Operation(
        method="GET",
        address="/v1/files/{id}",
        text="What a file is.",
        scope="infer",
        answer=answers.File,
        errors=NOT_FOUND,
    ),
    Operation(
        method="GET",
        address="/v1/files/{id}/content",
        text="What a file holds.",
        scope="infer",
        answer=bytes,
        media="application/octet-stream",
        errors=NOT_FOUND,
    ),
    Operation(
        method="DELETE",
        address="/v1/files/{id}",
        text="Deletes a file that no running batch reads.",
        scope="infer",
        answer=answers.Deleted,
        errors=(*NOT_FOUND, errors.Conflict),
    ),
    Operation(
        method="POST",
        address="/v1/batches",
        text="Has a file of requests answered when there is room.",
        scope="infer",
        body=BatchRequest,
        rules=(rules.BATCH,),
        answer=answers.Batch,
        errors=(*NOT_FOUND, *READING, errors.UnsupportedValue, errors.RateLimited),
    ),
    Operation(
        method="GET",
        address="/v1/batches",
        text="This key's batches, the newest first, in pages.",
        scope="infer",
        answer=answers.BatchPage,
        query=(
            Query("after", "The batch that the page follows.", AFTER),
            limit(BATCHES_USUAL, BATCHES_MAX),
        ),
    ),
    Operation(
        method="GET",
        address="/v1/batches/{id}",
        text="How far a batch is.",
        scope="infer",
        answer=answers.Batch,
        errors=NOT_FOUND,
    ),
    Operation(
        method="POST",
        address="/v1/batches/{id}/cancel",
        text="Begins no further line of a batch; what is done is given.",
        scope="infer",
        answer=answers.Batch,
        errors=(*NOT_FOUND, errors.Conflict),
    ),
)

# What becomes of each field. "Honoured" where nothing else is said.
FIELDS: dict[type, dict[str, str]] = {
    Sampling: {
        "model": "A model or a route; `GET /v1/models` lists them.",
        **shared("stream", "user", *SAMPLING),
        "stream_options": "`include_usage`: the last chunk says what was used and what it cost.",
        "max_tokens": "Tokens of the answer at most; a budget may cut it shorter.",
        "n": "How many answers of one prompt; each is billed.",
        "logit_bias": "Added to tokens, by their numbers.",
        "top_k": "Takes from so many of the likeliest tokens; 0 and -1: all.",
        "ignore_eos": "Goes on to the length asked for.",
    },
    ChatRequest: {
        "messages": "Text and parts of text; pictures go on to engines that take them.",
        "max_completion_tokens": "`max_tokens` by its newer name; they must not differ.",
        **shared("logprobs"),
        "top_logprobs": "How many others come with theirs; needs `logprobs`.",
        "response_format": "`text`, `json_object`, `json_schema`, or `regex` with `regex`.",
        **shared("tools", "tool_choice", "parallel_tool_calls"),
        "reasoning_effort": "none, minimal, low, medium, high, of models that can be told.",
        "chat_template_kwargs": "`enable_thinking` or `thinking`, true or false.",
        "enable_thinking": "Whether the model thinks first, of models that can be told.",
        "thinking_budget": "Tokens of thought at most.",
        **shared("safety_identifier"),
    },
    CompletionRequest: {
        "prompt": "A text, token numbers, or a list of either.",
        "logprobs": "How many likelihoods come with each token.",
        "echo": "Whether the prompt comes before the answer; not with `logprobs`.",
    },
    EmbeddingRequest: {
        "model": "A model that gives vectors.",
        "input": "A text, token numbers, or a list of either.",
        "encoding_format": "`float` unless said.",
        **shared("dimensions", "user"),
    },
    ResponseRequest: {
        "model": "A model or a route.",
        "input": "A text, or items: message, function_call, function_call_output, reasoning.",
        "instructions": "Stand before the conversation, for this answer alone.",
        "tools": "Of type `function`; others are refused.",
        **shared("tool_choice", "parallel_tool_calls"),
        "max_tool_calls": "Without effect: it bounds built-in tools, of which there are none.",
        "text": "`format`: text, json_object, json_schema; `verbosity` goes on to the engine.",
        "reasoning": "`effort`; a `summary` of `auto` is whatever there is, which is none.",
        "max_output_tokens": "Tokens of the answer at most.",
        **shared("temperature", "top_p"),
        "top_logprobs": "How many likelihoods come with each token.",
        "include": "`message.output_text.logprobs`; everything else is refused.",
        "stream": "Whether the answer comes as typed events.",
        "stream_options": "Only what is done anyway.",
        "store": "Kept unless false, for the key alone.",
        "previous_response_id": "The response that this one continues.",
        "metadata": "Kept with the response.",
        "truncation": "`auto` is refused: a conversation is never cut.",
        "background": "true is refused.",
        "service_tier": "`auto` and `default` ask for what is done anyway; others are refused.",
        "prompt_cache_key": "Without effect: advice about routing.",
        **shared("user", "safety_identifier"),
    },
    BatchRequest: {
        "input_file_id": "A file put for the purpose `batch`.",
        "endpoint": "The address that all its lines are for.",
        "completion_window": "`24h`.",
        "metadata": "Kept with the batch.",
    },
}
