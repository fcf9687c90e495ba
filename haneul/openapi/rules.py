"""What the structs of requests cannot say: values that are refused, rules between fields.

Each is a schema that stands beside the struct's own in `allOf`. What is said of conversations as a
whole (which turn may follow which) is not here: no schema says it.
"""

from __future__ import annotations

from haneul.openapi.operation import Schema
from haneul.services.batches.addresses import ENDPOINTS, WINDOW
from haneul.services.budgets import APP_MAX
from haneul.services.ollama.wire import Options
from haneul.services.responses.request import LOGPROBS
from haneul.services.roles import ROLES, SCOPES


def fields(**schemas: Schema | bool) -> Schema:
    """Fields that are narrower than their type."""
    return {"properties": schemas}


def needs(name: str, given: Schema, other: str, wanted: Schema) -> Schema:
    """A field that, once it is given, needs another."""
    return {
        "if": {"properties": {name: given}, "required": [name]},
        "then": {"properties": {other: wanted}, "required": [other]},
    }


NOT_TRUE: Schema = {"enum": [False, None]}
EMPTY_TEXT: Schema = {"enum": ["", None]}
TEXT: Schema = {"type": "string"}
SOME_ID: Schema = {"type": ["string", "null"], "maxLength": 64}
STATUS: Schema = {"enum": ["in_progress", "completed", "incomplete", None]}

# OpenAI's
STREAMED = needs("stream_options", {"type": "object"}, "stream", {"const": True})
ONE_LENGTH: Schema = {
    "not": {
        "properties": {
            "max_tokens": {"type": "integer"},
            "max_completion_tokens": {"type": "integer"},
        },
        "required": ["max_tokens", "max_completion_tokens"],
    }
}
LENGTHS = fields(n_predict=False, max_new_tokens=False)
BEST_OF = fields(best_of={"type": ["integer", "null"], "minimum": 1, "maximum": 128})
TEXTS = fields(
    documents={
        "items": {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"text": TEXT}, "required": ["text"]},
            ]
        }
    }
)
BATCH = fields(endpoint={"enum": list(ENDPOINTS)}, completion_window={"const": WINDOW})


def _item(kind: str, needed: list[str], **more: Schema) -> Schema:
    """An item of a conversation; null and nothing are the same."""
    return {
        "type": "object",
        "properties": {"id": SOME_ID, "status": STATUS, "type": {"const": kind}, **more},
        "required": ["type", *needed],
        "additionalProperties": False,
    }


def _part(*kinds: str, **more: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {"type": {"enum": list(kinds)}, **more},
        "required": ["type", *more],
        "additionalProperties": False,
    }


WORDS = _part("input_text", "output_text", text=TEXT)
PICTURE = _part("input_image", image_url=TEXT)
MESSAGE = _item(
    "message",
    ["role", "content"],
    role={"enum": ["user", "system", "developer", "assistant"]},
    content={"anyOf": [TEXT, {"type": "array", "items": WORDS}]},
)
SHOWN = _item(
    "message",
    ["role", "content"],
    role={"enum": ["user", "system", "developer"]},
    content={"type": "array", "items": {"anyOf": [WORDS, PICTURE]}},
)
PLAIN: Schema = {**MESSAGE, "required": ["role", "content"]}  # the type may be left out
CALL = _item(
    "function_call", ["call_id", "name", "arguments"], call_id=TEXT, name=TEXT, arguments=TEXT
)
OUTPUT = _item(
    "function_call_output",
    ["call_id", "output"],
    call_id=TEXT,
    output={"anyOf": [TEXT, {"type": "array", "items": WORDS}]},
)
THOUGHT = _item(
    "reasoning",
    [],
    summary={"type": ["array", "null"], "items": _part("summary_text", text=TEXT)},
    content={"type": ["array", "null"], "items": _part("reasoning_text", text=TEXT)},
)
ITEMS: Schema = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [PLAIN, SHOWN, CALL, OUTPUT, THOUGHT]},
        },
    ]
}
FUNCTION: Schema = {
    "type": "object",
    "properties": {
        "type": {"const": "function"},
        "name": TEXT,
        "description": {"type": ["string", "null"]},
        "parameters": {"type": ["object", "null"]},
        "strict": {"type": ["boolean", "null"]},
    },
    "required": ["type", "name"],
    "additionalProperties": False,
}
CHOICE: Schema = {
    "anyOf": [
        {"enum": ["none", "auto", "required", None]},
        {
            "type": "object",
            "properties": {"type": {"const": "function"}, "name": TEXT},
            "required": ["type", "name"],
            "additionalProperties": False,
        },
    ]
}
FORMAT: Schema = {
    "anyOf": [
        {"type": "null"},
        {
            "type": "object",
            "properties": {"type": {"enum": ["text", "json_object"]}},
            "required": ["type"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "type": {"const": "json_schema"},
                "name": TEXT,
                "schema": {"type": "object"},
                "strict": {"type": ["boolean", "null"]},
                "description": {"type": ["string", "null"]},
            },
            "required": ["type"],
            "additionalProperties": False,
        },
    ]
}
RESPONSE = fields(
    input=ITEMS,
    tools={"items": FUNCTION},
    tool_choice=CHOICE,
    text={"properties": {"format": FORMAT}},
    reasoning={
        "properties": {
            "summary": {"enum": ["auto", None]},
            "generate_summary": {"enum": ["auto", None]},
        }
    },
    include={"items": {"const": LOGPROBS}},
    stream_options={"properties": {"include_obfuscation": NOT_TRUE}},
    truncation={"enum": ["disabled", None]},
    background=NOT_TRUE,
    service_tier={"enum": ["auto", "default", None]},
)

# Anthropic's
EFFORT = fields(output_config={"properties": {"effort": {"enum": ["low", "medium", "high", None]}}})
CHOSEN = needs("tool_choice", {"type": "object"}, "tools", {"type": "array", "minItems": 1})
TOOLS = fields(
    tools={
        "items": {
            "properties": {
                "defer_loading": NOT_TRUE,
                "eager_input_streaming": {"enum": [True, None]},
            }
        }
    }
)

# Ollama's
UNCUT = fields(truncate=NOT_TRUE, shift=NOT_TRUE)
WHOLE = fields(truncate=NOT_TRUE)
SCORED = needs("top_logprobs", {"type": "integer", "minimum": 1}, "logprobs", {"const": True})
PREDICTED = fields(
    options={
        "properties": {
            "num_predict": {
                "anyOf": [{"const": -1}, {"type": "integer", "minimum": 1}, {"type": "null"}]
            }
        }
    }
)
NO_TEMPLATE = fields(
    suffix=EMPTY_TEXT, template=EMPTY_TEXT, context={"type": ["array", "null"], "maxItems": 0}
)
NO_OPTIONS = fields(
    options={
        "properties": {
            name: {"type": "null"} for name in Options.__struct_fields__ if name != "num_ctx"
        }
    }
)
SECURE = fields(insecure=NOT_TRUE)
MODEL_OR_NAME: Schema = {
    "anyOf": [
        {"properties": {name: {"minLength": 1}}, "required": [name]} for name in ("model", "name")
    ]
}
KEPT_ALIVE = fields(
    keep_alive={
        "anyOf": [
            {"type": ["number", "null"]},
            {
                "type": "string",
                "maxLength": 18,
                "pattern": r"^[-+]?([0-9]{1,9}|([0-9]{1,3}(ns|us|ms|s|m|h)){1,3})$",
            },
        ]
    }
)
BEGINS = "^(iVBORw0|/9j/|R0lGOD|UklGR)"  # PNG, JPEG, GIF, WebP
IMAGE: Schema = {"type": "string", "pattern": BEGINS}
IMAGES = fields(images={"items": IMAGE})
SHOWN_IMAGES = fields(messages={"items": {"properties": {"images": {"items": IMAGE}}}})
COPIED = fields(destination={"pattern": "^[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,127}$"})

# haneul's own
NEW_KEY = fields(
    name={"minLength": 1, "maxLength": 64},
    scopes={"items": {"enum": list(SCOPES)}},
    role={"enum": [*ROLES, None]},
    app={"minLength": 1, "maxLength": APP_MAX, "pattern": "^[ -~]*$"},
    budget={"pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$"},
)
