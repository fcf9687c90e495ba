"""The addresses of Ollama's clients."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from haneul.base import errors
from haneul.openapi import rules
from haneul.openapi.errors import ASKING as FAILS
from haneul.openapi.errors import MODEL, READING
from haneul.openapi.headers import ASKED, ASKING
from haneul.openapi.operation import LINES, OPEN, Operation, Schema
from haneul.openapi.words import SAMPLING, shared
from haneul.services.ollama import wire

Count = int | UnsetType
ASKED_SO = (rules.UNCUT, rules.SCORED, rules.PREDICTED, rules.KEPT_ALIVE)


class Told(Struct, kw_only=True):
    """A whole answer, or the last line of a streamed one. Durations are in nanoseconds."""

    model: str
    created_at: str
    done: bool
    total_duration: int
    done_reason: str | UnsetType = UNSET
    eval_duration: Count = UNSET
    prompt_eval_count: Count = UNSET
    eval_count: Count = UNSET
    cost_nano: Count = UNSET
    currency: str | UnsetType = UNSET
    logprobs: list[Any] | UnsetType = UNSET


class OllamaAnswer(Told, kw_only=True):
    """Of a chat."""

    message: dict[str, Any]


class OllamaText(Told, kw_only=True):
    """Of a generation."""

    response: str
    thinking: str | UnsetType = UNSET


class OllamaVectors(Struct, kw_only=True):
    """The vectors of the inputs, in their order."""

    model: str
    embeddings: list[list[float]]
    created_at: str | UnsetType = UNSET
    total_duration: Count = UNSET
    prompt_eval_count: Count = UNSET
    cost_nano: Count = UNSET
    currency: str | UnsetType = UNSET


class OllamaVector(Struct, kw_only=True):
    """The vector of the prompt."""

    embedding: list[float]
    model: str | UnsetType = UNSET
    created_at: str | UnsetType = UNSET


class OllamaModel(Struct, kw_only=True):
    """A model; what a remote engine does not tell is left out."""

    name: str
    model: str
    modified_at: str | UnsetType = UNSET
    size: Count = UNSET
    size_vram: Count = UNSET
    digest: str | UnsetType = UNSET
    details: dict[str, Any] | UnsetType = UNSET
    context_length: int | UnsetType | None = UNSET
    remote_host: str | UnsetType = UNSET
    remote_model: str | UnsetType = UNSET


class OllamaModels(Struct, kw_only=True):
    """A list of models."""

    models: list[OllamaModel]


class OllamaFile(Struct, kw_only=True):
    """What a model's file says."""

    modified_at: str
    license: str
    template: str
    parameters: str
    details: dict[str, Any]
    model_info: dict[str, Any]
    capabilities: list[str]


class Status(Struct, kw_only=True):
    """How a pull ended."""

    status: str


class Version(Struct, kw_only=True):
    """haneul's own."""

    version: str


def _asking(
    path: str,
    text: str,
    body: type,
    answer: type,
    streams: str = "",
    spared: str = "",
    also: tuple[Schema, ...] = (rules.WHOLE, rules.KEPT_ALIVE, rules.NO_OPTIONS),
) -> Operation:
    return Operation(
        method="POST",
        address=path,
        text=text,
        scope="infer",
        body=body,
        spared=(spared,) if spared else (),
        rules=also,
        answer=answer,
        streams=streams,
        takes=ASKING,
        gives=ASKED,
        errors=FAILS,
        shapes=("OllamaError",),
    )


def _refused(method: str, path: str, why: str) -> Operation:
    return Operation(
        method=method,
        address=path,
        text=f"Refused by name: {why}.",
        errors=(errors.UnsupportedValue,),
        shapes=("OllamaError",),
    )


OPERATIONS = (
    _asking(
        "/api/chat",
        "Answers a chat.",
        wire.OllamaChat,
        OllamaAnswer,
        LINES,
        spared="messages",
        also=(*ASKED_SO, rules.SHOWN_IMAGES),
    ),
    _asking(
        "/api/generate",
        "Answers a prompt, or continues a text.",
        wire.OllamaGenerate,
        OllamaText,
        LINES,
        also=(*ASKED_SO, rules.NO_TEMPLATE, rules.IMAGES),
    ),
    _asking("/api/embed", "Turns texts into vectors.", wire.OllamaEmbed, OllamaVectors),
    _asking(
        "/api/embeddings",
        "Turns a text into a vector.",
        wire.OllamaEmbeddings,
        OllamaVector,
        spared="prompt",
    ),
    Operation(
        method="GET",
        address="/api/tags",
        text="The models this key may use.",
        answer=OllamaModels,
        shapes=("OllamaError",),
    ),
    Operation(
        method="GET",
        address="/api/ps",
        text="Those of them that are loaded.",
        answer=OllamaModels,
        shapes=("OllamaError",),
    ),
    Operation(
        method="POST",
        address="/api/show",
        text="What a model's file says.",
        body=wire.OllamaShow,
        rules=(rules.MODEL_OR_NAME,),
        answer=OllamaFile,
        errors=(*READING, *MODEL, errors.UnsupportedValue),
        shapes=("OllamaError",),
    ),
    Operation(
        method="POST",
        address="/api/pull",
        text="Fetches a model, telling how far it is.",
        scope="admin",
        body=wire.OllamaPull,
        rules=(rules.SECURE, rules.MODEL_OR_NAME),
        answer=Status,
        streams=LINES,
        errors=(*READING, errors.NotFound, errors.UnsupportedValue, errors.NotEnoughMemory),
        shapes=("OllamaError",),
    ),
    Operation(
        method="POST",
        address="/api/copy",
        text="Gives a model another name.",
        scope="admin",
        body=wire.OllamaCopy,
        rules=(rules.COPIED,),
        errors=(*READING, *MODEL, errors.UnsupportedValue, errors.Conflict),
        shapes=("OllamaError",),
    ),
    Operation(
        method="DELETE",
        address="/api/delete",
        text="Removes a model, and its file where no other name means it.",
        scope="admin",
        body=wire.OllamaDelete,
        rules=(rules.MODEL_OR_NAME,),
        errors=(*READING, *MODEL, errors.UnsupportedValue),
        shapes=("OllamaError",),
    ),
    Operation(
        method="GET",
        address="/api/version",
        text="haneul's version.",
        scope=OPEN,
        answer=Version,
        shapes=("OllamaError",),
    ),
    _refused("POST", "/api/create", "models are not made here"),
    _refused("POST", "/api/push", "models are not sent elsewhere"),
    _refused("GET", "/api/blobs/{digest}", "no parts of models are taken"),
    _refused("POST", "/api/blobs/{digest}", "no parts of models are taken"),
)
SHARED = {
    "model": "A model or a route.",
    "options": "See below.",
    "keep_alive": "0 unloads the model after the answer (scope `admin`, embedded models only); "
    "otherwise the model stays at least so long after its last request, below 0 for ever.",
    "truncate": "true is refused: too long a prompt is never cut.",
}
NAMED = {"model": "Which one.", "name": "What `model` was once called."}
FIELDS: dict[type, dict[str, str]] = {
    wire.Asking: {
        **SHARED,
        "stream": "Lines of JSON unless false.",
        "format": '`"json"` or a schema, as `response_format`.',
        "think": "Of models that can be told.",
        **shared("logprobs"),
        "top_logprobs": "How many others come with theirs.",
        "shift": "true is refused: a context is never shifted.",
    },
    wire.OllamaChat: {
        "messages": "Also `images`, `thinking`, `tool_calls`, `tool_name`, `tool_call_id`; without "
        "any the model is only loaded.",
        **shared("tools"),
    },
    wire.OllamaGenerate: {
        "prompt": "Without one the model is only loaded.",
        "system": "Stands before the prompt.",
        "images": "For the engines that take them.",
        "raw": "The text is continued without the model's template.",
        "suffix": "Refused unless empty.",
        "template": "Refused unless empty.",
        "context": "Refused unless empty.",
    },
    wire.Embedding: SHARED,
    wire.OllamaEmbed: {
        "input": "A text or a list; without any the model is only loaded.",
        **shared("dimensions"),
    },
    wire.OllamaEmbeddings: {"prompt": "A text; without one the model is only loaded."},
    wire.OllamaPull: {
        **NAMED,
        "stream": "Lines of JSON unless false.",
        "insecure": "true is refused.",
    },
    wire.OllamaShow: {**NAMED, "verbose": "Tells the lengths of long lists, too."},
    wire.OllamaDelete: NAMED,
    wire.OllamaCopy: {
        "source": "A model that is here.",
        "destination": "Letters, digits and . : / @ _ -, 128 at most.",
    },
    wire.Options: {
        "num_predict": "Tokens of the answer at most; -1: no limit.",
        **shared("top_k", *SAMPLING),
        "num_ctx": "Accepted up to the model's context, which is of the engine, not the request.",
        "mirostat": "0 asks for what is done anyway.",
        "tfs_z": "1 asks for what is done anyway.",
        "typical_p": "1 asks for what is done anyway.",
    },
}
