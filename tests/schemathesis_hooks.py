"""What Schemathesis is told beside the description: which model there is, and two checks of ours.

Loaded by its command line (see schemathesis.toml). HANEUL_MODEL is a model whose engine answers:
without it every request would end at "no such model", and no answer would ever be looked at.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import schemathesis

MODEL = os.environ["HANEUL_MODEL"]
OWN = ("/haneul/", "/v1/models", "/v1/files", "/v1/batches", "/hub/", "/healthz", "/readyz")
# A model in the hub of the cloud that is asked.
HUB = {"organization": "haneul", "repository": "described", "revision": "main", "path": "m.gguf"}
NUMBERS = itertools.count(1)
# Engines that are not embedded refuse these whatever is said: their models stay unknown, which is
# 404 for whoever asks.
EMBEDDED_ONLY = (
    "/v1/messages/count_tokens",
    "/api/show",
    "/api/pull",
    "/api/copy",
    "/api/delete",
    "/haneul/v1/models/stop",
)


def is_valid(case: Any) -> bool:
    """Whether the case is all by the description."""
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Names the model that there is in three of four valid requests.

    A name for a request that another one has is refused, rightly: each gets one of its own.
    """
    if "only-if-cached" in str((case.headers or {}).get("x-haneul-cache", "")):
        case.headers["x-haneul-cache"] = "no-cache"  # 504 is its answer where nothing is kept
    if is_valid(case) and "idempotency-key" in (case.headers or {}):
        case.headers["idempotency-key"] = f"{next(NUMBERS)}"
    if is_valid(case) and "repository" in (case.path_parameters or {}) and next(NUMBERS) % 4:
        for name in case.path_parameters.keys() & HUB.keys():
            case.path_parameters[name] = HUB[name]
    body = case.body
    if not is_valid(case) or not isinstance(body, dict) or case.path in EMBEDDED_ONLY:
        return
    if "model" in body and next(NUMBERS) % 4:
        case.body = {**body, "model": MODEL}
    if case.path == "/rerank" and isinstance(case.body, dict):
        # Of a remote engine only raw scores can be had: that depends on who answers.
        case.body = {**case.body, "model": MODEL, "raw_scores": True}


@schemathesis.check
def a_refusal_of_valid_data_names_its_field(ctx: Any, response: Any, case: Any) -> None:
    """What no schema says is refused by name: the error says which field it is."""
    if not is_valid(case) or response.status_code != 400 or case.path.startswith("/api/"):
        return  # Ollama's errors have one text, which holds the name
    error = response.json()["error"]
    if isinstance(error, dict) and not error.get("param"):
        raise AssertionError(f"refused without a field: {error}")


@schemathesis.check
def own_answers_have_no_undescribed_field(ctx: Any, response: Any, case: Any) -> None:
    """Our own answers hold what is described, and nothing else."""
    if not case.path.startswith(OWN) or response.status_code != 200:
        return
    if "json" not in response.headers["content-type"][0]:
        return
    root = case.operation.schema.raw_schema
    content = root["paths"][case.path][case.method.lower()]["responses"]["200"]["content"]
    (described,) = content.values()
    if extra := undescribed(root, described["schema"], response.json()):
        raise AssertionError(f"not described: {extra}")


def undescribed(root: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    """The fields of a value that its schema does not have, where it names any."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return undescribed(root, root["components"]["schemas"][name], value)
    if "anyOf" in schema:
        return min((undescribed(root, one, value) for one in schema["anyOf"]), key=len)
    if isinstance(value, list):
        return [name for one in value for name in undescribed(root, schema.get("items", {}), one)]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    known = schema["properties"]
    found = [name for name in value if name not in known]
    for name in value.keys() & known.keys():
        found += [f"{name}.{each}" for each in undescribed(root, known[name], value[name])]
    return found
