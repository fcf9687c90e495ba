"""The OpenAPI description at /openapi.json, made from the structs that read the requests."""

from __future__ import annotations

from typing import Any

import msgspec

from haneul import __version__
from haneul.base.wire import ChatRequest, CompletionRequest, EmbeddingRequest
from haneul.services.anthropic.wire import CountRequest, MessagesRequest
from haneul.services.batches.addresses import BatchRequest
from haneul.services.ollama import wire as ollama
from haneul.services.rerank import RerankRequest
from haneul.services.responses.request import ResponseRequest
from haneul.services.tei import TeiRequest

REF = "#/components/schemas/{name}"
BODIES = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/v1/embeddings": EmbeddingRequest,
    "/v1/rerank": RerankRequest,
    "/v2/rerank": RerankRequest,
    "/rerank": TeiRequest,
    "/v1/messages": MessagesRequest,
    "/v1/messages/count_tokens": CountRequest,
    "/v1/responses": ResponseRequest,
    "/v1/batches": BatchRequest,
    "/api/chat": ollama.OllamaChat,
    "/api/generate": ollama.OllamaGenerate,
    "/api/embed": ollama.OllamaEmbed,
    "/api/embeddings": ollama.OllamaEmbeddings,
    "/api/show": ollama.OllamaShow,
    "/api/pull": ollama.OllamaPull,
    "/api/copy": ollama.OllamaCopy,
    "/api/delete": ollama.OllamaDelete,
}
# method, address, what it does, whether it needs a key
ADDRESSES = [
    ("post", "/v1/chat/completions", "Answers a chat, whole or streamed.", True),
    ("post", "/v1/completions", "Continues a text, whole or streamed.", True),
    ("post", "/v1/embeddings", "Turns texts into vectors.", True),
    ("post", "/v1/rerank", "Puts documents in order, in Jina's and Cohere's form.", True),
    ("post", "/v2/rerank", "The same, as Cohere's newer clients ask.", True),
    ("post", "/rerank", "Puts texts in order, as text-embeddings-inference does.", True),
    ("post", "/v1/messages", "Answers a chat in Anthropic's protocol.", True),
    ("post", "/v1/messages/count_tokens", "Counts a prompt's tokens.", True),
    ("post", "/v1/responses", "Answers a conversation, whole or as typed events.", True),
    ("get", "/v1/responses/{id}", "A response that is kept.", True),
    ("delete", "/v1/responses/{id}", "Forgets a response.", True),
    ("get", "/v1/responses/{id}/input_items", "What a response was asked with.", True),
    ("post", "/api/chat", "Answers a chat in Ollama's protocol.", True),
    ("post", "/api/generate", "Answers or continues a text in Ollama's protocol.", True),
    ("post", "/api/embed", "Turns texts into vectors in Ollama's protocol.", True),
    ("post", "/api/embeddings", "Turns a text into a vector in Ollama's protocol.", True),
    ("get", "/api/tags", "The models this key may use, as Ollama lists them.", True),
    ("get", "/api/ps", "Those of them that are loaded.", True),
    ("post", "/api/show", "What a model's file says.", True),
    ("post", "/api/pull", "Fetches a model, telling how far it is; scope admin.", True),
    ("post", "/api/copy", "Gives a model another name; scope admin.", True),
    ("delete", "/api/delete", "Removes a model; scope admin.", True),
    ("get", "/api/version", "haneul's version.", False),
    ("post", "/api/create", "Refused by name: models are not made here.", True),
    ("post", "/api/push", "Refused by name: models are not sent elsewhere.", True),
    ("get", "/api/blobs/{digest}", "Refused by name: no parts of models are taken.", True),
    ("post", "/api/blobs/{digest}", "Refused by name: no parts of models are taken.", True),
    ("post", "/v1/files", "Takes a file for a batch.", True),
    ("get", "/v1/files", "This key's files.", True),
    ("get", "/v1/files/{id}", "What a file is.", True),
    ("get", "/v1/files/{id}/content", "What a file holds.", True),
    ("delete", "/v1/files/{id}", "Deletes a file.", True),
    ("post", "/v1/batches", "Has a file of requests answered when there is room.", True),
    ("get", "/v1/batches", "This key's batches.", True),
    ("get", "/v1/batches/{id}", "How far a batch is.", True),
    ("post", "/v1/batches/{id}/cancel", "Cancels a batch.", True),
    ("get", "/v1/models", "The models this key may use.", True),
    ("get", "/v1/models/{model}", "One model.", True),
    ("get", "/haneul/v1/me", "The key that asks: budget, spent, rates.", True),
    ("get", "/haneul/v1/usage", "Sums and newest requests.", True),
    ("get", "/haneul/v1/requests/{id}", "The record of one request.", True),
    ("get", "/haneul/v1/invoices", "The tenant's invoices; scope billing.", True),
    ("get", "/haneul/v1/invoices/{number}", "One invoice with its lines; scope billing.", True),
    ("get", "/haneul/v1/keys", "The tenant's keys; scope manage.", True),
    ("post", "/haneul/v1/keys", "Makes a key of the tenant; scope manage.", True),
    ("delete", "/haneul/v1/keys/{id}", "Ends a key of the tenant; scope manage.", True),
    ("get", "/haneul/v1/audit", "Who changed what; scope admin.", True),
    ("get", "/haneul/v1/status", "Chips, models, version; scope admin.", True),
    ("post", "/haneul/v1/models/start", "Loads a model; scope admin.", True),
    ("post", "/haneul/v1/models/stop", "Unloads a model; scope admin.", True),
    ("post", "/haneul/v1/session", "Logs the page in.", False),
    ("delete", "/haneul/v1/session", "Logs the page out.", False),
    ("get", "/healthz", "Whether the process answers.", False),
    ("get", "/readyz", "Whether the default model answers.", False),
    ("get", "/metrics", "Counts for Prometheus.", False),
    ("get", "/openapi.json", "This description.", False),
]
ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
ANTHROPIC_ERROR = {
    "type": "object",
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "code": {"type": "string"},
                "param": {"type": ["string", "null"]},
            },
            "required": ["type", "message"],
        },
        "request_id": {"type": "string"},
    },
    "required": ["type", "error", "request_id"],
}
OLLAMA_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}
TEI_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "error_type": {"type": "string"}},
    "required": ["error", "error_type"],
}
# Errors of addresses below these prefixes; all others are of the shape "Error".
ERRORS: dict[str, tuple[str, dict[str, Any]]] = {
    "/v1/messages": ("AnthropicError", ANTHROPIC_ERROR),
    "/api/": ("OllamaError", OLLAMA_ERROR),
    "/rerank": ("TeiError", TEI_ERROR),
}


def document() -> dict[str, Any]:
    """The whole description, OpenAPI 3.1."""
    _, schemas = msgspec.json.schema_components(BODIES.values(), ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for method, address, text, needs_key in ADDRESSES:
        paths.setdefault(address, {})[method] = _operation(method, address, text, needs_key)
    return {
        "openapi": "3.1.0",
        "info": {"title": "haneul", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Error": ERROR, **dict(ERRORS.values())},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(method: str, address: str, text: str, needs_key: bool) -> dict[str, Any]:
    shapes = [name for prefix, (name, _) in ERRORS.items() if address.startswith(prefix)]
    shape = {"$ref": REF.format(name=[*shapes, "Error"][0])}
    error = {"application/json": {"schema": shape}}
    operation: dict[str, Any] = {
        "summary": text,
        "responses": {
            "200": {"description": "What was asked for."},
            "default": {"description": "An error.", "content": error},
        },
    }
    if needs_key:
        operation["security"] = [{"key": []}]
    if "{" in address:
        name = address.partition("{")[2].partition("}")[0]
        schema = {"type": "string"}
        operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": schema}]
    if method == "post" and address in BODIES:
        schema = {"$ref": REF.format(name=BODIES[address].__name__)}
        content = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation
